/* The result of cluster.map, map and policies, as a router or a client reads it. */
#include "proto/cluster_view.h"
#include "proto/map_codec.h"
#include "proto/plan_codec.h"
#include "tests/fuzz/fuzz.h"

static struct map map, map_again;
static struct plan_set plans, plans_again;
static uint8_t memory[MAP_BYTES_MAX + PLAN_SET_BYTES_MAX], memory_again[sizeof memory];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fault fault = {.code = CODE_OK};
    uint64_t age_ms, age_again_ms;
    enum code code = cluster_view_read(bytes_of(data, size), &map, &plans, &age_ms, &fault);
    if (code != CODE_OK) {
        FUZZ_CHECK(code == fault.code && fault.text[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(map.epoch.number == 0 || map_check(&map, &fault) == CODE_OK);
    FUZZ_CHECK(plans.default_at >= -1 && plans.default_at < (int32_t)plans.plan_count);
    struct writer writer = writer_of(memory, sizeof memory);
    cluster_view_write(&writer, &map, &plans, age_ms);
    FUZZ_CHECK(!writer.overflow);
    FUZZ_CHECK(cluster_view_read(writer_bytes(&writer), &map_again, &plans_again, &age_again_ms,
                                 &fault) == CODE_OK);
    struct writer writer_again = writer_of(memory_again, sizeof memory_again);
    cluster_view_write(&writer_again, &map_again, &plans_again, age_again_ms);
    FUZZ_CHECK(bytes_equal(writer_bytes(&writer), writer_bytes(&writer_again)));
    return 0;
}
