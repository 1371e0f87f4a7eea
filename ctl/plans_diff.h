/*
 * What applying a plan set would change, as lines for people and as JSON.
 */
#ifndef SLUICE_CTL_PLANS_DIFF_H
#define SLUICE_CTL_PLANS_DIFF_H

#include <jansson.h>

#include "ctl/command.h"
#include "proto/plan.h"

/* Bytes of a plan's limits as text, zero included. */
#define LIMITS_TEXT_BYTES_MAX 320

/* "100/s burst 200, 1000000/d"; the burst is left out where it is the rate. */
void terms_write(const struct terms *terms, char out[LIMITS_TEXT_BYTES_MAX]);

/* Prints "+ added", "- removed", "~ changed" lines; returns how many there are. */
uint32_t plans_diff_print(const struct settings *settings, const struct plan_set *from,
                          const struct plan_set *to);

/* {"added": [name...], "removed": [...], "changed": [...], "default": {"from", "to"} or nil}. */
json_t *plans_diff_json(const struct plan_set *from, const struct plan_set *to);

#endif
