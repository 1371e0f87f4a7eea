/* What shards and routers do, step by step. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/bucket.h"
#include "router/core/router.h"
#include "runtime/clock.h"
#include "server/core/handover.h"
#include "server/core/shard_parts.h"
#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/parts.h"
#include "tests/sim/report.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

#define SHARDS_OF_RUN_MAX 512

/* What a former owner may need to hear of it, when nothing else goes wrong: a write is due after
 * the snapshot interval, and its refusal comes with the answer. A heartbeat may be as long away. */
#define ZOMBIE_SLACK_NS (500 * MS)

struct shard_seen {
    const struct shard *shard;
    struct process *process;
    uint64_t fences[SLOTS_MAX];
    uint64_t now_ns;              /* cluster time of its last event */
    uint64_t behind_ns;           /* what that was behind the store's clock */
    uint8_t owned[SLOTS_MAX / 8]; /* every slot that it ever had, for a planted fault */
    bool gone;                    /* destroyed: its process ends in order, and is alive still */
};

struct decided {
    enum verb verb;
    uint64_t cost, now_ns;
    struct terms terms;
    bool allowed;
};

static struct shard_seen *shards[SHARDS_OF_RUN_MAX];
static uint32_t shard_count;
static struct decided decided[TAKES_PER_REQUEST_MAX];
uint32_t decided_count;

/* --- the rules, wrapped -------------------------------------------------------------------- */

/* Tokens that are granted anew each time that what others have granted should have been heard of,
 * and how often that is: as much as the report's gateways admitted beyond their limit, 90/s. */
#define LATE_SYNC_TOKENS 18
#define LATE_SYNC_NS (200 * MS)

static bool late_sync_grants(uint64_t cost, uint64_t now_ns) {
    static uint64_t synced, left;
    if (now_ns / LATE_SYNC_NS > synced) {
        synced = now_ns / LATE_SYNC_NS;
        left = LATE_SYNC_TOKENS;
    }
    bool grants = cost <= left;
    left -= grants ? cost : 0;
    return grants;
}

void __real_bucket_decide(const struct terms *terms, struct tat tats[], enum verb verb,
                          uint64_t cost, uint64_t now_ns, struct take_result *result);
void __wrap_bucket_decide(const struct terms *terms, struct tat tats[], enum verb verb,
                          uint64_t cost, uint64_t now_ns, struct take_result *result);

void __wrap_bucket_decide(const struct terms *terms, struct tat tats[], enum verb verb,
                          uint64_t cost, uint64_t now_ns, struct take_result *result) {
    uint64_t charged = check_planted(PLANT_HALF_CHARGED) && verb == VERB_TAKE ? cost / 2 : cost;
    __real_bucket_decide(terms, tats, verb, charged, now_ns, result);
    if (check_planted(PLANT_REFUSED) && verb == VERB_TAKE && sim_chance(STREAM_SYSTEM, 2)) {
        result->allowed = false;
    }
    if (check_planted(PLANT_LATE_SYNC) && verb == VERB_TAKE && !result->allowed) {
        result->allowed = late_sync_grants(cost, now_ns);
    }
    assert(decided_count < TAKES_PER_REQUEST_MAX);
    decided[decided_count] = (struct decided){verb, cost, now_ns, *terms, result->allowed};
    decided_count++;
}

bool __real_bucket_full(const struct terms *terms, const struct tat tats[], uint64_t now_ns);
bool __wrap_bucket_full(const struct terms *terms, const struct tat tats[], uint64_t now_ns);

bool __wrap_bucket_full(const struct terms *terms, const struct tat tats[], uint64_t now_ns) {
    return !check_planted(PLANT_KEPT) && __real_bucket_full(terms, tats, now_ns);
}

void __real_bucket_convert(const struct terms *from, const struct terms *to, struct tat tats[],
                           uint64_t now_ns);
void __wrap_bucket_convert(const struct terms *from, const struct terms *to, struct tat tats[],
                           uint64_t now_ns);

void __wrap_bucket_convert(const struct terms *from, const struct terms *to, struct tat tats[],
                           uint64_t now_ns) {
    __real_bucket_convert(from, to, tats, now_ns);
    if (check_planted(PLANT_FORGIVEN)) {
        memset(tats, 0, to->limit_count * sizeof tats[0]);
    }
}

uint64_t __real_clock_now_ns(struct cluster_clock *clock, uint64_t monotonic_ns);
uint64_t __wrap_clock_now_ns(struct cluster_clock *clock, uint64_t monotonic_ns);

uint64_t __wrap_clock_now_ns(struct cluster_clock *clock, uint64_t monotonic_ns) {
    uint64_t now_ns = __real_clock_now_ns(clock, monotonic_ns);
    check_clock_read(clock, monotonic_ns, now_ns);
    return check_planted(PLANT_CLOCK_BACK) ? now_ns - sim_below(STREAM_SYSTEM, 5 * MS) : now_ns;
}

/* --- shards -------------------------------------------------------------------------------- */

static struct shard_seen *seen_of(const struct shard *shard) {
    struct process *process = process_current();
    for (uint32_t i = 0; i < shard_count; i++) {
        if (shards[i]->shard == shard && shards[i]->process == process && !shards[i]->gone) {
            return shards[i];
        }
    }
    assert(shard_count < SHARDS_OF_RUN_MAX);
    struct shard_seen *seen = sim_keep(sizeof *seen);
    seen->shard = shard;
    seen->process = process;
    shards[shard_count] = seen;
    shard_count++;
    return seen;
}

void __real_shard_destroy(struct shard *shard);
void __wrap_shard_destroy(struct shard *shard);
void __wrap_shard_destroy(struct shard *shard) {
    for (uint32_t i = 0; i < shard_count; i++) {
        bool same = shards[i]->shard == shard && shards[i]->process == process_current();
        shards[i]->gone = shards[i]->gone || same;
    }
    __real_shard_destroy(shard);
}

bool shards_decide(const struct process *process, uint32_t slot) {
    bool decide = false;
    for (uint32_t i = 0; i < shard_count && process->alive; i++) {
        decide = decide || (shards[i]->process == process && !shards[i]->gone &&
                            slot_refusal(&shards[i]->shard->slots[slot]) == REASON_NONE);
    }
    return decide;
}

static void zombie_look(const struct shard_seen *seen, uint32_t slot) {
    uint64_t since_ns, calm_ns = check_calm_since();
    const struct process *by;
    sim_cover(COVER_ZOMBIE_GRANT);
    fence_newest(slot, &since_ns, &by);
    if (check_disturbed_since() != 0 || world.unpromised) {
        return;
    }
    since_ns = calm_ns > since_ns ? calm_ns : since_ns;
    uint64_t most_ns =
        world.config.snapshot_interval_ns + world.config.lease_ttl_ns / 10 + ZOMBIE_SLACK_NS;
    if (sim_now() > since_ns + most_ns) {
        sim_fail("zombie", "%s grants on slot %u, which was another's %" PRIu64 " ms ago",
                 seen->process->name, slot, (sim_now() - since_ns) / MS);
    }
}

/* The slow plan, which every other one may be told from by its burst, is relaxed in every run. */
static bool terms_strict(const struct terms *terms) {
    return config_has(&world.config, FEATURE_STRICT) &&
           !(terms->limit_count == 1 && terms->limits[0].burst_tokens == SLOW_PLAN_BURST);
}

/* Reasons for which a take is refused that was decided already, and then not committed. */
static bool reason_after_decision(enum reason reason) {
    return reason == REASON_MEMORY_FULL || reason == REASON_TERMS_FULL ||
           reason == REASON_STORE_AWAY || reason == REASON_QUEUE_FULL;
}

/* Of a take that was answered at once. */
static void rounded_look(const struct shard *shard, struct bytes key) {
    uint64_t hash = key_hash(key);
    const struct shard_slot *slot = &shard->slots[slot_of_hash(hash, world.config.slots).index];
    uint32_t ref = bucket_find(shard, slot, hash, key);
    if (ref != 0 && resident_at(&shard->arena, ref)->rounded) {
        sim_cover(COVER_ROUNDED);
    }
}

/* One take, as it was decided: `from` is what the bucket's rule said. */
static void decision_look(const struct shard_seen *seen, const struct check_asked *take,
                          uint64_t token, const struct decided *from, bool held) {
    assert(from->verb == take->verb && from->cost == take->cost);
    uint32_t slot = slot_of_hash(key_hash(take->key), world.config.slots).index;
    uint64_t raised_at_ns;
    const struct process *by;
    uint64_t newest = fence_newest(slot, &raised_at_ns, &by);
    struct check_decision decision = {.key = take->key,
                                      .verb = take->verb,
                                      .cost = from->cost,
                                      .allowed = from->allowed,
                                      .now_ns = from->now_ns,
                                      .decided_ns = sim_now(),
                                      .terms = &from->terms,
                                      .process = seen->process,
                                      .zombie = seen->fences[slot] < newest && by != seen->process,
                                      .strict = terms_strict(&from->terms)};
    sim_trace("%s decides %s %.*s %" PRIu64 " %s%s", seen->process->name, verb_text(take->verb),
              (int)take->key.size, (const char *)take->key.data, from->cost,
              from->allowed ? held ? "held" : "granted" : "refused",
              decision.zombie ? " (zombie)" : "");
    if (decision.zombie && decision.allowed && decision.verb == VERB_TAKE) {
        zombie_look(seen, slot);
    }
    keys_decided(&decision);
    bool takes = decision.verb == VERB_TAKE && decision.allowed;
    if (held) {
        sim_cover(COVER_HELD);
        held_keep(seen->shard, token, &decision);
    } else if (takes && decision.strict) {
        keys_granted_strictly(&decision);
        rounded_look(seen->shard, take->key);
    }
}

static bool was_decided(const struct take_result *result) {
    return result->code == CODE_OK || reason_after_decision(result->reason);
}

/* `held` is what the shard holds back; a planted fault may tell its shell otherwise. */
static void decisions_look(const struct shard_seen *seen, const struct shard_event *event,
                           const struct shard_update *update, const bool *held) {
    uint32_t at = 0;
    if (update->result_count != event->takes.count) {
        sim_fail("answers", "a shard gave %u results to %u takes", update->result_count,
                 event->takes.count);
    }
    for (uint32_t i = 0; i < update->result_count; i++) {
        const struct take_result *result = &update->results[i];
        const struct shard_item *item = &event->takes.items[i];
        struct check_asked take = {item->take.key, item->verb, item->take.cost_tokens};
        if (result->code == CODE_MOVED) {
            sim_cover(COVER_TAKE_MOVED);
        }
        if (held[i] && !result->allowed) {
            sim_cover(COVER_ASKED);
            asked_keep(seen->shard, seen->process, item->token, &take);
            continue;
        }
        if (!was_decided(result)) {
            continue;
        }
        assert(at < decided_count);
        const struct decided *from = &decided[at++];
        if (result->code == CODE_OK) {
            decision_look(seen, &take, item->token, from, update->held[i]);
        }
    }
}

/* What was held back goes out, and what waited for its key is decided. */
static void releases_look(const struct shard_seen *seen, const struct shard_update *update) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < update->release_count; i++) {
        const struct shard_release *release = &update->releases[i];
        const struct check_asked *take = asked_take(seen->shard, seen->process, release->token);
        if (take == NULL) {
            held_released(seen->shard, seen->process, release);
        } else if (release->kind != SHARD_RELEASE_REASON && was_decided(release->result)) {
            assert(at < decided_count);
            reset_keys_look(at);
            const struct decided *from = &decided[at++];
            if (release->result->code == CODE_OK) {
                decision_look(seen, take, release->token, from,
                              release->kind == SHARD_RELEASE_RESULT_HELD);
            }
        }
    }
}

static void stored_look(struct shard_seen *seen, const struct shard_event *event) {
    if (event->stored.status == SHARD_STORED_FAILED) {
        sim_cover(COVER_STORED_FAILED);
    } else if (event->stored.op_kind == SHARD_OP_RAISE_FENCE &&
               event->stored.status == SHARD_STORED_OK) {
        seen->fences[event->stored.slot.index] = event->stored.fence;
    }
}

static void written_look(const struct shard_event *event) {
    for (uint32_t i = 0; i < event->written.count; i++) {
        sim_cover_many(COVER_STORED_FAILED, event->written.writes[i].status == SHARD_STORED_FAILED);
    }
}

static void state_cover(const struct shard *shard, uint32_t slot) {
    static const int covers[] = {
        [SLOT_ABSENT] = COVER_SLOT_ABSENT,   [SLOT_FENCING] = COVER_SLOT_FENCING,
        [SLOT_LOADING] = COVER_SLOT_LOADING, [SLOT_SERVING] = COVER_SLOT_SERVING,
        [SLOT_SEALED] = COVER_SLOT_SEALED,   [SLOT_RELEASING] = COVER_SLOT_RELEASING,
    };
    sim_cover(covers[shard->slots[slot].state]);
}

static void shard_look(struct shard_seen *seen, const struct shard_event *event) {
    const struct shard *shard = seen->shard;
    if (event->kind == SHARD_EVENT_STORED) {
        state_cover(shard, event->stored.slot.index);
    } else if (event->kind == SHARD_EVENT_WRITTEN) {
        for (uint32_t i = 0; i < event->written.count; i++) {
            state_cover(shard, event->written.writes[i].slot.index);
        }
    } else if (event->kind == SHARD_EVENT_OWN || event->kind == SHARD_EVENT_SEAL) {
        for (uint32_t i = 0; i < shard->options.slot_count; i++) {
            state_cover(shard, i);
        }
    }
    if (shard->pending_count > SHARD_ADMIN_PENDING_MAX ||
        shard->streaming_count > SHARD_LOADING_MAX || shard->fencing_count > SHARD_FENCING_MAX) {
        sim_fail("bounds", "%s: %u operators wait, %u slots are fenced, %u read",
                 seen->process->name, shard->pending_count, shard->fencing_count,
                 shard->streaming_count);
    }
}

/* Cluster time is the store's, as exact as a round trip on this day allows. */
static void clock_look(struct shard_seen *seen, const struct shard_event *event) {
    uint64_t true_ns = store_clock(), now_ns = event->now_ns;
    uint64_t wrong_ns = now_ns > true_ns ? now_ns - true_ns : true_ns - now_ns;
    if (now_ns < seen->now_ns) {
        sim_fail("clock", "%s: cluster time went back by %" PRIu64 " us", seen->process->name,
                 (seen->now_ns - now_ns) / US);
    }
    if (wrong_ns > check_clock_bound()) {
        sim_fail("clock", "%s: cluster time is wrong by %" PRIu64 " ms", seen->process->name,
                 wrong_ns / MS);
    }
    seen->now_ns = now_ns;
    seen->behind_ns = true_ns > now_ns ? true_ns - now_ns : 0;
}

void __real_shard_step(struct shard *shard, const struct shard_event *event,
                       struct shard_update *update);
void __wrap_shard_step(struct shard *shard, const struct shard_event *event,
                       struct shard_update *update);

void __wrap_shard_step(struct shard *shard, const struct shard_event *given,
                       struct shard_update *update) {
    struct shard_seen *seen = seen_of(shard);
    struct shard_event event = *given;
    report_of_run()->steps++;
    decided_count = 0;
    plant_event(&event, seen->owned);
    plant_shard(shard);
    clock_look(seen, &event);
    if (event.kind == SHARD_EVENT_STORED) {
        stored_look(seen, &event);
    } else if (event.kind == SHARD_EVENT_WRITTEN) {
        written_look(&event);
    } else if (event.kind == SHARD_EVENT_PLANS) {
        keys_plans_change();
    }
    uint32_t askers = shard->admin_askers;
    __real_shard_step(shard, &event, update);
    if (event.kind == SHARD_EVENT_PLANS) {
        plans_seen(shard, seen->process);
    }
    bool waits = shard->admin_askers > askers;
    if (event.kind == SHARD_EVENT_ADMIN && event.admin.kind == SHARD_ADMIN_RESET && !waits) {
        reset_look(&event, update, seen->process, seen->fences);
    }
    const bool *held = update->held;
    if (check_planted(PLANT_EARLY)) {
        static const bool none[TAKES_PER_REQUEST_MAX];
        update->held = none;
        update->held_count = 0;
    }
    for (uint32_t i = 0; i < update->op_count; i++) {
        if (update->ops[i].kind == SHARD_OP_RAISE_FENCE) {
            sim_cover_many(COVER_FENCE_AGAIN, update->ops[i].fence != 0);
        }
    }
    releases_look(seen, update);
    reset_keys_look(UINT32_MAX);
    sleep_look(shard, process_current(), update);
    if (event.kind == SHARD_EVENT_TAKES) {
        decisions_look(seen, &event, update, held);
    }
    update->sealed =
        update->sealed || (check_planted(PLANT_UNSEALED) && event.kind == SHARD_EVENT_SEAL);
    for (uint32_t i = 0; i < update->notice_count; i++) {
        sim_cover_many(COVER_SLOT_DROPPED, update->notices[i].kind == SHARD_NOTICE_FENCED);
    }
    shard_look(seen, &event);
}

/* --- routers ------------------------------------------------------------------------------- */

void __real_router_step(struct router *router, const struct router_event *event,
                        struct router_update *update);
void __wrap_router_step(struct router *router, const struct router_event *event,
                        struct router_update *update);

static void router_look(const struct router *router) {
    const struct router_counters *counters = router_counters(router);
    struct router_link_info info;
    if (counters->pending_items > router_items_max()) {
        sim_fail("bounds", "%s: %" PRIu64 " takes wait, at most %u may", process_current()->name,
                 counters->pending_items, router_items_max());
    }
    for (uint32_t i = 0; router_link_info(router, i, &info); i++) {
        if (info.outstanding > BATCHES_PER_LINK_MAX) {
            sim_fail("bounds", "%s: %u batches outstanding on a link", process_current()->name,
                     info.outstanding);
        }
    }
}

void __wrap_router_step(struct router *router, const struct router_event *given,
                        struct router_update *update) {
    struct router_event deaf = {.kind = ROUTER_EVENT_TURN, .now_ns = given->now_ns};
    bool first = router_map(router) == NULL || router_map(router)->epoch.number == 0;
    bool spoilt = given->kind == ROUTER_EVENT_VIEW && !first &&
                  (check_planted(PLANT_DEAF) || scenario_deaf(process_current()));
    const struct router_event *event = spoilt ? &deaf : given;
    static struct router_answer answers[2 * TAKES_PER_REQUEST_MAX];
    uint64_t retries = router_counters(router)->retries;
    report_of_run()->steps++;
    decided_count = 0; /* a router judges what the store has decided: not looked at here */
    __real_router_step(router, event, update);
    sim_cover_many(COVER_RETRY, router_counters(router)->retries - retries);
    router_look(router);
    if (update->answer_count == 0 || !sim_chance(STREAM_SYSTEM, 5)) {
        return;
    }
    if (check_planted(PLANT_LOST_ANSWER)) {
        update->answer_count--;
    } else if (check_planted(PLANT_SECOND_ANSWER)) {
        memcpy(answers, update->answers, update->answer_count * sizeof answers[0]);
        answers[update->answer_count] = answers[0];
        update->answers = answers;
        update->answer_count++;
    }
}

void __real_handover_step(struct handover *handover, const struct handover_event *event,
                          struct map *next, struct handover_update *update);
void __wrap_handover_step(struct handover *handover, const struct handover_event *event,
                          struct map *next, struct handover_update *update);

void __wrap_handover_step(struct handover *handover, const struct handover_event *event,
                          struct map *next, struct handover_update *update) {
    __real_handover_step(handover, event, next, update);
    static const int covers[] = {
        [HANDOVER_REACHING] = COVER_HANDOVER_REACHING,
        [HANDOVER_SEALING] = COVER_HANDOVER_SEALING,
        [HANDOVER_CHANGING] = COVER_HANDOVER_CHANGING,
        [HANDOVER_SETTLING] = COVER_HANDOVER_SETTLING,
    };
    if (handover->state != HANDOVER_IDLE) {
        sim_cover(covers[handover->state]);
    }
}

/* --- answers to clients -------------------------------------------------------------------- */

/* When a cluster that was begun with the run answers everything. */
#define STEADY_NS (4 * SECOND)

void check_answer(const struct check_answer *answer) {
    const struct take_result *result = answer->result;
    bool by_owner = result->code == CODE_OK && (result->flags & TAKE_FLAG_DEGRADED) == 0;
    scenario_answered(answer, by_owner);
    if (world.config.steady && answer->sent_ns > STEADY_NS && !by_owner) {
        sim_fail("steady", "key-%u: a take was not answered by its owner: %s", answer->key,
                 result->code == CODE_OK ? "degraded" : code_text(result->code));
    }
    if (answer->sent_ns < world.config.faults_end_ns + CHECK_SETTLE_NS || world.unpromised) {
        return;
    }
    bool full = result->code == CODE_OVERLOADED && config_has(&world.config, FEATURE_SMALL_ROUTER);
    if (result->code != CODE_OK && !full) {
        sim_fail("liveness",
                 "key-%u: nothing has gone wrong for %" PRIu64 " ms, and a take fails: %s",
                 answer->key, (answer->sent_ns - world.config.faults_end_ns) / MS,
                 code_text(result->code));
    }
    if (result->code == CODE_OK && (result->flags & TAKE_FLAG_DEGRADED) != 0) {
        sim_fail("liveness",
                 "key-%u: nothing has gone wrong for %" PRIu64 " ms, and no owner answers",
                 answer->key, (answer->sent_ns - world.config.faults_end_ns) / MS);
    }
}

/* An answer is a deadline, two ways and a turn away; routers may have been dead or paused. */
#define ANSWER_SLACK_NS (200 * MS)

void check_waiting(uint32_t client, uint32_t router, uint32_t id, uint64_t sent_ns,
                   uint64_t deadline_ms) {
    uint64_t from_ns = sent_ns, calm_ns = check_calm_since();
    if (check_disturbed_since() != 0) {
        return;
    }
    from_ns = calm_ns > from_ns ? calm_ns : from_ns;
    if (sim_now() > from_ns + deadline_ms * MS + ANSWER_SLACK_NS) {
        sim_fail("answers", "client %u: router %u has not answered %u, due %" PRIu64 " ms ago",
                 client, router, id, (sim_now() - from_ns) / MS - deadline_ms);
    }
}

/* --- begin and end ------------------------------------------------------------------------- */

void checks_begin(void) {
    keys_begin();
    check_clock_slack(config_has(&world.config, FEATURE_SPIKES) ? 60 * MS : 0);
    check_clock_slack(config_has(&world.config, FEATURE_SLOW_LOOPS) ? 20 * MS : 0);
    store_watch(check_store);
}

void checks_process_gone(const struct process *process) {
    held_drop(process);
}

/* Buckets that are in memory because they are not full: what a former owner whose clock was ahead
 * granted is a debt, which takes its time under a slower plan. */
static uint64_t buckets_owing(const struct shard *shard) {
    uint64_t owing = 0;
    for (uint32_t i = 0; i < world.config.keys; i++) {
        char name[32];
        key_name(i, name);
        uint64_t hash = key_hash(bytes_of_text(name));
        const struct shard_slot *slot = &shard->slots[slot_of_hash(hash, world.config.slots).index];
        uint32_t ref = bucket_find(shard, slot, hash, bytes_of_text(name));
        if (ref != 0) {
            const struct resident *resident = resident_at(&shard->arena, ref);
            struct terms counted = {.limit_count = resident_limits(resident)};
            owing += !__real_bucket_full(&counted, resident->tats, shard->now_ns - CHECK_ABSENT_NS);
        }
    }
    return owing;
}

void checks_end(void) {
    uint64_t serving = 0, buckets = 0, asleep = 0, behind_ns = 0;
    sim_cover_many(COVER_LEASE_EXPIRED, db_expired(store_db()));
    if (world.unpromised) {
        return;
    }
    for (uint32_t i = 0; i < shard_count; i++) {
        if (shards[i]->process->alive && !shards[i]->gone) {
            serving += shard_counters(shards[i]->shard)->slots_serving;
            buckets += shard_counters(shards[i]->shard)->buckets - buckets_owing(shards[i]->shard);
            asleep += shard_counters(shards[i]->shard)->slots_asleep;
            behind_ns = greatest(behind_ns, shards[i]->behind_ns);
            assigned_look(shards[i]->shard);
        }
    }
    if (serving != world.config.slots) {
        sim_fail("liveness", "%" PRIu64 " of %u slots are served at the end", serving,
                 world.config.slots);
    }
    if (held_now() + asked_now() > 0) {
        sim_fail("answers", "%u results are held at the end, %u takes wait for their key",
                 held_now(), asked_now());
    }
    if (world.config.outage_ns > 0 || world.config.scenario != NULL) {
        return; /* nothing refills in the time that is left */
    }
    if (buckets > 0) {
        sim_fail("absent", "%" PRIu64 " buckets are full, and still in memory", buckets);
    }
    if (keys_end(behind_ns) == 0 && asleep > 0) {
        sim_fail("absent", "%" PRIu64 " slots sleep, and there is nothing to be read", asleep);
    }
}
