# A cluster's bad days: the load, the checker of what it saw, and the checker's own test.
set(chaos "${CMAKE_CURRENT_LIST_DIR}")
sluice_program(chaos-load NO_INSTALL
    SOURCES "${chaos}/load.c" "${chaos}/peer.c" "${chaos}/records.c"
    LINK sluice_runtime sluice_proto)
sluice_program(chaos-check NO_INSTALL
    SOURCES "${chaos}/check.c" "${chaos}/judge.c" "${chaos}/evidence.c" "${chaos}/bound.c"
            "${chaos}/records.c"
    LINK sluice_runtime sluice_proto m)
sluice_test(chaos_bound
    SOURCES "${chaos}/test_bound.c" "${chaos}/bound.c" LINK sluice_runtime sluice_proto)
sluice_test(chaos_judge
    SOURCES "${chaos}/test_judge.c" "${chaos}/judge.c" "${chaos}/evidence.c" "${chaos}/bound.c"
            "${chaos}/records.c"
    LINK sluice_runtime sluice_proto m)
