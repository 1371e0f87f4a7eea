/*
 * The shard's core under events that the fuzzer chooses: takes, ownership, seals, plans, operators,
 * time, and a store that answers late, fails, fences and holds garbage. Some have room for a few
 * buckets only: cold ones leave memory, slots sleep, and keys are read on demand.
 *
 * Each event is an opcode byte and its arguments. Every step is checked against what the header
 * promises; at the end the store comes back, the shard is stopped, and all memory must return.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(piece, size) ((void)(piece), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(piece, size) ((void)(piece), (void)(size))
#endif

#include "tests/fuzz/fuzz.h"
#include "tests/unit/shard_fixture.h"

#define SLOTS 8
#define KEYS 24
#define PLAN_CHANGES_MAX 6
#define EVENTS_MAX 400
#define GARBAGE_KEY_MAX (KEY_BYTES_MAX + 8)
#define TAKES_MAX 8 /* of an event */
#define TOKENS (EVENTS_MAX * TAKES_MAX)

static const char *const plan_names[] = {"default", "pair", "gone", "p.3"};
static const uint64_t costs[] = {0, 1, 2, 5, 19, 20, 21, 100, TOKENS_MAX};
static const uint64_t steps_ns[] = {
    0, 1, MS, 10 * MS, 100 * MS, SECOND, 10 * SECOND, 60 * SECOND, UINT64_C(86400) * 40 * SECOND};
static const struct limit limits[] = {
    {10, SECOND, 20},
    {1, MS, 1},
    {3, 7 * SECOND, 5},
    {100, 60 * SECOND, 100},
    {TOKENS_MAX, MS, TOKENS_MAX},
    {1, PERIOD_NS_MAX, 50},
};
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

struct world {
    struct fixture fixture;
    struct fuzz fuzz;
    uint64_t asked, replied; /* operators' requests */
    uint32_t plan_changes;
    uint32_t tokens;    /* of takes, given */
    bool waits[TOKENS]; /* its result was held, and is not released yet */
    uint32_t waiting;   /* of them */
    uint8_t keys[KEYS][KEY_BYTES_MAX];
    uint32_t key_sizes[KEYS];
};

static struct world world;

static void keys_make(void) {
    for (uint32_t i = 0; i < KEYS; i++) {
        world.key_sizes[i] = i == 0 ? KEY_BYTES_MAX : i == 1 ? 1 : 2 + i % 5;
        memset(world.keys[i], (int)i, sizeof world.keys[i]);
    }
}

static struct bytes key_choose(void) {
    uint32_t at = fuzz_below(&world.fuzz, KEYS);
    return bytes_of(world.keys[at], world.key_sizes[at]);
}

/* --- the heap: pieces are large, and come back for the next input ------------------------------
 */

#define PIECES_KEPT 64

static struct kept_piece {
    void *piece;
    size_t size;
} kept[PIECES_KEPT];

static void *heap_get(void *ctx, size_t size) {
    struct fixture *fixture = ctx;
    void *piece = NULL;
    if (size > fixture->heap_bytes_max - fixture->heap_bytes) {
        return NULL;
    }
    for (uint32_t i = 0; i < PIECES_KEPT && piece == NULL; i++) {
        if (kept[i].piece != NULL && kept[i].size == size) {
            piece = kept[i].piece;
            kept[i].piece = NULL;
        }
    }
    piece = piece != NULL ? piece : aligned_alloc(64, (size + 63) / 64 * 64);
    FUZZ_CHECK(piece != NULL);
    ASAN_UNPOISON_MEMORY_REGION(piece, size);
    memset(piece, 0, size);
    fixture->heap_bytes += size;
    return piece;
}

static void heap_put(void *ctx, void *piece, size_t size) {
    struct fixture *fixture = ctx;
    FUZZ_CHECK(fixture->heap_bytes >= size);
    fixture->heap_bytes -= size;
    for (uint32_t i = 0; i < PIECES_KEPT; i++) {
        if (kept[i].piece == NULL) {
            kept[i] = (struct kept_piece){.piece = piece, .size = size};
            ASAN_POISON_MEMORY_REGION(piece, size); /* nobody may look at it meanwhile */
            return;
        }
    }
    free(piece);
}

/* What was held is released once: but for a take that was decided when its key had been read and
 * whose mark has to be written, which is told twice. */
static void on_update(struct fixture *fixture, const struct shard_update *update) {
    for (uint32_t i = 0; i < update->release_count; i++) {
        const struct shard_release *release = &update->releases[i];
        FUZZ_CHECK(release->token < world.tokens && world.waits[release->token]);
        if (release->kind != SHARD_RELEASE_RESULT_HELD) {
            world.waits[release->token] = false;
            world.waiting--;
        }
        if (release->kind == SHARD_RELEASE_REASON) {
            FUZZ_CHECK(release->reason != REASON_NONE);
        }
    }
    for (uint32_t i = 0; i < update->op_count; i++) {
        const struct shard_op *op = &update->ops[i];
        FUZZ_CHECK(op->slot.index < SLOTS && op->op_id != 0);
        FUZZ_CHECK(op->kind != SHARD_OP_FETCH || op->key.size >= 1);
    }
}

/* As fixture_open_bare does, on this heap. */
static void shard_open(uint64_t memory_bytes_max, uint32_t resident_max) {
    struct fixture *fixture = &world.fixture;
    fixture->heap_bytes_max = UINT64_MAX;
    fixture->now_ns = UINT64_C(1700000000) * SECOND;
    fixture->options =
        (struct shard_options){.slot_count = SLOTS,
                               .snapshot_interval_ns = 100 * MS,
                               .memory_bytes_max = memory_bytes_max,
                               .resident_max = resident_max,
                               .memory = {.get = heap_get, .put = heap_put, .ctx = fixture}};
    fixture->on_update = on_update;
    fixture->shard = shard_create(&fixture->options);
    FUZZ_CHECK(fixture->shard != NULL);
}

/* --- what must hold --------------------------------------------------------------------------- */

static void counters_check(void) {
    const struct fixture *fixture = &world.fixture;
    const struct shard_counters *counters = shard_counters(fixture->shard);
    FUZZ_CHECK(counters->buckets_dirty <= counters->buckets);
    FUZZ_CHECK(counters->slots_owned <= SLOTS && counters->slots_serving <= SLOTS);
    FUZZ_CHECK(counters->slots_sealed <= SLOTS);
    FUZZ_CHECK(counters->memory_bytes <= fixture->options.memory_bytes_max);
    FUZZ_CHECK(counters->memory_bytes <= fixture->heap_bytes);
    uint64_t buckets = 0;
    for (uint16_t i = 0; i < SLOTS; i++) {
        struct shard_slot_load load;
        shard_slot_load(fixture->shard, (struct slot){.index = i}, &load);
        buckets += load.buckets;
    }
    FUZZ_CHECK(buckets >= counters->buckets); /* and those that are known to be stored only */
    FUZZ_CHECK(world.fixture.options.resident_max != 0 || buckets == counters->buckets);
}

static void world_check(void) {
    struct fixture *fixture = &world.fixture;
    FUZZ_CHECK(fixture->update.wake_at_ns != 0);
    FUZZ_CHECK(fixture->update.op_count <= SHARD_UPDATE_OPS_MAX);
    FUZZ_CHECK(fixture->update.notice_count <= SHARD_NOTICES_MAX);
    uint32_t writing = 0; /* bits of the slots with a write outstanding */
    for (uint32_t i = 0; i < fixture->held_count; i++) {
        if (fixture->held[i].kind == SHARD_OP_WRITE) {
            uint32_t bit = 1u << fixture->held[i].slot.index;
            FUZZ_CHECK((writing & bit) == 0);
            writing |= bit;
        }
    }
    for (uint32_t i = 0; i < fixture->reply_count; i++) {
        FUZZ_CHECK(fixture->replies[i].token >= 1 && fixture->replies[i].token <= world.asked);
    }
    world.replied += fixture->reply_count;
    fixture->reply_count = 0;
    FUZZ_CHECK(world.replied <= world.asked);
    counters_check();
}

static void result_check(const struct shard_item *item, const struct take_result *result) {
    if (result->code != CODE_OK) {
        FUZZ_CHECK(result->reason != REASON_NONE && result->code == reason_code(result->reason));
        return;
    }
    FUZZ_CHECK(result->remaining_tokens <= result->limit_tokens && result->flags == 0);
    if (item->verb == VERB_TAKE && item->take.cost_tokens > result->limit_tokens) {
        FUZZ_CHECK(!result->allowed);
    }
    FUZZ_CHECK(item->verb != VERB_REFUND || result->allowed);
    FUZZ_CHECK(!result->allowed || result->retry_after_us == 0);
}

/* --- events ------------------------------------------------------------------------------------
 */

static void takes_give(void) {
    struct shard_item items[TAKES_MAX];
    struct shard_event event = {.kind = SHARD_EVENT_TAKES};
    struct fuzz *fuzz = &world.fuzz;
    uint32_t count = fuzz_below(fuzz, COUNT_OF(items) + 1);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t choice = fuzz_u8(fuzz);
        items[i] =
            (struct shard_item){.verb = (enum verb)(choice % 3),
                                .token = world.tokens + i,
                                .take = {.key = key_choose(),
                                         .cost_tokens = costs[fuzz_below(fuzz, COUNT_OF(costs))],
                                         .deadline_ms = 250}};
        struct plan_choice *plan = &items[i].take.plan;
        plan->kind = (enum plan_choice_kind)(choice / 3 % 3);
        plan->name = bytes_of_text(plan_names[choice / 9 % COUNT_OF(plan_names)]);
        plan->limit = limits[choice / 9 % COUNT_OF(limits)];
        if (plan->kind == PLAN_CHOICE_INLINE && (choice & 128) != 0) {
            plan->limit.rate_tokens += fuzz_u8(fuzz); /* many different terms */
            plan->limit.rate_tokens %= TOKENS_MAX;
            plan->limit.rate_tokens += plan->limit.rate_tokens == 0;
        }
    }
    event.takes.items = items;
    event.takes.count = count;
    for (uint32_t i = 0; i < count; i++) { /* it may be released in the step after this */
        world.waits[world.tokens + i] = true;
    }
    world.tokens += count;
    world.waiting += count;
    fixture_step(&world.fixture, &event);
    FUZZ_CHECK(world.fixture.update.result_count == count);
    for (uint32_t i = 0; i < count; i++) {
        const struct take_result *result = &world.fixture.update.results[i];
        uint32_t token = (uint32_t)items[i].token;
        FUZZ_CHECK(world.fixture.update.held[i] || world.waits[token]); /* a release needs that */
        if (!world.fixture.update.held[i]) {
            world.waits[token] = false;
            world.waiting--;
        }
        bool asked = world.fixture.update.held[i] && !result->allowed;
        if (!asked) { /* else it is decided when its key has been read */
            result_check(&items[i], result);
        }
    }
}

static void time_pass(void) {
    uint8_t choice = fuzz_u8(&world.fuzz);
    uint64_t step_ns = steps_ns[choice % COUNT_OF(steps_ns)];
    if (choice >= 240 && world.fixture.now_ns > step_ns) {
        world.fixture.now_ns -= step_ns; /* the shard must not run backward */
    } else {
        world.fixture.now_ns += step_ns;
    }
    fixture_tick(&world.fixture);
}

static void slots_give(enum shard_event_kind kind) {
    struct shard_event event = {.kind = kind};
    uint8_t slots = fuzz_u8(&world.fuzz);
    event.own.slots = &slots;
    if (kind == SHARD_EVENT_SEAL) {
        event.seal.slots = &slots;
    } else {
        world.fixture.owned[0] = slots;
    }
    fixture_step(&world.fixture, &event);
}

static void plan_choose(struct plan_set *wanted, const char *name) {
    struct fuzz *fuzz = &world.fuzz;
    struct plan plan = {.name = name_of(bytes_of_text(name)), .generation_count = 1};
    struct terms *terms = &plan.generations[0].terms;
    terms->limit_count = 1 + fuzz_below(fuzz, LIMITS_PER_PLAN_MAX);
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        terms->limits[i] = limits[fuzz_below(fuzz, COUNT_OF(limits))];
    }
    plan_set_add(wanted, &plan);
}

static void plans_give(void) {
    static struct plan_set none, wanted, sets[PLAN_CHANGES_MAX];
    struct fixture *fixture = &world.fixture;
    if (world.plan_changes++ >= PLAN_CHANGES_MAX) {
        return; /* they are large, and slow */
    }
    uint8_t chosen = fuzz_u8(&world.fuzz);
    plan_set_init(&none);
    plan_set_init(&wanted);
    for (uint32_t i = 0; i < COUNT_OF(plan_names); i++) {
        if ((chosen >> i & 1) != 0) {
            plan_choose(&wanted, plan_names[i]);
        }
    }
    wanted.default_at = plan_set_find(&wanted, bytes_of_text(plan_names[chosen >> 4 & 3]));
    struct plan_set *before = fixture->plans, *next = &sets[world.plan_changes - 1];
    if (!plan_set_succeed(before != NULL ? before : &none, &wanted, next)) {
        return;
    }
    struct shard_event event = {.kind = SHARD_EVENT_PLANS};
    event.plans.set = fixture->plans = next;
    fixture_step(fixture, &event);
    if (before != NULL) {
        memset(before, 0xdb, sizeof *before); /* the shard may not look at it any more */
    }
}

static void admin_give(void) {
    struct fuzz *fuzz = &world.fuzz;
    uint8_t choice = fuzz_u8(fuzz);
    struct shard_event event = {.kind = SHARD_EVENT_ADMIN};
    event.admin.token = ++world.asked;
    event.admin.kind = (enum shard_admin_kind)(choice % 3);
    event.admin.key = key_choose();
    if (event.admin.kind == SHARD_ADMIN_ASSIGN && (choice / 3 & 1) != 0) {
        event.admin.plan = bytes_of_text(plan_names[choice / 6 % COUNT_OF(plan_names)]);
    }
    fixture_step(&world.fixture, &event);
}

/* --- the store ----------------------------------------------------------------------------------
 */

static void held_drop(void) {
    struct fixture *fixture = &world.fixture;
    free(fixture->held[0].entries);
    fixture->held_count--;
    memmove(fixture->held, fixture->held + 1, fixture->held_count * sizeof fixture->held[0]);
}

/* The oldest operation is answered with what nobody wrote. */
static void garbage_answer(void) {
    struct fixture *fixture = &world.fixture;
    struct fuzz *fuzz = &world.fuzz;
    struct shard_stored_pair pairs[4];
    uint8_t garbage_keys[4][GARBAGE_KEY_MAX];
    bool is_fetch = fixture->held[0].kind == SHARD_OP_FETCH;
    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    event.stored.op_kind = (uint8_t)fixture->held[0].kind;
    event.stored.slot = fixture->held[0].slot;
    event.stored.op_id = fixture->held[0].op_id;
    event.stored.fence = fixture->fences[event.stored.slot.index] += 1 + fuzz_below(fuzz, 3);
    event.stored.cursor = fuzz_below(fuzz, 2);
    event.stored.pair_count = is_fetch ? 2 : fuzz_below(fuzz, 5);
    event.stored.pairs = pairs;
    held_drop();
    for (uint32_t i = 0; i < event.stored.pair_count; i++) {
        uint8_t choice = fuzz_u8(fuzz);
        pairs[i].key = key_choose();
        if ((choice & 128) != 0) { /* of any size, 0 and too many too */
            uint32_t size = choice & 64 ? GARBAGE_KEY_MAX - (choice & 15) : choice & 15;
            memset(garbage_keys[i], choice, size);
            pairs[i].key = bytes_of(garbage_keys[i], size);
        }
        pairs[i].value = fuzz_bytes(fuzz, choice & 63);
        if (is_fetch && (choice & 64) != 0) {
            pairs[i].value = (struct bytes){0}; /* there is none */
        }
    }
    fixture_step(fixture, &event);
}

/* An answer to an operation that is no more. */
static void stale_answer(void) {
    struct fuzz *fuzz = &world.fuzz;
    uint8_t choice = fuzz_u8(fuzz);
    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    event.stored.op_kind = choice % 6;
    event.stored.status = (enum shard_stored_status)(choice / 6 % 3);
    event.stored.slot.index = fuzz_u8(fuzz) % SLOTS;
    event.stored.op_id = UINT32_MAX - choice;
    event.stored.fence = fuzz_u8(fuzz);
    fixture_step(&world.fixture, &event);
}

/* A record or an assignment is found in the store that no shard of ours wrote. */
static void record_plant(void) {
    struct fuzz *fuzz = &world.fuzz;
    uint8_t choice = fuzz_u8(fuzz);
    struct bytes key = key_choose();
    if ((choice & 1) != 0) {
        fixture_put(&world.fixture, key, fuzz_bytes(fuzz, choice >> 2), (choice & 2) != 0);
        return;
    }
    uint8_t value[RECORD_BYTES_MAX];
    struct record record = {.is_inline = (choice & 4) != 0,
                            .plan = bytes_of_text(plan_names[choice >> 3 & 3]),
                            .limit = limits[fuzz_below(fuzz, COUNT_OF(limits))]};
    record.tat_count = record.is_inline ? 1 : 1 + (choice >> 5 & 3u);
    record.generation = record.is_inline ? 0 : fuzz_below(fuzz, 8);
    for (uint32_t i = 0; i < record.tat_count; i++) {
        uint64_t tat_ns = world.fixture.now_ns + steps_ns[fuzz_below(fuzz, COUNT_OF(steps_ns))];
        record.tats[i] = (struct tat){choice >= 250 ? INT64_MAX : tat_ns, choice & 7u};
    }
    fixture_put(&world.fixture, key, bytes_of(value, record_write(&record, value)), false);
}

/* The store is there, and no longer keeps what it promised: what it was asked is answered later. */
static void store_refuse(void) {
    struct fixture *fixture = &world.fixture;
    struct shard_event event = {.kind = SHARD_EVENT_STORE};
    fixture->store_up = false;
    event.store.up = false;
    fixture_step(fixture, &event);
}

static void store_event(uint8_t opcode) {
    struct fixture *fixture = &world.fixture;
    uint8_t choice = fuzz_u8(&world.fuzz);
    if (opcode == 0 && fixture->held_count > 0) {
        fixture_answer(fixture, (enum shard_stored_status)(choice < 200 ? 0 : choice % 3));
    } else if (opcode == 1) {
        fixture_answer_all(fixture);
    } else if (opcode == 2 && fixture->held_count > 0) {
        garbage_answer();
    } else if (opcode == 3) {
        fixture->hold = (choice & 1) != 0;
        fixture->fail_applies = (choice & 2) != 0;
        fixture->answer = (enum shard_stored_status)((choice >> 2) % 3);
    } else if (opcode == 4 && fixture->store_up && (choice & 2) != 0) {
        store_refuse();
    } else if (opcode == 4) {
        fixture_store(fixture, !fixture->store_up, (choice & 1) != 0);
    } else if (opcode == 5) {
        stale_answer();
    } else {
        record_plant();
    }
}

/* --- a run
 * ---------------------------------------------------------------------------------------- */

static void event_give(void) {
    uint8_t opcode = fuzz_u8(&world.fuzz) % 20;
    if (opcode < 6) {
        takes_give();
    } else if (opcode < 9) {
        time_pass();
    } else if (opcode < 16) {
        store_event(opcode - 9);
    } else if (opcode == 16) {
        slots_give(SHARD_EVENT_OWN);
    } else if (opcode == 17) {
        slots_give(SHARD_EVENT_SEAL);
    } else if (opcode == 18) {
        admin_give();
    } else {
        plans_give();
    }
}

/* Everything is written in the end, and every operator answered. */
static void world_end(void) {
    struct fixture *fixture = &world.fixture;
    fixture->hold = false;
    fixture->answer = SHARD_STORED_OK;
    fixture->heap_bytes_max = UINT64_MAX;
    if (!fixture->store_up) {
        fixture_store(fixture, true, false);
    }
    fixture_answer_all(fixture);
    world_check();
    fixture_stop(fixture);
    for (uint32_t i = 0; i < 1000 && !fixture->stopped; i++) {
        fixture->now_ns =
            fixture->wake_at_ns > fixture->now_ns ? fixture->wake_at_ns : fixture->now_ns + MS;
        fixture_tick(fixture);
        world_check();
    }
    FUZZ_CHECK(fixture->stopped);
    FUZZ_CHECK(shard_counters(fixture->shard)->buckets_dirty == 0);
    FUZZ_CHECK(world.replied == world.asked && world.waiting == 0);
    fixture->plans = NULL; /* not from the heap */
    fixture_close(fixture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    memset(&world, 0, sizeof world);
    world.fuzz = fuzz_of(data, size);
    keys_make();
    uint8_t start = fuzz_u8(&world.fuzz);
    uint32_t resident_max = (start & 32) != 0 ? 1 + (start >> 6) * 3u : 0;
    shard_open((start & 1) != 0 ? 3u << 20 : 16u << 20, resident_max);
    plans_give();
    if ((start & 2) != 0) {
        fixture_store(&world.fixture, true, false);
        fixture_own_all(&world.fixture);
    }
    if ((start & 4) != 0) { /* no more memory than there is now, or a page */
        world.fixture.heap_bytes_max = world.fixture.heap_bytes + (start & 8u) / 8 * (1u << 20);
    }
    world.fixture.hold = (start & 16) != 0;
    for (uint32_t i = 0; i < EVENTS_MAX && !fuzz_done(&world.fuzz); i++) {
        event_give();
        world_check();
    }
    world_end();
    return 0;
}
