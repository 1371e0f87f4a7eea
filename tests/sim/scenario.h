/*
 * Scenarios: what went wrong elsewhere, done to this cluster with the limit, the load and the
 * mishap of the report, and judged by the figure that the report gives. Each says what it counted;
 * for each there is a planted fault with which it counts what the report tells.
 *
 * One key, under the default plan. Clients ask at the moments that the scenario says, one token a
 * take; the seed draws the rest (network, turns, clocks), so that each may be run many times.
 */
#ifndef SLUICE_TESTS_SIM_SCENARIO_H
#define SLUICE_TESTS_SIM_SCENARIO_H

#include "tests/sim/check.h"
#include "tests/sim/world.h"

/* NULL: there is none of that name. */
const struct scenario *scenario_find(const char *name);
void scenarios_print(void *file);

/* What it needs in place of what the seed drew. */
void scenario_configure(const struct scenario *scenario, struct config *config);

/* The rest is for any run; without a scenario it does nothing. */
void scenario_begin(void);

/* Takes that a client is to ask for now. */
uint32_t scenario_due(uint32_t client);
/* And when it is to look again. */
uint64_t scenario_rest_ms(uint32_t client);
void scenario_answered(const struct check_answer *answer, bool by_owner);

/* That process, a router, hears no news of the cluster. */
bool scenario_deaf(const struct process *process);

/* The operator is to reset the key now; and it was reset. */
bool scenario_resets(void);
void scenario_reset(void);

/* Once: the operator is to apply the plans, of which one has another limit now. */
bool scenario_plans(void);

/* Once: the operator is to move the key's slot to another node now. */
bool scenario_moves(void);

/* Fails ("figure") if what was counted is not what it has to be. */
void scenario_end(void);

#endif
