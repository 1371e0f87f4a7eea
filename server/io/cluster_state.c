#include "server/io/cluster_state.h"

#include <stdlib.h>

struct cluster_state *cluster_state_create(void) {
    struct cluster_state *state = malloc(sizeof *state);
    if (state != NULL) {
        atomic_init(&state->references, 1);
        map_init(&state->map);
        plan_set_init(&state->plans);
    }
    return state;
}

struct cluster_state *cluster_state_copy(const struct cluster_state *from) {
    struct cluster_state *state = malloc(sizeof *state);
    if (state != NULL) {
        atomic_init(&state->references, 1);
        state->map = from->map;
        state->plans = from->plans;
    }
    return state;
}

struct cluster_state *cluster_state_hold(struct cluster_state *state) {
    atomic_fetch_add_explicit(&state->references, 1, memory_order_relaxed);
    return state;
}

void cluster_state_release(struct cluster_state *state) {
    if (state != NULL &&
        atomic_fetch_sub_explicit(&state->references, 1, memory_order_acq_rel) == 1) {
        free(state);
    }
}
