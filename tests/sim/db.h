/*
 * Redis's keys and the commands on them that Sluice uses: strings, hashes, sets, leases that run
 * out, and a stream of which nobody reads more than its length.
 *
 * Pure but for its memory: time is an argument. Answers are written as RESP.
 */
#ifndef SLUICE_TESTS_SIM_DB_H
#define SLUICE_TESTS_SIM_DB_H

#include "proto/bytes.h"

/* Entries of a page of HSCAN: few, so that slots are loaded in many. */
#define DB_PAGE_ENTRIES 3

/* Words of the longest command: a call of SCRIPT_WRITE with as many slots and records as may be. */
#define DB_WORDS_MAX 4700

struct db;

struct buffer {
    uint8_t *data;
    size_t size, room;
};
void buffer_put(struct buffer *buffer, const void *data, size_t size);
void buffer_print(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void buffer_bulk(struct buffer *buffer, struct bytes bytes);
void buffer_free(struct buffer *buffer);

struct db *db_create(void);
void db_free(struct db *db);
struct db *db_copy(const struct db *db);

/* Runs one command; false: it is none of those known (an error was written). */
bool db_call(struct db *db, uint64_t now_ms, const struct bytes *words, uint32_t count,
             struct buffer *out);

/* Keys that ran out so far. */
uint64_t db_expired(const struct db *db);

/* Calls `visit` for each field of each hash whose key ends with `suffix`. */
void db_visit(const struct db *db, const char *suffix,
              void (*visit)(void *ctx, const char *key, struct bytes field, struct bytes value),
              void *ctx);

#endif
