# Every library comes from the distribution's packages (deploy/install-deps.sh names them). Names
# differ between distributions, so each is looked up under all the names it goes by.

find_package(PkgConfig REQUIRED)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv>=1.42)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis>=0.14)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash>=0.8)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
if(BUILD_TESTING)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()

# msgpack-c: one header set, under three pkg-config names (only its header-only packer and, in
# tests and benchmarks, its unpacker are used).
pkg_search_module(MSGPACK REQUIRED IMPORTED_TARGET msgpack-c msgpackc msgpack)

# nng ships a CMake package, no pkg-config file.
find_path(NNG_INCLUDE_DIR nng/nng.h REQUIRED)
find_library(NNG_LIBRARY nng REQUIRED)
add_library(sluice_nng INTERFACE)
target_include_directories(sluice_nng SYSTEM INTERFACE "${NNG_INCLUDE_DIR}")
target_link_libraries(sluice_nng INTERFACE "${NNG_LIBRARY}" Threads::Threads)
