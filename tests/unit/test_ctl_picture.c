/* The picture of a map: fits its columns, says each owner, marks what is due to move. */
#include <stdlib.h>

#include "cmocka_all.h"
#include "ctl/map_picture.h"

static struct map *map_make(uint32_t slots, uint32_t shards) {
    struct map *map = calloc(1, sizeof *map);
    assert_non_null(map);
    map_init(map);
    map->slot_count = slots;
    map->node_count = 1;
    map->shard_count = shards;
    for (uint32_t i = 0; i < slots; i++) {
        map->owner[i] = (uint16_t)(i * shards / slots);
    }
    return map;
}

/* Freed by the caller. */
static char *drawn(const struct picture *picture) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    picture_print(out, picture);
    fclose(out);
    return text;
}

static void test_small(void **state) {
    struct map *map = map_make(16, 2);
    bool marked[SLOTS_MAX] = {false};
    struct picture picture = {.map = map, .marked = marked, .columns = 80};
    map->owner[15] = UINT16_MAX;
    marked[1] = true;
    char *text = drawn(&picture);
    assert_string_equal(text, "    0  AaAAAAAABBBBBBB.\n");
    free(text);
    free(map);
}

static void test_fits(void **state) {
    static const uint32_t slots[] = {1, 2, 64, 1024, 16384}, columns[] = {1, 20, 80, 200, 999};
    for (size_t i = 0; i < 25; i++) {
        struct map *map = map_make(slots[i / 5], 1);
        struct picture picture = {.map = map, .columns = columns[i % 5]};
        uint32_t cells, cell_slots, lines = 0;
        picture_measure(&picture, &cells, &cell_slots);
        char *text = drawn(&picture);
        for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
            assert_true(strlen(line) <= (picture.columns < 8 ? 8 : picture.columns));
            lines++;
        }
        assert_in_range(lines, 1, PICTURE_ROWS_MAX);
        assert_true(lines * cells * cell_slots >= slots[i / 5]);
        free(text);
        free(map);
    }
}

static void test_colors_end(void **state) {
    struct map *map = map_make(64, 2);
    struct picture picture = {.map = map, .columns = 80, .colored = true};
    map->node_count = 2;
    map->shards[1].node = 1;
    map->owner[3] = UINT16_MAX;
    char *text = drawn(&picture);
    size_t size = strlen(text);
    assert_string_equal(text + size - 5, "\033[0m\n");
    assert_non_null(strstr(text, picture_color(0)));
    assert_non_null(strstr(text, picture_color(1)));
    assert_non_null(strstr(text, "\033[0m.")); /* nobody's has no colour */
    free(text);
    free(map);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_colors_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
