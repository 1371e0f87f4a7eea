/*
 * What the files of the store share: store.c (servers, commands, what goes wrong) and
 * store_masters.c (which master of a Redis Cluster, and when).
 */
#ifndef SLUICE_CTL_STORE_IMPL_H
#define SLUICE_CTL_STORE_IMPL_H

#include "ctl/store.h"

/* Bytes of a command's name with its key, and of what a server said of it, zero included. */
#define STORE_NAME_BYTES (STORE_KEY_BYTES_MAX + 16)
#define STORE_SAID_BYTES 128

/* Bytes of a replication id, zero included. */
#define STORE_HISTORY_BYTES 41

/* A server that the store has a link to: the only one, or a master of the cluster. It lives until
 * the store is closed. */
struct store_server {
    struct store *store;
    struct redis_access access;
    struct redis_link *link;
    uint32_t number; /* from 1 */
    char
        history[STORE_HISTORY_BYTES]; /* of a master: what its data's is called; empty: not known */
};

/* A command under way. */
struct store_call {
    struct store *store;
    store_answer_fn answer;
    void *ctx;
    struct store_server *server; /* that it was sent to; NULL: none yet */
    char name[STORE_NAME_BYTES]; /* of the command, and the key that it is about */
    /* In a cluster. */
    struct store_call *next; /* of those that wait */
    char *command;           /* as Redis reads it, to be sent (again) */
    size_t command_size;
    uint16_t redis_slot;
    struct store_server *asked;  /* to be sent there this once; NULL: to its slot's master */
    uint64_t after_ms, until_ms; /* when it may be sent again, and how long; 0: there is no end */
    uint32_t redirects;          /* that it has met */
    char said[STORE_SAID_BYTES]; /* why it has to be sent again */
};

/* --- store.c ---------------------------------------------------------------------------------- */

/* A link to the server that the options name, or to the master at a place (copied). NULL: there are
 * STORE_SERVERS_MAX; the store has failed. */
struct store_server *store_server_open(struct store *store, const struct redis_place *place);

/* Takes the reply to the call's command, as redis_link_send gives it. */
void store_on_reply(void *ctx, redisReply *reply);

void store_call_free(struct store_call *call);

/* What an operator can do about an error of Redis: a half-sentence to put behind it. */
void store_hint(const struct store *store, const char *error, char out[STORE_WHY_BYTES]);

/* --- store_masters.c: on a Redis Cluster ------------------------------------------------------ */

/* Begins to look for the masters; store->masters is there until store_masters_free. */
void store_masters_open(struct store *store);
bool store_masters_known(const struct store *store);
void store_masters_close(struct store *store);
void store_masters_free(struct store *store);

/* Its link is up. */
void store_masters_up(struct store_server *server);

/* Takes a call over whose name is filled in, and sends it to the master of its key, NULL: of the
 * map, when that can be. False: the store has failed, and the call is the caller's still. */
bool store_masters_put(struct store_call *call, const char *key, size_t key_size, int argc,
                       const char **argv, const size_t *sizes);

/* True: the answer tells where or when the call can be executed, which it was not. It is sent
 * again, if the store has not failed. */
bool store_masters_redirected(struct store_call *call, const redisReply *reply);

#endif
