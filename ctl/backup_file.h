/*
 * A backup as bytes: pieces, one behind the other, each with a checksum (docs/backup.md).
 *
 *     piece   [checksum, body]   always 92 cf <XXH3-64 of body> c6 <bytes of body> <body>
 *     body    ["head", 0, {...}]
 *             ["keys", n, slot, [[key, plan], ...]]          what operators assigned
 *             ["buckets", n, slot, [[key, record], ...]]     records as they are stored
 *             ["end", n, {...}]                              totals
 *
 * n counts the pieces from 0, keys ascend within a piece, "end" comes last and once. So no byte can
 * change, and no piece go, come twice or change places, without being noticed.
 * Pure, but for the checker's memory, which is the caller's.
 */
#ifndef SLUICE_CTL_BACKUP_FILE_H
#define SLUICE_CTL_BACKUP_FILE_H

#include "proto/map.h"
#include "proto/plan_codec.h"

#define BACKUP_FORMAT 1

/* Bytes before a body. */
#define BACKUP_LEAD_BYTES 15

/* Pairs of one piece: what a script of Redis can take as arguments, and a page of HSCAN brings. */
#define BACKUP_PAIRS_MAX 2000

/* Bytes of a stored value: far above any record of ours, far below what would fill memory. */
#define BACKUP_VALUE_BYTES_MAX 4096

/* Bytes of pairs after which a piece is full. Arbitrary: large enough to be worth its lead, small
 * enough to have several in memory. */
#define BACKUP_PAIRS_BYTES (1u << 20)

/* Bytes of a body: the largest map and the largest plan set fit, and pieces of pairs well. */
#define BACKUP_BODY_BYTES_MAX (4u << 20)

enum backup_kind { BACKUP_HEAD, BACKUP_KEYS, BACKUP_BUCKETS, BACKUP_END };
const char *backup_kind_text(enum backup_kind kind);

struct slot_set {
    uint8_t bits[SLOTS_MAX / 8];
};
static inline bool slot_set_has(const struct slot_set *set, uint32_t slot) {
    return (set->bits[slot / 8] >> slot % 8 & 1) != 0;
}
static inline void slot_set_add(struct slot_set *set, uint32_t slot) {
    set->bits[slot / 8] |= (uint8_t)(1u << slot % 8);
}

struct backup_head {
    struct bytes cluster; /* its id; empty if it has none */
    uint32_t slot_count;
    uint64_t time_ms; /* since 1970, by the store's clock, when the backup began */
    struct bytes prefix, version;
    struct bytes map;   /* msgpack, as in the store */
    struct bytes plans; /* the same; nil if none were ever applied */
    struct slot_set slots;
};

struct backup_totals {
    uint64_t slots, buckets, keys;
    uint64_t left_out; /* what stood under our keys and was none of ours */
};

struct backup_pairs {
    struct slot slot;
    uint32_t count;
    struct reader reader; /* at the first; backup_pair_next */
};

/* One body, decoded; everything borrows from its bytes. */
struct backup_piece {
    enum backup_kind kind;
    uint64_t number;
    struct backup_head head;
    struct backup_pairs pairs;
    struct backup_totals totals;
};

struct backup_pair {
    struct bytes key, value;
};

/* Writing: BACKUP_LEAD_BYTES are left free before the body; backup_seal fills them in. Each returns
 * the size of the whole piece. `out` has room for BACKUP_LEAD_BYTES + BACKUP_BODY_BYTES_MAX. */
uint32_t backup_head_write(const struct backup_head *head, uint8_t *out);
uint32_t backup_pairs_write(enum backup_kind kind, uint64_t number, struct slot slot,
                            const struct backup_pair *pairs, uint32_t count, uint8_t *out);
uint32_t backup_end_write(uint64_t number, const struct backup_totals *totals, uint8_t *out);

/* Reading: the lead tells how long the body is. */
struct backup_lead {
    uint64_t checksum;
    uint32_t body_bytes;
};
uint64_t backup_checksum(struct bytes body);
enum code backup_lead_read(const uint8_t lead[BACKUP_LEAD_BYTES], struct backup_lead *out,
                           struct fault *fault);

/* What the pieces up to here were. All zero at the start. */
struct backup_progress {
    uint64_t pieces;
    bool ended;
    uint32_t slot_count;
    struct slot_set covered; /* that the head names */
    struct backup_totals totals;
};

/* Checks the body against its lead and against the pieces before it, and decodes it. */
enum code backup_body_read(struct backup_progress *progress, const struct backup_lead *lead,
                           struct bytes body, struct backup_piece *piece, struct fault *fault);

/* The next of the pairs; false behind the last. */
bool backup_pair_next(struct backup_pairs *pairs, struct backup_pair *pair);

#endif
