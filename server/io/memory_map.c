#include "server/io/memory_map.h"

#include <sys/mman.h>

static void *map_get(void *ctx, size_t size) {
    void *piece = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return piece == MAP_FAILED ? NULL : piece;
}

static void map_put(void *ctx, void *piece, size_t size) {
    munmap(piece, size);
}

struct memory memory_map(void) {
    return (struct memory){.get = map_get, .put = map_put, .ctx = NULL};
}
