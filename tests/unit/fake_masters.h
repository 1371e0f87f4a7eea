/*
 * For tests of the store on a Redis Cluster: masters on loopback, on the test's own loop, that
 * answer what the test says, and a journal of all that was asked and answered, in order.
 *
 * The journal is text. "A" or "B" and what that master was asked: r raise a fence, w write, a
 * assign, f fetch, h and the cursor a page, ? ASKING, W WAIT. What the shard was told: "+" and "-"
 * the store is up or down, "!" and the slots that are to be written again, "=" and an operation's
 * number with o, X or F for OK, FENCED, FAILED.
 */
#ifndef SLUICE_TESTS_FAKE_MASTERS_H
#define SLUICE_TESTS_FAKE_MASTERS_H

#include "server/io/store.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/loop_wait.h"

#define FAKE_MASTERS 2
#define FAKE_PEERS_MAX 16
#define FAKE_SAID_MAX 16
#define FAKE_BYTES_MAX 65536

struct fake_peer {
    uv_tcp_t tcp;
    struct fake_master *master;
    redisReader *reader; /* NULL: the place is free */
    char out[FAKE_BYTES_MAX];
    size_t out_size;
    uint32_t scripts;
};

struct fake_master {
    struct fake_masters *all;
    char name;
    uv_tcp_t listener;
    int port;
    bool holding; /* answers wait */
    char said[FAKE_SAID_MAX][128];
    uint32_t said_first, said_count;
    struct fake_peer peers[FAKE_PEERS_MAX];
    uint32_t history; /* what INFO calls it by */
    uint32_t replicas;
};

struct fake_masters {
    uv_loop_t loop;
    struct fake_master masters[FAKE_MASTERS];
    uint32_t low, high; /* who serves the lower half of the slots, and the upper */
    uint32_t tables;    /* that were asked for */
    char journal[FAKE_BYTES_MAX];
    size_t journal_size;
    struct redis_access access;
    struct log log;
    struct store *store;
    uint32_t op_id;
};

/* `ack` as on the command line. Waits until the store is up. */
void fake_open(struct fake_masters *all, const char *ack);
void fake_close(struct fake_masters *all);

/* The master's next answer to a keyed command; "PLACE" in it is the other master's address. */
void fake_say(struct fake_masters *all, uint32_t master, const char *text);

/* Whether answers of the master wait; what has waited goes out when it stops holding. */
void fake_hold(struct fake_masters *all, uint32_t master, bool holding);

/* Closes all its connections. */
void fake_cut(struct fake_masters *all, uint32_t master);

/* Connections to it that have been told the scripts, and waits until there are so many. */
uint32_t fake_links(const struct fake_masters *all, uint32_t master);
void fake_await_links(struct fake_masters *all, uint32_t master, uint32_t count);

/* Waits until the table of slots was asked for again, and goes by it. */
void fake_await_table(struct fake_masters *all);

/* Gives the store an operation; returns its number. */
uint32_t fake_do(struct fake_masters *all, enum shard_op_kind kind, uint16_t slot, uint64_t cursor);

/* Waits until the journal since its last clearing is exactly this, and clears it. */
void fake_expect(struct fake_masters *all, const char *journal);

/* A slot whose keys are in the lower, or the upper half. */
uint16_t fake_slot(bool upper);

#endif
