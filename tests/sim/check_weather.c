/* When something other than a crash goes wrong, what clocks may be wrong by meanwhile, and how calm
 * it has to be for a takeover. */
#include <inttypes.h>
#include <stdlib.h>

#include "runtime/clock.h"
#include "server/core/ownership.h"
#include "tests/sim/check.h"
#include "tests/sim/report.h"
#include "tests/sim/world.h"

/* What clocks may be wrong by on a quiet day: half of the best round trip of eight, and what drift
 * adds until it is measured again. */
#define CLOCK_SLACK_NS (20 * MS)

/* A machine's clock drifts in steps: by 200 ppm at most of each whole millisecond. One step when
 * the store was asked, and one when the clock is read. */
#define CLOCK_STEPS_NS 400

struct clock_jump {
    const struct clock_jump *before;
    const struct machine *machine;
    uint64_t at_ns, ns;
};

static uint64_t clock_usual_ns = CLOCK_SLACK_NS, clock_jumps_ns;
static const struct clock_jump *last_jump;
static uint64_t disturbed_since_ns, calm_since_ns;

void check_disturbed(bool disturbed) {
    if (disturbed && disturbed_since_ns == 0) {
        disturbed_since_ns = sim_now() > 0 ? sim_now() : 1;
    } else if (!disturbed) {
        disturbed_since_ns = 0;
        calm_since_ns = sim_now();
    }
}

uint64_t check_disturbed_since(void) {
    return disturbed_since_ns;
}

uint64_t check_calm_since(void) {
    return calm_since_ns;
}

void check_clock_slack(uint64_t ns) {
    clock_usual_ns += ns;
}

void check_clock_jump(const struct machine *machine, uint64_t ns) {
    struct clock_jump *jump = sim_keep(sizeof *jump);
    *jump = (struct clock_jump){last_jump, machine, sim_now(), ns};
    last_jump = jump;
    clock_jumps_ns += ns;
}

uint64_t check_clock_jumps(void) {
    return clock_jumps_ns;
}

uint64_t check_clock_jumps_of(const struct machine *machine, uint64_t since_ns, uint64_t most_ns) {
    uint64_t sum_ns = 0;
    for (const struct clock_jump *jump = last_jump; jump != NULL && jump->at_ns >= since_ns;
         jump = jump->before) {
        sum_ns += jump->machine == machine && jump->ns <= most_ns ? jump->ns : 0;
    }
    return sum_ns;
}

uint64_t check_clock_bound(void) {
    return clock_usual_ns + clock_jumps_ns;
}

/* Nodes know that clocks drift, and for how long they have not reached the store: what they state
 * holds on any day, but for jumps. */
void check_clock_read(const struct cluster_clock *clock, uint64_t monotonic_ns, uint64_t now_ns) {
    uint64_t true_ns = store_clock(), stated_ns = clock_error_ns(clock, monotonic_ns);
    uint64_t wrong_ns = now_ns > true_ns ? now_ns - true_ns : true_ns - now_ns;
    if (wrong_ns > stated_ns + CLOCK_STEPS_NS + clock_jumps_ns) {
        sim_fail("clock", "%s: cluster time is wrong by %" PRIu64 " us, and said to be by %" PRIu64,
                 process_current()->name, wrong_ns / US, stated_ns / US);
    }
    /* What is still to be slewed was an error that was stated before, or a jump. */
    uint64_t open_ns = (uint64_t)llabs(clock->target_offset_ns - clock->offset_ns);
    uint64_t measured_ns = stated_ns - open_ns + CLOCK_STEPS_NS;
    if (measured_ns > clock_usual_ns) {
        clock_usual_ns = measured_ns;
    }
}

uint32_t __real_ownership_beat(struct ownership *ownership, const struct map *map, int32_t self,
                               const bool *absent, uint64_t sent_ns, uint64_t round_trip_ns,
                               struct placement_move *moves);
uint32_t __wrap_ownership_beat(struct ownership *ownership, const struct map *map, int32_t self,
                               const bool *absent, uint64_t sent_ns, uint64_t round_trip_ns,
                               struct placement_move *moves);

uint32_t __wrap_ownership_beat(struct ownership *ownership, const struct map *map, int32_t self,
                               const bool *absent, uint64_t sent_ns, uint64_t round_trip_ns,
                               struct placement_move *moves) {
    uint32_t count =
        __real_ownership_beat(ownership, map, self, absent, sent_ns, round_trip_ns, moves);
    /* Monotonic clocks drift by 200 ppm at most. What a node's clock jumped by it takes for time
     * that has passed, unless it was more than half a lease: then calm begins anew. */
    uint64_t calm_ns = OWNERSHIP_CALM * ownership->lease_ttl_ns * 999 / 1000;
    uint64_t begun_ns = store_begun_at();
    uint64_t jumped_ns =
        check_clock_jumps_of(process_current()->machine, begun_ns, ownership->lease_ttl_ns / 2);
    if (count > 0 && sim_now() + jumped_ns < begun_ns + calm_ns) {
        sim_fail("calm", "%s takes over %" PRIu64 " ms after the store was back, calm is %" PRIu64,
                 process_current()->name, (sim_now() - begun_ns) / MS, (calm_ns - jumped_ns) / MS);
    }
    return check_planted(PLANT_NO_TAKEOVER) ? 0 : count;
}

void __real_ownership_reconnected(struct ownership *ownership);
void __wrap_ownership_reconnected(struct ownership *ownership);

void __wrap_ownership_reconnected(struct ownership *ownership) {
    if (!check_planted(PLANT_RESTLESS)) {
        __real_ownership_reconnected(ownership);
    }
}
