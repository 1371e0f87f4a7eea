/*
 * What a client saw, take by take, as it is kept in a file: the evidence that the checker judges.
 *
 * A file is a header, the classes of keys, and then batches: one for each request, with the times
 * at which it was meant to be sent, was sent and was answered (monotonic clock of this machine),
 * and what became of each of its takes. Integers are this machine's; the file stays here.
 *
 * `sent` is read before the first byte leaves, `answered` after the last one came: whatever was
 * decided was decided between the two.
 */
#ifndef SLUICE_CHAOS_RECORDS_H
#define SLUICE_CHAOS_RECORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/bounds.h"

#define RECORDS_MAGIC "SLUICE-R"
#define RECORDS_VERSION 1

/* Classes of keys in one load. The class is the upper four bits of a key's number. */
#define CLASSES_MAX 8
#define CLASS_KEYS_MAX (1u << 28)

/* Bytes of a class's name and of a key: "name-4294967295". */
#define CLASS_NAME_BYTES 24
#define KEY_TEXT_BYTES (CLASS_NAME_BYTES + 12)

struct record_limit {
    uint64_t rate_tokens, period_ns, burst_tokens;
};

/* Keys that are taken alike, under one plan. With `advance_takes` 0 the class has just `keys` keys;
 * else they are a window that moves on to a fresh key after so many takes, so that at any moment
 * some keys are fresh and others spent, and the old ones are looked at now and then. */
struct record_class {
    char name[CLASS_NAME_BYTES];
    char plan[NAME_BYTES_MAX + 1];
    struct record_limit limits[LIMITS_PER_PLAN_MAX];
    uint32_t limit_count;
    uint32_t keys;
    uint32_t advance_takes;
    uint32_t weight; /* its share of the takes, relative to the others */
    bool strict;     /* its plan's durability */
};

struct record_header {
    char magic[8];
    uint32_t version;
    uint32_t class_count;
    uint32_t slot_count;
    uint32_t reserved;
};

struct record_batch {
    uint64_t intended_ns, sent_ns, answered_ns;
    uint32_t take_count;
    uint32_t reserved;
};

enum record_outcome {
    RECORD_GRANTED, /* by the owner */
    RECORD_REFUSED,
    RECORD_DEGRADED_GRANTED, /* by policy: no owner answered, though it may have counted the take */
    RECORD_DEGRADED_REFUSED,
    RECORD_ERROR, /* detail: the code */
    RECORD_UNANSWERED,
    RECORD_LOOKED, /* cost 0, after the load: what remains is the bucket's level */
    RECORD_OUTCOMES
};

struct record_take {
    uint32_t key;       /* class << 28 | number */
    uint32_t remaining; /* tokens, as answered */
    uint16_t cost;
    uint8_t outcome;
    uint8_t detail;
};

static inline uint32_t record_key(uint32_t class_at, uint32_t number) {
    return class_at << 28 | number;
}

static inline uint32_t key_class(uint32_t key) {
    return key >> 28;
}

static inline uint32_t key_number(uint32_t key) {
    return key & (CLASS_KEYS_MAX - 1);
}

/* The key as it is sent. Returns its bytes. */
uint32_t key_text(const struct record_class *class, uint32_t key, char text[KEY_TEXT_BYTES]);

/* "name=..,plan=..,limits=rate/period_ms/burst[+..],keys=..,advance=..,weight=..,strict=0|1".
 * Prints what is wrong and returns false if it is no such thing. */
bool class_parse(const char *text, struct record_class *class);

/* Header and classes. False, with a line on standard error, if they cannot be read. */
bool records_read_head(FILE *file, const char *path, struct record_header *header,
                       struct record_class classes[CLASSES_MAX]);

/* The next batch; `takes` must hold TAKES_PER_REQUEST_MAX. False at the end, or where the file was
 * cut short by the death of its writer. */
bool records_read_batch(FILE *file, struct record_batch *batch, struct record_take *takes);

#endif
