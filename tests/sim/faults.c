/* The bad days of a run: which faults come when, and that they end. */
#include <inttypes.h>

#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/loop.h"
#include "tests/sim/net.h"
#include "tests/sim/report.h"
#include "tests/sim/store.h"
#include "tests/sim/world.h"

/* How long after its end a fault may still be felt: links that lead nowhere are given up after 5 s,
 * then opened anew. */
#define AFTERMATH_NS (UINT64_C(7500) * MS)

static uint32_t felt;

static void on_calm(void *ctx, uint64_t argument) {
    felt--;
    if (felt == 0) {
        check_disturbed(false);
    }
}

/* Something goes wrong for so long. */
static void disturb(uint64_t ns) {
    felt++;
    check_disturbed(true);
    report_of_run()->faults++;
    sim_at(sim_now() + ns + AFTERMATH_NS, on_calm, NULL, 0);
}

void faults_disturb(uint64_t ns) {
    disturb(ns);
}

static bool has(enum feature feature) {
    return config_has(&world.config, feature);
}

static uint64_t some(uint64_t low_ms, uint64_t high_ms) {
    return sim_between(STREAM_FAULTS, low_ms, high_ms) * MS;
}

static struct node_place *any_node(void) {
    return &world.nodes[sim_below(STREAM_FAULTS, world.config.nodes)];
}

/* --- nodes --------------------------------------------------------------------------------- */

static void on_restart(void *ctx, uint64_t fresh) {
    struct node_place *place = ctx;
    if (!place->process->alive) {
        sim_cover(fresh ? COVER_RESTART_OTHER_ID : COVER_RESTART_SAME_ID);
        node_begin(place, fresh != 0);
    }
}

static void restart_later(struct node_place *place) {
    bool fresh = has(FEATURE_OTHER_ID) && place->ids < 3 && sim_chance(STREAM_FAULTS, 300);
    uint64_t away_ns = sim_chance(STREAM_FAULTS, 500) ? some(0, 300) : some(300, 6000);
    sim_at(sim_now() + away_ns, on_restart, place, fresh);
}

static void crash(void) {
    struct node_place *place = any_node();
    if (!place->process->alive) {
        return;
    }
    bool silent = has(FEATURE_SILENT) && sim_chance(STREAM_FAULTS, 500);
    sim_cover(silent ? COVER_CRASH_SILENT : COVER_CRASH);
    report_of_run()->faults++;
    if (silent) {
        disturb(0); /* peers find out in their own time */
    }
    place->node = NULL;
    process_kill(place->process, silent);
    restart_later(place);
}

static void on_stopped_restart(void *ctx, uint64_t argument) {
    struct node_place *place = ctx;
    if (!place->process->alive && world.faults_over) {
        node_begin(place, false);
    } else if (!place->process->alive) {
        restart_later(place);
    } else {
        sim_at(sim_now() + 500 * MS, on_stopped_restart, place, 0);
    }
}

static void stop(void) {
    struct node_place *place = any_node();
    if (place->node != NULL && !place->stopping) {
        report_of_run()->faults++;
        node_stop_asked(place);
        sim_at(sim_now() + 500 * MS, on_stopped_restart, place, 0);
    }
}

static void on_unpause(void *ctx, uint64_t argument) {
    process_pause(ctx, false);
}

static void node_pause(void) {
    struct node_place *place = any_node();
    if (!place->process->alive || place->process->paused) {
        return;
    }
    uint64_t ns = sim_chance(STREAM_FAULTS, 500) ? some(1, 300) : some(300, 8000);
    sim_cover(COVER_PAUSE);
    disturb(ns);
    process_pause(place->process, true);
    sim_at(sim_now() + ns, on_unpause, place->process, 0);
}

static void router_crash(void) {
    struct router_place *place = &world.routers[sim_below(STREAM_FAULTS, world.config.routers)];
    if (place->process->alive) {
        sim_cover(COVER_ROUTER_CRASH);
        disturb(0);
        process_kill(place->process, false);
        router_begin(place);
    }
}

/* Forward, as when a machine wakes; a monotonic clock never steps back, but it may stand still. */
static void clock_jump(void) {
    struct node_place *place = any_node();
    int64_t ns = (int64_t)some(1, 3000);
    sim_cover(COVER_CLOCK_JUMP);
    disturb(0);
    check_clock_jump(place->machine, (uint64_t)ns);
    sim_trace("%s's clock jumps by %u ms", place->machine->name, (unsigned)(ns / (int64_t)MS));
    place->machine->clock_offset_ns += ns;
}

/* --- network ------------------------------------------------------------------------------- */

static struct machine *any_machine(void) {
    uint32_t at = (uint32_t)sim_below(STREAM_FAULTS, world.config.nodes + world.config.routers + 1);
    if (at < world.config.nodes) {
        return world.nodes[at].machine;
    }
    at -= world.config.nodes;
    return at < world.config.routers ? world.routers[at].machine : world.store;
}

struct cut {
    struct machine *from, *to;
    bool one_way;
};

static void on_healed(void *ctx, uint64_t argument) {
    struct cut *cut = ctx;
    sim_trace("%s -> %s is healed", cut->from->name, cut->to->name);
    net_cut(cut->from, cut->to, false);
    if (!cut->one_way) {
        net_cut(cut->to, cut->from, false);
    }
}

static void partition(bool one_way) {
    struct cut *cut = sim_keep(sizeof *cut);
    *cut = (struct cut){any_machine(), any_machine(), one_way};
    if (cut->from == cut->to) {
        return;
    }
    uint64_t ns = sim_chance(STREAM_FAULTS, 500) ? some(10, 500) : some(500, 9000);
    sim_cover(one_way ? COVER_PARTITION_ONE_WAY : COVER_PARTITION);
    disturb(ns);
    sim_trace("%s -> %s is cut%s", cut->from->name, cut->to->name, one_way ? "" : ", both ways");
    net_cut(cut->from, cut->to, true);
    if (!one_way) {
        net_cut(cut->to, cut->from, true);
    }
    sim_at(sim_now() + ns, on_healed, cut, 0);
}

static void connection_break(void) {
    struct machine *machine = any_machine();
    if (net_break(machine, NULL)) {
        sim_cover(COVER_CONNECTION_BROKEN);
        disturb(0);
    }
}

/* --- the store ----------------------------------------------------------------------------- */

static void on_fast(void *ctx, uint64_t argument) {
    store_slow(0);
}

static void on_writing(void *ctx, uint64_t argument) {
    store_refuse(false);
}

/* A store that stands still or is away cannot be healed when everything else is: it is over by then
 * of itself. */
static void store_fault(enum feature feature) {
    uint64_t ns = sim_chance(STREAM_FAULTS, 600) ? some(5, 400) : some(400, 7000);
    uint64_t left_ns = world.config.faults_end_ns - sim_now();
    ns = ns < left_ns ? ns : left_ns;
    disturb(ns);
    switch (feature) {
    case FEATURE_STORE_STALLS:
        store_stall(ns);
        break;
    case FEATURE_STORE_SLOW:
        store_slow(some(1, 8));
        sim_at(sim_now() + ns, on_fast, NULL, 0);
        break;
    case FEATURE_STORE_CRASHES:
        store_restart(ns, has(FEATURE_STORE_TAIL) && sim_chance(STREAM_FAULTS, 500));
        break;
    case FEATURE_STORE_FAILOVER:
        store_fail_over(ns / 4);
        break;
    case FEATURE_STORE_ERRORS:
        store_refuse(true);
        sim_at(sim_now() + ns, on_writing, NULL, 0);
        break;
    default: {
        int64_t jump_ns = (int64_t)some(1, 2000) * (sim_chance(STREAM_FAULTS, 500) ? 1 : -1);
        sim_cover(COVER_STORE_CLOCK_JUMP);
        check_clock_jump(store_machine(), (uint64_t)(jump_ns < 0 ? -jump_ns : jump_ns));
        store_clock_jump(jump_ns);
        break;
    }
    }
}

/* --- the plan ------------------------------------------------------------------------------ */

static void fault(enum feature feature) {
    switch (feature) {
    case FEATURE_CRASHES:
        crash();
        break;
    case FEATURE_STOPS:
        stop();
        break;
    case FEATURE_PAUSES:
        node_pause();
        break;
    case FEATURE_ROUTER_CRASHES:
        router_crash();
        break;
    case FEATURE_CLOCK_JUMPS:
        clock_jump();
        break;
    case FEATURE_PARTITIONS:
        partition(false);
        break;
    case FEATURE_ONE_WAY:
        partition(true);
        break;
    case FEATURE_BREAKS:
        connection_break();
        break;
    default:
        store_fault(feature);
        break;
    }
}

static const enum feature faults[] = {
    FEATURE_CRASHES,       FEATURE_STOPS,
    FEATURE_PAUSES,        FEATURE_ROUTER_CRASHES,
    FEATURE_CLOCK_JUMPS,   FEATURE_PARTITIONS,
    FEATURE_ONE_WAY,       FEATURE_BREAKS,
    FEATURE_STORE_STALLS,  FEATURE_STORE_SLOW,
    FEATURE_STORE_CRASHES, FEATURE_STORE_FAILOVER,
    FEATURE_STORE_ERRORS,  FEATURE_STORE_CLOCK_JUMPS,
};
#define FAULT_COUNT (sizeof faults / sizeof faults[0])

/* Every kind has its own times, so that one that is turned off does not move the others. */
static void on_fault(void *ctx, uint64_t at) {
    enum feature feature = faults[at];
    if (sim_now() >= world.config.faults_end_ns) {
        return;
    }
    if (has(feature)) {
        fault(feature);
    }
    uint64_t every_ns = world.config.fault_every_ns * 3;
    sim_at(sim_now() + sim_below(STREAM_FAULTS, 2 * every_ns) + MS, on_fault, NULL, at);
}

static void on_over(void *ctx, uint64_t argument) {
    sim_trace("from here on nothing goes wrong");
    world.faults_over = true;
    disturb(2 * SECOND);
    net_heal();
    net_weather(&(struct net_weather){.delay_least_ns = 50 * US, .delay_most_ns = 300 * US});
    loops_delay(LOOP_DELAY_MOST_NS);
    store_slow(0);
    store_refuse(false);
    for (uint32_t i = 0; i < world.config.nodes; i++) {
        process_pause(world.nodes[i].process, false);
    }
}

/* Whoever is to come back has come by then. */
static void on_all_back(void *ctx, uint64_t argument) {
    for (uint32_t i = 0; i < world.config.nodes; i++) {
        struct node_place *place = &world.nodes[i];
        if (!place->process->alive) {
            node_begin(place, false);
        }
    }
}

/* --- everything off ------------------------------------------------------------------------ */

static void on_outage_over(void *ctx, uint64_t argument) {
    for (uint32_t i = 0; i < world.config.nodes; i++) {
        node_begin(&world.nodes[i], false);
    }
}

static void on_outage(void *ctx, uint64_t argument) {
    disturb(world.config.outage_ns);
    sim_trace("everything is off for %" PRIu64 " s", world.config.outage_ns / SECOND);
    for (uint32_t i = 0; i < world.config.nodes; i++) {
        world.nodes[i].node = NULL;
        process_kill(world.nodes[i].process, false);
    }
    store_restart(world.config.outage_ns, false);
    sim_at(sim_now() + world.config.outage_ns + SECOND, on_outage_over, NULL, 0);
}

void faults_begin(void) {
    disturb(3 * SECOND); /* a cluster that begins */
    for (uint32_t i = 0; i < FAULT_COUNT; i++) {
        uint64_t first_ns = SECOND + sim_below(STREAM_FAULTS, 6 * world.config.fault_every_ns);
        sim_at(first_ns, on_fault, NULL, i);
    }
    if (world.config.outage_ns > 0) {
        sim_at(OUTAGE_BEGINS_NS, on_outage, NULL, 0);
    }
    sim_at(world.config.faults_end_ns, on_over, NULL, 0);
    sim_at(world.config.faults_end_ns + SECOND, on_all_back, NULL, 0);
}
