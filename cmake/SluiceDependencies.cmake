# Every library comes from the distribution's packages (deploy/install-deps.sh names them). Names
# differ between distributions, so each is looked up under all the names it goes by.

find_package(PkgConfig REQUIRED)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv>=1.42)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash>=0.8)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
if(BUILD_TESTING)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()

# TLS to Redis needs hiredis_ssl, which comes with hiredis 1.0. Where the distribution's is older,
# deploy/install-deps.sh builds a static one into a directory of its own; without it there is no TLS.
set(SLUICE_HIREDIS_PREFIX "/usr/local/lib/sluice/hiredis" CACHE PATH
    "Where a hiredis built by deploy/install-deps.sh is looked for")
pkg_check_modules(HIREDIS_SSL QUIET IMPORTED_TARGET hiredis_ssl>=1.0 hiredis>=1.0 openssl>=1.1.1)
if(NOT HIREDIS_SSL_FOUND AND EXISTS "${SLUICE_HIREDIS_PREFIX}/lib/pkgconfig/hiredis_ssl.pc")
    set(sluice_pkg_config_path "$ENV{PKG_CONFIG_PATH}")
    set(ENV{PKG_CONFIG_PATH} "${SLUICE_HIREDIS_PREFIX}/lib/pkgconfig:$ENV{PKG_CONFIG_PATH}")
    pkg_check_modules(HIREDIS_SSL QUIET IMPORTED_TARGET hiredis_ssl>=1.0 hiredis>=1.0 openssl>=1.1.1)
    set(ENV{PKG_CONFIG_PATH} "${sluice_pkg_config_path}")
endif()
add_library(sluice_hiredis INTERFACE)
if(HIREDIS_SSL_FOUND)
    target_link_libraries(sluice_hiredis INTERFACE PkgConfig::HIREDIS_SSL)
    # Its pkg-config file names the folder of its headers, not the one above, from which <hiredis/...>
    # is read.
    target_include_directories(sluice_hiredis SYSTEM BEFORE INTERFACE
        "${HIREDIS_SSL_hiredis_INCLUDEDIR}")
    target_compile_definitions(sluice_hiredis INTERFACE SLUICE_REDIS_TLS=1)
    message(STATUS "TLS to Redis: hiredis ${HIREDIS_SSL_hiredis_VERSION}")
else()
    pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis>=0.14)
    target_link_libraries(sluice_hiredis INTERFACE PkgConfig::HIREDIS)
    message(STATUS "TLS to Redis: none, hiredis ${HIREDIS_VERSION} has no hiredis_ssl "
                   "(deploy/install-deps.sh builds one that has)")
endif()

# msgpack-c: only its header-only packer and, in tests and benchmarks, its unpacker are used. Its
# pkg-config file has three names, and Debian 13's names a folder that is not there.
find_path(MSGPACK_INCLUDE_DIR msgpack/pack.h REQUIRED)
find_library(MSGPACK_LIBRARY NAMES msgpack-c msgpackc REQUIRED)
add_library(sluice_msgpack INTERFACE)
target_include_directories(sluice_msgpack SYSTEM INTERFACE "${MSGPACK_INCLUDE_DIR}")
target_link_libraries(sluice_msgpack INTERFACE "${MSGPACK_LIBRARY}")

# nng ships a CMake package, no pkg-config file.
find_path(NNG_INCLUDE_DIR nng/nng.h REQUIRED)
find_library(NNG_LIBRARY nng REQUIRED)
add_library(sluice_nng INTERFACE)
target_include_directories(sluice_nng SYSTEM INTERFACE "${NNG_INCLUDE_DIR}")
target_link_libraries(sluice_nng INTERFACE "${NNG_LIBRARY}" Threads::Threads)
