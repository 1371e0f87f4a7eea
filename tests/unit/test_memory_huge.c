/* Blocks in huge pages: zeroed, apart from each other, and given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/io/memory_huge.h"

#define BOUND (UINT64_C(64) << 20)

static bool is_zero(const uint8_t *piece, size_t size) {
    return piece[0] == 0 && memcmp(piece, piece + 1, size - 1) == 0;
}

static void blocks_are_zeroed_aligned_and_apart(void **state) {
    enum { PIECES = 64, STEPS = 4000 };
    struct piece {
        uint8_t *data;
        size_t size;
        uint8_t mark;
    } pieces[PIECES] = {0};
    struct memory_huge *huge = memory_huge_create(BOUND);
    assert_non_null(huge);
    struct memory memory = memory_huge(huge);
    uint64_t random = 1, asked = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        struct piece *piece = &pieces[random >> 40 & (PIECES - 1)];
        if (piece->data != NULL) {
            for (size_t at = 0; at < piece->size; at += 4096) {
                assert_int_equal(piece->data[at], piece->mark);
            }
            memory.put(memory.ctx, piece->data, piece->size);
            asked -= piece->size;
            piece->data = NULL;
            continue;
        }
        piece->size = MEMORY_HUGE_BLOCK_MIN << (random >> 50 & 3);
        piece->mark = (uint8_t)(step | 1);
        piece->data = memory.get(memory.ctx, piece->size);
        assert_non_null(piece->data);
        assert_int_equal((uintptr_t)piece->data % piece->size, 0);
        assert_true(is_zero(piece->data, piece->size));
        memset(piece->data, piece->mark, piece->size);
        asked += piece->size;
        assert_true(memory_huge_bytes(huge) >= asked);
    }
    for (uint32_t i = 0; i < PIECES; i++) {
        if (pieces[i].data != NULL) {
            memory.put(memory.ctx, pieces[i].data, pieces[i].size);
        }
    }
    assert_int_equal(memory_huge_bytes(huge), 0);
    memory_huge_destroy(huge);
}

static void other_sizes_come_from_the_system(void **state) {
    struct memory_huge *huge = memory_huge_create(BOUND);
    struct memory memory = memory_huge(huge);
    const size_t sizes[] = {1, 4096, 100000, 200000, 3 << 20, 8 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *piece = memory.get(memory.ctx, sizes[i]);
        assert_non_null(piece);
        assert_true(sizes[i] == 1 || is_zero(piece, sizes[i]));
        assert_int_equal(memory_huge_bytes(huge), 0);
        memory.put(memory.ctx, piece, sizes[i]);
    }
    memory_huge_destroy(huge);
}

static void what_is_reserved_is_the_bound(void **state) {
    enum { MOST = 2 * (4 + 1) * 2 }; /* halves of a chunk in twice four and a chunk */
    struct memory_huge *huge = memory_huge_create(4 * MEMORY_HUGE_CHUNK);
    struct memory memory = memory_huge(huge);
    void *pieces[MOST];
    for (uint32_t i = 0; i < MOST; i++) {
        pieces[i] = memory.get(memory.ctx, MEMORY_HUGE_CHUNK / 2);
        assert_non_null(pieces[i]);
    }
    assert_null(memory.get(memory.ctx, MEMORY_HUGE_BLOCK_MIN));
    memory.put(memory.ctx, pieces[3], MEMORY_HUGE_CHUNK / 2);
    pieces[3] = memory.get(memory.ctx, MEMORY_HUGE_CHUNK / 2);
    assert_non_null(pieces[3]);
    for (uint32_t i = 0; i < MOST; i++) {
        memory.put(memory.ctx, pieces[i], MEMORY_HUGE_CHUNK / 2);
    }
    memory_huge_destroy(huge);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_zeroed_aligned_and_apart),
        cmocka_unit_test(other_sizes_come_from_the_system),
        cmocka_unit_test(what_is_reserved_is_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
