# Random histories against slow, obvious oracles; and planted faults that each checker must find,
# told by what it says.
set(dir "${CMAKE_CURRENT_LIST_DIR}")
sluice_test(model_bucket SOURCES ${dir}/model_bucket.c ${dir}/model.c LINK sluice_server_core)
sluice_test(model_shard
    SOURCES ${dir}/model_shard.c ${dir}/model.c ${dir}/shard_oracle.c ${dir}/store_backup.c
            ${dir}/../unit/shard_fixture.c
    LINK sluice_server_core)
foreach(fault floor-refill refused-writes ceil-tolerance floor-tolerance half-charged)
    add_test(NAME model_bucket_finds_${fault} COMMAND test_model_bucket --plant ${fault})
    set_tests_properties(model_bucket_finds_${fault} PROPERTIES WILL_FAIL ON TIMEOUT 120)
endforeach()
foreach(fault refused-writes lost-write lost-delete late-write lost-asleep lost-assigned
              unsealed-move)
    add_test(NAME model_shard_finds_${fault} COMMAND test_model_shard --plant ${fault})
    set_tests_properties(model_shard_finds_${fault} PROPERTIES WILL_FAIL ON TIMEOUT 120)
endforeach()
sluice_test(model_strict
    SOURCES ${dir}/model_strict.c ${dir}/model.c ${dir}/../unit/shard_fixture.c
    LINK sluice_server_core)
foreach(fault early-answer lost-write late-write crash-at-stop unsealed-move)
    add_test(NAME model_strict_finds_${fault} COMMAND test_model_strict --plant ${fault})
    set_tests_properties(model_strict_finds_${fault} PROPERTIES WILL_FAIL ON TIMEOUT 120)
endforeach()
# The script that routers decide by, in the Lua that Redis has.
pkg_search_module(LUA51 IMPORTED_TARGET lua5.1 lua-5.1 lua51)
if(LUA51_FOUND)
    sluice_test(model_fallback
        SOURCES ${dir}/model_fallback.c ${dir}/model.c ${dir}/../sim/script.c ${dir}/../sim/db.c
        LINK sluice_router sluice_server PkgConfig::LUA51)
    foreach(fault no-carry no-half room-exclusive low-half-lost)
        add_test(NAME model_fallback_finds_${fault} COMMAND test_model_fallback --plant ${fault})
        set_tests_properties(model_fallback_finds_${fault} PROPERTIES WILL_FAIL ON TIMEOUT 120)
    endforeach()
endif()
