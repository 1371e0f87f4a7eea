/* When something other than a crash goes wrong, and what clocks may be wrong by meanwhile. */
#include <inttypes.h>

#include "runtime/clock.h"
#include "tests/sim/check.h"

/* What clocks may be wrong by on a quiet day: half of the best round trip of eight, and what drift
 * adds until it is measured again. */
#define CLOCK_SLACK_NS (20 * MS)

/* A node's clock drifts from the store's by 200 ppm at most, for as long as it does not reach it.
 */
#define CLOCK_DRIFT_NS (5 * MS)

static uint64_t clock_usual_ns = CLOCK_SLACK_NS, clock_jumps_ns;
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

void check_clock_jump(uint64_t ns) {
    clock_jumps_ns += ns;
}

uint64_t check_clock_jumps(void) {
    return clock_jumps_ns;
}

uint64_t check_clock_bound(void) {
    return clock_usual_ns + clock_jumps_ns;
}

void check_clock_read(const struct cluster_clock *clock, uint64_t now_ns) {
    uint64_t true_ns = store_clock(), stated_ns = clock_error_ns(clock);
    uint64_t wrong_ns = now_ns > true_ns ? now_ns - true_ns : true_ns - now_ns;
    if (wrong_ns > stated_ns + CLOCK_DRIFT_NS + clock_jumps_ns) {
        sim_fail("clock", "%s: cluster time is wrong by %" PRIu64 " us, and said to be by %" PRIu64,
                 process_current()->name, wrong_ns / US, stated_ns / US);
    }
    /* What is still to be slewed was an error that was stated before, or a jump. */
    if (clock->error_ns + CLOCK_DRIFT_NS > clock_usual_ns) {
        clock_usual_ns = clock->error_ns + CLOCK_DRIFT_NS;
    }
}
