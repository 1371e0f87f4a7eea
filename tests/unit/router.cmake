set(dir "${CMAKE_CURRENT_LIST_DIR}")
foreach(part core retry deadline)
    sluice_test(router_${part}
        SOURCES ${dir}/test_router_${part}.c ${dir}/test_router_fixture.c
        LINK sluice_router_core)
endforeach()
