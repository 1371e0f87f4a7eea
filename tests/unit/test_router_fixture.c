#include "tests/unit/test_router_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* --- steps ---------------------------------------------------------------------------------- */

static void answers_keep(struct fixture *fixture, const struct router_update *update) {
    for (uint32_t i = 0; i < update->answer_count; i++) {
        const struct router_answer *answer = &update->answers[i];
        assert_true(fixture->answer_count < ANSWERS_MAX);
        struct kept_answer *kept = &fixture->answers[fixture->answer_count++];
        *kept = (struct kept_answer){.msgid = answer->msgid,
                                     .many = answer->many,
                                     .refusal = answer->refusal,
                                     .count = answer->count,
                                     .results = &fixture->results[fixture->result_count],
                                     .texts = &fixture->texts[fixture->result_count]};
        memcpy(&kept->client, answer->caller->bytes, sizeof kept->client);
        for (uint32_t j = 0; j < answer->count; j++) {
            assert_true(fixture->result_count < RESULTS_MAX);
            const char *text = answer->results[j].text;
            assert_true((text != NULL) == (answer->results[j].take.code != CODE_OK));
            fixture->results[fixture->result_count] = answer->results[j].take;
            snprintf(fixture->texts[fixture->result_count++], FAULT_TEXT_BYTES_MAX, "%s",
                     text == NULL ? "" : text);
        }
    }
}

static void key_copy(char *out, const struct take *take) {
    memcpy(out, take->key.data, take->key.size);
    out[take->key.size] = '\0';
}

static void step(struct fixture *fixture, struct router_event *event) {
    struct router_update update;
    event->now_ns = fixture->now_ns;
    router_step(fixture->router, event, &update);
    fixture->refresh_map = update.refresh_map;
    fixture->wake_at_ns = update.wake_at_ns;
    answers_keep(fixture, &update);
    for (uint32_t i = 0; i < update.batch_count; i++) {
        const struct router_batch *batch = &update.batches[i];
        assert_true(fixture->batch_count < SENT_MAX);
        struct kept_batch *kept = &fixture->batches[fixture->batch_count++];
        *kept = (struct kept_batch){.link = batch->link,
                                    .id = batch->id,
                                    .count = batch->count,
                                    .many = batch->many,
                                    .verb = batch->verb,
                                    .first_cost = batch->takes[0]->cost_tokens};
        for (uint32_t j = 0; j < batch->count && j < COSTS_MAX; j++) {
            kept->costs[j] = batch->takes[j]->cost_tokens;
        }
        key_copy(kept->first_key, batch->takes[0]);
        key_copy(kept->last_key, batch->takes[batch->count - 1]);
    }
    for (uint32_t i = 0; i < update.fallback_count; i++) {
        fixture->calls[fixture->call_count++ % CALLS_KEPT_MAX] = *update.fallbacks[i];
    }
    for (uint32_t i = 0; i < update.link_order_count; i++) {
        fixture->orders[fixture->order_count++] = update.link_orders[i];
    }
}

void give_view(struct fixture *fixture, struct map *map, struct plan_set *plans) {
    struct router_event event = {.kind = ROUTER_EVENT_VIEW};
    event.view.map = map;
    event.view.plans = plans;
    step(fixture, &event);
    if (router_map(fixture->router) == map) {
        free(fixture->map);
        fixture->map = map;
    } else {
        free(map);
    }
    if (router_plans(fixture->router) == plans) {
        free(fixture->plans);
        fixture->plans = plans;
    } else {
        free(plans);
    }
}

void give_link(struct fixture *fixture, uint32_t link, bool up) {
    struct router_event event = {.kind = ROUTER_EVENT_LINK};
    event.link.link = link;
    event.link.up = up;
    step(fixture, &event);
}

void give_store(struct fixture *fixture, bool up) {
    struct router_event event = {.kind = ROUTER_EVENT_STORE, .store_up = up};
    step(fixture, &event);
}

void give_stop(struct fixture *fixture) {
    struct router_event event = {.kind = ROUTER_EVENT_STOP};
    step(fixture, &event);
}

void store_answers(struct fixture *fixture, const struct fallback_answer *answer) {
    struct router_event event = {.kind = ROUTER_EVENT_FALLBACK, .fallback = answer};
    step(fixture, &event);
}

void ask_takes(struct fixture *fixture, uint64_t client, enum verb verb, bool many,
               const struct take *takes, uint32_t count) {
    struct router_caller caller = {0};
    memcpy(caller.bytes, &client, sizeof client);
    struct router_event event = {.kind = ROUTER_EVENT_REQUEST};
    event.request.caller = &caller;
    event.request.msgid = (uint32_t)client + 1000;
    event.request.many = many;
    event.request.verb = verb;
    event.request.takes = takes;
    event.request.count = count;
    step(fixture, &event);
}

struct take take_of(const char *key) {
    return (struct take){
        .key = bytes_of_text(key), .cost_tokens = 1, .deadline_ms = DEADLINE_MS_DEFAULT};
}

void ask(struct fixture *fixture, uint64_t client, enum verb verb, const char *key) {
    struct take take = take_of(key);
    ask_takes(fixture, client, verb, false, &take, 1);
}

void ask_cost(struct fixture *fixture, const char *key, uint64_t cost_tokens) {
    struct take take = take_of(key);
    take.cost_tokens = cost_tokens;
    ask_takes(fixture, cost_tokens, VERB_TAKE, false, &take, 1);
}

void turn_after(struct fixture *fixture, uint64_t ns) {
    struct router_event event = {.kind = ROUTER_EVENT_TURN};
    fixture->now_ns += ns;
    step(fixture, &event);
}

void turn(struct fixture *fixture) {
    turn_after(fixture, 0);
}

void reply_raw(struct fixture *fixture, uint32_t link, uint32_t id, enum router_outcome outcome,
               const struct router_verdict *verdicts, uint32_t count) {
    struct router_event event = {.kind = ROUTER_EVENT_REPLY};
    event.reply.link = link;
    event.reply.batch_id = id;
    event.reply.outcome = outcome;
    event.reply.verdicts = verdicts;
    event.reply.count = count;
    step(fixture, &event);
}

void reply_allow(struct fixture *fixture, const struct kept_batch *batch) {
    static struct router_verdict verdicts[TAKES_PER_REQUEST_MAX];
    for (uint32_t i = 0; i < batch->count; i++) {
        verdicts[i] = (struct router_verdict){
            .take = {.allowed = true, .remaining_tokens = 100 + i, .limit_tokens = 200}};
    }
    reply_raw(fixture, batch->link, batch->id, ROUTER_OUTCOME_RESULTS, verdicts, batch->count);
}

void reply_error(struct fixture *fixture, const struct kept_batch *batch, enum code code,
                 const char *text, uint64_t moved_epoch) {
    static struct router_verdict verdicts[TAKES_PER_REQUEST_MAX];
    for (uint32_t i = 0; i < batch->count; i++) {
        verdicts[i] = (struct router_verdict){
            .take = {.code = code}, .text = bytes_of_text(text), .moved = {.epoch = {moved_epoch}}};
    }
    reply_raw(fixture, batch->link, batch->id, ROUTER_OUTCOME_RESULTS, verdicts, batch->count);
}

/* --- fixtures ------------------------------------------------------------------------------- */

struct map *map_make(uint64_t epoch, uint32_t shards) {
    struct map *map = malloc(sizeof *map);
    map_init(map);
    map->epoch.number = epoch;
    map->slot_count = 256;
    map->node_count = 1;
    map->nodes[0].id = name_of(bytes_of_text("n1"));
    endpoint_name_set(&map->nodes[0].control, bytes_of_text("tcp://node:1"));
    map->shard_count = shards;
    for (uint32_t i = 0; i < shards; i++) {
        char url[40];
        snprintf(url, sizeof url, "tcp://shard-%u:1", i);
        map->shards[i].number = (uint16_t)i;
        endpoint_name_set(&map->shards[i].endpoint, bytes_of_text(url));
    }
    map_spread(map);
    return map;
}

struct plan_set *plans_make(uint64_t version, bool with_default) {
    struct plan_set *plans = malloc(sizeof *plans);
    plan_set_init(plans);
    plans->version = version;
    struct plan plan = {.name = name_of(bytes_of_text("free")), .generation_count = 1};
    plan_set_add(plans, &plan);
    plan = (struct plan){.name = name_of(bytes_of_text("open")),
                         .on_unavailable = POLICY_ALLOW,
                         .generation_count = 1};
    plan_set_add(plans, &plan);
    plans->default_at = with_default ? 0 : -1;
    return plans;
}

struct fixture *fixture_create_of(const struct router_options *options) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    size_t size = (router_size(options) + 63) & ~(size_t)63;
    fixture->memory = aligned_alloc(64, size);
    memset(fixture->memory, 0, size);
    fixture->router = router_init(fixture->memory, options);
    fixture->now_ns = 1000 * MS;
    return fixture;
}

struct fixture *fixture_create(uint32_t items_max) {
    return fixture_create_of(&(struct router_options){
        .items_max = items_max, .links_max = 8, .batches_per_link_max = 4, .fallback = true});
}

void fixture_destroy(struct fixture *fixture) {
    free(fixture->memory);
    free(fixture->map);
    free(fixture->plans);
    free(fixture);
}

struct fixture *fixture_create_ready(uint32_t items_max, uint32_t shards) {
    struct fixture *fixture = fixture_create(items_max);
    give_view(fixture, map_make(1, shards), plans_make(1, true));
    for (uint32_t i = 0; i < shards; i++) {
        give_link(fixture, i, true);
    }
    forget(fixture);
    return fixture;
}

void forget(struct fixture *fixture) {
    fixture->answer_count = 0;
    fixture->batch_count = 0;
    fixture->order_count = 0;
    fixture->call_count = 0;
    fixture->result_count = 0;
}

const char *key_of(const struct fixture *fixture, uint32_t shard, uint32_t n) {
    static char keys[16][16];
    static uint32_t next;
    char *key = keys[next++ % 16];
    for (uint32_t i = 0;; i++) {
        snprintf(key, sizeof keys[0], "key-%u", i);
        struct slot slot = slot_of_hash(key_hash(bytes_of_text(key)), fixture->map->slot_count);
        if (map_owner(fixture->map, slot).index == shard && n-- == 0) {
            return key;
        }
    }
}

struct kept_batch *only_batch(struct fixture *fixture) {
    assert_int_equal(fixture->batch_count, 1);
    return &fixture->batches[0];
}

struct kept_answer *only_answer(struct fixture *fixture) {
    assert_int_equal(fixture->answer_count, 1);
    return &fixture->answers[0];
}
