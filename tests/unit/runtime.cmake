# The tests of runtime/, a program for each of its parts.
set(here "${CMAKE_CURRENT_LIST_DIR}")
foreach(part IN ITEMS sp clock mailbox log)
    sluice_test(${part} SOURCES "${here}/test_${part}.c" LINK sluice_runtime)
endforeach()
foreach(part IN ITEMS endpoint endpoint_peer endpoint_nng)
    sluice_test(${part}
        SOURCES "${here}/test_${part}.c" "${here}/endpoint_fixture.c" "${here}/nng_client.c"
        LINK sluice_runtime)
endforeach()
