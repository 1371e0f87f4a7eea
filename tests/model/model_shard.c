/*
 * A shard in random weather: takes, plans, operators, a store that is slow, fails, applies what it
 * said had failed, goes away or comes back with its last second lost, newer owners, crashes. Its
 * answers are compared with an oracle's (shard_oracle.h), and what it loads with what may be lost:
 *   - a record is always of a state that the bucket was in, never older than one acknowledged;
 *   - after a crash in fair weather nothing is lost that is older than the snapshot interval;
 *   - a slot given away or handed over, and a shard stopped, has lost nothing;
 *   - in the end everything has refilled: no bucket, no record, no memory is left.
 * In every other run memory may hold a few buckets only, and the others come back from the store.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/core/shard_parts.h"
#include "tests/model/model.h"
#include "tests/model/shard_oracle.h"
#include "tests/model/store_backup.h"
#include "tests/unit/shard_fixture.h"

#define SLOTS 4
#define INTERVAL (100 * MS)

/* Buckets that a run's memory may hold, if it is one of those; and how long what is to leave it has
 * been in the store, which loses no more than that. */
#define RESIDENT_MAX 12
#define SETTLE_MS 500

static struct fixture fixture;
static struct oracle oracle;
static bool hibernates, fair_phase;

/* Since when the store has answered everything at once; UINT64_MAX: it does not. */
static uint64_t fair_since_ns;
static bool crashing;              /* what is loaded may lack the last interval */
static bool complete[ORACLE_KEYS]; /* its slot was given away and nothing may lack */
static struct store_backup backup; /* the store as it was a while ago */
static uint64_t gained_ns;         /* when a slot was gained last */

static struct pending {
    uint64_t token;
    struct oracle_key *key;
    int32_t plan;
    bool is_assign;
    bool asks;       /* a reset that waits for its key to be read */
    uint64_t serial; /* of all that have asked */
} pending[SHARD_ADMIN_PENDING_MAX];
static uint32_t pending_count;

static uint64_t counted_takes, counted_granted, counted_loads, counted_crashes;
static uint64_t counted_asked, counted_hibernations, counted_moves;

enum {
    PLANT_REFUSED_WRITES,
    PLANT_LOST_WRITE,
    PLANT_LOST_DELETE,
    PLANT_LATE_WRITE,
    PLANT_LOST_ASLEEP,
    PLANT_LOST_ASSIGNED,
    PLANT_UNSEALED,
};
static const char *const plants[] = {"refused-writes", "lost-write",  "lost-delete",
                                     "late-write",     "lost-asleep", "lost-assigned",
                                     "unsealed-move",  NULL};
static int plant;
/* --- what the store has -------------------------------------------------------------------- */

/* The slot is being read, under a fence of its own. */
static void key_loaded(struct oracle_key *key, uint16_t slot_at) {
    struct record room;
    const struct record *record = oracle_stored(key, &fixture, &room);
    int64_t state = oracle_state_of(key, record, fixture.now_ns);
    if (state < 0 && !key->tail_lost) {
        model_fail("key %s: the record is of no state it was in", key->text);
    }
    if (state < (int64_t)key->acknowledged && !key->tail_lost) {
        model_fail("key %s: an acknowledged write is lost", key->text);
    }
    if (complete[key - oracle.keys] && state + 1 < key->state_count && !key->tail_lost) {
        model_fail("key %s: its slot was given away without its last state", key->text);
    }
    complete[key - oracle.keys] = false;
    bool fair = fair_since_ns != UINT64_MAX && fixture.now_ns - fair_since_ns > 4 * INTERVAL;
    if (crashing && fair && state + 1 < key->state_count &&
        key->states[state + 1].at_ns + INTERVAL <= fixture.now_ns) {
        model_fail("key %s: the crash lost a change of %" PRIu64 " ns before", key->text,
                   fixture.now_ns - key->states[state + 1].at_ns);
    }
    oracle_load(&oracle, key, record, fixture.now_ns);
    fixture.shard->slots[slot_at].former_until_ns = 0; /* it knows of no former owners */
    /* What has been read of the slot's assignments stays, whatever the store has lost since. */
    const struct shard_slot *slot = &fixture.shard->slots[slot_at];
    struct bytes name = bytes_of_text(key->text);
    if (!slot->keys_loaded && assignment_find(fixture.shard, slot, key_hash(name), name) == 0) {
        key->assigned = oracle_assigned(key, &fixture);
    }
    counted_loads++;
}

/* Keys are loaded once in a slot's life: on demand, or when its pages are begun; but again if the
 * answer did not come, for the store may have lost its tail since. */
static bool key_known[ORACLE_KEYS];

static bool key_to_load(const struct oracle_key *key, uint16_t slot_at) {
    const struct shard_slot *slot = &fixture.shard->slots[slot_at];
    struct bytes name = bytes_of_text(key->text);
    return fixture_slot(&fixture, key->text).index == slot_at &&
           (!key_known[key - oracle.keys] ||
            (slot->state == SLOT_LOADING &&
             bucket_find(fixture.shard, slot, key_hash(name), name) == 0));
}

static struct oracle_key *fetched; /* by the step to come */

static bool on_apply(struct fixture *f, const struct held_op *op) {
    uint16_t slot_at = op->slot.index;
    if (op->kind == SHARD_OP_RAISE_FENCE && op->fence == 0) {
        gained_ns = fixture.now_ns;
        for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
            key_known[i] =
                key_known[i] && fixture_slot(&fixture, oracle.keys[i].text).index != slot_at;
        }
    } else if (op->kind == SHARD_OP_FETCH) {
        struct oracle_key *key =
            oracle_find(&oracle, bytes_of(op->assign.key, op->assign.key_size));
        if (key_to_load(key, slot_at)) {
            key_known[key - oracle.keys] = true;
            key_loaded(key, slot_at);
        }
        fetched = key;
        if (plant == PLANT_LOST_ASLEEP && model_chance(5)) {
            fixture_forget(&fixture, bytes_of_text(key->text)); /* dropped before it was written */
        }
    } else if ((op->kind == SHARD_OP_LOAD_KEYS || op->kind == SHARD_OP_LOAD_BUCKETS) &&
               op->cursor == 0 && fixture.shard->slots[slot_at].state == SLOT_LOADING) {
        for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
            if (key_to_load(&oracle.keys[i], slot_at)) {
                key_known[i] = true;
                key_loaded(&oracle.keys[i], slot_at);
            }
        }
    } else if (op->kind == SHARD_OP_WRITE && op->assignments) {
        return plant != PLANT_LOST_ASSIGNED || !model_chance(50);
    } else if (op->kind == SHARD_OP_WRITE) {
        oracle_acknowledge(&oracle, op, fixture.now_ns);
        if (plant == PLANT_LOST_DELETE && op->entry_count > 0 && op->entries[0].remove) {
            return false;
        }
        return plant != PLANT_LOST_WRITE || !model_chance(2);
    }
    return true;
}

/* --- answers of the shard ------------------------------------------------------------------ */

static void replies_take(uint32_t keep) { /* all but the newest */
    while (fixture.reply_count > keep) {
        struct shard_admin_reply reply = fixture_reply(&fixture);
        uint32_t at = 0;
        while (at < pending_count && pending[at].token != reply.token) {
            at++;
        }
        if (at == pending_count) {
            model_fail("an operator's request was answered twice");
        }
        if (pending[at].is_assign && reply.reason == REASON_NONE) {
            pending[at].key->assigned = pending[at].plan;
        }
        pending_count--;
        pending[at] = pending[pending_count];
    }
}

static void replies_check(void) {
    replies_take(0);
}

static bool owned(const struct oracle_key *key) {
    uint16_t slot = fixture_slot(&fixture, key->text).index;
    return (fixture.owned[slot / 8] >> (slot % 8) & 1) != 0;
}

/* --- what happens -------------------------------------------------------------------------- */

/* Takes that wait for their key to be read, by token. */
#define ASKED_MAX 4096
static struct asked {
    bool waits;
    struct oracle_key *key;
    enum verb verb;
    uint64_t cost;
    struct plan_choice choice;
    uint64_t serial;
} asked[ASKED_MAX];
static uint32_t asked_next;
static uint64_t asked_serial;

/* Resets of the key that has been read, those that asked before that one: they come in turn. */
static void resets_happen(struct oracle_key *key, uint64_t before) {
    for (uint32_t i = 0; i < pending_count; i++) {
        if (pending[i].asks && pending[i].key == key && pending[i].serial < before) {
            pending[i].asks = false;
            oracle_reset(key, fixture.now_ns);
        }
    }
}

/* The owner has said that it does not decide for now. That it does in the end, the fair weather
 * shows. */
static bool undecided(const struct oracle_key *key, enum reason reason) {
    return owned(key) ? reason == REASON_LOADING || reason == REASON_MOVING ||
                            (hibernates && reason == REASON_ASLEEP)
                      : reason == REASON_NOT_OWNER;
}

static void on_update(struct fixture *f, const struct shard_update *update) {
    replies_take(update->admin_reply_count); /* of earlier steps: plans may be assigned now */
    for (uint32_t i = 0; i < update->release_count; i++) {
        struct asked *of = &asked[update->releases[i].token];
        const struct take_result *result = update->releases[i].result;
        if (!of->waits) {
            model_fail("a take was answered twice");
        }
        of->waits = false;
        if (result == NULL || undecided(of->key, result->reason)) {
            continue;
        }
        resets_happen(of->key, of->serial);
        struct take_result expected =
            oracle_take(&oracle, of->key, of->verb, of->cost, &of->choice, fixture.now_ns);
        oracle_check(of->key, result, &expected);
        counted_asked++;
    }
    if (fetched != NULL) {
        resets_happen(fetched, UINT64_MAX);
        fetched = NULL;
    }
}

static void takes_happen(void) {
    struct shard_item items[8];
    struct take_result results[8];
    struct shard_event event = {.kind = SHARD_EVENT_TAKES};
    event.takes.items = items;
    event.takes.count = (uint32_t)model_between(1, 8);
    for (uint32_t i = 0; i < event.takes.count; i++) {
        uint64_t verb = model_below(20);
        items[i] = (struct shard_item){.verb = verb == 0   ? VERB_PEEK
                                               : verb == 1 ? VERB_REFUND
                                                           : VERB_TAKE};
        items[i].take.key = bytes_of_text(oracle_key(&oracle)->text);
        items[i].take.cost_tokens = model_chance(5) ? model_below(200) : model_below(6);
        items[i].take.plan = oracle_choice();
        while (asked[asked_next].waits) {
            asked_next = (asked_next + 1) % ASKED_MAX;
        }
        items[i].token = asked_next;
        asked[asked_next] = (struct asked){.key = oracle_find(&oracle, items[i].take.key),
                                           .verb = items[i].verb,
                                           .cost = items[i].take.cost_tokens,
                                           .choice = items[i].take.plan};
        asked_next = (asked_next + 1) % ASKED_MAX;
    }
    bool hold = fixture.hold, held[8];
    fixture.hold = true; /* results first, then what the store says */
    fixture_step(&fixture, &event);
    if (fixture.update.result_count != event.takes.count) {
        model_fail("%u results for %u takes", fixture.update.result_count, event.takes.count);
    }
    memcpy(results, fixture.update.results, event.takes.count * sizeof results[0]);
    memcpy(held, fixture.update.held, sizeof held);
    for (uint32_t i = 0; i < event.takes.count; i++) {
        struct oracle_key *key = oracle_find(&oracle, items[i].take.key);
        if (held[i]) {
            asked[items[i].token].waits = true;
            asked_serial++;
            asked[items[i].token].serial = asked_serial;
            continue;
        }
        if (undecided(key, results[i].reason)) {
            continue;
        }
        struct take_result expected =
            oracle_take(&oracle, key, items[i].verb, items[i].take.cost_tokens, &items[i].take.plan,
                        fixture.now_ns);
        oracle_check(key, &results[i], &expected);
        counted_takes++;
        counted_granted += expected.allowed;
        if (plant == PLANT_REFUSED_WRITES && !expected.allowed) {
            fixture_take(&fixture, key->text, 1, NULL);
        }
    }
    fixture.hold = hold;
    if (!hold) {
        fixture_answer_all(&fixture);
    }
}

static void admin_happens(void) {
    struct oracle_key *key = oracle_key(&oracle);
    if (pending_count == SHARD_ADMIN_PENDING_MAX) {
        return;
    }
    bool is_assign = model_chance(60);
    int32_t plan = (int32_t)model_below(ORACLE_PLANS + 1) - 1;
    asked_serial++;
    pending[pending_count] =
        (struct pending){fixture.token + 1, key, plan, is_assign, false, asked_serial};
    pending_count++;
    uint32_t askers = fixture.shard->admin_askers;
    bool hold = fixture.hold;
    fixture.hold = true;
    fixture_admin(&fixture, is_assign ? SHARD_ADMIN_ASSIGN : SHARD_ADMIN_RESET, key->text,
                  is_assign && plan >= 0 ? oracle_plan_names[plan] : NULL);
    bool refused = fixture.reply_count > 0 && fixture.replies[0].reason != REASON_NONE;
    pending[pending_count - 1].asks = fixture.shard->admin_askers > askers;
    if (!is_assign && !refused && !pending[pending_count - 1].asks) {
        oracle_reset(key, fixture.now_ns); /* at once in memory, answered when it is stored */
    }
    replies_check();
    fixture.hold = hold;
    if (!hold) {
        fixture_answer_all(&fixture);
    }
}

static void store_is_calm(void) {
    fixture.hold = false;
    fixture.answer = SHARD_STORED_OK;
    fixture.fail_applies = false;
    fixture_answer_all(&fixture);
    if (!fixture.store_up) {
        fixture_store(&fixture, true, false);
    }
}

/* The store answers everything: soon all is served, and all that was is stored. */
static void weather_turns_fair(void) {
    store_is_calm();
    fixture_own_all(&fixture);
    const struct shard_counters *counters = shard_counters(fixture.shard);
    fixture_pass(&fixture, 5 * INTERVAL);
    if (counters->slots_serving != SLOTS) {
        fixture_pass(&fixture, 5 * INTERVAL); /* a newer owner is met only with the next write */
    }
    replies_check();
    if (counters->slots_serving != SLOTS) {
        model_fail("%" PRIu64 " slots are served", counters->slots_serving);
    }
    if (pending_count != 0) {
        model_fail("%u operator's requests were not answered", pending_count);
    }
    oracle_check_stored(&oracle, &fixture);
    fair_since_ns = fair_phase ? fixture.now_ns : UINT64_MAX;
}

/* Only in calm, so that it is clear which buckets have met the plan: those that were loaded while
 * it was not there do so when it comes back, at the latest by a round of the sweep. */
static void plan_goes_or_comes(void) {
    bool *there = &oracle.plan_there[ORACLE_PLANS - 1];
    weather_turns_fair();
    *there = !*there;
    oracle_plans_tell(&oracle, &fixture);
    if (*there) {
        fixture_pass(&fixture, 3 * SECOND);
        for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
            oracle_now(&oracle.keys[i])->unknown = false;
        }
    }
}

static void plans_change(void) {
    /* A bucket that was away meanwhile comes back like one that is loaded: its limits are unknown.
     * Which were, nobody can tell here. */
    if (!hibernates && model_chance(30)) {
        plan_goes_or_comes();
        return;
    }
    struct terms *terms = &oracle.plans[model_below(ORACLE_PLANS - 1)];
    terms->limits[model_below(terms->limit_count)].burst_tokens += 1 + model_below(3);
    if (terms->limits[0].burst_tokens > 60) {
        terms->limits[0].burst_tokens = 2;
    }
    oracle_plans_tell(&oracle, &fixture);
}

/* Or the slot has a newer owner that the shard has not met yet: what it decides now is dropped. */
static bool fence_holds(uint16_t slot_at) {
    return fixture.shard->slots[slot_at].fence == fixture.fences[slot_at];
}

/* Somebody else is given the slot, and has raised its fence if it is fenced. `whole`: of what this
 * shard knew nothing may be missing. */
static void slot_given_away(struct slot slot, bool whole, bool fenced) {
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
        if (fixture_slot(&fixture, oracle.keys[i].text).index == slot.index) {
            complete[i] = whole && key_known[i];
        }
    }
    counted_moves += fenced;
    fixture.fences[slot.index] += fenced;
    fixture_own(&fixture, slot, false);
}

static void ownership_changes(void) {
    struct slot slot = {.index = (uint16_t)model_below(SLOTS)};
    bool holds = fence_holds(slot.index), fair = fair_since_ns != UINT64_MAX && !fixture.hold;
    bool has = (fixture.owned[slot.index / 8] >> (slot.index % 8) & 1) != 0;
    if (has) { /* with everything answered it is let go in that step, and nothing may be missing */
        slot_given_away(slot, holds && fair, false);
    } else {
        fixture_own(&fixture, slot, true);
    }
}

/* As an operator has it: sealed in whatever state they are, and when the shard says that all of it
 * is written, their next owner raises their fences. What is not written by then is lost. */
static void slots_move(void) {
    uint8_t slots[SLOTS_MAX / 8] = {(uint8_t)model_between(1, (1u << SLOTS) - 1)};
    const uint8_t none[SLOTS_MAX / 8] = {0};
    fixture_seal(&fixture, slots, false);
    for (uint32_t i = 0; i < 6 && !fixture.update.sealed; i++) {
        if (fixture.held_count > 0 && model_chance(80)) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        } else if (model_chance(50)) {
            takes_happen();
        } else {
            fixture_pass(&fixture, model_below(40 * MS));
        }
    }
    for (uint16_t i = 0; (fixture.update.sealed || plant == PLANT_UNSEALED) && i < SLOTS; i++) {
        if ((fixture.owned[0] & slots[0] & 1u << i) != 0) {
            slot_given_away((struct slot){i}, fence_holds(i), true);
        }
    }
    fixture_seal(&fixture, none, false);
}

/* Somebody else is given the slot, serves a while, and gives it back. */
static void newer_owner_comes(void) {
    uint16_t slot = (uint16_t)model_below(SLOTS);
    fixture.fences[slot] += 1000;
    fair_since_ns = UINT64_MAX;
}

static void shard_crashes(void) {
    while (fixture.held_count > 0 && model_chance(70)) {
        fixture_answer(&fixture, SHARD_STORED_OK); /* of which the shard hears no more */
    }
    replies_check();
    pending_count = 0;
    crashing = true;
    for (uint32_t i = 0; i < ASKED_MAX; i++) {
        asked[i].waits = false;
    }
    counted_crashes++;
    counted_hibernations += shard_counters(fixture.shard)->hibernations;
    fixture_crash(&fixture);
    crashing = false;
    replies_check();
}

static void record_gone(struct bytes key) {
    oracle_find(&oracle, key)->tail_lost = true;
}

/* The store comes back as another process that has lost the end of its log: records are as they
 * were a while ago, and so are assignments. Records that had been deleted stay so here: a bucket
 * that is not in memory any more cannot be written again. */
static void store_loses_its_tail(void) {
    /* What an owner has not read in, it cannot write again: what its predecessor wrote last is lost
     * with both of them. */
    if (hibernates &&
        (fixture.now_ns - backup.made_ns > SETTLE_MS * MS || gained_ns >= backup.made_ns)) {
        store_backup_make(&backup, &fixture);
        return;
    }
    fixture_store(&fixture, false, false);
    store_backup_return(&backup, &fixture, record_gone);
    fair_since_ns = UINT64_MAX;
    fixture_store(&fixture, true, true);
}

static void stop_and_start(void) {
    bool whole[ORACLE_KEYS];
    weather_turns_fair();
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
        whole[i] = fence_holds(fixture_slot(&fixture, oracle.keys[i].text).index);
    }
    takes_happen();
    fixture_stop(&fixture);
    if (!fixture.stopped) {
        model_fail("not stopped although the store answered everything");
    }
    memcpy(complete, whole, sizeof complete);
    fixture_crash(&fixture);
    pending_count = 0;
}

static void foul_step(void) {
    switch (model_below(16)) {
    case 0:
        fixture.hold = true;
        break;
    case 1:
        fixture.hold = false;
        fixture_answer_all(&fixture);
        break;
    case 2:
        fixture.answer = model_chance(50) ? SHARD_STORED_FAILED : SHARD_STORED_OK;
        fixture.fail_applies = model_chance(50);
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
        if (model_chance(10)) {
            store_loses_its_tail();
        }
        break;
    default:
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, model_chance(80) ? SHARD_STORED_OK : SHARD_STORED_FAILED);
        }
        break;
    }
}

static void step(void) {
    uint64_t what = model_below(1000);
    if (what < 700) {
        takes_happen();
    } else if (what < 900) {
        fixture_pass(&fixture, model_chance(5) ? model_below(3 * SECOND) : model_below(40 * MS));
    } else if (what < 930) {
        admin_happens();
    } else if (what < 940) {
        plans_change();
    } else if (what < 950) {
        ownership_changes();
    } else if (what >= 990) {
        slots_move();
    } else if (what < 953) {
        shard_crashes();
    } else if (what == 953) {
        stop_and_start();
    } else if (what == 954 || (hibernates && what < 965)) {
        store_backup_make(&backup, &fixture);
    } else if (!fair_phase) {
        foul_step();
    }
    replies_check();
}

/* Writes later than promised: the shard believes its interval to be longer. */
static uint64_t interval_of_shard(void) {
    return plant == PLANT_LATE_WRITE ? 3 * INTERVAL : INTERVAL;
}

int main(int argc, char **argv) {
    struct model_arguments arguments = model_arguments(argc, argv, 300000, plants);
    plant = arguments.plant;
    hibernates = plant == PLANT_LOST_ASLEEP || arguments.seed % 2 == 0;
    struct fixture_options options = {.slot_count = SLOTS,
                                      .snapshot_interval_ns = interval_of_shard(),
                                      .resident_max = hibernates ? RESIDENT_MAX : 0,
                                      .settle_ms = SETTLE_MS};
    fixture_open_bare(&fixture, &options);
    fixture.apply = on_apply;
    fixture.on_update = on_update;
    oracle_init(&oracle);
    oracle_plans_tell(&oracle, &fixture);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    for (model_step = 0; model_step < arguments.steps; model_step++) {
        if (model_step % 400 == 0) {
            fair_phase = model_chance(50);
            weather_turns_fair();
        }
        step();
    }
    weather_turns_fair();
    oracle_refills(&oracle, &fixture);
    fixture_close(&fixture);
    oracle_fini(&oracle);
    store_backup_free(&backup);
    printf("%" PRIu64 " takes, %" PRIu64 " granted, %" PRIu64 " crashes, %" PRIu64
           " keys loaded, %" PRIu64 " takes waited for one, %" PRIu64
           " buckets left memory, %" PRIu64 " slots were handed over: no difference\n",
           counted_takes, counted_granted, counted_crashes, counted_loads, counted_asked,
           counted_hibernations, counted_moves);
    return 0;
}
