# The parts of server/core, and the shard on a virtual clock and store.
foreach(name bucket arena table term_set marks core_memory)
    sluice_test(${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${name}.c LINK sluice_server_core)
endforeach()
foreach(name shard_take shard_fetch shard_hibernate shard_look shard_strict shard_slot shard_snapshot shard_admin
             shard_sweep shard_watch shard_corners shard_keys shard_keys_pass
             shard_former shard_rounded
             shard_pages shard_survey shard_many_slots shard_admin_late shard_memory)
    sluice_test(${name}
        SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${name}.c ${CMAKE_CURRENT_LIST_DIR}/shard_fixture.c
        LINK sluice_server_core)
endforeach()
# A shard of the release after next, which writes schema 2.
sluice_test(shard_schema
    SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_shard_schema.c ${CMAKE_CURRENT_LIST_DIR}/shard_fixture.c
            ${PROJECT_SOURCE_DIR}/tests/schema/schemas_2.c
            ${PROJECT_SOURCE_DIR}/tests/schema/record_schema_2.c
    LINK sluice_server_core)
sluice_test(memory_huge SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_memory_huge.c LINK sluice_server)
sluice_test(ack SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_ack.c LINK sluice_server)
sluice_test(store_cluster
    SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_store_cluster.c ${CMAKE_CURRENT_LIST_DIR}/fake_masters.c
    LINK sluice_server)
sluice_test(store
    SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_store.c ${CMAKE_CURRENT_LIST_DIR}/redis_server.c
    LINK sluice_server)
