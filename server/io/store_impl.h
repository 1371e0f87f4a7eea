/* What the files of the store share. */
#ifndef SLUICE_SERVER_IO_STORE_IMPL_H
#define SLUICE_SERVER_IO_STORE_IMPL_H

#include "proto/store_keys.h"
#include "server/io/redis_hint.h"
#include "server/io/scripts.h"
#include "server/io/store.h"

/* Scripts that a shard's store uses, and the size of a SHA-1 in hexadecimal. */
#define STORE_SCRIPTS 4
#define SHA_TEXT_SIZE 40

/* Words of the longest command: EVALSHA sha 2 key key fence n and two for each entry. */
#define STORE_WORDS_MAX (7 + 2 * SHARD_WRITE_ENTRIES_MAX)

struct store_call {
    struct store *store;
    struct store_call *next; /* in a free list or the list of failed calls */
    uint8_t op_kind;
    struct slot slot;
    uint32_t op_id;
    bool followed;  /* a WAIT goes behind it, and its answer is what counts */
    uint64_t fence; /* that was raised, while the call waits for its WAIT */
};

struct store {
    struct store_handler handler;
    struct log log;
    const char *prefix;
    char holder[64]; /* who raises fences here: this shard of this process */
    uv_loop_t *loop;
    struct redis_link *link;
    uv_timer_t clock_timer;
    uv_timer_t failed_timer; /* fires at once when calls failed without having been sent */
    bool closing;
    bool ready; /* the link is up and all scripts are known to the server */
    uint32_t handles_open;
    uint32_t scripts_loading;
    bool scripts_loaded, scripts_refused;
    struct ack ack;
    enum ack_follow_up follow_up; /* what makes the writes on this connection count */
    bool kept;                    /* the server keeps what `ack` promises */
    bool checking;                /* that is being asked */
    bool unfollowed;              /* a write was sent without its WAIT */
    struct store_call *unacked_first, **unacked_last; /* written, the WAIT is not answered */
    char broken_told[256];                            /* why it is not kept, as logged last */
    char *info; /* of the server being checked; NULL: none came */
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

/* A key's record and assignment: [bytes or nil, bytes or nil]. */
void store_on_key(void *ctx, redisReply *reply);

/* What a script's OK is worth: answers the call now, or when the write's WAIT is answered. */
void store_written(struct store_call *call, uint64_t fence);

/* Sends the WAIT for the writes of this turn. */
void store_follow_up(struct store *store);

/* The link's callbacks, and the timer's: is the server still what it was? */
void store_on_link_up(void *ctx, struct redis_link *link);
void store_on_link_down(void *ctx, struct redis_link *link, bool was_up, const char *why);
void store_check(struct store *store);
void store_tick(struct store *store);
void store_scripts_load(struct store *store);

/* Hands a FAILED to the shard. */
void store_answer_failed(struct store_call *call);

/* Says once a second at most what the server refused. */
void store_log_refused(struct store *store, const struct store_call *call, const char *text);

#endif
