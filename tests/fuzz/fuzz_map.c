/* The map: what is read passes map_check, is written as the same, and can be placed anew. */
#include "proto/map_codec.h"
#include "proto/placement.h"
#include "tests/fuzz/fuzz.h"

static struct map map, again;
static uint8_t memory[MAP_BYTES_MAX], memory_again[MAP_BYTES_MAX];
static struct placement_move moves[SLOTS_MAX];

static void placement_try(void) {
    struct placement placement;
    uint32_t shares[SHARDS_MAX], owned[SHARDS_MAX] = {0};
    uint64_t total = 0;
    placement_init(&placement, &map);
    placement_shares(&placement, shares);
    for (uint32_t i = 0; i < map.shard_count; i++) {
        total += shares[i];
    }
    FUZZ_CHECK(total == 0 || total == map.slot_count);
    uint32_t count = placement_evacuate(&placement, moves);
    FUZZ_CHECK(count <= map.slot_count && (total > 0 || count == 0));
    count = placement_by_count(&placement, moves);
    FUZZ_CHECK(count <= map.slot_count && (total > 0 || count == 0));
    placement_apply(&again, moves, count);
    for (uint32_t i = 0; i < again.slot_count; i++) {
        if (again.owner[i] != UINT16_MAX) {
            owned[again.owner[i]]++;
        }
    }
    for (uint32_t i = 0; i < map.shard_count && total > 0; i++) {
        FUZZ_CHECK(owned[i] == shares[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct reader reader = reader_of(bytes_of(data, size));
    struct fault fault = {.code = CODE_OK};
    enum code code = map_read(&reader, &map, &fault);
    if (code != CODE_OK) {
        FUZZ_CHECK(code == fault.code && fault.text[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(map_check(&map, &fault) == CODE_OK);
    struct writer writer = writer_of(memory, sizeof memory);
    map_write(&writer, &map);
    FUZZ_CHECK(!writer.overflow);
    reader = reader_of(writer_bytes(&writer));
    FUZZ_CHECK(map_read(&reader, &again, &fault) == CODE_OK && reader_done(&reader));
    struct writer writer_again = writer_of(memory_again, sizeof memory_again);
    map_write(&writer_again, &again);
    FUZZ_CHECK(bytes_equal(writer_bytes(&writer), writer_bytes(&writer_again)));
    FUZZ_CHECK(map.slot_count == again.slot_count && map.epoch.number == again.epoch.number);
    FUZZ_CHECK(memcmp(map.owner, again.owner, map.slot_count * sizeof map.owner[0]) == 0);
    placement_try();
    return 0;
}
