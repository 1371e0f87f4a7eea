sluice_program(core-bench NO_INSTALL
               SOURCES ${CMAKE_CURRENT_LIST_DIR}/core_bench.c ${CMAKE_CURRENT_LIST_DIR}/core_shard.c
               LINK sluice_server)
sluice_program(decision-path NO_INSTALL
               SOURCES ${CMAKE_CURRENT_LIST_DIR}/decision_path.c
                       ${CMAKE_CURRENT_LIST_DIR}/core_shard.c
               LINK sluice_server)
