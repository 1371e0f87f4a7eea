/* What the files of the Redis link share. */
#ifndef SLUICE_RUNTIME_REDIS_LINK_IMPL_H
#define SLUICE_RUNTIME_REDIS_LINK_IMPL_H

#include <sys/queue.h>

#include "runtime/redis_link.h"
#include "runtime/redis_replies.h"
#include "runtime/redis_seek.h"
#include "runtime/redis_tls.h"
#include "runtime/retry.h"

/* Bytes of a reason, cut beyond. */
#define REDIS_WHY_BYTES_MAX 256

/*
 *       +---------------------------------------------------------------------------------+
 *       v                                                                                 |
 *    RESTING --time--> SEEKING --> RESOLVING --> CONNECTING --> LOGIN --> UP --> FALLING--+
 *                          |           |             |            |                 ^
 *                          +-----------+-------------+------------+-----------------+
 *
 * SEEKING asks the sentinels, where there are any. FALLING waits until hiredis has let go of the
 * connection (or the resolver has come back). Every state may go to CLOSED, which is final.
 */
enum redis_state {
    REDIS_STATE_RESTING,
    REDIS_STATE_SEEKING,
    REDIS_STATE_RESOLVING,
    REDIS_STATE_CONNECTING,
    REDIS_STATE_LOGIN,
    REDIS_STATE_UP,
    REDIS_STATE_FALLING,
    REDIS_STATE_CLOSED,
};

struct redis_command;

struct redis_link {
    uv_loop_t *loop;
    const struct redis_access *access;
    struct redis_link_handler handler;
    enum redis_state state;
    bool was_up;    /* of the connection that is falling */
    bool connected; /* of this attempt: somebody has accepted it */
    bool answered;  /* something came from the server of this connection */
    bool overdue;   /* the watchdog has fired, grace runs */
    bool resolving;
    bool unflushed;           /* something was sent since the last flush */
    bool lacked_memory;       /* since this attempt began */
    struct redis_place place; /* where this attempt leads */
    struct redis_seek *seek;  /* SEEKING only */
    struct redis_seek *watch; /* UP only: whether the master is still this one */
    uint32_t sentinel;        /* the one that knew last: it is asked first */
    redisAsyncContext *context;
    struct redis_replies replies; /* of the context, and the next one */
    struct redis_tls *tls;        /* of the context; NULL: plain */
    uv_getaddrinfo_t resolve;
    uv_timer_t timer;    /* the next attempt, or the end of this one */
    uv_timer_t watchdog; /* runs while commands are outstanding */
    uint32_t handles_open;
    struct retry retry;
    uint64_t up_since_ms;
    size_t outstanding;
    size_t replies_wanted; /* to all that was sent by this connection, and have not begun */
    TAILQ_HEAD(command_list, redis_command) commands;
    char why[REDIS_WHY_BYTES_MAX];
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

void link_move(struct redis_link *link, enum redis_state next);

/* Gives the connection up; on_down follows when hiredis lets go, which is at once unless this is
 * called from one of its callbacks. */
void link_drop(struct redis_link *link, const char *what, const char *detail);

/* Whether hiredis has taken the command in, and will call back: `status` is what it said, `before`
 * was the last of context->replies. */
bool link_took(struct redis_link *link, const redisCallback *before, int status);

/* LOGIN becomes UP. */
void link_rise(struct redis_link *link);

/* Sends the commands of the login; LOGIN becomes UP when they were answered. False with `why`. */
bool login_send(struct redis_link *link, char why[REDIS_WHY_BYTES_MAX]);

#endif
