# A cluster's bad days: the load, the checker of what it saw, and the checker's own test.
set(chaos "${CMAKE_CURRENT_LIST_DIR}")
sluice_program(chaos-load NO_INSTALL
    SOURCES "${chaos}/load.c" "${chaos}/peer.c" "${chaos}/records.c"
    LINK sluice_runtime sluice_proto)
sluice_program(chaos-check NO_INSTALL
    SOURCES "${chaos}/check.c" "${chaos}/explain.c" "${chaos}/judge.c" "${chaos}/evidence.c"
            "${chaos}/bound.c" "${chaos}/records.c"
    LINK sluice_runtime sluice_proto m)
sluice_test(chaos_bound
    SOURCES "${chaos}/test_bound.c" "${chaos}/bound.c" LINK sluice_runtime sluice_proto)
sluice_test(chaos_judge
    SOURCES "${chaos}/test_judge.c" "${chaos}/explain.c" "${chaos}/judge.c" "${chaos}/evidence.c"
            "${chaos}/bound.c" "${chaos}/records.c"
    LINK sluice_runtime sluice_proto m)

# Not an executable, but it goes where the driver finds the programs.
add_library(chaos-clock MODULE "${chaos}/clock_preload.c")
target_compile_features(chaos-clock PRIVATE c_std_11)
target_compile_definitions(chaos-clock PRIVATE _GNU_SOURCE)
target_compile_options(chaos-clock PRIVATE -Wall -Wextra -Werror)
set_target_properties(chaos-clock PROPERTIES PREFIX "" C_EXTENSIONS ON
    LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
