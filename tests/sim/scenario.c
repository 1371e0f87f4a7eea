#include "tests/sim/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/net.h"
#include "tests/sim/report.h"

#define HOUR (3600 * SECOND)

/* Takes that a client asks for at an even pace. */
struct load {
    uint32_t client;
    uint64_t from_ms, to_ms;
    uint32_t per_second;
};
#define LOADS_MAX 5

/* A client looks after its requests this often, whether it asks or not. */
#define REST_MOST_MS 100

struct tally {
    uint64_t asked, granted, refused, failed;
    uint64_t slowest_ns;
};

struct scenario {
    const char *name, *title;
    uint32_t nodes, routers, clients;
    uint64_t features;
    struct limit limit;
    uint64_t outage_ns;
    struct load loads[LOADS_MAX];
    uint64_t judged_from_ms, judged_to_ms; /* what was sent then is counted apart */
    void (*begin)(void);
    void (*judge)(void);
};

static struct {
    uint64_t asked[CLIENTS_OF_RUN_MAX];
    struct tally all, judged, before, since_reset;
    uint32_t replaced; /* nodes */
    bool moved, reset, faster;
} run;

static const struct scenario *scenario(void) {
    return world.config.scenario;
}

/* --- verdicts ------------------------------------------------------------------------------ */

/* Keeps the sentence, and fails with it if it is not what it should be. */
#define verdict(good, ...)                                                                         \
    do {                                                                                           \
        snprintf(report_of_run()->figures, REPORT_TEXT_BYTES_MAX, __VA_ARGS__);                    \
        if (!(good)) {                                                                             \
            sim_fail("figure", "%s", report_of_run()->figures);                                    \
        }                                                                                          \
    } while (0)

/* --- a rolling upgrade --------------------------------------------------------------------- */

#define UPGRADE_BEGINS_NS (6 * SECOND)
#define UPGRADE_EVERY_NS (6 * SECOND)

static void on_stopped(void *ctx, uint64_t argument) {
    struct node_place *place = ctx;
    if (place->process->alive) {
        sim_at(sim_now() + 100 * MS, on_stopped, place, 0);
        return;
    }
    run.replaced++;
    node_begin(place, config_has(&world.config, FEATURE_OTHER_ID));
}

static void on_upgrade(void *ctx, uint64_t argument) {
    node_stop_asked(ctx);
    on_stopped(ctx, 0);
}

static void upgrade_begin(void) {
    for (uint32_t i = 0; i < world.config.nodes; i++) {
        sim_at(UPGRADE_BEGINS_NS + i * UPGRADE_EVERY_NS, on_upgrade, &world.nodes[i], 0);
    }
}

static void upgrade_judge(void) {
    verdict(run.all.granted == 10 && run.all.failed == 0 && run.replaced == world.config.nodes,
            "granted %" PRIu64 " of %" PRIu64 " asked, %" PRIu64
            " without an answer, limit 10 an hour, %u of %u nodes replaced in between",
            run.all.granted, run.all.asked, run.all.failed, run.replaced, world.config.nodes);
}

/* --- a sync that comes late ---------------------------------------------------------------- */

#define SYNC_RATE 500
#define SYNC_BURST 50

static void sync_judge(void) {
    uint64_t seconds = (scenario()->judged_to_ms - scenario()->judged_from_ms) / 1000;
    uint64_t most = SYNC_RATE * seconds + SYNC_BURST, tenths = run.judged.granted * 10 / seconds;
    /* Slots that are moved and answers that are lost cost a little of the limit, not a fiftieth. */
    verdict(run.judged.granted <= most && run.judged.granted > most - most / 50,
            "admitted %" PRIu64 ".%" PRIu64 "/s of %" PRIu64 "/s asked, limit %d/s, for %" PRIu64
            " s, slots on the move",
            tenths / 10, tenths % 10, run.judged.asked / seconds, SYNC_RATE, seconds);
}

/* --- two lists of peers -------------------------------------------------------------------- */

#define LISTS_PART_NS (6 * SECOND)
#define LISTS_MOVE_NS (7 * SECOND)
#define LISTS_AGREE_NS (13 * SECOND)

/* A take ends at its deadline, and is told so. */
#define LISTS_SLOWEST_NS ((DEADLINE_MS_DEFAULT + 50) * MS)

static void lists_judge(void) {
    const struct tally *later = &run.judged;
    verdict(run.moved && run.all.granted == 10 && run.all.slowest_ns <= LISTS_SLOWEST_NS &&
                later->failed == 0 &&
                run.all.asked == run.all.granted + run.all.refused + run.all.failed,
            "granted %" PRIu64 " of %" PRIu64
            " asked, limit 10 an hour, through two routers of which one did not hear for %u s that "
            "the key had moved; %" PRIu64 " had no answer meanwhile, %" PRIu64
            " later; the slowest took %" PRIu64 " ms",
            run.all.granted, run.all.asked, (unsigned)((LISTS_AGREE_NS - LISTS_MOVE_NS) / SECOND),
            run.before.failed, later->failed, run.all.slowest_ns / MS);
}

/* --- a store that is away ------------------------------------------------------------------ */

#define AWAY_NS (15 * SECOND)
#define AWAY_HANGS_NS (6 * SECOND)
#define AWAY_DOWN_NS (24 * SECOND)

/* What a take may take on a day when nothing goes wrong: ways and turns. */
#define AWAY_SLOWEST_NS (10 * MS)

static void on_hangs(void *ctx, uint64_t argument) {
    store_stall(AWAY_NS);
}

static void on_down(void *ctx, uint64_t argument) {
    store_restart(AWAY_NS, false);
}

static void away_begin(void) {
    sim_at(AWAY_HANGS_NS, on_hangs, NULL, 0);
    sim_at(AWAY_DOWN_NS, on_down, NULL, 0);
}

static void away_judge(void) {
    verdict(run.all.granted == run.all.asked && run.all.slowest_ns <= AWAY_SLOWEST_NS,
            "granted %" PRIu64 " of %" PRIu64 " asked within the limit, %" PRIu64
            " refused, %" PRIu64 " without an answer, while the store hung for 15 s and was down "
            "for 15 s; the slowest took %" PRIu64 " us, before that %" PRIu64 " us",
            run.judged.granted, run.judged.asked, run.judged.refused, run.judged.failed,
            run.judged.slowest_ns / US, run.before.slowest_ns / US);
}

/* --- a file that is replayed later --------------------------------------------------------- */

static void replay_judge(void) {
    /* Of a strict plan a crash may cost what was reserved. */
    uint64_t burst = scenario()->limit.burst_tokens, back = burst / 2;
    uint64_t reserved = config_has(&world.config, FEATURE_STRICT) ? burst / SHARD_RESERVE_PART : 0;
    uint64_t later = run.judged.granted;
    verdict(run.before.granted == burst && later <= back && later + reserved >= back &&
                run.all.failed == 0,
            "granted %" PRIu64 " of %" PRIu64 " asked, then all off for an hour, and %" PRIu64
            " of %" PRIu64 " asked, of 5 that had come back%s; limit 10 in two hours",
            run.before.granted, run.before.asked, later, run.judged.asked,
            reserved > 0 ? " (strict: 1 was reserved when it ended)" : "");
}

/* --- a reset, and a former owner that does not hear of it ---------------------------------- */

#define FORMER_BURST 160
#define FORMER_CUT_NS (6 * SECOND)

/* When another owns the key. The operator asks from then on until it is done. */
#define FORMER_RESET_NS (8 * SECOND)

/* The key's owner loses the store, and the first router hears of no other owner. */
static void on_owner_cut(void *ctx, uint64_t argument) {
    char name[32];
    key_name(0, name);
    uint32_t slot = slot_of_hash(key_hash(bytes_of_text(name)), world.config.slots).index;
    const struct map_shard *owner = &world.map->shards[world.map->owner[slot]];
    faults_disturb(world.config.faults_end_ns - FORMER_CUT_NS);
    for (uint32_t i = 0; i < world.config.nodes; i++) {
        if (strcmp(world.nodes[i].id, world.map->nodes[owner->node].id.text) == 0) {
            net_cut(world.nodes[i].machine, world.store, true);
            net_cut(world.store, world.nodes[i].machine, true);
        }
    }
}

static void on_owner_back(void *ctx, uint64_t argument) {
    net_heal();
}

static void former_begin(void) {
    sim_at(FORMER_CUT_NS, on_owner_cut, NULL, 0);
    sim_at(world.config.faults_end_ns, on_owner_back, NULL, 0);
}

static void former_judge(void) {
    const struct tally *since = &run.since_reset;
    verdict(run.reset && since->granted == FORMER_BURST && run.judged.granted > 0,
            "granted %" PRIu64 " of %" PRIu64
            " asked since the key was reset, limit %u, while its former owner was cut off from the "
            "store, which had granted %" PRIu64 " of its reservation before that",
            since->granted, since->asked, FORMER_BURST, run.judged.granted);
}

/* The plan is made faster instead, by so much. */
#define FORMER_FASTER (24 * 1800)

static void on_faster(void *ctx, uint64_t argument) {
    world.config.limit.rate_tokens *= FORMER_FASTER;
    run.faster = true;
}

static void faster_begin(void) {
    former_begin();
    sim_at(FORMER_RESET_NS, on_faster, NULL, 0);
}

static void faster_judge(void) {
    verdict(run.judged.granted >= FORMER_BURST && run.before.granted < FORMER_BURST,
            "granted %" PRIu64 " of %" PRIu64 " asked by a limit of %u a second, and %" PRIu64
            " of %" PRIu64 " before, while a former owner was cut off from the store under one of "
            "%u a day; burst %u",
            run.judged.granted, run.judged.asked, FORMER_BURST / 2, run.before.granted,
            run.before.asked, FORMER_BURST, FORMER_BURST);
}

/* --- all of them --------------------------------------------------------------------------- */

#define FEATURE(name) (UINT64_C(1) << FEATURE_##name)

static const struct scenario scenarios[] = {
    {.name = "rolling-upgrade",
     .title = "a rolling upgrade grants nothing twice (NVIDIA/nvcf 975: 14 of 10)",
     .nodes = 3,
     .routers = 1,
     .clients = 1,
     .features = FEATURE(STRICT) | FEATURE(DRAINS) | FEATURE(OTHER_ID),
     .limit = {10, HOUR, 10},
     .loads = {{0, 4000, 4040, 100}, {0, 24500, 24660, 100}},
     .begin = upgrade_begin,
     .judge = upgrade_judge},
    {.name = "delayed-sync",
     .title = "a sync every 200 ms admits no more than the limit (apisix 13704: 590/s for 500/s)",
     .nodes = 2,
     .routers = 2,
     .clients = 2,
     .features = FEATURE(MOVES),
     .limit = {SYNC_RATE, SECOND, SYNC_BURST},
     .loads = {{0, 4000, 35000, 400}, {1, 4000, 35000, 400}},
     .judged_from_ms = 5000,
     .judged_to_ms = 35000,
     .judge = sync_judge},
    {.name = "peer-lists",
     .title = "two lists of peers that differ count once, and nobody waits (gubernator 189)",
     .nodes = 3,
     .routers = 2,
     .clients = 2,
     .features = FEATURE(STRICT),
     .limit = {10, HOUR, 10},
     .loads =
         {{0, 4000, 4040, 100}, {0, 9000, 9080, 100}, {1, 9000, 9080, 100}, {1, 15000, 15080, 100}},
     .judged_from_ms = 15000,
     .judged_to_ms = 16000,
     .judge = lists_judge},
    {.name = "store-away",
     .title = "a store that is away is no refusal and no slow answer (envoyproxy/ratelimit 462: 10 "
              "s; firecrawl 3728: 429 to all)",
     .nodes = 3,
     .routers = 1,
     .clients = 2,
     .limit = {1000, SECOND, 1000},
     .loads = {{0, 4000, 42000, 50}, {1, 4000, 42000, 50}},
     .judged_from_ms = AWAY_HANGS_NS / MS,
     .judged_to_ms = 42000,
     .begin = away_begin,
     .judge = away_judge},
    {.name = "former-owner",
     .title = "a former owner that is cut off has granted what it had reserved before a reset",
     .nodes = 2,
     .routers = 2,
     .clients = 2,
     .features = FEATURE(STRICT),
     .limit = {FORMER_BURST, 24 * HOUR, FORMER_BURST},
     .loads = {{0, 4000, 5900, 40}, /* it reserves */
               {1, 9000, 9400, 500},
               {0, 9500, 10000, 10},
               {1, 26000, 26400, 500},
               {0, 27000, 28000, 10}},
     .judged_from_ms = 9500,
     .judged_to_ms = 10500,
     .begin = former_begin,
     .judge = former_judge},
    {.name = "faster-plan",
     .title = "so has one under a slower plan before the faster one counts",
     .nodes = 2,
     .routers = 2,
     .clients = 2,
     .features = FEATURE(STRICT) | FEATURE(PLANS),
     .limit = {FORMER_BURST, 24 * HOUR, FORMER_BURST},
     .loads = {{0, 4000, 5900, 40}, /* it reserves */
               {1, 9500, 12000, 300},
               {0, 10000, 10500, 10},
               {1, 26000, 29000, 300},
               {0, 28000, 28500, 10}},
     .judged_from_ms = 26000,
     .judged_to_ms = 29000,
     .begin = faster_begin,
     .judge = faster_judge},
    {.name = "replay",
     .title =
         "a file that is replayed an hour later has kept no time and lost none (redis-cell 31)",
     .nodes = 2,
     .routers = 1,
     .clients = 1,
     .limit = {10, 2 * HOUR, 10},
     .outage_ns = HOUR,
     .loads = {{0, 4000, 4100, 100},
               {0, (OUTAGE_BEGINS_NS + HOUR + OUTAGE_RETURN_NS) / MS + 1000,
                (OUTAGE_BEGINS_NS + HOUR + OUTAGE_RETURN_NS) / MS + 1200, 100}},
     .judged_from_ms = OUTAGE_BEGINS_NS / MS,
     .judged_to_ms = UINT64_MAX,
     .judge = replay_judge},
};
#define SCENARIO_COUNT (sizeof scenarios / sizeof scenarios[0])

const struct scenario *scenario_find(const char *name) {
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        if (strcmp(scenarios[i].name, name) == 0) {
            return &scenarios[i];
        }
    }
    return NULL;
}

void scenarios_print(void *file) {
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        fprintf(file, "\n  %-16s %s", scenarios[i].name, scenarios[i].title);
    }
}

/* --- the run ------------------------------------------------------------------------------- */

void scenario_configure(const struct scenario *of, struct config *config) {
    uint64_t last_ms = 0;
    for (uint32_t i = 0; i < LOADS_MAX; i++) {
        last_ms = of->loads[i].to_ms > last_ms ? of->loads[i].to_ms : last_ms;
    }
    config->scenario = of;
    config->features = of->features;
    config->nodes = of->nodes;
    config->shards = 2;
    config->routers = of->routers;
    config->clients = of->clients;
    config->slots = 16;
    config->keys = 1;
    config->limit = of->limit;
    config->outage_ns = of->outage_ns;
    config->lease_ttl_ns = SECOND;
    config->snapshot_interval_ns = 200 * MS;
    config->fault_every_ns = SECOND;
    config->faults_end_ns = last_ms * MS;
    config->end_ns = config->faults_end_ns + CHECK_SETTLE_NS;
}

static bool has_former(void) {
    return scenario()->judge == former_judge || scenario()->judge == faster_judge;
}

void scenario_begin(void) {
    if (scenario() == NULL) {
        return;
    }
    /* Those of former owners are for the checkers, too. */
    world.unpromised = check_planted_any() && !has_former();
    if (scenario()->begin != NULL) {
        scenario()->begin();
    }
}

uint32_t scenario_due(uint32_t client) {
    uint64_t due = 0, now_ms = sim_now() / MS;
    for (uint32_t i = 0; i < LOADS_MAX; i++) {
        const struct load *load = &scenario()->loads[i];
        if (load->client == client && now_ms > load->from_ms) {
            uint64_t to_ms = now_ms < load->to_ms ? now_ms : load->to_ms;
            due += (to_ms - load->from_ms) * load->per_second / 1000;
        }
    }
    uint32_t more = (uint32_t)(due - run.asked[client]);
    run.asked[client] = due;
    return more;
}

uint64_t scenario_rest_ms(uint32_t client) {
    uint64_t now_ms = sim_now() / MS, rest_ms = REST_MOST_MS;
    for (uint32_t i = 0; i < LOADS_MAX; i++) {
        const struct load *load = &scenario()->loads[i];
        if (load->client == client && now_ms <= load->to_ms) {
            uint64_t ms = now_ms < load->from_ms ? load->from_ms - now_ms : 1;
            rest_ms = ms < rest_ms ? ms : rest_ms;
        }
    }
    return rest_ms;
}

static void tally_add(struct tally *tally, const struct check_answer *answer, bool by_owner) {
    uint64_t ns = sim_now() - answer->sent_ns;
    tally->asked++;
    tally->granted += by_owner && answer->result->allowed;
    tally->refused += by_owner && !answer->result->allowed;
    tally->failed += !by_owner;
    tally->slowest_ns = ns > tally->slowest_ns ? ns : tally->slowest_ns;
}

void scenario_answered(const struct check_answer *answer, bool by_owner) {
    if (scenario() == NULL) {
        return;
    }
    uint64_t sent_ms = answer->sent_ns / MS;
    tally_add(&run.all, answer, by_owner);
    if (run.reset) {
        tally_add(&run.since_reset, answer, by_owner);
    }
    if (sent_ms < scenario()->judged_from_ms) {
        tally_add(&run.before, answer, by_owner);
    } else if (sent_ms < scenario()->judged_to_ms) {
        tally_add(&run.judged, answer, by_owner);
    }
}

bool scenario_deaf(const struct process *process) {
    if (scenario() != NULL && has_former()) {
        return sim_now() >= FORMER_CUT_NS && sim_now() < world.config.faults_end_ns &&
               process == world.routers[0].process;
    }
    return scenario() != NULL && scenario()->judge == lists_judge && sim_now() >= LISTS_PART_NS &&
           sim_now() < LISTS_AGREE_NS && process == world.routers[1].process;
}

bool scenario_resets(void) {
    return scenario() != NULL && scenario()->judge == former_judge && !run.reset &&
           sim_now() >= FORMER_RESET_NS;
}

bool scenario_plans(void) {
    bool due = run.faster;
    run.faster = false;
    return due;
}

void scenario_reset(void) {
    run.reset = true;
}

bool scenario_moves(void) {
    bool due = scenario() != NULL && scenario()->judge == lists_judge && !run.moved &&
               sim_now() >= LISTS_MOVE_NS;
    run.moved = run.moved || due;
    return due;
}

void scenario_end(void) {
    if (scenario() != NULL) {
        uint64_t asked = 0;
        for (uint32_t i = 0; i < world.config.clients; i++) {
            asked += run.asked[i];
        }
        verdict(asked == run.all.asked, "%" PRIu64 " takes were due, %" PRIu64 " were answered",
                asked, run.all.asked);
        scenario()->judge();
    }
}
