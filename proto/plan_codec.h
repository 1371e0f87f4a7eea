/*
 * The plan set as a msgpack value: in plans.apply and plans.get, and in Redis.
 *
 *     {"version": v, "default": name or nil,
 *      "plans": [{"name": name, "on_unavailable": "deny", "durability": "relaxed",
 *                 "limits": [{"rate": r, "period_ms": p, "burst": b}, ...],
 *                 "generation": g,
 *                 "history": [[g, [[rate, period_ms, burst], ...]], ...]}, ...]}
 *
 * What an operator sends has no version, generation or history (ignored if there).
 * Pure. Unknown members are refused by name: a misspelt limit must not be dropped silently.
 */
#ifndef SLUICE_PROTO_PLAN_CODEC_H
#define SLUICE_PROTO_PLAN_CODEC_H

#include "proto/plan.h"
#include "proto/reader.h"
#include "proto/writer.h"

/* Bytes of the largest plan set: 256 plans of 9 generations of 4 limits. */
#define PLAN_SET_BYTES_MAX (1u << 20)

void plan_set_write(struct writer *writer, const struct plan_set *set);

/* CODE_OK, or BAD_REQUEST with the place and what was expected ("plans[2].limits[0].rate: ..."). */
enum code plan_set_read(struct reader *reader, struct plan_set *set, struct fault *fault);

/* {"rate": r, "period_ms": p, "burst": b}; `what` names the place in messages. burst may be left
 * out: it is the rate then. */
enum code limit_read(struct reader *reader, struct limit *limit, const char *what,
                     struct fault *fault);
void limit_write(struct writer *writer, const struct limit *limit);

/* The short form that is stored: [rate, period_ms, burst]. */
enum code limit_read_array(struct reader *reader, struct limit *limit, const char *what,
                           struct fault *fault);
void limit_write_array(struct writer *writer, const struct limit *limit);

/* What a router needs of the plans, as the member "policies" of cluster.map's result:
 * {"version": v, "default": name or nil, "plans": [[name, policy], ...]}, with a third part of each
 * plan, [[generation, [[rate, period_ms, burst], ...]], ...], newest first, if some plan lets
 * routers decide in the store: they must know all limits then. */
bool policies_need_limits(const struct plan_set *set);
void policies_write(struct writer *writer, const struct plan_set *set);

/* Reads policies into a plan set whose plans have those limits, or none (generation_count 1, 0
 * limits). */
enum code policies_read(struct reader *reader, struct plan_set *set, struct fault *fault);

#endif
