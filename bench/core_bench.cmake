sluice_program(core-bench NO_INSTALL SOURCES ${CMAKE_CURRENT_LIST_DIR}/core_bench.c
               LINK sluice_server_core)
