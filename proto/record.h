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
#include "proto/reader.h"
#include "proto/writer.h"

/* Bytes of the largest record: array, schema, a 63-byte name, generation, 4 times of two numbers.
 */
#define RECORD_BYTES_MAX 192

struct record {
    uint64_t schema; /* that it was read in; record_write writes record_schema_written */
    bool is_inline;
    struct bytes plan;   /* the plan's name, unless inline; borrowed when decoded */
    struct limit limit;  /* inline */
    uint32_t generation; /* 0 if inline */
    uint32_t tat_count;
    struct tat tats[LIMITS_PER_PLAN_MAX];
};

/* How the elements behind the schema are read and written; `count` is that of the whole array. */
struct record_schema {
    enum code (*read)(struct reader *reader, uint32_t count, struct record *record,
                      struct fault *fault);
    void (*write)(struct writer *writer, const struct record *record);
};

/* Every schema that was ever written is read for good: [0] is schema 1. A schema is first read and,
 * a release later, first written:
 *
 *     written <= newest, and written <= the newest of the release before
 *
 * so two neighbouring releases may run side by side, and either may be put back (decision 0026). */
extern const struct record_schema record_schemas[];
extern const uint32_t record_schema_newest;
extern const uint32_t record_schema_written;

/* Schema 1. */
enum code record_read_1(struct reader *reader, uint32_t count, struct record *record,
                        struct fault *fault);
void record_write_1(struct writer *writer, const struct record *record);

/* Returns the bytes written to `out`. */
uint32_t record_write(const struct record *record, uint8_t out[RECORD_BYTES_MAX]);

/* CODE_OK, or BAD_REQUEST with what is wrong; a newer schema is named as such. */
enum code record_read(struct bytes stored, struct record *record, struct fault *fault);

/* Whether record_read refused it because a later version wrote it: it is nobody's to mend here. */
static inline bool record_is_newer(const struct record *record) {
    return record->schema > record_schema_newest;
}

#endif
