/*
 * The store, as an operator's command sees it: one connection, many commands under way, the answers
 * in order. A command that fails, or a connection that is lost, is the end of the work; nothing is
 * sent twice. One thread; a loop of its own runs within the calls.
 */
#ifndef SLUICE_CTL_STORE_H
#define SLUICE_CTL_STORE_H

#include "ctl/command.h"
#include "proto/store_keys.h"
#include "runtime/redis_link.h"

/* Words of a command that is given word by word. */
#define STORE_WORDS_MAX 16

/* A node's own, if nothing else is said. */
#define STORE_PREFIX_DEFAULT "sluice:"

/* Bytes of a reason, zero included. */
#define STORE_WHY_BYTES 512

struct store {
    const char *prefix; /* of keys; borrowed */
    struct redis_access access;
    uv_loop_t loop;
    bool has_loop;
    struct redis_link *link; /* NULL: none */
    char place[REDIS_PLACE_TEXT_BYTES];
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

/* Sends a command (copied). False once anything has failed; then `answer` is not called. Within
 * `answer` more may be sent. */
bool store_send(struct store *store, int argc, const char **argv, const size_t *sizes,
                store_answer_fn answer, void *ctx);

/* The same from zero-terminated words, ended by NULL. */
bool store_send_words(struct store *store, store_answer_fn answer, void *ctx, ...)
    __attribute__((sentinel));

/* Runs until at most `most` commands are under way; false if anything failed. */
bool store_wait(struct store *store, size_t most);

/* Of work that failed: EXIT_USAGE, EXIT_MEMORY, or EXIT_UNREACHABLE. */
enum exit_code store_exit(const struct store *store);

/* Ends the work with a reason, unless it has failed already. Always false. */
bool store_fail(struct store *store, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
