#include "ctl/parked.h"

#include "ctl/cluster.h"
#include "ctl/out.h"
#include "ctl/rpc.h"

/* Looks of parked_finish, and milliseconds between: together longer than a take waits by default.
 */
#define FINISH_LOOKS 6
#define FINISH_PAUSE_MS 50

/* --- what the router says ------------------------------------------------------------------ */

bool parked_counts_read(const json_t *status, struct parked_counts *counts) {
    const json_t *counters = json_object_get(status, "counters");
    const json_t *steps = json_object_get(status, "parked_us");
    memset(counts, 0, sizeof *counts);
    if (!json_is_object(counters) || !json_is_array(steps)) {
        return false;
    }
    cluster_id_set(&counts->cluster, bytes_of_text(json_text(status, "cluster")));
    counts->takes = (uint64_t)json_int(counters, "parked");
    counts->waiting = (uint64_t)json_int(counters, "pending_parked");
    for (size_t i = 0; i < json_array_size(steps) && counts->count < PARKED_STEPS_MAX; i++) {
        const json_t *step = json_array_get(steps, i);
        counts->steps[counts->count].at_most_us =
            (uint64_t)json_integer_value(json_array_get(step, 0));
        counts->steps[counts->count].takes = (uint64_t)json_integer_value(json_array_get(step, 1));
        counts->count++;
    }
    return true;
}

static bool ask(const struct parked *parked, struct parked_counts *counts) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    struct rpc_answer answer;
    request_write_head(&writer, 1, METHOD_CLUSTER_STATUS);
    write_array(&writer, 0);
    bool answered =
        rpc_call(parked->settings->router, writer_bytes(&writer), PARKED_ANSWER_MS, &answer) &&
        !answer.reply.is_error;
    json_t *status = answered ? json_of_value(answer.reply.result) : NULL;
    bool read = parked_counts_read(status, counts);
    json_decref(status);
    rpc_answer_fini(&answer);
    return read;
}

/* --- what is new ---------------------------------------------------------------------------- */

static uint64_t step_before(const struct parked_counts *counts, uint64_t at_most_us) {
    for (uint32_t i = 0; i < counts->count; i++) {
        if (counts->steps[i].at_most_us == at_most_us) {
            return counts->steps[i].takes;
        }
    }
    return 0;
}

void parked_since(struct parked *parked) {
    static const struct parked_counts nothing;
    bool anew = parked->now.takes < parked->start.takes;
    const struct parked_counts *start = anew ? &nothing : &parked->start;
    uint64_t added[PARKED_STEPS_MAX], all = 0, below = 0;
    parked->takes = parked->now.takes - start->takes;
    parked->median_us = parked->longest_us = 0;
    for (uint32_t i = 0; i < parked->now.count; i++) {
        uint64_t before = step_before(start, parked->now.steps[i].at_most_us);
        added[i] = parked->now.steps[i].takes - before;
        all += added[i];
        if (added[i] > 0) {
            parked->longest_us = parked->now.steps[i].at_most_us;
        }
    }
    for (uint32_t i = 0; i < parked->now.count && below * 2 < all; i++) {
        below += added[i];
        parked->median_us = parked->now.steps[i].at_most_us;
    }
}

void parked_start(struct parked *parked, const struct settings *settings,
                  const struct cluster_id *cluster) {
    memset(parked, 0, sizeof *parked);
    parked->settings = settings;
    parked->known = ask(parked, &parked->start);
    if (parked->known && cluster_id_differs(cluster, &parked->start.cluster)) {
        fprintf(stderr,
                "sluicectl: the router at %s is of cluster %s, this is cluster %s: what it says of "
                "parked takes is left out (--router URL)\n",
                settings->router, parked->start.cluster.text, cluster->text);
        parked->known = false;
    }
    parked->now = parked->start;
    parked->looked_ms = time_monotonic_ms();
}

static void look(struct parked *parked) {
    parked->known = ask(parked, &parked->now);
    if (parked->known) {
        parked_since(parked);
    }
    parked->looked_ms = time_monotonic_ms();
}

void parked_look(struct parked *parked) {
    if (parked->known && time_monotonic_ms() - parked->looked_ms >= PARKED_LOOK_MS) {
        look(parked);
    }
}

void parked_finish(struct parked *parked) {
    for (uint32_t i = 0; i < FINISH_LOOKS && parked->known; i++) {
        look(parked);
        if (parked->now.waiting == 0) {
            return;
        }
        time_sleep_ms(FINISH_PAUSE_MS);
    }
}
