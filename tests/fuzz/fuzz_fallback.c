/*
 * A router's way to the store, when what it talks to is no Redis, or a broken one: each call has
 * one answer, what is read of it arrived, nothing is asked before a map of the router's own cluster
 * has been seen, all memory returns.
 *
 * The first byte chooses the take that is asked about; then come events, with the answers between
 * them (lying_redis.h). The core's part is what judges answers; the rest of it is here.
 */
#include "router/io/fallback.h"

#include "proto/map_codec.h"
#include "router/io/shell.h"
#include "runtime/redis_time.h"
#include "tests/fuzz/lying_redis.h"

/* Calls at a time: few, so that each place is used again and again. */
#define CALLS 6
#define EVENTS_MAX 200

/* Turns without anything to do after which time passes, and turns after which a router that cannot
 * ask an honest Redis never will. Arbitrary: some dozen are needed. */
#define IDLE_TURNS 4
#define TURNS_MAX 2000

#define BURST 20

enum whose { OURS, OF_ANOTHER_CLUSTER, OF_OTHER_SLOTS };

static struct world {
    struct fuzz fuzz;
    uv_loop_t loop;
    struct redis_access access;
    struct router_shell shell;
    bool up, closed;
    bool ours_given; /* a Redis has answered with a map of this cluster */
    bool waits[CALLS];
    struct fallback_call calls[CALLS];
    uint64_t cost_tokens, touched;
} world;

static struct plan_set plans;
static struct map our_map;

/* --- in place of the router ------------------------------------------------------------------- */

const struct map *router_map(const struct router *router) {
    return &our_map;
}

const struct plan_set *router_plans(const struct router *router) {
    return &plans;
}

uint64_t shell_now_ns(struct router_shell *shell) {
    return uv_now(shell->loop) * UINT64_C(1000000);
}

void shell_part_closed(void *ctx) {
    struct router_shell *shell = ctx;
    FUZZ_CHECK(shell->open_count > 0);
    shell->open_count--;
}

void shell_handle_closed(uv_handle_t *handle) {
    shell_part_closed(handle->data);
}

static void touch(struct bytes bytes) {
    for (uint32_t i = 0; i < bytes.size; i++) {
        world.touched += bytes.data[i];
    }
}

static void answered(const struct fallback_answer *answer) {
    FUZZ_CHECK(answer->call < CALLS && world.waits[answer->call]);
    world.waits[answer->call] = false;
    if (answer->status == FALLBACK_FAILED) {
        return;
    }
    struct fallback_call *call = &world.calls[answer->call];
    struct take_result result;
    touch(answer->record);
    touch(answer->assigned);
    FUZZ_CHECK(answer->now_ns < REDIS_TIME_SECONDS_MAX * UINT64_C(1000000000));
    if (answer->status == FALLBACK_OTHER_TERMS) {
        (void)fallback_call_convert(call, &plans, answer->record, answer->now_ns);
    } else if (answer->status <= FALLBACK_LOOKED &&
               fallback_call_judge(call, answer, VERB_TAKE, world.cost_tokens, &result)) {
        FUZZ_CHECK(result.remaining_tokens <= BURST);
        FUZZ_CHECK(!result.allowed || answer->status != FALLBACK_REFUSED);
    }
}

void shell_step(struct router_shell *shell, struct router_event *event) {
    FUZZ_CHECK(shell == &world.shell);
    if (event->kind == ROUTER_EVENT_FALLBACK) {
        answered(event->fallback);
        return;
    }
    FUZZ_CHECK(event->kind == ROUTER_EVENT_STORE && event->store_up != world.up);
    FUZZ_CHECK(!event->store_up || world.ours_given);
    world.up = event->store_up;
}

/* --- what a Redis would say ------------------------------------------------------------------- */

static void map_put(struct fuzz *fuzz, struct lying_text *out) {
    static uint8_t memory[MAP_BYTES_MAX];
    static struct map map;
    struct writer writer = writer_of(memory, sizeof memory);
    enum whose whose = fuzz_below(fuzz, 8) < 6 ? OURS : fuzz_below(fuzz, 2) + OF_ANOTHER_CLUSTER;
    map = our_map;
    if (whose == OF_ANOTHER_CLUSTER) {
        map.cluster = (struct cluster_id){.text = "fedcba9876543210"};
    } else if (whose == OF_OTHER_SLOTS) {
        map.slot_count = 16;
        map_spread(&map);
    }
    world.ours_given = world.ours_given || whose == OURS;
    map_write(&writer, &map);
    FUZZ_CHECK(!writer.overflow);
    lying_string(out, memory, writer.size);
}

/* Of the script's form; what is in it may not be. */
static void decision_put(struct fuzz *fuzz, struct lying_text *out) {
    static const char *const words[] = {"GRANTED", "REFUSED", "LOOKED", "PLAN",
                                        "TERMS",   "WORN",    "grant",  ""};
    static const char *const times[] = {"1700000000", "0", "4294967295", "4294967296", "-1", "1e9"};
    static const char *const micros[] = {"0", "999999", "1000000", " 1"};
    const char *word = words[fuzz_below(fuzz, 8)];
    const char *seconds = times[fuzz_below(fuzz, 6)], *micro = micros[fuzz_below(fuzz, 4)];
    uint8_t choice = fuzz_u8(fuzz), value[RECORD_BYTES_MAX];
    lying_print(out, "*5\r\n");
    lying_string(out, word, strlen(word));
    lying_string(out, seconds, strlen(seconds));
    lying_string(out, micro, strlen(micro));
    if (choice < 128) {
        struct record record = {.plan = bytes_of_text((choice & 1) != 0 ? "p" : "q"),
                                .tat_count = 1 + choice / 2 % 2};
        record.generation = 1 + choice / 4 % 2;
        record.tats[0].ns = UINT64_C(1700000000000000000) + fuzz_u8(fuzz) * UINT64_C(100000000);
        lying_string(out, value, record_write(&record, value));
    } else {
        struct bytes some = fuzz_bytes(fuzz, choice % 32);
        lying_string(out, some.data, some.size);
    }
    struct bytes assigned = fuzz_bytes(fuzz, fuzz_below(fuzz, 4));
    lying_string(out, assigned.data, assigned.size);
}

static bool usual(struct fuzz *fuzz, const redisReply *words, struct lying_text *out) {
    const char *name = words->element[0]->str;
    if (strcmp(name, "SCRIPT") == 0) {
        lying_print(out, "$40\r\n%040u\r\n", 7u);
    } else if (strcmp(name, "HGET") == 0) {
        map_put(fuzz, out);
    } else if (strcmp(name, "EVALSHA") == 0) {
        decision_put(fuzz, out);
    } else {
        return false;
    }
    return true;
}

/* --- a run ------------------------------------------------------------------------------------ */

static void prepare(void) {
    struct plan plan = {.name = name_of(bytes_of_text("p")), .generation_count = 1};
    plan.generations[0].generation = 1;
    plan.generations[0].terms =
        (struct terms){.limit_count = 1, .limits = {{10, 1000000000, BURST}}};
    plan_set_init(&plans);
    plan_set_add(&plans, &plan);
    plans.version = 1;
    map_init(&our_map);
    our_map.epoch.number = 3;
    our_map.slot_count = 8;
    our_map.cluster = (struct cluster_id){.text = "0123456789abcdef"};
    our_map.node_count = our_map.shard_count = 1;
    our_map.nodes[0].id = name_of(bytes_of_text("n1"));
    endpoint_name_set(&our_map.nodes[0].control, bytes_of_text("tcp://n1:1"));
    endpoint_name_set(&our_map.shards[0].endpoint, bytes_of_text("tcp://n1:2"));
    map_spread(&our_map);
}

/* As the core does: while there is a store, and to a place that is free. */
static void call_give(void) {
    uint32_t at = fuzz_below(&world.fuzz, CALLS);
    if (!world.up || world.waits[at]) {
        return;
    }
    struct fallback_call *call = &world.calls[at];
    *call = (struct fallback_call){
        .index = at, .slot = {(uint16_t)(at % 8)}, .key = bytes_of_text("key")};
    fallback_call_plan(call, &plans.plans[0]);
    fallback_call_cost(call, VERB_TAKE, world.cost_tokens);
    world.waits[at] = true;
    fallback_send(&world.shell, call);
    fallback_unsent(&world.shell);
}

static void world_open(void) {
    struct router_settings settings = {.redis = &world.access, .key_prefix = "t:"};
    char why[300];
    world.cost_tokens = fuzz_below(&world.fuzz, BURST + 4);
    FUZZ_CHECK(
        redis_address_parse("redis://10.0.0.1:7001", &world.access.address, why, sizeof why));
    FUZZ_CHECK(uv_loop_init(&world.loop) == 0);
    world.shell.loop = &world.loop;
    log_init(&world.shell.log, LOG_LEVEL_ERROR, false, -1, "fuzz");
    FUZZ_CHECK(fallback_open(&world.shell, &settings));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    memset(&world, 0, sizeof world);
    if (plans.plan_count == 0) {
        prepare();
    }
    world.fuzz = fuzz_of(data, size);
    lying_open(&world.fuzz, usual);
    world_open();
    for (uint32_t i = 0; i < EVENTS_MAX && !fuzz_done(&world.fuzz); i++) {
        uint8_t opcode = fuzz_u8(&world.fuzz) % 8;
        if (opcode < 4) {
            call_give();
        } else if (opcode == 4) {
            lying_time_pass(&world.loop);
        }
        lying_turn(&world.loop);
    }
    /* An honest Redis, from now on, and time: it can be asked again. */
    for (uint32_t i = 0, idle = 0; i < 20 || !world.up; i++) {
        FUZZ_CHECK(i < TURNS_MAX);
        idle = lying_turn(&world.loop) ? 0 : idle + 1;
        if (idle == IDLE_TURNS) {
            lying_time_pass(&world.loop);
            idle = 0;
        }
    }
    world.shell.closing = true;
    fallback_close(&world.shell);
    lying_end(&world.loop);
    FUZZ_CHECK(world.shell.open_count == 0);
    for (uint32_t i = 0; i < CALLS; i++) {
        FUZZ_CHECK(!world.waits[i]);
    }
    fallback_fini(&world.shell);
    lying_close();
    return 0;
}
