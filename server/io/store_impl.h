/* What the files of the store share. */
#ifndef SLUICE_SERVER_IO_STORE_IMPL_H
#define SLUICE_SERVER_IO_STORE_IMPL_H

#include "server/io/scripts.h"
#include "server/io/store.h"
#include "server/io/store_keys.h"

/* Scripts that a shard's store uses, and the size of a SHA-1 in hexadecimal. */
#define STORE_SCRIPTS 3
#define SHA_TEXT_SIZE 40

/* Words of the longest command: EVALSHA sha 2 key key fence n and two for each entry. */
#define STORE_WORDS_MAX (7 + 2 * SHARD_WRITE_ENTRIES_MAX)

struct store_call {
    struct store *store;
    struct store_call *next; /* in a free list or the list of failed calls */
    uint8_t op_kind;
    struct slot slot;
    uint32_t op_id;
};

struct store {
    struct store_handler handler;
    struct log log;
    const char *prefix;
    uv_loop_t *loop;
    struct redis_link *link;
    uv_timer_t clock_timer;
    uv_timer_t failed_timer; /* fires at once when calls failed without having been sent */
    bool closing;
    bool ready; /* the link is up and all scripts are known to the server */
    uint32_t handles_open;
    uint32_t scripts_loading;
    char sha[STORE_SCRIPTS][SHA_TEXT_SIZE + 1];
    char run_id[SHA_TEXT_SIZE + 1];  /* of the server we were connected to last */
    char history[SHA_TEXT_SIZE + 1]; /* of what that server holds: its replication id */
    bool server_restarted;
    uint64_t clock_asked_ns; /* 0: no question outstanding */
    uint64_t refused_logged_ns;
    struct store_call *free_calls;
    struct store_call *failed_first, **failed_last;
    /* Scratch for one command and one page; used within one call only. */
    const char *words[STORE_WORDS_MAX];
    size_t sizes[STORE_WORDS_MAX];
    uint8_t records[SHARD_WRITE_ENTRIES_MAX][RECORD_BYTES_MAX];
    struct shard_stored_pair *pairs;
    uint32_t pairs_capacity;
};

/* Hands the answer of a call to the shard and frees the call. */
void store_answer(struct store_call *call, struct shard_event *event);

/* A page of HSCAN: [cursor, [field, value, ...]]. */
void store_on_page(void *ctx, redisReply *reply);

/* Says once a second at most what the server refused. */
void store_log_refused(struct store *store, const struct store_call *call, const char *text);

#endif
