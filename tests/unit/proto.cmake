# Tests of proto/: against vectors that another program made, and against msgpack-c.
foreach(name vectors vectors_request)
    sluice_test(${name}
        SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${name}.c ${CMAKE_CURRENT_LIST_DIR}/vectors.c
        LINK sluice_proto PkgConfig::JANSSON)
endforeach()
foreach(name proto_reader proto_request)
    sluice_test(${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${name}.c
        LINK sluice_proto sluice_msgpack)
endforeach()
foreach(name proto_map proto_plan proto_policies proto_record proto_damage)
    sluice_test(${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${name}.c LINK sluice_proto)
endforeach()
sluice_test(golden_records SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_golden_records.c
    LINK sluice_proto sluice_plans_file)
