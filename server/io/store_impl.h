/* What the files of the store share. */
#ifndef SLUICE_SERVER_IO_STORE_IMPL_H
#define SLUICE_SERVER_IO_STORE_IMPL_H

#include "proto/store_keys.h"
#include "runtime/redis_slots.h"
#include "server/io/redis_hint.h"
#include "server/io/scripts.h"
#include "server/io/store.h"

/* Scripts that a shard's store uses, and the size of a SHA-1 in hexadecimal. */
#define STORE_SCRIPTS 4
#define SHA_TEXT_SIZE 40

/* Servers that a store has links to: all masters of a cluster, and as many that were masters and
 * have calls outstanding still. */
#define STORE_SERVERS_MAX (2 * REDIS_MASTERS_MAX)

/* Milliseconds between two questions for the cluster's table: a reshard brings a MOVED for each of
 * its slots, and the slot is known from that already. */
#define STORE_TABLE_MS 100

/* Milliseconds after which a call is tried again whose slot is just being moved, and that all
 * waiting for another master may take: a slot's few keys are moved within some milliseconds, and
 * callers have deadlines. */
#define STORE_AGAIN_MS 10
#define STORE_WAIT_MS 1000

/* Redirections of one call, beyond which it is sent again only every STORE_AGAIN_MS: masters that
 * disagree are not to be asked in turns as fast as they answer. */
#define STORE_REDIRECTS_MAX 5

/* Where SCRIPT_WRITE stands among them. */
#define STORE_SCRIPT_WRITE 1

/* Words of the longest command: EVALSHA sha 2 key key fence n m and two for each entry. */
#define STORE_WORDS_MAX (8 + 2 * SHARD_WRITE_ENTRIES_MAX)

/* What one call of SCRIPT_WRITE may hold: Redis serves nobody else meanwhile, and a record costs it
 * about two microseconds, one that is alone in its slot twice that. So a call takes it one to two
 * milliseconds. Larger ones would not be cheaper by the record. */
#define STORE_CALL_SLOTS_MAX 512
#define STORE_CALL_ENTRIES_MAX 1024

/* Calls of SCRIPT_WRITE to be answered, beyond which only full ones are sent: one that Redis
 * executes, and the next to be there when it is done. More would make calls smaller, not faster. */
#define STORE_CALLS_MAX 2

/* Bytes of a word of RESP beside its content ("$512", twice CR LF); of a number; of an entry (two
 * words); of what stands before a slot's entries; of a name of a slot's key. */
#define STORE_WORD_BYTES 12
#define STORE_NUMBER_BYTES_MAX (STORE_WORD_BYTES + 20)
#define STORE_ENTRY_BYTES_MAX (2 * STORE_WORD_BYTES + KEY_BYTES_MAX + RECORD_BYTES_MAX)
#define STORE_WRITE_HEAD_BYTES_MAX (3 * STORE_NUMBER_BYTES_MAX)
#define STORE_SLOT_KEY_BYTES_MAX (STORE_WORD_BYTES + STORE_KEY_BYTES_MAX)
#define STORE_OP_BYTES_MAX                                                                         \
    (STORE_WRITE_HEAD_BYTES_MAX + SHARD_WRITE_ENTRIES_MAX * STORE_ENTRY_BYTES_MAX)

/* Bytes of a call's entries: a slot's largest write, which is far more than usual ones need. */
#define STORE_CALL_BYTES_MAX (256u << 10)
#define STORE_COMMAND_BYTES_MAX                                                                    \
    (STORE_CALL_BYTES_MAX + 2 * STORE_CALL_SLOTS_MAX * STORE_SLOT_KEY_BYTES_MAX + 256)

struct store_call {
    struct store *store;
    struct store_call *next; /* in a free list, the list of failed calls, or its slot's queue */
    uint8_t op_kind;
    struct slot slot;
    uint32_t op_id;
    bool writes;     /* it goes through a script that compares fences */
    bool followed;   /* a WAIT goes behind it, and its answer is what counts */
    uint64_t fence;  /* that was raised, while the call waits for its WAIT */
    uint64_t cursor; /* of a page */
    redis_reply_fn on_reply;
    struct store_server *server; /* that it was sent to */
    /* In a cluster. */
    char *command; /* as Redis reads it, to be sent (again) */
    size_t command_size;
    struct store_server *asked;  /* to be sent there this once; NULL: to its slot's master */
    uint64_t number;             /* in the order of coming */
    uint64_t after_ms, until_ms; /* when it may be sent, and until when that is worth while */
    uint32_t redirects;          /* that it has met */
    /* Of a call that writes several slots. */
    bool gathered;
    uint32_t written_count;
    struct shard_written written[]; /* STORE_CALL_SLOTS_MAX */
};

/* RESP under construction. */
struct store_text {
    char *data;
    uint32_t size, capacity;
};

/* Writes that have not left yet, as one command. */
struct store_gather {
    struct store_call *call; /* NULL: none */
    uint32_t entry_count, word_count;
    struct store_text fences, buckets, values;
    struct store_text command;  /* the whole, when it leaves */
    uint32_t calls_outstanding; /* that have left */
};

/* A server that the store has a link to: the only one, or a master of the cluster. */
struct store_server {
    struct store *store;
    struct redis_access access; /* of a master */
    struct redis_link *link;
    bool ready; /* the link is up, all scripts are known, and `ack` is kept */
    bool away;  /* it was lost, or could not be reached, and is not ready again yet */
    uint32_t scripts_loading, scripts_answered; /* outstanding; since they were asked for */
    bool scripts_loaded, scripts_refused;
    enum ack_follow_up follow_up; /* what makes the writes on this connection count */
    bool kept;                    /* the server keeps what `ack` promises */
    bool checking;                /* that is being asked */
    bool unfollowed;              /* a write was sent without its WAIT */
    struct store_call *unacked_first, **unacked_last; /* written, the WAIT is not answered */
    char broken_told[256];                            /* why it is not kept, as logged last */
    char down_told[256];                              /* why a master is not reached, likewise */
    char *info;                      /* of the server being checked; NULL: none came */
    char run_id[SHA_TEXT_SIZE + 1];  /* of the server we were connected to last */
    char history[SHA_TEXT_SIZE + 1]; /* of what that server holds: its replication id */
    bool restarted;
    uint64_t connection; /* no two of the store's connections have the same; 0: none yet */
    uint64_t lineage;    /* no two histories have the same; 0: none is known */
    uint32_t calls;      /* of the cluster: sent there, or to be */
};

/* A slot, as far as the store has to know it. */
struct store_slot {
    uint64_t page_connection; /* that its last page came by: its cursor means nothing elsewhere */
    /* In a cluster. */
    uint64_t lineage; /* of the server that has its records; 0: the shard has not had it */
    struct store_server *server; /* the calls that were sent went there */
    uint32_t sent;               /* and were not answered yet */
    bool writing;                /* one of them writes */
    bool listed;                 /* among those whose calls wait */
    uint16_t next;
    uint16_t redis_slot;
    struct store_call *first; /* that wait to be sent, in order */
};

/* What a store knows of a Redis Cluster. */
struct store_cluster {
    const struct redis_access *access;
    struct redis_link *home; /* to the master of the cluster's own keys: its clock counts */
    uv_timer_t timer;        /* runs while calls wait or the table is wanted */
    struct redis_topology topology;
    struct store_server *server_of[REDIS_MASTERS_MAX]; /* NULL: not looked up yet */
    bool known;                                        /* the topology has come */
    bool wanted, asking;                               /* it is to be asked for; that is so */
    uint64_t asked_ms;
    char told[128];   /* why it did not come, as logged last */
    uint64_t calls;   /* numbers given */
    uint16_t waiting; /* the first slot with calls that wait; SLOTS_MAX: none */
    uint8_t lost[SLOTS_MAX / 8];
};

struct store {
    struct store_handler handler;
    struct log log;
    const char *prefix;
    char holder[64]; /* who raises fences here: this shard of this process */
    uv_loop_t *loop;
    struct store_server *servers[STORE_SERVERS_MAX]; /* the first `server_count` of them */
    uint32_t server_count;
    struct store_cluster *cluster; /* NULL: there is one server */
    uv_timer_t clock_timer;
    uv_timer_t failed_timer; /* fires at once when calls failed without having been sent */
    bool closing;
    bool up; /* as the shard was told */
    uint32_t handles_open;
    struct ack ack;
    char sha[STORE_SCRIPTS][SHA_TEXT_SIZE + 1];
    uint64_t connections, lineages; /* numbers given */
    uint64_t clock_asked_ns;        /* 0: no question outstanding */
    uint64_t refused_logged_ns;
    struct store_call *free_calls, *free_gathered;
    struct store_call *failed_first, **failed_last;
    struct store_slot *slots; /* SLOTS_MAX */
    struct store_gather gather;
    uv_prepare_t turn_end;
    /* Scratch for one command and one page; used within one call only. */
    const char *words[STORE_WORDS_MAX];
    size_t sizes[STORE_WORDS_MAX];
    uint8_t records[SHARD_WRITE_ENTRIES_MAX][RECORD_BYTES_MAX];
    struct shard_stored_pair *pairs;
    uint32_t pairs_capacity;
};

/* --- store.c ------------------------------------------------------------------------------- */

/* Tells the shard whether the store is up. `lost` are the slots whose newest records the store may
 * have lost, NULL: all, if `restarted`. */
void store_tell(struct store *store, bool up, bool restarted, const uint8_t *lost);

/* One of the handles that were counted is closed. */
void store_part_closed(struct store *store);

struct store_call *store_call_get(struct store *store, bool gathered);
void store_call_put(struct store_call *call);

/* Hands the answer of a call to the shard and frees the call. */
void store_answer(struct store_call *call, struct shard_event *event);

/* The same of one that writes several slots: all of its writes alike. */
void store_answer_all(struct store_call *call, enum shard_stored_status status);

/* A script that answered something else than it should. */
void store_script_refused(struct store_call *call, const redisReply *reply);

/* Hands a FAILED to the shard. */
void store_answer_failed(struct store_call *call);

/* The same from the loop, after store_turn. */
void store_fail_later(struct store_call *call);

/* Sends the words in the scratch by the server's link. False: that cannot be, or they ask for the
 * next page of a scan that was begun elsewhere. */
bool store_send(struct store_server *server, struct store_call *call, int count,
                redis_reply_fn on_reply);

/* The same with a command as Redis reads it. */
bool store_send_text(struct store_server *server, struct store_call *call, const char *text,
                     size_t size, redis_reply_fn on_reply);

/* Says once a second at most what the server refused. */
void store_log_refused(struct store *store, const struct store_call *call, const char *text);

/* --- store_write.c: writes of several slots together, where there is one server ------------- */

/* False: no memory. */
bool store_gather_open(struct store *store);
void store_gather_free(struct store *store);

/* Puts a write to those that wait. */
void store_gather(struct store *store, const struct shard_op *op);

/* The slot's key that the operation is about, but for fences; and what a WRITE sets. */
int store_op_key(const struct store *store, const struct shard_op *op, store_key key);
uint32_t store_entry_value(const struct shard_op *op, const struct shard_op_entry *entry,
                           uint8_t out[RECORD_BYTES_MAX]);

/* Sends those that wait. */
void store_gather_send(struct store *store);

/* The same at the end of a turn, if it is time. */
void store_gather_turn(struct store *store);

/* Those that wait are answered FAILED. */
void store_gather_fail(struct store *store);

/* --- store_load.c -------------------------------------------------------------------------- */

/* A page of HSCAN: [cursor, [field, value, ...]]. */
void store_on_page(void *ctx, redisReply *reply);

/* A key's record and assignment, [bytes or nil, bytes or nil]; or its record alone. */
void store_on_key(void *ctx, redisReply *reply);

/* --- store_link.c -------------------------------------------------------------------------- */

/* A link to the server of `access`, borrowed; or to a master at `place`, which is copied. NULL: no
 * memory, or STORE_SERVERS_MAX. */
struct store_server *store_server_open(struct store *store, const struct redis_access *access,
                                       const struct redis_place *place);

/* Closes the link and frees the server, from the loop. Calls outstanding fail. */
void store_server_close(struct store_server *server);

/* What a script's OK is worth: answers the call now, or when the write's WAIT is answered. */
void store_written(struct store_call *call, uint64_t fence);

/* Sends the WAIT for the writes of this turn. */
void store_follow_up(struct store_server *server);

/* Is the server still what it was? Once a second. */
void store_tick(struct store_server *server);
void store_scripts_load(struct store_server *server);

/* --- store_cluster.c: which master ---------------------------------------------------------- */

/* `access` is borrowed. False: no memory. */
bool store_cluster_open(struct store *store, const struct redis_access *access);
void store_cluster_close(struct store *store);
void store_cluster_tick(struct store *store);

/* The link whose server's clock counts, NULL: it is away. */
struct redis_link *store_cluster_home(struct store *store);

/* A server became ready, or is no longer; or what it holds is another history. */
void store_cluster_changed(struct store_server *server);

/* The master that serves the slot; NULL: nobody does, as far as is known. */
struct store_server *store_cluster_master(struct store *store, const struct store_slot *slot);

/* The server at a place; NULL: no memory, or too many. */
struct store_server *store_cluster_server(struct store *store, const struct redis_place *place);

/* A master said whose the slot is. */
void store_cluster_moved(struct store *store, const struct store_slot *slot,
                         const struct redis_place *place);

/* Asks for the table, soon. */
void store_cluster_refresh(struct store *store);

/* The timer is to run. */
void store_cluster_wake(struct store *store);

/* --- store_queue.c: a slot's calls, one master at a time ------------------------------------ */

/* Sends the call's command as soon as its turn comes, to whoever serves its slot. */
void store_queue_put(struct store_call *call, redis_reply_fn on_reply);

/* Makes the words in the scratch the call's command. False: no memory. */
bool store_queue_words(struct store_call *call, int count);

/* Sends what can be sent now, and gives up what has waited in vain. */
void store_queue_flush(struct store *store);

/* Gives up all that wait. */
void store_queue_fail(struct store *store);

#endif
