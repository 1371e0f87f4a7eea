# Tests of libsluice and of sluicectl's plans file.
sluice_test(plans_file SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_plans_file.c LINK sluice_plans_file)

foreach(name client client_life)
    sluice_test(${name}
        SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${name}.c
                ${CMAKE_CURRENT_LIST_DIR}/client_fixture.c
                ${CMAKE_CURRENT_LIST_DIR}/fake_router.c
        LINK sluice sluice_proto sluice_nng)
endforeach()
