/*
 * The store of a shard, when what it talks to is no Redis, or a broken one: every operation is
 * answered once, nothing is read that did not arrive, all memory returns.
 *
 * The first byte chooses what an acknowledged write means and whether it is a Redis Cluster; then
 * come events, with the answers between them (lying_redis.h).
 */
#include "server/io/store.h"

#include "runtime/redis_access.h"
#include "server/io/ack.h"
#include "tests/fuzz/lying_redis.h"

#define SLOTS 8
#define OPS_MAX 64
#define EVENTS_MAX 200

static struct world {
    struct fuzz fuzz;
    uv_loop_t loop;
    struct redis_access access;
    struct log log;
    struct store *store;
    bool up, closed;
    uint8_t waits[OPS_MAX]; /* the slot + 1 of an operation that is not answered; 0: it is */
    bool busy[SLOTS];       /* with one that shards give one at a time */
    uint32_t op_count, answered;
    uint64_t touched;
} world;

static void touch(struct bytes bytes) {
    for (uint32_t i = 0; i < bytes.size; i++) {
        world.touched += bytes.data[i];
    }
}

static void answered(uint32_t op_id, struct slot slot) {
    FUZZ_CHECK(op_id < world.op_count && world.waits[op_id] == slot.index + 1 && !world.closed);
    world.waits[op_id] = 0;
    world.busy[slot.index] = false;
    world.answered++;
}

static void on_event(void *ctx, struct shard_event *event) {
    if (event->kind == SHARD_EVENT_STORED) {
        answered(event->stored.op_id, event->stored.slot);
        bool told = event->stored.status == SHARD_STORED_OK;
        for (uint32_t i = 0; told && i < event->stored.pair_count; i++) {
            touch(event->stored.pairs[i].key);
            touch(event->stored.pairs[i].value);
        }
    } else if (event->kind == SHARD_EVENT_WRITTEN) {
        for (uint32_t i = 0; i < event->written.count; i++) {
            answered(event->written.writes[i].op_id, event->written.writes[i].slot);
        }
    } else {
        FUZZ_CHECK(event->kind == SHARD_EVENT_STORE);
        FUZZ_CHECK(event->store.up != world.up || event->store.restarted);
        world.up = event->store.up;
    }
}

static void on_clock(void *ctx, const struct clock_sample *sample) {
    FUZZ_CHECK(sample->store_ns <= INT64_MAX / 2 && sample->before_ns <= sample->after_ns);
}

/* --- operations ------------------------------------------------------------------------------- */

static void entries_fill(struct shard_op_entry *entries, uint32_t count) {
    static const uint8_t keys[] = "abcdefgh";
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct shard_op_entry){
            .key = bytes_of(keys + i % 8, 1),
            .record = {.plan = bytes_of_text("p"), .tat_count = 1, .generation = 1},
            .remove = i % 3 == 1};
    }
}

static void op_give(void) {
    static const enum shard_op_kind kinds[] = {SHARD_OP_RAISE_FENCE, SHARD_OP_LOAD_BUCKETS,
                                               SHARD_OP_LOAD_KEYS,   SHARD_OP_WRITE,
                                               SHARD_OP_ASSIGN,      SHARD_OP_FETCH};
    struct shard_op_entry entries[20];
    struct fuzz *fuzz = &world.fuzz;
    uint8_t choice = fuzz_u8(fuzz);
    struct shard_op op = {.kind = kinds[choice % 6], .slot = {.index = choice / 6 % SLOTS}};
    choice = fuzz_u8(fuzz);
    if (world.op_count == OPS_MAX || (world.busy[op.slot.index] && op.kind != SHARD_OP_FETCH)) {
        return;
    }
    op.op_id = world.op_count++;
    op.fence = choice % 4 * UINT64_C(1048577);
    op.cursor = choice / 4 % 3;
    op.record_only = (choice & 1) != 0;
    op.key = bytes_of_text("key");
    op.plan = bytes_of_text((choice & 2) != 0 ? "plan" : "");
    op.entry_count = choice % 20;
    op.entries = entries;
    entries_fill(entries, op.entry_count);
    world.waits[op.op_id] = (uint8_t)(op.slot.index + 1);
    world.busy[op.slot.index] = world.busy[op.slot.index] || op.kind != SHARD_OP_FETCH;
    uint32_t before = world.answered;
    store_perform(world.store, &op, (struct epoch){.number = 1});
    FUZZ_CHECK(world.answered == before || world.op_count - world.answered > 0);
}

/* --- a run ------------------------------------------------------------------------------------ */

static bool usual(struct fuzz *fuzz, const redisReply *words, struct lying_text *out) {
    static const char *const scripts[] = {"$7\r\n1048577\r\n", "$2\r\nOK\r\n", "$2\r\nOK\r\n",
                                          "*2\r\n$-1\r\n$-1\r\n"};
    const char *name = words->element[0]->str;
    if (strcmp(name, "SCRIPT") == 0) {
        static uint32_t number; /* connections ask for all four, in order */
        lying_print(out, "$40\r\n%040u\r\n", number++ % 4);
    } else if (strcmp(name, "EVALSHA") == 0) {
        lying_print(out, "%s", scripts[words->element[1]->str[39] % 4]);
    } else if (strcmp(name, "HSCAN") == 0) {
        lying_print(out, "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\n\x90\r\n");
    } else if (strcmp(name, "HGET") == 0) {
        lying_print(out, "$-1\r\n");
    } else if (strcmp(name, "WAIT") == 0) {
        lying_print(out, ":1\r\n");
    } else if (strcmp(name, "WAITAOF") == 0) {
        lying_print(out, "*2\r\n:1\r\n:0\r\n");
    } else {
        return false;
    }
    return true;
}

static void world_open(void) {
    static const char *const urls[] = {"redis://10.0.0.1:7001", "redis+cluster://10.0.0.1:7001",
                                       "redis+sentinel://10.0.0.9:1,10.0.0.8:2/m"};
    static const char *const acks[] = {"memory", "aof", "replicas:1"};
    uint8_t choice = fuzz_u8(&world.fuzz);
    char why[300];
    FUZZ_CHECK(redis_address_parse(urls[choice % 3], &world.access.address, why, sizeof why));
    log_init(&world.log, LOG_LEVEL_ERROR, false, -1, "fuzz");
    FUZZ_CHECK(uv_loop_init(&world.loop) == 0);
    struct store_options options = {.access = &world.access,
                                    .prefix = "t:",
                                    .incarnation = "0123456789abcdef",
                                    .log = &world.log};
    FUZZ_CHECK(ack_parse(acks[choice / 3 % 3], &options.ack, why, sizeof why));
    struct store_handler handler = {&world, on_event, on_clock};
    world.store = store_open(&world.loop, &options, &handler);
    FUZZ_CHECK(world.store != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    memset(&world, 0, sizeof world);
    world.fuzz = fuzz_of(data, size);
    lying_open(&world.fuzz, usual);
    world_open();
    for (uint32_t i = 0; i < EVENTS_MAX && !fuzz_done(&world.fuzz); i++) {
        uint8_t opcode = fuzz_u8(&world.fuzz) % 8;
        if (opcode < 3) {
            op_give();
        } else if (opcode == 3) {
            lying_time_pass(&world.loop);
        }
        store_turn(world.store);
        lying_turn(&world.loop);
    }
    /* An honest Redis, from now on, and time: whatever was asked is answered. */
    for (uint32_t i = 0; i < 20 || world.answered < world.op_count; i++) {
        FUZZ_CHECK(i < 400);
        if (!lying_turn(&world.loop)) {
            lying_time_pass(&world.loop);
        }
    }
    world.closed = true;
    store_close(world.store);
    lying_end(&world.loop);
    lying_close();
    return 0;
}
