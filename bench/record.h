/*
 * Records of grants: what `load --record` writes and `check` reads.
 *
 * A file is a head of 64 bytes and then 32 bytes a grant, all numbers little endian:
 *
 *     head   0 "SLUICEG1"   8 rate (tokens)   16 period (ns)   24 burst (tokens)   32 zeros
 *     grant  0 sent (ns)    8 received (ns)   16 cost (tokens)   24 key (number, 32 bits)
 *           28 flags (1: degraded)   29 zeros
 *
 * Times are CLOCK_MONOTONIC of the machine that asked: records that were made at the same time on
 * one machine may be checked together. A rate of 0: the limit was a plan's, and is not known here.
 * Written through a buffer; grants stand in the order of their answers.
 */
#ifndef SLUICE_BENCH_RECORD_H
#define SLUICE_BENCH_RECORD_H

#include <stdio.h>

#include "proto/limit.h"

#define RECORD_MAGIC "SLUICEG1"
#define RECORD_HEAD_SIZE 64
#define RECORD_GRANT_SIZE 32
#define RECORD_FLAG_DEGRADED 1u

/* Grants of one file: 4 GiB, above an hour at a million a second. */
#define RECORD_GRANTS_MAX (UINT64_C(1) << 27)

struct grant {
    uint64_t sent_ns, received_ns;
    uint64_t cost_tokens;
    uint32_t key;
    uint8_t flags;
};

struct record_file {
    FILE *file;
    uint64_t count;
};

/* False with the reason in `why`. `limit` may be NULL. */
bool record_create(struct record_file *record, const char *path, const struct limit *limit,
                   char *why, size_t why_size);
/* False: the disk is full, or the file has RECORD_GRANTS_MAX. */
bool record_add(struct record_file *record, const struct grant *grant);
/* False: something was not written. */
bool record_close(struct record_file *record);

void record_head_write(uint8_t out[RECORD_HEAD_SIZE], const struct limit *limit);
void record_grant_write(uint8_t out[RECORD_GRANT_SIZE], const struct grant *grant);

/* The head and the grants of a file that is in memory: false with the reason in `why`. `limit` has
 * rate_tokens 0 if the file does not know it. */
bool record_head_read(struct bytes file, struct limit *limit, char *why, size_t why_size);
bool record_grant_read(const uint8_t in[RECORD_GRANT_SIZE], struct grant *grant, char *why,
                       size_t why_size);

#endif
