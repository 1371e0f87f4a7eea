set(dir "${CMAKE_CURRENT_LIST_DIR}")
foreach(part core retry deadline parked corners)
    sluice_test(router_${part}
        SOURCES ${dir}/test_router_${part}.c ${dir}/test_router_fixture.c
        LINK sluice_router_core)
endforeach()
foreach(part fallback fallback_plans)
    sluice_test(router_${part}
        SOURCES ${dir}/test_router_${part}.c ${dir}/router_fallback_fixture.c
                ${dir}/test_router_fixture.c
        LINK sluice_router_core)
endforeach()
foreach(name fallback_call wheel)
    sluice_test(${name} SOURCES ${dir}/test_${name}.c LINK sluice_router_core)
endforeach()
sluice_test(router_io SOURCES ${dir}/test_router_io.c ${dir}/test_router_io_fixture.c
    LINK sluice_router)
sluice_test(fallback_answer SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_fallback_answer.c
    LINK sluice_router)
