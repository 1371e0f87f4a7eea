/*
 * The router's core under events that the fuzzer chooses: requests, replies right and wrong, links
 * that come and go, maps and plans, time. Every request must be answered exactly once, in time,
 * with as many results as it has takes.
 *
 * Where the last byte is odd there is a store to ask when no owner answers, which answers whatever
 * a store could: its events begin with a byte from 240 on.
 */
#include "router/core/router.h"
#include "tests/fuzz/fuzz.h"

#define MS UINT64_C(1000000)
#define LINKS 4
#define ITEMS 24
#define BATCHES_PER_LINK 2
#define REQUESTS_MAX 256
#define FLIGHTS_MAX (LINKS * BATCHES_PER_LINK)
#define REQUEST_ITEMS_MAX 12
#define VIEWS_MAX 6

struct asked {
    uint32_t count;
    bool many, answered;
    uint64_t deadline_ns; /* the last of its takes' */
};

struct flight {
    bool used;
    uint32_t link, id, count;
};

struct world {
    struct fuzz fuzz;
    struct router *router;
    struct map *map;
    struct plan_set *plans;
    uint64_t now_ns;
    uint32_t view_count, asked_count, answered_count;
    bool fallback;
    uint32_t calls_asked; /* of the store, and not answered */
    struct asked asked[REQUESTS_MAX];
    struct flight flights[FLIGHTS_MAX];
    bool open[LINKS], up[LINKS];
};

static struct world world;

/* A call of the store, as it was asked. */
static struct asked_call {
    bool waits;
    uint32_t limit_count, head_size;
    uint8_t head[RECORD_BYTES_MAX];
} calls[FALLBACK_CALLS_MAX];

/* Large, and so not got anew for each input. */
static struct map maps[VIEWS_MAX];
static struct plan_set plan_sets[VIEWS_MAX];
static _Alignas(64) uint8_t memory[16u << 20];

/* --- what must hold --------------------------------------------------------------------------- */

static void link_end(uint32_t link) {
    world.up[link] = false;
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++) {
        world.flights[i].used &= world.flights[i].link != link;
    }
}

static void order_take(const struct router_link_order *order) {
    FUZZ_CHECK(order->link < LINKS);
    FUZZ_CHECK(world.open[order->link] == (order->kind != ROUTER_LINK_OPEN));
    FUZZ_CHECK((order->endpoint == NULL) == (order->kind == ROUTER_LINK_CLOSE));
    link_end(order->link);
    world.open[order->link] = order->kind != ROUTER_LINK_CLOSE;
}

static void batch_take(const struct router_batch *batch) {
    FUZZ_CHECK(batch->link < LINKS && world.up[batch->link]);
    FUZZ_CHECK(batch->count >= 1 && (batch->many || batch->count == 1));
    FUZZ_CHECK(batch->id <= INT32_MAX);
    struct flight *flight = NULL;
    uint32_t outstanding = 0;
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++) {
        outstanding += world.flights[i].used && world.flights[i].link == batch->link;
        flight = world.flights[i].used ? flight : &world.flights[i];
    }
    FUZZ_CHECK(outstanding < BATCHES_PER_LINK && flight != NULL);
    *flight =
        (struct flight){.used = true, .link = batch->link, .id = batch->id, .count = batch->count};
    for (uint32_t i = 0; i < batch->count; i++) {
        FUZZ_CHECK(batch->takes[i]->key.size >= 1 && batch->takes[i]->key.size <= KEY_BYTES_MAX);
    }
}

static void answer_take(const struct router_answer *answer) {
    uint32_t request;
    memcpy(&request, answer->caller->bytes, sizeof request);
    FUZZ_CHECK(request < world.asked_count && answer->msgid == request + 7);
    struct asked *asked = &world.asked[request];
    FUZZ_CHECK(!asked->answered && answer->many == asked->many);
    asked->answered = true;
    world.answered_count++;
    if (answer->refusal != REASON_NONE) {
        return;
    }
    FUZZ_CHECK(answer->count == asked->count);
    for (uint32_t i = 0; i < answer->count; i++) {
        const struct router_result *result = &answer->results[i];
        FUZZ_CHECK(result->take.code >= CODE_OK && result->take.code < CODE_COUNT);
        FUZZ_CHECK((result->text != NULL) == (result->take.code != CODE_OK));
        FUZZ_CHECK(result->text == NULL || strlen(result->text) < FAULT_TEXT_BYTES_MAX);
    }
}

static void call_take(const struct fallback_call *call) {
    FUZZ_CHECK(world.fallback && call->index < FALLBACK_CALLS_MAX && !calls[call->index].waits);
    FUZZ_CHECK(call->key.size >= 1 && call->key.size <= KEY_BYTES_MAX);
    FUZZ_CHECK(call->limit_count >= 1 && call->limit_count <= LIMITS_PER_PLAN_MAX);
    FUZZ_CHECK(call->head_size >= 1 && call->head_size <= sizeof call->head);
    FUZZ_CHECK(call->expected_size <= sizeof call->expected);
    struct asked_call *asked = &calls[call->index];
    *asked = (struct asked_call){
        .waits = true, .limit_count = call->limit_count, .head_size = call->head_size};
    memcpy(asked->head, call->head, call->head_size);
    world.calls_asked++;
}

static void tell(struct router_event *event) {
    struct router_update update;
    event->now_ns = world.now_ns;
    router_step(world.router, event, &update);
    for (uint32_t i = 0; i < update.link_order_count; i++) {
        order_take(&update.link_orders[i]);
    }
    for (uint32_t i = 0; i < update.batch_count; i++) {
        batch_take(&update.batches[i]);
    }
    for (uint32_t i = 0; i < update.answer_count; i++) {
        answer_take(&update.answers[i]);
    }
    for (uint32_t i = 0; i < update.fallback_count; i++) {
        call_take(update.fallbacks[i]);
    }
    const struct router_counters *counters = router_counters(world.router);
    FUZZ_CHECK(counters->pending_fallbacks == world.calls_asked);
    uint32_t flying = 0;
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++) {
        flying += world.flights[i].used;
    }
    FUZZ_CHECK(counters->pending_items <= ITEMS && counters->pending_batches == flying);
    FUZZ_CHECK(counters->pending_requests == world.asked_count - world.answered_count);
    FUZZ_CHECK(counters->answers == world.answered_count);
    FUZZ_CHECK(update.wake_at_ns > 0 && (flying == 0 || update.wake_at_ns != UINT64_MAX));
}

/* --- events ------------------------------------------------------------------------------------
 */

static void request_give(void) {
    static const char *const plan_names[] = {"deny", "allow", "gone", "redis"};
    struct take takes[REQUEST_ITEMS_MAX];
    uint8_t keys[REQUEST_ITEMS_MAX][KEY_BYTES_MAX];
    struct fuzz *fuzz = &world.fuzz;
    struct router_caller caller = {0};
    if (world.asked_count == REQUESTS_MAX) {
        return;
    }
    uint32_t request = world.asked_count++;
    uint8_t choice = fuzz_u8(fuzz);
    struct asked *asked = &world.asked[request];
    asked->many = (choice & 1) != 0;
    asked->count = asked->many ? (choice >> 1) % (REQUEST_ITEMS_MAX + 1) : 1;
    for (uint32_t i = 0; i < asked->count; i++) {
        uint8_t about = fuzz_u8(fuzz);
        uint32_t size = about >= 250 ? KEY_BYTES_MAX : 1 + about % 4;
        memset(keys[i], about, size);
        takes[i] = (struct take){.key = bytes_of(keys[i], size),
                                 .cost_tokens = about % 3,
                                 .deadline_ms = about == 255 ? DEADLINE_MS_MAX : 1 + about};
        takes[i].plan.kind = (enum plan_choice_kind)(about / 4 % 3);
        uint32_t name = world.fallback && about % 5 > 0 ? 3 : about / 12 % 3;
        takes[i].plan.name = bytes_of_text(plan_names[name]);
        takes[i].plan.limit = (struct limit){10, MS, 20};
        uint64_t deadline_ns = world.now_ns + takes[i].deadline_ms * MS;
        asked->deadline_ns = deadline_ns > asked->deadline_ns ? deadline_ns : asked->deadline_ns;
    }
    memcpy(caller.bytes, &request, sizeof request);
    struct router_event event = {.kind = ROUTER_EVENT_REQUEST};
    event.request.caller = &caller;
    event.request.msgid = request + 7;
    event.request.many = asked->many;
    event.request.verb = asked->many ? VERB_TAKE : (enum verb)((choice >> 1) % 3);
    event.request.takes = takes;
    event.request.count = asked->count;
    tell(&event);
    memset(keys, 0xdb, sizeof keys); /* nothing of a request is borrowed */
}

static struct router_verdict verdict_choose(void) {
    struct fuzz *fuzz = &world.fuzz;
    uint8_t choice = fuzz_u8(fuzz);
    struct router_verdict verdict = {.take = {.allowed = (choice & 1) != 0,
                                              .remaining_tokens = choice,
                                              .flags = choice & 8u,
                                              .limit_tokens = 300}};
    if ((choice & 2) != 0) {
        verdict.take.code = (enum code)((choice >> 2) % CODE_COUNT);
        verdict.text = fuzz_bytes(fuzz, choice >> 6 == 3 ? 255 : choice >> 5);
        verdict.moved.epoch.number = fuzz_below(fuzz, 8);
    }
    return verdict;
}

/* Of the batch that the fuzzer chooses, or of one that never was; whole or not. */
static void reply_give(void) {
    struct router_verdict verdicts[REQUEST_ITEMS_MAX * 3];
    struct fuzz *fuzz = &world.fuzz;
    uint8_t choice = fuzz_u8(fuzz);
    struct flight *flight = &world.flights[choice % FLIGHTS_MAX];
    struct router_event event = {.kind = ROUTER_EVENT_REPLY};
    event.reply.verdicts = verdicts;
    event.reply.link = flight->link;
    event.reply.batch_id = flight->id;
    event.reply.count = flight->count;
    if (choice >= 250) {
        event.reply.link = fuzz_below(fuzz, LINKS);
        event.reply.batch_id = fuzz_u16(fuzz);
    } else if (choice >= 220) {
        event.reply.outcome = (enum router_outcome)(1 + choice % 3);
        event.reply.count = 1;
    } else if (choice >= 200) {
        event.reply.count = choice % 4;
    }
    FUZZ_CHECK(event.reply.count <= sizeof verdicts / sizeof verdicts[0]);
    for (uint32_t i = 0; i < event.reply.count; i++) {
        verdicts[i] = verdict_choose();
    }
    if (event.reply.count == 0) {
        verdicts[0] = verdict_choose();
    }
    if (event.reply.outcome == ROUTER_OUTCOME_ERROR && verdicts[0].take.code == CODE_OK) {
        verdicts[0].take.code = CODE_UNAVAILABLE;
    }
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++) {
        struct flight *ended = &world.flights[i];
        ended->used &= ended->link != event.reply.link || ended->id != event.reply.batch_id;
    }
    tell(&event);
}

static void link_give(void) {
    struct router_event event = {.kind = ROUTER_EVENT_LINK};
    uint8_t choice = fuzz_u8(&world.fuzz);
    uint32_t link = choice % LINKS;
    bool up = (choice & 128) == 0;
    if (!world.open[link]) {
        return;
    }
    if (!up) {
        link_end(link);
    }
    world.up[link] = up;
    event.link.link = link;
    event.link.up = up;
    tell(&event);
}

static struct map *map_choose(void) {
    struct fuzz *fuzz = &world.fuzz;
    struct map *map = &maps[world.view_count];
    struct fault fault;
    map_init(map);
    map->epoch.number = fuzz_below(fuzz, 8);
    map->slot_count = 1u << fuzz_below(fuzz, 6);
    map->node_count = 1;
    map->nodes[0].id = name_of(bytes_of_text("n1"));
    endpoint_name_set(&map->nodes[0].control, bytes_of_text("tcp://n1:1"));
    map->shard_count = fuzz_below(fuzz, LINKS + 1);
    for (uint32_t i = 0; i < map->shard_count; i++) {
        char url[32]; /* two shards may be at one place */
        snprintf(url, sizeof url, "tcp://shard-%u", fuzz_below(fuzz, 6));
        endpoint_name_set(&map->shards[i].endpoint, bytes_of_text(url));
        map->shards[i].number = (uint16_t)i;
    }
    for (uint32_t i = 0; i < map->slot_count; i++) {
        uint32_t owner = fuzz_below(fuzz, map->shard_count + 1);
        map->owner[i] = owner == map->shard_count ? UINT16_MAX : (uint16_t)owner;
    }
    FUZZ_CHECK(map_check(map, &fault) == CODE_OK);
    return map;
}

static struct plan_set *plans_choose(void) {
    struct plan_set *plans = &plan_sets[world.view_count];
    plan_set_init(plans);
    plans->version = fuzz_below(&world.fuzz, 8);
    struct plan plan = {.name = name_of(bytes_of_text("redis")), .generation_count = 1};
    if (world.fallback) {
        plan.on_unavailable = POLICY_REDIS;
        plan.generations[0].generation = 1 + (uint32_t)plans->version;
        plan.generations[0].terms =
            (struct terms){.limit_count = 2, .limits = {{10, MS, 20}, {3, 7000 * MS, 5}}};
        plan_set_add(plans, &plan);
    }
    plan = (struct plan){.name = name_of(bytes_of_text("deny")), .generation_count = 1};
    plan_set_add(plans, &plan);
    plan.name = name_of(bytes_of_text("allow"));
    plan.on_unavailable = POLICY_ALLOW;
    plan_set_add(plans, &plan);
    plans->default_at = (int32_t)fuzz_below(&world.fuzz, 3) - 1;
    return plans;
}

/* The router may not look at it any more. */
static void poison(void *memory_of, size_t size) {
    if (memory_of != NULL) {
        memset(memory_of, 0xdb, size);
    }
}

static void view_give(void) {
    struct router_event event = {.kind = ROUTER_EVENT_VIEW};
    if (world.view_count >= VIEWS_MAX) {
        return; /* they are large, and slow */
    }
    struct map *map = map_choose(), *old_map = world.map;
    struct plan_set *plans = plans_choose(), *old_plans = world.plans;
    event.view.map = map;
    event.view.plans = plans;
    tell(&event);
    bool map_taken = router_map(world.router) == map;
    bool plans_taken = router_plans(world.router) == plans;
    FUZZ_CHECK(map_taken || router_map(world.router) == old_map);
    FUZZ_CHECK(plans_taken || router_plans(world.router) == old_plans);
    FUZZ_CHECK(!map_taken || old_map == NULL || map->epoch.number > old_map->epoch.number);
    world.map = map_taken ? map : old_map;
    world.plans = plans_taken ? plans : old_plans;
    poison(map_taken ? old_map : map, sizeof *map);
    poison(plans_taken ? old_plans : plans, sizeof *plans);
    world.view_count++;
}

/* --- the store ---------------------------------------------------------------------------------
 */

static void call_answer(struct fallback_answer *answer) {
    struct router_event event = {.kind = ROUTER_EVENT_FALLBACK, .fallback = answer};
    FUZZ_CHECK(calls[answer->call].waits);
    calls[answer->call].waits = false;
    world.calls_asked--;
    tell(&event);
}

static uint32_t call_waiting(uint32_t from) {
    for (uint32_t i = 0; i < FALLBACK_CALLS_MAX; i++) {
        uint32_t at = (from + i) % FALLBACK_CALLS_MAX;
        if (calls[at].waits) {
            return at;
        }
    }
    return FALLBACK_CALLS_MAX;
}

/* A record: none, one under the terms that were asked for, one of another plan, or no record. */
static struct bytes record_choose(const struct asked_call *call, uint8_t *memory_of) {
    struct fuzz *fuzz = &world.fuzz;
    uint8_t choice = fuzz_u8(fuzz);
    if (choice < 64) {
        return bytes_of_text("");
    }
    if (choice < 192) {
        struct writer writer = writer_of(memory_of, 4 * RECORD_BYTES_MAX);
        write_encoded(&writer, bytes_of(call->head, call->head_size));
        for (uint32_t i = 0; i < call->limit_count; i++) {
            uint64_t ns = choice % 2 == 0 ? world.now_ns + (uint64_t)choice * MS : fuzz_u64(fuzz);
            write_uint(&writer, ns);
        }
        return writer_bytes(&writer);
    }
    if (choice < 224) {
        struct record record = {.plan = bytes_of_text(choice % 2 == 0 ? "redis" : "other"),
                                .generation = fuzz_below(fuzz, 8),
                                .tat_count = 1 + choice % LIMITS_PER_PLAN_MAX};
        for (uint32_t i = 0; i < record.tat_count; i++) {
            record.tats[i] = (struct tat){fuzz_u64(fuzz) >> 1, choice};
        }
        return bytes_of(memory_of, record_write(&record, memory_of));
    }
    return fuzz_bytes(fuzz, choice - 223u);
}

static void store_give(uint8_t choice) {
    static const char *const plan_names[] = {"", "redis", "allow", "gone", "no name", "deny"};
    uint8_t memory_of[4 * RECORD_BYTES_MAX];
    struct fuzz *fuzz = &world.fuzz;
    if (choice % 4 == 0) {
        struct router_event event = {.kind = ROUTER_EVENT_STORE, .store_up = choice < 252};
        tell(&event);
        return;
    }
    struct fallback_answer answer = {.call = call_waiting(fuzz_u8(fuzz))};
    if (answer.call == FALLBACK_CALLS_MAX) {
        return;
    }
    uint8_t how = fuzz_u8(fuzz);
    answer.status = (enum fallback_status)(how % (FALLBACK_FAILED + 1));
    answer.now_ns = how < 200 ? world.now_ns : fuzz_u64(fuzz) % (UINT64_C(1) << 62);
    answer.assigned = bytes_of_text(plan_names[how / 8 % 6]);
    answer.record = record_choose(&calls[answer.call], memory_of);
    call_answer(&answer);
}

static void turn_give(uint64_t ns) {
    struct router_event event = {.kind = ROUTER_EVENT_TURN};
    world.now_ns += ns;
    tell(&event);
    for (uint32_t i = 0; i < world.asked_count; i++) {
        FUZZ_CHECK(world.asked[i].answered || world.asked[i].deadline_ns + MS > world.now_ns);
    }
}

/* --- a run
 * ---------------------------------------------------------------------------------------- */

static void event_give(void) {
    uint8_t first = fuzz_u8(&world.fuzz), opcode = first % 16;
    if (world.fallback && first >= 240) {
        store_give(first);
    } else if (opcode < 4) {
        request_give();
    } else if (opcode < 8) {
        reply_give();
    } else if (opcode < 12) {
        uint8_t choice = fuzz_u8(&world.fuzz);
        turn_give(choice < 128 ? choice / 8 * MS / 4 : (choice - 127u) * (choice - 127u) * MS / 2);
    } else if (opcode < 14) {
        link_give();
    } else {
        view_give();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct router_options options = {
        .items_max = ITEMS, .links_max = LINKS, .batches_per_link_max = BATCHES_PER_LINK};
    options.fallback = size > 0 && data[size - 1] % 2 == 1;
    size_t room = router_size(&options);
    memset(&world, 0, sizeof world);
    world.fuzz = fuzz_of(data, size);
    world.fallback = options.fallback;
    if (world.fallback) {
        memset(calls, 0, sizeof calls);
    }
    world.now_ns = 1000 * MS;
    FUZZ_CHECK(room <= sizeof memory);
    memset(memory, 0, room);
    world.router = router_init(memory, &options);
    while (!fuzz_done(&world.fuzz)) {
        event_give();
    }
    struct router_event event = {.kind = ROUTER_EVENT_STOP};
    tell(&event);
    FUZZ_CHECK(world.answered_count == world.asked_count);
    while (world.calls_asked > 0) { /* what it was asked is answered, too late */
        struct fallback_answer answer = {.call = call_waiting(0), .status = FALLBACK_FAILED};
        call_answer(&answer);
    }
    turn_give(2 * DEADLINE_MS_MAX * MS); /* what was answered is given back with the next step */
    FUZZ_CHECK(router_counters(world.router)->pending_items == 0);
    return 0;
}
