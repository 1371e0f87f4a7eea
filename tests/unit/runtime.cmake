# The tests of runtime/, a program for each of its parts.
set(here "${CMAKE_CURRENT_LIST_DIR}")
foreach(part IN ITEMS sp clock mailbox log options addresses redis_replies redis_slots)
    sluice_test(${part} SOURCES "${here}/test_${part}.c" LINK sluice_runtime)
endforeach()
foreach(part IN ITEMS endpoint endpoint_peer endpoint_nng)
    sluice_test(${part}
        SOURCES "${here}/test_${part}.c" "${here}/endpoint_fixture.c" "${here}/nng_client.c"
        LINK sluice_runtime)
endforeach()
sluice_test(link SOURCES "${here}/test_link.c" "${here}/endpoint_fixture.c" LINK sluice_runtime)
foreach(part IN ITEMS redis_link redis_memory redis_stall redis_storm)
    sluice_test(${part}
        SOURCES "${here}/test_${part}.c" "${here}/redis_fixture.c" "${here}/redis_server.c"
        LINK sluice_runtime)
endforeach()
target_link_options(test_redis_memory PRIVATE LINKER:--wrap=redisAsyncCommand
    LINKER:--wrap=redisAsyncCommandArgv LINKER:--wrap=redisAsyncFormattedCommand)
# They hold real time to a second, with threads of nng's beside them.
set_tests_properties(endpoint endpoint_peer endpoint_nng link PROPERTIES RUN_SERIAL TRUE)
