/*
 * The scripts of Redis, run by the interpreter that Redis has (Lua 5.1): what is simulated is the
 * very text that production sends.
 */
#ifndef SLUICE_TESTS_SIM_SCRIPT_H
#define SLUICE_TESTS_SIM_SCRIPT_H

#include "tests/sim/db.h"

struct scripts;

struct scripts *scripts_create(void);

/* Compiles, or finds it compiled before; -1: it is no Lua, and `why` says so. */
int scripts_load(struct scripts *scripts, struct bytes text, char *why, size_t why_size);

/* The store has no memory left: commands that may need some are refused, until the run has written.
 */
void scripts_full(struct scripts *scripts, bool full);

/* One call of a script: KEYS and ARGV. */
struct script_call {
    int script;
    uint64_t now_ns; /* the store's realtime */
    const struct bytes *keys, *words;
    uint32_t key_count, word_count;
};

/* Runs it on the db; the answer is written as RESP. */
void scripts_run(struct scripts *scripts, struct db *db, const struct script_call *call,
                 struct buffer *out);

#endif
