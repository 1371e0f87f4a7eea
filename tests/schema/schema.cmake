# Nodes of the next two releases, as far as the schema of records goes: the same programs, with
# another list of schemas linked before the library's own.
foreach(schemas 1_reads_2 2)
    sluice_program(test-node-schema-${schemas} NO_INSTALL
        SOURCES ${PROJECT_SOURCE_DIR}/server/main.c ${CMAKE_CURRENT_LIST_DIR}/schemas_${schemas}.c
                ${CMAKE_CURRENT_LIST_DIR}/record_schema_2.c
        LINK sluice_server)
endforeach()
