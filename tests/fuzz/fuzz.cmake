# Fuzz targets: one file a target. With SLUICE_FUZZ (the preset fuzz, clang) each is a libFuzzer
# program; else it replays its corpus, as the test fuzz_corpus_<target>.
set(fuzz_dir "${CMAKE_CURRENT_LIST_DIR}")
add_custom_target(fuzz)

# sluice_fuzz(NAME SOURCES more.c LINK lib ...): the target fuzz_<name> from fuzz_<name>.c.
function(sluice_fuzz name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_executable(fuzz_${name} ${fuzz_dir}/fuzz_${name}.c ${ARG_SOURCES})
    target_link_libraries(fuzz_${name} PRIVATE ${ARG_LINK} sluice_flags)
    set_target_properties(fuzz_${name} PROPERTIES C_EXTENSIONS ON
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/fuzz")
    add_dependencies(fuzz fuzz_${name})
    if(SLUICE_FUZZ)
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    else()
        target_sources(fuzz_${name} PRIVATE ${fuzz_dir}/replay.c)
        add_test(NAME fuzz_corpus_${name} COMMAND fuzz_${name} ${fuzz_dir}/corpus/${name})
        set_tests_properties(fuzz_corpus_${name} PROPERTIES TIMEOUT 120)
    endif()
endfunction()

sluice_fuzz(reader LINK sluice_proto sluice_msgpack)
foreach(name request reply record map plan_set cluster_view)
    sluice_fuzz(${name} LINK sluice_proto)
endforeach()
foreach(name sp_input sp_header options_value options_yaml redis_slots)
    sluice_fuzz(${name} LINK sluice_runtime)
endforeach()
sluice_fuzz(plans_file LINK sluice_plans_file)
sluice_fuzz(address LINK sluice_router sluice_runtime)
sluice_fuzz(shard SOURCES ${fuzz_dir}/../unit/shard_fixture.c LINK sluice_server_core)
sluice_fuzz(router LINK sluice_router_core)
sluice_fuzz(handover LINK sluice_server_core)
set(control_sources control control_key control_slots control_view cluster_state)
list(TRANSFORM control_sources REPLACE "(.+)" "${fuzz_dir}/../../server/io/\\1.c")
sluice_fuzz(control SOURCES ${control_sources} LINK sluice_server_core sluice_runtime)
sluice_fuzz(bench_input LINK sluice_bench_parts)
sluice_fuzz(backup LINK sluice_ctl_backup)

# Those that talk to a Redis that lies: its functions go before those of hiredis and libuv. With
# hiredis 1.0 and newer, which can be given a socket.
set(lying_names redisAsyncConnect redisAsyncConnectUnix redisAsyncSetConnectCallback
    redisEnableKeepAlive redis_slot_of uv_getaddrinfo uv_now uv_run uv_stop getaddrinfo nanosleep)
list(TRANSFORM lying_names PREPEND "LINKER:--wrap=" OUTPUT_VARIABLE lying_options)
function(sluice_fuzz_lying name)
    if(HIREDIS_SSL_FOUND)
        sluice_fuzz(${name} SOURCES ${fuzz_dir}/lying_redis.c ${ARGN})
        target_link_options(fuzz_${name} PRIVATE ${lying_options})
    endif()
endfunction()
sluice_fuzz_lying(store LINK sluice_server)
sluice_fuzz_lying(membership LINK sluice_server)
sluice_fuzz_lying(boot LINK sluice_server)
sluice_fuzz_lying(fallback ${fuzz_dir}/../../router/io/fallback.c
                  ${fuzz_dir}/../../router/io/fallback_script.c
                  LINK sluice_router_core sluice_runtime)
sluice_fuzz(command_line LINK sluice_server)
sluice_fuzz(ctl_answer SOURCES ${fuzz_dir}/../../ctl/json_value.c
            LINK sluice_plans_file sluice_proto PkgConfig::JANSSON)
set(ctl_sources backup restore restore_slots store store_cluster store_masters transfer interrupt out
    json_value)
list(TRANSFORM ctl_sources REPLACE "(.+)" "${fuzz_dir}/../../ctl/\\1.c")
sluice_fuzz_lying(ctl_store ${ctl_sources} LINK sluice_ctl_backup sluice_ctl_parts sluice_plans_file
                  sluice_runtime sluice_proto PkgConfig::JANSSON)

# Those that read command lines; of sluicectl's, what would open files and sockets goes nowhere.
set(line_sources ${fuzz_dir}/options_line.c ${fuzz_dir}/words.c)
sluice_fuzz(program_options SOURCES ${line_sources} LINK sluice_server sluice_router)
sluice_fuzz(bench_options SOURCES ${line_sources} LINK sluice_bench_commands)
sluice_fuzz(ctl_command_line SOURCES ${fuzz_dir}/nobody.c ${fuzz_dir}/words.c LINK sluice_ctl)
target_link_options(fuzz_ctl_command_line PRIVATE LINKER:--wrap=store_open
    LINKER:--wrap=plans_file_parse LINKER:--wrap=backup_in_open)
