/*
 * A job from its plan to its summary: shown, asked for, recorded, run. What `rebalance`,
 * `node drain` and `slot move` have in common.
 */
#ifndef SLUICE_CTL_REBALANCE_H
#define SLUICE_CTL_REBALANCE_H

#include "ctl/goal.h"

/* `cluster` is loaded and the goal checked. `asks`: the operator is asked first, unless --yes. */
enum exit_code rebalance_run(const struct invocation *invocation, struct cluster *cluster,
                             struct goal *goal, bool asks);

#endif
