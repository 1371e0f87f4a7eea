/*
 * A node's membership, when what it talks to is no Redis, or a broken one: whatever a heartbeat
 * brings, the map and the plans in force are valid ones and never become older, every question gets
 * its one answer, all memory returns.
 *
 * Events, with the answers between them (lying_redis.h). Maps and plans are made here, of any epoch
 * and version, whole or with a byte that is another.
 */
#include "server/io/membership_impl.h"

#include "tests/fuzz/lying_redis.h"

#define STEPS_MAX 120

static struct world {
    struct fuzz fuzz;
    uv_loop_t loop;
    struct node_settings settings;
    struct boot boot;
    struct log log;
    struct endpoint_name shards[2];
    struct membership *membership;
    uint64_t epoch, version; /* in force */
    uint64_t asked, answered;
    bool released, closed;
} world;

/* --- what is told ----------------------------------------------------------------------------- */

static void on_state(void *ctx, struct cluster_state *state) {
    struct fault fault;
    bool none = state->map.epoch.number == 0; /* plans may come first */
    FUZZ_CHECK(!world.closed && (none || map_check(&state->map, &fault) == CODE_OK));
    FUZZ_CHECK(state->map.epoch.number >= world.epoch && state->plans.version >= world.version);
    FUZZ_CHECK(state->map.epoch.number > world.epoch || state->plans.version > world.version);
    world.epoch = state->map.epoch.number;
    world.version = state->plans.version;
}

static void on_beat(void *ctx, const struct beat *beat) {
    FUZZ_CHECK(!world.closed && beat->absent_count <= NODES_MAX);
    for (uint32_t i = 0; i < beat->absent_count; i++) {
        FUZZ_CHECK(name_valid(name_bytes(&beat->absent[i])));
    }
}

static void on_usurped(void *ctx, const char *incarnation) {
    FUZZ_CHECK(!world.closed && strlen(incarnation) < sizeof(struct lying_text));
}

static void on_foreign(void *ctx, const char *why) {
    FUZZ_CHECK(!world.closed && why[0] != '\0');
}

/* --- questions -------------------------------------------------------------------------------- */

static void on_changed(void *ctx, enum code code, uint64_t number) {
    FUZZ_CHECK(code == CODE_OK || code == CODE_CONFLICT || code == CODE_UNAVAILABLE);
    world.answered++;
}

static void on_listed(void *ctx, const struct member_list *list) {
    world.answered++;
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        const struct member *member = &list->members[i];
        FUZZ_CHECK(name_valid(name_bytes(&member->id)) && member->weight <= WEIGHT_MAX);
        FUZZ_CHECK(memchr(member->version, '\0', sizeof member->version) != NULL);
        FUZZ_CHECK(memchr(member->incarnation, '\0', sizeof member->incarnation) != NULL);
        FUZZ_CHECK(!member->alive || member->shard_count <= NODE_SHARDS_MAX);
    }
}

static void on_asked(void *ctx, const redisReply *reply) {
    world.answered++;
}

static void on_released(void *ctx) {
    world.answered++;
}

static void ask(uint8_t choice) {
    struct membership *membership = world.membership;
    static struct map map;
    static struct plan_set plans;
    world.asked++;
    if (choice == 0) {
        membership_list(membership, on_listed, NULL);
    } else if (choice == 1) {
        membership_events(membership, 10, on_asked, NULL);
    } else if (choice == 2) {
        membership_rebalance_get(membership, on_asked, NULL);
    } else if (choice == 3) {
        membership_forget(membership, bytes_of_text("n2"), on_changed, NULL);
    } else if (choice == 4) {
        map = membership_state(membership)->map;
        map.epoch.number++;
        membership_replace_map(membership, &map, on_changed, NULL);
    } else if (choice == 5) {
        plans = membership_state(membership)->plans;
        plans.version++;
        membership_replace_plans(membership, &plans, on_changed, NULL);
    } else if (choice == 6) {
        membership_rebalance_put(membership, 1, bytes_of_text("\x90"), on_changed, NULL);
    } else if (choice == 7 && !world.released) {
        world.released = true;
        membership_release(membership, on_released, NULL);
    } else {
        world.asked--;
        membership_event(membership, "kind", "a text");
        membership_event_grow(membership, 1, "kind", "a text");
        membership_beat(membership);
    }
}

/* --- what a Redis would say ------------------------------------------------------------------- */

/* What is encoded, perhaps with another byte somewhere. */
static void damaged_put(struct lying_text *out, struct writer *writer) {
    uint8_t choice = fuzz_u8(&world.fuzz);
    FUZZ_CHECK(!writer->overflow);
    if (choice > 200) {
        writer->start[fuzz_u16(&world.fuzz) % writer->size] = fuzz_u8(&world.fuzz);
    }
    lying_string(out, writer->start, writer->size);
}

static void map_put(struct lying_text *out) {
    static uint8_t memory[MAP_BYTES_MAX];
    static struct map map;
    struct writer writer = writer_of(memory, sizeof memory);
    uint8_t choice = fuzz_u8(&world.fuzz);
    map_init(&map);
    map.epoch.number = choice % 8;
    map.slot_count = choice < 240 ? 16 : 32;
    map.cluster = (struct cluster_id){.text = "0123456789abcdef"};
    map.cluster.text[0] = choice < 230 ? '0' : 'f';
    map.node_count = map.shard_count = 1;
    map.nodes[0].id = name_of(bytes_of_text("n1"));
    endpoint_name_set(&map.nodes[0].control, bytes_of_text("tcp://n1:1"));
    endpoint_name_set(&map.shards[0].endpoint, bytes_of_text("tcp://n1:2"));
    map_spread(&map);
    map_write(&writer, &map);
    damaged_put(out, &writer);
}

static void plans_put(struct lying_text *out) {
    static uint8_t memory[PLAN_SET_BYTES_MAX];
    static struct plan_set plans;
    struct writer writer = writer_of(memory, sizeof memory);
    struct plan plan = {.name = name_of(bytes_of_text("p")), .generation_count = 1};
    plan.generations[0].terms = (struct terms){.limit_count = 1, .limits = {{1, 1000000000, 5}}};
    plan_set_init(&plans);
    plan_set_add(&plans, &plan);
    plans.version = fuzz_u8(&world.fuzz) % 8;
    plan_set_write(&writer, &plans);
    damaged_put(out, &writer);
}

static void beat_put(struct lying_text *out) {
    uint8_t choice = fuzz_u8(&world.fuzz);
    lying_print(out, "*6\r\n$2\r\nOK\r\n");
    if ((choice & 1) != 0) {
        map_put(out);
    } else {
        lying_print(out, "$-1\r\n");
    }
    if ((choice & 2) != 0) {
        plans_put(out);
    } else {
        lying_print(out, "$-1\r\n");
    }
    lying_print(out, (choice & 4) != 0 ? "*2\r\n$2\r\nn2\r\n$3\r\nn 3\r\n" : "*0\r\n");
    lying_print(out, "$1\r\n%u\r\n$1\r\n%u\r\n", choice >> 3 & 7u, choice >> 5 & 7u);
}

static void info_put(struct lying_text *out) {
    struct bytes info = membership_info(world.membership);
    static uint8_t copy[NODE_INFO_BYTES_MAX];
    memcpy(copy, info.data, info.size);
    struct writer writer = {.start = copy, .size = info.size, .capacity = sizeof copy};
    damaged_put(out, &writer);
}

static void nodes_put(struct lying_text *out) {
    uint8_t count = 1 + fuzz_u8(&world.fuzz) % 3;
    lying_print(out, "*2\r\n$1\r\n1\r\n*%u\r\n", count);
    for (uint8_t i = 0; i < count; i++) {
        lying_print(out, "*4\r\n$2\r\nn%u\r\n$16\r\n0123456789abcdef\r\n", i);
        info_put(out);
        lying_print(out, ":900\r\n");
    }
}

static bool usual(struct fuzz *fuzz, const redisReply *words, struct lying_text *out) {
    const char *name = words->element[0]->str;
    if (strcmp(name, "XREVRANGE") == 0) {
        lying_print(out, "*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$4\r\nkind\r\n$1\r\na\r\n");
    } else if (strcmp(name, "HMGET") == 0) {
        lying_print(out, "*2\r\n$1\r\n1\r\n$1\r\n\x90\r\n");
    } else if (strcmp(name, "EVAL") == 0) {
        const char *script = words->element[1]->str;
        if (strcmp(script, script_text(SCRIPT_HEARTBEAT)) == 0) {
            beat_put(out);
        } else if (strcmp(script, script_text(SCRIPT_NODES)) == 0) {
            nodes_put(out);
        } else {
            lying_string(out, fuzz_u8(fuzz) < 200 ? "OK" : "12", 2);
        }
    } else {
        return false;
    }
    return true;
}

/* --- a run ------------------------------------------------------------------------------------ */

static void world_open(void) {
    char why[300];
    const char *url =
        fuzz_below(&world.fuzz, 2) == 0 ? "redis://10.0.0.1:1" : "redis+cluster://10.0.0.1:1";
    FUZZ_CHECK(redis_address_parse(url, &world.boot.access.address, why, sizeof why));
    log_init(&world.log, LOG_LEVEL_ERROR, false, -1, "fuzz");
    world.settings = (struct node_settings){
        .node_id = "n1", .key_prefix = "t:", .lease_ttl_ns = 1000000000, .weight = 1};
    snprintf(world.boot.incarnation, sizeof world.boot.incarnation, "0123456789abcdef");
    struct membership_options options = {
        .settings = &world.settings,
        .boot = &world.boot,
        .log = &world.log,
        .shard_count = 2,
        .shards = world.shards,
        .handler = {&world, on_state, on_beat, on_usurped, on_foreign}};
    endpoint_name_set(&options.control, bytes_of_text("tcp://n1:1"));
    endpoint_name_set(&world.shards[0], bytes_of_text("tcp://n1:2"));
    endpoint_name_set(&world.shards[1], bytes_of_text("tcp://n1:3"));
    FUZZ_CHECK(uv_loop_init(&world.loop) == 0);
    world.membership = membership_open(&world.loop, &options);
    FUZZ_CHECK(world.membership != NULL);
    membership_start(world.membership);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    memset(&world, 0, sizeof world);
    world.fuzz = fuzz_of(data, size);
    lying_open(&world.fuzz, usual);
    world_open();
    for (uint32_t i = 0; i < STEPS_MAX && !fuzz_done(&world.fuzz); i++) {
        uint8_t choice = fuzz_u8(&world.fuzz) % 16;
        if (choice < 10) {
            ask(choice);
        } else if (choice < 12) {
            lying_time_pass(&world.loop);
        }
        lying_turn(&world.loop);
    }
    for (uint32_t i = 0; world.answered < world.asked; i++) {
        FUZZ_CHECK(i < 200);
        if (!lying_turn(&world.loop)) {
            lying_time_pass(&world.loop);
        }
    }
    FUZZ_CHECK(world.answered == world.asked);
    ask(4); /* owed at the end: it comes with the closing */
    membership_close(world.membership);
    world.closed = true;
    FUZZ_CHECK(world.answered == world.asked);
    lying_end(&world.loop);
    lying_close();
    return 0;
}
