#include "tests/model/shard_oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/bucket.h"
#include "tests/model/model.h"

#define SECOND UINT64_C(1000000000)

const char *const oracle_plan_names[ORACLE_PLANS] = {"default", "double", "triple"};

void oracle_init(struct oracle *oracle) {
    memset(oracle, 0, sizeof *oracle);
    oracle->plans[0] = (struct terms){1, {{10, SECOND, 20}}};
    oracle->plans[1] = (struct terms){2, {{50, SECOND, 30}, {7, SECOND, 100}}};
    oracle->plans[2] = (struct terms){3, {{3, SECOND, 5}, {11, SECOND, 40}, {90, 60 * SECOND, 90}}};
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
        struct oracle_key *key = &oracle->keys[i];
        /* From 1 byte up, so that several sizes of memory are used. */
        snprintf(key->text, sizeof key->text, "%.*s%u", (int)(i % 20), "a-key-of-some-length-", i);
        key->assigned = -1;
        oracle->plan_there[i % ORACLE_PLANS] = true;
        oracle_load(oracle, key, NULL, 0);
    }
}

void oracle_fini(struct oracle *oracle) {
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
        free(oracle->keys[i].states);
    }
}

struct oracle_key *oracle_find(struct oracle *oracle, struct bytes key) {
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
        if (bytes_equal(bytes_of_text(oracle->keys[i].text), key)) {
            return &oracle->keys[i];
        }
    }
    return NULL;
}

struct oracle_state *oracle_now(struct oracle_key *key) {
    return &key->states[key->state_count - 1];
}

static void state_add(struct oracle_key *key, const struct oracle_state *state) {
    if (key->state_count == key->state_room) {
        key->state_room = key->state_room * 2 + 16;
        key->states = realloc(key->states, key->state_room * sizeof key->states[0]);
    }
    key->states[key->state_count] = *state;
    key->state_count++;
}

bool oracle_full(const struct oracle_state *state, uint64_t now_ns) {
    for (uint32_t i = 0; i < state->limit_count; i++) {
        if (bucket_reset_ns(state->tats[i], now_ns) > 0) {
            return false;
        }
    }
    return true;
}

static struct terms state_terms(const struct oracle *oracle, const struct oracle_state *state) {
    if (state->limit_count == 0) {
        return (struct terms){.limit_count = 0};
    }
    if (state->plan == ORACLE_INLINE) {
        return (struct terms){.limit_count = 1, .limits = {state->limit}};
    }
    return oracle->plans[state->plan];
}

/* A plan nobody knows: the time that was left stays, at most a whole bucket's. */
static void unknown_convert(const struct oracle_state *state, const struct terms *to,
                            struct tat tats[], uint64_t now_ns) {
    for (uint32_t i = 0; i < to->limit_count; i++) {
        const struct limit *limit = &to->limits[i];
        uint64_t tolerance_ns = limit->burst_tokens * limit->period_ns / limit->rate_tokens;
        if (i >= state->limit_count) {
            tats[i] = (struct tat){0};
            continue;
        }
        tats[i] = (struct tat){.ns = tats[i].ns + (tats[i].part > 0)};
        if (tats[i].ns > now_ns + tolerance_ns) {
            tats[i].ns = now_ns + tolerance_ns;
        }
    }
}

static bool state_is_under(const struct oracle_state *state, int32_t plan,
                           const struct limit *limit) {
    return state->limit_count > 0 && state->plan == plan &&
           (plan != ORACLE_INLINE || limit_equal(&state->limit, limit));
}

static enum reason choose(const struct oracle *oracle, const struct oracle_key *key,
                          const struct plan_choice *choice, int32_t *plan) {
    *plan = ORACLE_INLINE;
    if (choice->kind == PLAN_CHOICE_INLINE) {
        return REASON_NONE;
    }
    if (choice->kind == PLAN_CHOICE_DEFAULT) {
        *plan = key->assigned >= 0 ? key->assigned : 0;
        return oracle->plan_there[*plan] ? REASON_NONE : REASON_ASSIGNED_PLAN_GONE;
    }
    for (int32_t i = 0; i < ORACLE_PLANS; i++) {
        if (bytes_equal(bytes_of_text(oracle_plan_names[i]), choice->name)) {
            *plan = i;
            return oracle->plan_there[i] ? REASON_NONE : REASON_PLAN_NOT_FOUND;
        }
    }
    return REASON_PLAN_NOT_FOUND;
}

struct take_result oracle_take(struct oracle *oracle, struct oracle_key *key, enum verb verb,
                               uint64_t cost, const struct plan_choice *choice, uint64_t now_ns) {
    int32_t plan;
    enum reason reason = choose(oracle, key, choice, &plan);
    if (reason != REASON_NONE) {
        return (struct take_result){.code = reason_code(reason), .reason = reason};
    }
    const struct oracle_state *before = oracle_now(key);
    struct terms terms = plan == ORACLE_INLINE
                             ? (struct terms){.limit_count = 1, .limits = {choice->limit}}
                             : oracle->plans[plan];
    struct oracle_state after = {
        .at_ns = now_ns, .plan = plan, .limit = choice->limit, .limit_count = terms.limit_count};
    memcpy(after.tats, before->tats, sizeof after.tats);
    bool unknown = before->unknown && !oracle->plan_there[before->plan];
    if (unknown && !state_is_under(before, plan, &choice->limit)) {
        unknown_convert(before, &terms, after.tats, now_ns);
    } else if (!state_is_under(before, plan, &choice->limit)) {
        struct terms from = state_terms(oracle, before);
        bucket_convert(&from, &terms, after.tats, now_ns);
    }
    struct tat decided_from[LIMITS_PER_PLAN_MAX];
    memcpy(decided_from, after.tats, sizeof decided_from);
    struct take_result result;
    bucket_decide(&terms, after.tats, verb, cost, now_ns, &result);
    bool moves = verb == VERB_TAKE && !result.allowed && !oracle_full(&after, now_ns) &&
                 !state_is_under(before, plan, &choice->limit);
    if (moves || memcmp(decided_from, after.tats, terms.limit_count * sizeof after.tats[0]) != 0) {
        state_add(key, &after);
    }
    return result;
}

void oracle_reset(struct oracle_key *key, uint64_t now_ns) {
    struct oracle_state state = {.at_ns = now_ns};
    state_add(key, &state);
}

static bool record_matches(const struct record *record, const struct oracle_state *state) {
    if (record->tat_count != state->limit_count ||
        memcmp(record->tats, state->tats, record->tat_count * sizeof record->tats[0]) != 0 ||
        record->is_inline != (state->plan == ORACLE_INLINE)) {
        return false;
    }
    return record->is_inline
               ? limit_equal(&record->limit, &state->limit)
               : bytes_equal(record->plan, bytes_of_text(oracle_plan_names[state->plan]));
}

int64_t oracle_state_of(const struct oracle_key *key, const struct record *record,
                        uint64_t now_ns) {
    struct oracle_state stored = {0};
    if (record != NULL) {
        stored.limit_count = record->tat_count;
        memcpy(stored.tats, record->tats, sizeof stored.tats);
    }
    bool full = oracle_full(&stored, now_ns);
    for (int64_t i = (int64_t)key->state_count - 1; i >= 0; i--) {
        const struct oracle_state *state = &key->states[i];
        if (full ? oracle_full(state, now_ns) : record_matches(record, state)) {
            return i;
        }
    }
    return -1;
}

void oracle_load(struct oracle *oracle, struct oracle_key *key, const struct record *record,
                 uint64_t now_ns) {
    struct oracle_state state = {.at_ns = now_ns};
    key->state_count = 0;
    key->acknowledged = 0;
    key->tail_lost = false;
    if (record != NULL) {
        state.limit_count = record->tat_count;
        memcpy(state.tats, record->tats, sizeof state.tats);
        state.plan = ORACLE_INLINE;
        state.limit = record->limit;
        for (int32_t i = 0; !record->is_inline && i < ORACLE_PLANS; i++) {
            if (bytes_equal(record->plan, bytes_of_text(oracle_plan_names[i]))) {
                state.plan = i;
                state.unknown = !oracle->plan_there[i];
            }
        }
    }
    state_add(key, &state);
}

void oracle_check(const struct oracle_key *key, const struct take_result *got,
                  const struct take_result *expected) {
    if (got->code != expected->code || got->reason != expected->reason ||
        got->allowed != expected->allowed || got->remaining_tokens != expected->remaining_tokens ||
        got->limit_tokens != expected->limit_tokens ||
        got->retry_after_us != expected->retry_after_us ||
        got->reset_after_us != expected->reset_after_us) {
        model_fail("key %s: got reason %d allowed %d remaining %" PRIu64 " retry %" PRId64
                   " reset %" PRIu64 ", expected %d %d %" PRIu64 " %" PRId64 " %" PRIu64,
                   key->text, got->reason, got->allowed, got->remaining_tokens, got->retry_after_us,
                   got->reset_after_us, expected->reason, expected->allowed,
                   expected->remaining_tokens, expected->retry_after_us, expected->reset_after_us);
    }
}

struct plan_choice oracle_choice(void) {
    static const struct limit limits[] = {{7, SECOND, 9}, {1, SECOND, 3}, {100, 60 * SECOND, 100}};
    struct plan_choice choice = {.kind = PLAN_CHOICE_DEFAULT};
    uint64_t kind = model_below(10);
    if (kind < 3) {
        choice.kind = PLAN_CHOICE_NAMED;
        choice.name = bytes_of_text(oracle_plan_names[model_below(ORACLE_PLANS)]);
    } else if (kind == 3) {
        choice.kind = PLAN_CHOICE_INLINE;
        choice.limit = limits[model_below(3)];
    }
    return choice;
}

struct oracle_key *oracle_key(struct oracle *oracle) {
    /* Some keys are busier than others. */
    return &oracle->keys[model_chance(50) ? model_below(6) : model_below(ORACLE_KEYS)];
}

void oracle_plans_tell(const struct oracle *oracle, struct fixture *fixture) {
    struct fixture_plan plans[ORACLE_PLANS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < ORACLE_PLANS; i++) {
        if (oracle->plan_there[i]) {
            plans[count].name = oracle_plan_names[i];
            plans[count].limit_count = oracle->plans[i].limit_count;
            memcpy(plans[count].limits, oracle->plans[i].limits, sizeof plans[count].limits);
            count++;
        }
    }
    fixture_plans(fixture, plans, count);
}

struct record *oracle_record(struct bytes value, struct record *record) {
    struct fault fault;
    if (record_read(value, record, &fault) != CODE_OK) {
        model_fail("an unreadable record was written: %s", fault.text);
    }
    return record;
}

void oracle_acknowledge(struct oracle *oracle, const struct held_op *op, uint64_t now_ns) {
    for (uint32_t i = 0; i < op->entry_count; i++) {
        const struct held_entry *entry = &op->entries[i];
        struct oracle_key *key = oracle_find(oracle, bytes_of(entry->key, entry->key_size));
        struct record room;
        const struct record *record =
            entry->remove ? NULL : oracle_record(bytes_of(entry->value, entry->value_size), &room);
        int64_t state = oracle_state_of(key, record, now_ns);
        if (state < 0) {
            model_fail("key %s: a state was written that it was never in", key->text);
        }
        if (state > (int64_t)key->acknowledged) {
            key->acknowledged = (uint32_t)state;
        }
        key->tail_lost = false;
    }
}

int32_t oracle_plan_of(const struct stored *assigned) {
    for (int32_t i = 0; assigned != NULL && i < ORACLE_PLANS; i++) {
        if (bytes_equal(bytes_of(assigned->value, assigned->value_size),
                        bytes_of_text(oracle_plan_names[i]))) {
            return i;
        }
    }
    return -1;
}

/* --- the store ----------------------------------------------------------------------------- */

struct record *oracle_stored(const struct oracle_key *key, struct fixture *fixture,
                             struct record *record) {
    const struct stored *stored = fixture_stored(fixture, key->text, false);
    return stored == NULL ? NULL
                          : oracle_record(bytes_of(stored->value, stored->value_size), record);
}

int32_t oracle_assigned(const struct oracle_key *key, struct fixture *fixture) {
    return oracle_plan_of(fixture_stored(fixture, key->text, true));
}

void oracle_check_stored(struct oracle *oracle, struct fixture *fixture) {
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
        const struct oracle_key *key = &oracle->keys[i];
        struct record room;
        int64_t state = oracle_state_of(key, oracle_stored(key, fixture, &room), fixture->now_ns);
        if (state + 1 != key->state_count) {
            model_fail("key %s: the store has not its newest state", key->text);
        }
        if (oracle_assigned(key, fixture) != key->assigned) {
            model_fail("key %s: the store has plan %d assigned, its owner %d", key->text,
                       oracle_assigned(key, fixture), key->assigned);
        }
    }
}

void oracle_refills(struct oracle *oracle, struct fixture *fixture) {
    fixture->on_update = NULL; /* replies are not of interest any more */
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
        fixture_admin(fixture, SHARD_ADMIN_ASSIGN, oracle->keys[i].text, NULL);
    }
    fixture->reply_count = 0;
    fixture_pass(fixture, 4 * 3600 * SECOND);
    const struct shard_counters *counters = shard_counters(fixture->shard);
    if (fixture_records(fixture) != 0 || counters->buckets != 0) {
        model_fail("%u records and %" PRIu64 " buckets are left when all have refilled",
                   fixture_records(fixture), counters->buckets);
    }
    if (counters->memory_bytes > 1u << 20) { /* a page is kept for reuse */
        model_fail("%" PRIu64 " bytes are held for nothing", counters->memory_bytes);
    }
    uint64_t ops = fixture->op_count;
    fixture_pass(fixture, 3600 * SECOND);
    if (fixture->op_count != ops) {
        model_fail("a shard without buckets asks something of the store");
    }
}
