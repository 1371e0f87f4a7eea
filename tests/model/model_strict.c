/*
 * Strict plans in random weather: a store that is slow, fails, executes what it was believed to
 * have lost, goes away; newer owners, slots given away and taken back, sealed, crashes, stops.
 * Nothing refills within a run, so what callers were granted can be counted:
 *   - no key is ever granted more than its burst, whatever happened;
 *   - the record is never behind what was granted;
 *   - a crash costs a bucket at most its reservation and what was being answered; a planned stop, a
 *     handover and a failed write cost nothing;
 *   - every held result is released exactly once, and in the end all are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/core/shard_state.h"
#include "tests/model/model.h"
#include "tests/unit/shard_fixture.h"

#define SLOTS 4
#define KEYS 24
#define BURST 120u
#define RESERVE (BURST / SHARD_RESERVE_PART)
#define TOKEN_NS (100 * 3600 * SECOND)
#define TOKENS_MAX_HELD 4096

/* Times that a reset is asked for: a newer owner may have to be met, and a former one waited for.
 */
#define RESET_TRIES 4

static const char plan_text[] = "strict";

struct key {
    char text[16];
    uint64_t granted;  /* told a caller */
    uint64_t held;     /* decided, and the caller waits */
    uint64_t lost_max; /* that crashes may have cost */
    uint64_t doubtful; /* of failed writes: nobody knows, until the record is written again */
};

struct caller {
    struct key *key; /* NULL: nobody waits under this token */
    uint64_t cost;
    bool asked; /* not decided yet: the key is being read */
};

static struct fixture fixture;

/* Fewer entries than keys, so that leads are pushed out; then not every failed take can be given
 * back. */
static bool few_marks;
static struct key keys[KEYS];
static struct caller callers[TOKENS_MAX_HELD];
static uint32_t caller_next;
static uint64_t counted_grants, counted_held, counted_failed, counted_crashes, counted_refused;
static uint64_t counted_asked, counted_hibernations, counted_moves;
static bool moving;          /* slots are being handed over, of which nothing may be lost */
static uint64_t failed_seen; /* writes that had failed when the weather was fair last */

enum {
    PLANT_EARLY_ANSWER,
    PLANT_LOST_WRITE,
    PLANT_LATE_WRITE,
    PLANT_CRASH_AT_STOP,
    PLANT_UNSEALED,
};
static const char *const plants[] = {"early-answer",  "lost-write",    "late-write",
                                     "crash-at-stop", "unsealed-move", NULL};
static int plant;

static void grant(struct key *key, uint64_t cost) {
    key->granted += cost;
    counted_grants++;
    if (key->granted > BURST) {
        model_fail("key %s: %" PRIu64 " tokens were granted of %u", key->text, key->granted, BURST);
    }
}

/* --- what the store has -------------------------------------------------------------------- */

static uint64_t stored_spent(const struct key *key) {
    const struct stored *stored = fixture_stored(&fixture, key->text, false);
    struct record record;
    struct fault fault;
    if (stored == NULL) {
        return 0;
    }
    if (record_read(bytes_of(stored->value, stored->value_size), &record, &fault) != CODE_OK) {
        model_fail("an unreadable record was written: %s", fault.text);
    }
    /* Times are rounded up to a whole token: no more than that refills. */
    uint64_t ns = record.tats[0].ns > fixture.now_ns ? record.tats[0].ns - fixture.now_ns : 0;
    return (ns + TOKEN_NS - 1) / TOKEN_NS;
}

static void records_check(void) {
    for (uint32_t i = 0; i < KEYS; i++) {
        if (stored_spent(&keys[i]) < keys[i].granted) {
            model_fail("key %s: the record says %" PRIu64 " spent, %" PRIu64 " were granted",
                       keys[i].text, stored_spent(&keys[i]), keys[i].granted);
        }
    }
}

static bool on_apply(struct fixture *f, const struct held_op *op) {
    return plant != PLANT_LOST_WRITE || op->kind != SHARD_OP_WRITE || !model_chance(2);
}

/* --- answers ------------------------------------------------------------------------------- */

static void memory_goes(void);

static void on_update(struct fixture *f, const struct shard_update *update) {
    for (uint32_t i = 0; i < update->notice_count; i++) {
        if (update->notices[i].kind == SHARD_NOTICE_FENCED && !moving) {
            memory_goes(); /* the newer owner was met, and the slot's memory is dropped */
        }
    }
    for (uint32_t i = 0; i < update->release_count; i++) {
        const struct shard_release *release = &update->releases[i];
        struct caller *caller = &callers[release->token];
        if (caller->key == NULL) {
            model_fail("a result was released twice");
        }
        struct key *key = caller->key;
        key->held -= caller->asked ? 0 : caller->cost;
        switch (release->kind) {
        case SHARD_RELEASE_GRANTED:
            if (plant != PLANT_EARLY_ANSWER) {
                grant(key, caller->cost);
            }
            break;
        case SHARD_RELEASE_REASON:
            counted_failed++;
            key->doubtful += caller->asked ? 0 : caller->cost;
            key->lost_max += caller->asked || !few_marks ? 0 : caller->cost;
            break;
        case SHARD_RELEASE_RESULT:
            counted_asked++;
            if (release->result->code == CODE_OK && release->result->allowed) {
                grant(key, caller->cost);
            }
            break;
        case SHARD_RELEASE_RESULT_HELD:
            caller->asked = false;
            key->held += caller->cost;
            continue;
        }
        caller->key = NULL;
    }
}

/* What is only in memory goes: of these keys, as in a crash. */
static void memory_goes(void) {
    for (uint32_t i = 0; i < KEYS; i++) {
        keys[i].lost_max += RESERVE + keys[i].held + keys[i].doubtful;
    }
}

static void callers_forget(void) {
    for (uint32_t i = 0; i < TOKENS_MAX_HELD; i++) {
        if (callers[i].key != NULL) {
            callers[i].key->held -= callers[i].asked ? 0 : callers[i].cost;
            callers[i].key = NULL;
        }
    }
}

/* --- what happens -------------------------------------------------------------------------- */

static struct key *random_key(void) {
    return &keys[model_chance(60) ? model_below(3) : model_below(KEYS)];
}

static void takes_happen(void) {
    struct shard_item items[8];
    struct key *of[8];
    struct shard_event event = {.kind = SHARD_EVENT_TAKES};
    const uint32_t count = (uint32_t)model_between(1, 8);
    event.takes.items = items;
    event.takes.count = count;
    for (uint32_t i = 0; i < count; i++) {
        of[i] = random_key();
        while (callers[caller_next].key != NULL) {
            caller_next = (caller_next + 1) % TOKENS_MAX_HELD;
        }
        items[i] = (struct shard_item){.verb = VERB_TAKE, .token = caller_next};
        caller_next = (caller_next + 1) % TOKENS_MAX_HELD;
        items[i].take = (struct take){.key = bytes_of_text(of[i]->text),
                                      .cost_tokens = model_chance(5) ? model_between(4, 40)
                                                                     : model_between(1, 2)};
        items[i].take.plan.kind = PLAN_CHOICE_NAMED;
        items[i].take.plan.name = bytes_of_text(plan_text);
    }
    /* Results first, then what the store says: the fixture would do both in one. */
    bool hold = fixture.hold;
    fixture.hold = true;
    fixture_step(&fixture, &event);
    for (uint32_t i = 0; i < count; i++) {
        const struct take_result *result = &fixture.update.results[i];
        bool held = fixture.update.held[i];
        if (held && !result->allowed) {
            callers[items[i].token] = (struct caller){of[i], items[i].take.cost_tokens, true};
            continue;
        }
        if (result->reason != REASON_NONE || !result->allowed) {
            counted_refused++;
            continue;
        }
        if (!held) {
            grant(of[i], items[i].take.cost_tokens);
            continue;
        }
        counted_held++;
        of[i]->held += items[i].take.cost_tokens;
        callers[items[i].token] = (struct caller){of[i], items[i].take.cost_tokens, false};
        if (plant == PLANT_EARLY_ANSWER) {
            grant(of[i], items[i].take.cost_tokens);
        }
    }
    fixture.hold = hold;
    if (!hold) {
        fixture_answer_all(&fixture);
    }
}

static void level_check(const struct key *key) {
    uint64_t level = fixture_show(&fixture, key->text).level_tokens[0];
    uint64_t spent = BURST - level;
    if (spent < key->granted) {
        model_fail("key %s: %" PRIu64 " spent, %" PRIu64 " granted", key->text, spent,
                   key->granted);
    }
    if (spent > key->granted + key->lost_max) {
        model_fail("key %s: %" PRIu64 " spent, %" PRIu64 " granted, at most %" PRIu64
                   " may be lost",
                   key->text, spent, key->granted, key->lost_max);
    }
}

static void seal(bool sealed) {
    uint8_t bits[SLOTS_MAX / 8];
    memset(bits, sealed ? (int)model_below(256) : 0, sizeof bits);
    fixture_seal(&fixture, bits, model_chance(50));
}

static void weather_turns_fair(void) {
    fixture.hold = false;
    fixture.answer = SHARD_STORED_OK;
    fixture_answer_all(&fixture);
    if (!fixture.store_up) {
        fixture_store(&fixture, true, false);
    }
    seal(false);
    fixture_own_all(&fixture);
    fixture_pass(&fixture, 2 * SECOND);
    const struct shard_counters *counters = shard_counters(fixture.shard);
    if (counters->slots_serving != SLOTS) {
        model_fail("%" PRIu64 " slots are served", counters->slots_serving);
    }
    if (counters->held != 0) {
        model_fail("%" PRIu64 " results are still held", counters->held);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        level_check(&keys[i]);
        keys[i].doubtful = 0;
    }
    records_check();
    failed_seen = counters->writes_failed;
}

static void shard_crashes(void) {
    while (fixture.held_count > 0 && model_chance(60)) {
        fixture_answer(&fixture, model_chance(60) ? SHARD_STORED_OK : SHARD_STORED_FAILED);
    }
    memory_goes();
    callers_forget();
    counted_crashes++;
    counted_hibernations += shard_counters(fixture.shard)->hibernations;
    fixture_crash(&fixture);
    failed_seen = 0;
}

static void stop_and_start(void) {
    weather_turns_fair();
    takes_happen();
    failed_seen = 0;
    if (plant == PLANT_CRASH_AT_STOP) {
        fixture_crash(&fixture);
        return;
    }
    fixture_stop(&fixture);
    if (!fixture.stopped) {
        model_fail("not stopped although the store answered everything");
    }
    fixture_crash(&fixture);
}

static void newer_owner_comes(void) {
    fixture.fences[model_below(SLOTS)] += 1000;
}

/* A slot given away while the store fails, or before what has failed is written again, loses what
 * it could not write, as in a crash. */
static void ownership_changes(void) {
    struct slot slot = {.index = (uint16_t)model_below(SLOTS)};
    bool has = (fixture.owned[slot.index / 8] >> (slot.index % 8) & 1) != 0;
    bool calm = !fixture.hold && fixture.store_up && fixture.answer == SHARD_STORED_OK &&
                shard_counters(fixture.shard)->writes_failed == failed_seen;
    if (has && !calm) {
        memory_goes();
    }
    fixture_own(&fixture, slot, !has);
}

/* Sealed in whatever state they are, and given to another who raises their fences as soon as the
 * shard says that all is written. Nothing is lost, whatever the store has refused meanwhile. */
static void slots_move(void) {
    uint8_t slots[SLOTS_MAX / 8] = {(uint8_t)model_between(1, (1u << SLOTS) - 1)};
    const uint8_t none[SLOTS_MAX / 8] = {0};
    fixture_seal(&fixture, slots, false);
    for (uint32_t i = 0; i < 8 && !fixture.update.sealed; i++) {
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, model_chance(90) ? SHARD_STORED_OK : SHARD_STORED_FAILED);
        } else {
            fixture_pass(&fixture, model_below(200 * MS));
        }
    }
    for (uint16_t i = 0; (fixture.update.sealed || plant == PLANT_UNSEALED) && i < SLOTS; i++) {
        if ((fixture.owned[0] & slots[0] & 1u << i) != 0) {
            if (fixture.shard->slots[i].fence != fixture.fences[i]) {
                memory_goes(); /* it has a newer owner already */
            }
            counted_moves++;
            fixture.fences[i]++;
            moving = true;
            fixture_own(&fixture, (struct slot){i}, false);
            moving = false;
        }
    }
    fixture_seal(&fixture, none, false);
}

static void foul_step(void) {
    switch (model_below(12)) {
    case 0:
        fixture.hold = true;
        break;
    case 1:
        fixture.hold = false;
        fixture_answer_all(&fixture);
        break;
    case 2:
        fixture.answer = model_chance(50) ? SHARD_STORED_FAILED : SHARD_STORED_OK;
        break;
    case 3:
        if (model_chance(30)) {
            fixture_store(&fixture, !fixture.store_up, false);
        }
        break;
    case 4:
        if (model_chance(20)) {
            newer_owner_comes();
        }
        break;
    case 5:
        fixture_linger(&fixture);
        break;
    case 6:
        seal(model_chance(40));
        break;
    default:
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, model_chance(80) ? SHARD_STORED_OK : SHARD_STORED_FAILED);
        }
        break;
    }
}

/* All keys full again, for everyone: the operator resets them. */
static void keys_reset(void) {
    weather_turns_fair();
    fixture_linger(&fixture);
    for (uint32_t i = 0; i < KEYS; i++) {
        enum reason reason = REASON_STORE_AWAY;
        for (uint32_t tries = 0; tries < RESET_TRIES && reason != REASON_NONE; tries++) {
            fixture_admin(&fixture, SHARD_ADMIN_RESET, keys[i].text, NULL);
            struct shard_admin_reply reply = fixture_reply(&fixture);
            reason = reply.reason;
            if (reason != REASON_NONE) { /* a newer owner is met with the first write */
                fixture_pass(&fixture, reply.wait_ms > 0 ? reply.wait_ms * MS : SECOND);
            }
        }
        if (reason != REASON_NONE) {
            model_fail("a key was not reset: %s", reason_text(reason));
        }
        keys[i].granted = 0;
        keys[i].lost_max = 0;
    }
}

static void step(void) {
    uint64_t what = model_below(1000);
    if (what < 650) {
        takes_happen();
    } else if (what < 850) {
        fixture_pass(&fixture, model_chance(3) ? model_below(10 * SECOND) : model_below(30 * MS));
    } else if (what < 860) {
        ownership_changes();
    } else if (what < 866) {
        shard_crashes();
    } else if (what < 868) {
        stop_and_start();
    } else if (what < 876) {
        slots_move();
    } else {
        foul_step();
    }
}

int main(int argc, char **argv) {
    struct model_arguments arguments = model_arguments(argc, argv, 200000, plants);
    plant = arguments.plant;
    static const struct fixture_plan plans[] = {{"default", 1, {{1, TOKEN_NS, BURST}}},
                                                {plan_text, 1, {{1, TOKEN_NS, BURST}}}};
    few_marks = arguments.seed % 2 == 0;
    /* In every other pair of runs buckets leave memory, and come back with their marks. */
    uint32_t resident_max = arguments.seed / 2 % 2 == 0 ? KEYS / 4 : 0;
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = SLOTS,
                                                          .mark_count = few_marks ? 8 : 0,
                                                          .resident_max = resident_max,
                                                          .settle_ms = 100});
    fixture.apply = on_apply;
    fixture.on_update = on_update;
    fixture.fail_lingers = true;
    fixture.fence_ignored = plant == PLANT_LATE_WRITE;
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(keys[i].text, sizeof keys[i].text, "key-%u", i);
    }
    fixture_plans(&fixture, plans, 2);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    for (model_step = 0; model_step < arguments.steps; model_step++) {
        if (model_step % 500 == 0) {
            keys_reset();
        }
        step();
    }
    keys_reset();
    counted_hibernations += shard_counters(fixture.shard)->hibernations;
    fixture_close(&fixture);
    printf("%" PRIu64 " grants, %" PRIu64 " held, %" PRIu64 " of them failed, %" PRIu64
           " refused, %" PRIu64 " crashes, %" PRIu64 " keys on demand, %" PRIu64
           " buckets left memory, %" PRIu64 " slots were handed over: nothing granted twice\n",
           counted_grants, counted_held, counted_failed, counted_refused, counted_crashes,
           counted_asked, counted_hibernations, counted_moves);
    return 0;
}
