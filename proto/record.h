/*
 * The stored record of a bucket: what a shard writes to Redis and reads back.
 *
 *     [schema, plan, generation, tat...]   plan: a name, or [rate, period_ms, burst] for an inline
 * limit
 *
 * Pure. tat values are times in ns of cluster time, one a limit: an integer, or [ns, part] if the
 * time is no whole number of ns (part / rate more).
 */
#ifndef SLUICE_PROTO_RECORD_H
#define SLUICE_PROTO_RECORD_H

#include "proto/limit.h"
#include "proto/plan.h"

#define RECORD_SCHEMA 1

/* Bytes of the largest record: array, schema, a 63-byte name, generation, 4 times of two numbers.
 */
#define RECORD_BYTES_MAX 192

struct record {
    bool is_inline;
    struct bytes plan;   /* the plan's name, unless inline; borrowed when decoded */
    struct limit limit;  /* inline */
    uint32_t generation; /* 0 if inline */
    uint32_t tat_count;
    struct tat tats[LIMITS_PER_PLAN_MAX];
};

/* Returns the bytes written to `out`. */
uint32_t record_write(const struct record *record, uint8_t out[RECORD_BYTES_MAX]);

/* CODE_OK, or BAD_REQUEST with what is wrong; a newer schema is named as such. */
enum code record_read(struct bytes stored, struct record *record, struct fault *fault);

#endif
