/*
 * The Redis server: one thread that executes what arrives, connection by connection in order, from
 * the model of its data (db.h) and the real scripts (script.h).
 *
 * It can be slow or stand still, refuse writes, be restarted with the tail of its append-only file
 * lost, and be replaced by a replica that lags. What a connection sent before it was given up is
 * executed all the same, late if the server was late.
 */
#ifndef SLUICE_TESTS_SIM_STORE_H
#define SLUICE_TESTS_SIM_STORE_H

#include "server/io/scripts.h"
#include "tests/sim/db.h"
#include "tests/sim/process.h"

#define STORE_PORT 6379

/* How often the append-only file reaches the disk (everysec), and the replica its master. */
#define STORE_SYNC_NS SECOND

/* Starts the server on that machine. */
void store_start(struct machine *machine);
struct machine *store_machine(void);

/* Realtime as the server has it, ns since 1970. */
uint64_t store_clock(void);
void store_clock_jump(int64_t ns);

/* --- bad days ------------------------------------------------------------------------------ */

void store_stall(uint64_t ns);
void store_slow(uint64_t each_ns); /* each command takes so long from now on; 0: as usual */
void store_refuse(bool refuse);    /* commands that write are answered by an error */

/* The process dies and is back `away_ns` later; with `tail_lost` it has what had reached the disk.
 */
void store_restart(uint64_t away_ns, bool tail_lost);

/* The replica, `lag_ns` behind at most, takes over. */
void store_fail_over(uint64_t away_ns);

/* --- what checkers look at ----------------------------------------------------------------- */

struct store_seen {
    enum script script;
    struct process *process; /* who sent it */
    const struct bytes *keys, *words;
    uint32_t key_count, word_count;
    struct bytes answer; /* RESP */
};
void store_watch(void (*seen)(const struct store_seen *seen));

/* True while it takes commands at its usual pace; else since when it did not (true time). */
bool store_healthy(void);
uint64_t store_sick_since(void);
/* When the server that runs, or ran last, began. */
uint64_t store_begun_at(void);

/* When it last forgot what it had acknowledged; 0: never. Everything older than `kept_ns` is kept.
 */
uint64_t store_lost_at(uint64_t *kept_ns);

struct db *store_db(void);

/* The routers' script, beside those of the nodes (enum script). */
#define STORE_SCRIPT_FALLBACK ((enum script)SCRIPT_COUNT)
#define STORE_SCRIPTS (SCRIPT_COUNT + 1)

/* A fault in a copy of the rule: the first `from` in that script's text becomes `to`. */
void store_plant(enum script script, const char *from, const char *to);

#endif
