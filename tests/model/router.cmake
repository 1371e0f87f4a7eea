set(dir "${CMAKE_CURRENT_LIST_DIR}")
sluice_test(model_router SOURCES ${dir}/model_router.c ${dir}/model_router_checker.c
    LINK sluice_router_core)
foreach(fault lose-item answer-twice swap-results misroute overtake)
    add_test(NAME model_router_finds_${fault} COMMAND test_model_router --plant ${fault})
    set_tests_properties(model_router_finds_${fault} PROPERTIES WILL_FAIL ON TIMEOUT 120)
endforeach()
