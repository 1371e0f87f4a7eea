# Helpers that every folder uses to declare what it builds, so that no flag is set globally and the
# allowed arrows of the layout are stated where a target is declared.

add_library(sluice_flags INTERFACE)
target_compile_features(sluice_flags INTERFACE c_std_11)
target_compile_definitions(sluice_flags INTERFACE _GNU_SOURCE SLUICE_VERSION="${PROJECT_VERSION}")
target_include_directories(sluice_flags INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_options(sluice_flags INTERFACE
    -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla
    -UNDEBUG # asserts stay on, whatever the build type
    -Wwrite-strings -Wundef -Wformat=2 -Wno-unused-parameter -fno-common -fno-strict-aliasing
    $<$<BOOL:${SLUICE_WERROR}>:-Werror>)
if(SLUICE_SANITIZE)
    target_compile_options(sluice_flags INTERFACE
        -fsanitize=${SLUICE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE})
endif()

# sluice_library(NAME SOURCES a.c b.c LINK other ...): a static archive of the product.
function(sluice_library name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC ${ARG_LINK} PRIVATE sluice_flags)
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON C_EXTENSIONS ON)
endfunction()

# sluice_program(NAME SOURCES main.c LINK lib ...): an installed program.
function(sluice_program name)
    cmake_parse_arguments(ARG "NO_INSTALL" "" "SOURCES;LINK" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE ${ARG_LINK} sluice_flags)
    set_target_properties(${name} PROPERTIES C_EXTENSIONS ON
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
    if(NOT ARG_NO_INSTALL)
        install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
endfunction()

# sluice_test(NAME SOURCES a.c LINK lib ... ARGS ...): one cmocka program, registered with ctest.
# Asserts are part of the product, so tests run the same build type as everything else.
function(sluice_test name)
    cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;ARGS" ${ARGN})
    add_executable(test_${name} ${ARG_SOURCES})
    target_link_libraries(test_${name} PRIVATE ${ARG_LINK} PkgConfig::CMOCKA sluice_flags)
    set_target_properties(test_${name} PROPERTIES C_EXTENSIONS ON
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
    add_test(NAME ${name} COMMAND test_${name} ${ARG_ARGS}
             WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 120)
    endif()
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()
