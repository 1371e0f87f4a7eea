# The tests of bench/: the parts that count, choose and check, and a load of the core in-process.
set(here "${CMAKE_CURRENT_LIST_DIR}")
foreach(part IN ITEMS histogram key_choice schedule record http_reply)
    sluice_test(bench_${part} SOURCES "${here}/test_bench_${part}.c" LINK sluice_bench_parts)
endforeach()
sluice_test(bench_bound SOURCES "${here}/test_bench_bound.c"
    LINK sluice_bench_parts sluice_server_core)
sluice_test(bench_load SOURCES "${here}/test_bench_load.c"
    LINK sluice_bench_load)
