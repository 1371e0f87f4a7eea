# The simulator: production's own programs on a simulated libuv, network and Redis. Each of their
# files is built once more, with shim.h before it; the cores are the libraries themselves.
pkg_search_module(LUA51 IMPORTED_TARGET lua5.1 lua-5.1 lua51)
if(NOT LUA51_FOUND)
    message(STATUS "The simulator needs Lua 5.1 (liblua5.1-0-dev): not built")
elseif(NOT SLUICE_SANITIZE MATCHES thread) # one thread, and stacks that ThreadSanitizer does not know
    set(dir "${CMAKE_CURRENT_LIST_DIR}")
    file(GLOB programs CONFIGURE_DEPENDS
        ${PROJECT_SOURCE_DIR}/server/io/*.c ${PROJECT_SOURCE_DIR}/router/io/*.c)
    foreach(name clock endpoint endpoint_sp endpoint_sp_peer link log mailbox memory redis_access
                 redis_address redis_link redis_login redis_replies redis_seek redis_slots sp
                 sp_input sp_output tcp_address)
        list(APPEND programs ${PROJECT_SOURCE_DIR}/runtime/${name}.c)
    endforeach()
    add_library(sluice_sim_programs OBJECT ${programs})
    target_compile_definitions(sluice_sim_programs PRIVATE SLUICE_SIM_PROGRAM)
    target_compile_options(sluice_sim_programs PRIVATE -include tests/sim/shim.h)
    target_link_libraries(sluice_sim_programs PRIVATE sluice_flags PkgConfig::UV
        sluice_hiredis sluice_proto)
    set_source_files_properties(${PROJECT_SOURCE_DIR}/server/io/boot_lease.c
        TARGET_DIRECTORY sluice_sim_programs PROPERTIES COMPILE_DEFINITIONS SLUICE_SIM_SOCKETS)
    set_target_properties(sluice_sim_programs PROPERTIES C_EXTENSIONS ON)

    file(GLOB parts CONFIGURE_DEPENDS ${dir}/*.c)
    add_executable(sluice-sim ${parts} $<TARGET_OBJECTS:sluice_sim_programs>)
    target_include_directories(sluice-sim PRIVATE ${UV_INCLUDE_DIRS})
    target_link_libraries(sluice-sim PRIVATE sluice_server_core sluice_router_core sluice_proto
        sluice_hiredis PkgConfig::LUA51 sluice_flags)
    target_link_options(sluice-sim PRIVATE -Wl,--wrap=shard_step -Wl,--wrap=bucket_decide
        -Wl,--wrap=bucket_convert
        -Wl,--wrap=handover_step -Wl,--wrap=router_step -Wl,--wrap=bucket_full
        -Wl,--wrap=ownership_beat -Wl,--wrap=ownership_reconnected
        -Wl,--wrap=clock_now_ns -Wl,--wrap=shard_create -Wl,--wrap=shard_destroy
        -Wl,--wrap=admin_answer -Wl,--wrap=former_keep -Wl,--wrap=keys_rewrite)
    set_target_properties(sluice-sim PROPERTIES C_EXTENSIONS ON
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
endif()
