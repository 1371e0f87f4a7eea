/*
 * The store, as an operator's command sees it: many commands under way. A command that fails, or a
 * connection that is lost, is the end of the work; nothing that may have been executed is sent
 * twice. One thread; a loop of its own runs within the calls.
 *
 * One server answers in order. On a Redis Cluster each command goes to the master of its key, and
 * follows it while slots are moved, so that only commands of which each waits for the answer of the
 * one before have an order. All keys of a command have to share a hash tag.
 */
#ifndef SLUICE_CTL_STORE_H
#define SLUICE_CTL_STORE_H

#include "ctl/command.h"
#include "proto/store_keys.h"
#include "runtime/redis_link.h"
#include "runtime/redis_slots.h"

/* Words of a command that is given word by word. */
#define STORE_WORDS_MAX 16

/* A node's own, if nothing else is said. */
#define STORE_PREFIX_DEFAULT "sluice:"

/* Servers of a Redis Cluster that a command may have to do with: its masters, and as many that
 * slots were moved to meanwhile. */
#define STORE_SERVERS_MAX (2 * REDIS_MASTERS_MAX)

/* Bytes of a reason, zero included. */
#define STORE_WHY_BYTES 512

struct store_server;
struct store_masters;

struct store {
    const char *prefix; /* of keys; borrowed */
    struct redis_access access;
    uv_loop_t loop;
    bool has_loop;
    struct store_server *servers[STORE_SERVERS_MAX]; /* the first `server_count` of them */
    uint32_t server_count;
    struct store_masters *masters;      /* of a Redis Cluster; NULL: there is one server */
    size_t under_way;                   /* commands without an answer */
    size_t copies_bytes;                /* of those that are kept to be sent again */
    uint32_t answerer;                  /* number of the server that has answered last */
    char place[REDIS_PLACE_TEXT_BYTES]; /* of the server; of the one that serves the map */
    bool failed, lacked_memory;
    bool misused;              /* failed: by what the options say */
    char why[STORE_WHY_BYTES]; /* failed: the first reason */
};

/* Called with an answer that is no error. Borrowed for the call. */
typedef void (*store_answer_fn)(void *ctx, redisReply *reply);

/* How to get in, as the options and the environment say; borrowed from them. False, with which one
 * is wrong in `why`. It may read a file, as redis_access_check. */
bool store_options_check(const struct store_options *options, struct redis_access *access,
                         char why[STORE_WHY_BYTES]);

/* Connects and logs in, as the options say. False with store->why; store_close in either case. */
bool store_open(struct store *store, const struct store_options *options);
void store_close(struct store *store);

/* Sends a command (copied), whose key stands behind its name, or behind text and number of an EVAL;
 * one without a key goes to the server of the map. False once anything has failed; then `answer` is
 * not called. Within `answer` more may be sent. */
bool store_send(struct store *store, int argc, const char **argv, const size_t *sizes,
                store_answer_fn answer, void *ctx);

/* The same from zero-terminated words, ended by NULL. */
bool store_send_words(struct store *store, store_answer_fn answer, void *ctx, ...)
    __attribute__((sentinel));

/* Runs until at most `most` commands are under way; false if anything failed. */
bool store_wait(struct store *store, size_t most);

/* Commands that have no answer yet. */
static inline size_t store_under_way(const struct store *store) {
    return store->under_way;
}

/* Within `answer`: the number of the server that it came from, from 1. A cursor means nothing to
 * any other. */
static inline uint32_t store_answerer(const struct store *store) {
    return store->answerer;
}

/* Asks the masters of a Redis Cluster whether each has been a master all the while: one that was a
 * replica in between, or is one now, may have lost what it said was written. False with
 * store->why. */
bool store_check_masters(struct store *store);

/* Of work that failed: EXIT_USAGE, EXIT_MEMORY, or EXIT_UNREACHABLE. */
enum exit_code store_exit(const struct store *store);

/* Ends the work with a reason, unless it has failed already. Always false. */
bool store_fail(struct store *store, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
