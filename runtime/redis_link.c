#include "runtime/redis_link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/redis_link_impl.h"
#include "runtime/redis_slots.h"
#include "runtime/redis_uv.h"

/* Milliseconds that a reply may still take when the watchdog has found it overdue: it may wait in
 * our own socket, if it was this process that stood still. */
#define REDIS_GRACE_MS 100

#define MAY(state) (1u << REDIS_STATE_##state)
static const struct {
    const char *name;
    uint32_t next;
} states[] = {
    [REDIS_STATE_RESTING] = {"resting", MAY(SEEKING) | MAY(CLOSED)},
    [REDIS_STATE_SEEKING] = {"seeking", MAY(RESOLVING) | MAY(FALLING) | MAY(CLOSED)},
    [REDIS_STATE_RESOLVING] = {"resolving", MAY(CONNECTING) | MAY(FALLING) | MAY(CLOSED)},
    [REDIS_STATE_CONNECTING] = {"connecting", MAY(LOGIN) | MAY(FALLING) | MAY(CLOSED)},
    [REDIS_STATE_LOGIN] = {"login", MAY(UP) | MAY(FALLING) | MAY(CLOSED)},
    [REDIS_STATE_UP] = {"up", MAY(FALLING) | MAY(CLOSED)},
    [REDIS_STATE_FALLING] = {"falling", MAY(RESTING) | MAY(CLOSED)},
    [REDIS_STATE_CLOSED] = {"closed", 0},
};
#undef MAY

/* A command that was sent. It leaves the link's list when it is answered, by Redis or with NULL;
 * the memory goes when hiredis has called back, which may be later. */
struct redis_command {
    struct redis_link *link;
    redis_reply_fn on_reply;
    void *ctx;
    uint64_t sent_ms;
    bool answered;
    TAILQ_ENTRY(redis_command) entry;
};

void link_move(struct redis_link *link, enum redis_state next) {
    assert(states[link->state].next & 1u << next);
    link->state = next;
}

/* --- commands ----------------------------------------------------------------------------------
 */

static void command_answer(struct redis_command *command, redisReply *reply) {
    struct redis_link *link = command->link;
    TAILQ_REMOVE(&link->commands, command, entry);
    link->outstanding--;
    command->answered = true;
    command->on_reply(command->ctx, reply);
}

static void commands_fail(struct redis_link *link) {
    struct redis_command *command;
    while ((command = TAILQ_FIRST(&link->commands)) != NULL)
        command_answer(command, NULL);
}

static void link_falls(struct redis_link *link) {
    if (link->state == REDIS_STATE_FALLING || link->state == REDIS_STATE_CLOSED)
        return;
    link->was_up = link->state == REDIS_STATE_UP;
    if (link->was_up && uv_now(link->loop) - link->up_since_ms >= REDIS_STEADY_MS)
        retry_reset(&link->retry);
    link_move(link, REDIS_STATE_FALLING);
    if (link->watch != NULL)
        redis_seek_cancel(link->watch);
    link->watch = NULL;
    uv_timer_stop(&link->timer);
    uv_timer_stop(&link->watchdog);
}

/* hiredis 0.14 says nothing if it has no memory for a callback: each answer from then on would go
 * to the question after its own. Nothing leaves or comes in over a connection that has an error,
 * and its next event ends it. */
bool link_took(struct redis_link *link, const redisCallback *before, int status) {
    redisAsyncContext *context = link->context;
    bool queued = context->replies.tail != before;
    if (status == REDIS_OK && !queued && context->c.err == 0) {
        context->c.err = REDIS_ERR_OOM;
        snprintf(context->c.errstr, sizeof context->c.errstr, "Out of memory");
    }
    bool took = status == REDIS_OK && queued;
    link->lacked_memory = link->lacked_memory || !took;
    return took;
}

/* Redis before 7 wraps a script's error in words of its own. */
static bool says_readonly(const redisReply *reply) {
    return reply != NULL && reply->type == REDIS_REPLY_ERROR &&
           strstr(reply->str, "READONLY You can't write") != NULL;
}

/* The answer says that the master of the slot is another one, or not to be found from here. */
static void follow(struct redis_link *link, enum redis_redirect_kind kind) {
    if (kind == REDIS_REDIRECT_DOWN) /* another server may know more of the cluster */
        link->sentinel = (link->sentinel + 1) % link->access->address.place_count;
    if (kind == REDIS_REDIRECT_MOVED)
        link_drop(link, "the cluster has another master for our slot", "MOVED");
    else if (kind == REDIS_REDIRECT_DOWN)
        link_drop(link, "nobody serves our slot of the cluster", "CLUSTERDOWN");
}

static void on_command_reply(redisAsyncContext *context, void *reply, void *data) {
    struct redis_command *command = data;
    if (!command->answered) {
        struct redis_link *link = command->link;
        if (reply == NULL)
            link_falls(link); /* before the caller hears of it: it may want to send again */
        link->overdue = false;
        bool demoted = says_readonly(reply);
        enum redis_redirect_kind redirect = link->access->address.cluster
                                                ? redis_redirect_read(reply, &link->place).kind
                                                : REDIS_REDIRECT_NONE;
        command_answer(command, reply);
        if (demoted && link->state == REDIS_STATE_UP)
            link_drop(link, "it is a replica now", "READONLY");
        if (link->state == REDIS_STATE_UP)
            follow(link, redirect);
    }
    free(command);
}

static void on_watchdog(uv_timer_t *timer);

static void watchdog_arm(struct redis_link *link, uint64_t ms) {
    uv_timer_start(&link->watchdog, on_watchdog, ms, 0);
}

/* --- rising --------------------------------------------------------------------------------- */

static void on_watched(void *ctx, const struct redis_place *place, uint32_t sentinel,
                       const char *why) {
    struct redis_link *link = ctx;
    if (strcmp(place->host, link->place.host) == 0 && place->port == link->place.port)
        return;
    char text[REDIS_PLACE_TEXT_BYTES];
    redis_place_format(place, text);
    link->sentinel = sentinel;
    link_drop(link, "the sentinels have another master", text);
}

void link_rise(struct redis_link *link) {
    link_move(link, REDIS_STATE_UP);
    uv_timer_stop(&link->timer);
    link->overdue = false;
    link->up_since_ms = uv_now(link->loop);
    if (link->access->address.master[0] != '\0') /* without memory it is just not watched */
        link->watch = redis_seek_watch(link->loop, link->access, link->sentinel, on_watched, link);
    link->handler.on_up(link->handler.ctx, link);
}

/* --- falling and resting -----------------------------------------------------------------------
 */

static void on_timer(uv_timer_t *timer);

static void link_free_if_done(struct redis_link *link) {
    if (link->handles_open > 0 || link->context != NULL || link->resolving)
        return;
    void (*on_closed)(void *ctx) = link->on_closed;
    void *ctx = link->closed_ctx;
    redis_replies_fini(&link->replies);
    free(link);
    if (on_closed != NULL)
        on_closed(ctx);
}

/* Nothing of the last attempt is left: rest, then try again. */
static void link_rest(struct redis_link *link) {
    link_move(link, REDIS_STATE_RESTING);
    uv_timer_start(&link->timer, on_timer, retry_next(&link->retry), 0);
    char why[REDIS_WHY_BYTES_MAX];
    memcpy(why, link->why, sizeof why);
    link->why[0] = '\0';
    link->handler.on_down(link->handler.ctx, link, link->was_up, why);
}

static void why_set(struct redis_link *link, const char *what, const char *detail) {
    if (link->why[0] == '\0') /* the first reason is the true one */
        snprintf(link->why, sizeof link->why, "%s%s%s", what, detail[0] != '\0' ? ": " : "",
                 detail);
}

/* hiredis is about to free the connection, for whatever reason. */
static void on_context_gone(void *ctx, const redisAsyncContext *context) {
    struct redis_link *link = ctx;
    link_falls(link);
    commands_fail(link); /* hiredis 0.14 has called back for each by now, 1.2 has not */
    char tls_why[REDIS_WHY_BYTES_MAX] = "";
    if (link->tls != NULL)
        redis_tls_end(link->tls, link->answered, tls_why, sizeof tls_why);
    link->tls = NULL;
    link->context = NULL;
    link->lacked_memory = link->lacked_memory || context->c.err == REDIS_ERR_OOM;
    if (link->state == REDIS_STATE_CLOSED) {
        link_free_if_done(link);
        return;
    }
    if (tls_why[0] != '\0')
        why_set(link, "TLS failed", tls_why);
    else if (link->connected && !link->answered && !link->access->address.tls &&
             (context->c.err == REDIS_ERR_EOF || context->c.err == REDIS_ERR_IO))
        why_set(link, "it hung up without an answer", "does it want TLS (rediss://)?");
    why_set(link, link->was_up ? "connection lost" : "cannot connect",
            link->replies.refused != NULL ? link->replies.refused : context->c.errstr);
    link_rest(link);
}

void link_drop(struct redis_link *link, const char *what, const char *detail) {
    why_set(link, what, detail);
    link_falls(link);
    if (link->context != NULL)
        redisAsyncFree(link->context);
    else if (!link->resolving)
        link_rest(link);
}

static void on_watchdog(uv_timer_t *timer) {
    struct redis_link *link = timer->data;
    const struct redis_command *oldest = TAILQ_FIRST(&link->commands);
    if (oldest == NULL)
        return;
    uint64_t waited_ms = uv_now(link->loop) - oldest->sent_ms;
    if (waited_ms < REDIS_COMMAND_MS) {
        link->overdue = false;
        watchdog_arm(link, REDIS_COMMAND_MS - waited_ms);
    } else if (!link->overdue) {
        link->overdue = true;
        watchdog_arm(link, REDIS_GRACE_MS);
    } else {
        char detail[64];
        snprintf(detail, sizeof detail, "no answer for %llu ms", (unsigned long long)waited_ms);
        link_drop(link, "connection given up", detail);
    }
}

/* --- connecting --------------------------------------------------------------------------------
 */

static void on_connect(const redisAsyncContext *context, int status) {
    struct redis_link *link = context->data;
    char why[REDIS_WHY_BYTES_MAX] = "";
    if (status != REDIS_OK || link->state != REDIS_STATE_CONNECTING)
        return; /* hiredis frees it: on_context_gone follows */
    link_move(link, REDIS_STATE_LOGIN);
    link->connected = true;
    if (login_send(link, why))
        return;
    /* Freeing is not allowed in this callback (0.14): the timer does it. */
    why_set(link, "login failed", why);
    uv_timer_start(&link->timer, on_timer, 0, 0);
}

static void link_connect(struct redis_link *link, const char *host) {
    link_move(link, REDIS_STATE_CONNECTING);
    link->connected = link->answered = false;
    bool local = link->place.port == 0;
    redisAsyncContext *context =
        local ? redisAsyncConnectUnix(host) : redisAsyncConnect(host, link->place.port);
    if (context == NULL) {
        link->lacked_memory = true;
        link_drop(link, "cannot connect", "no memory");
        return;
    }
    bool attached =
        context->err == 0 && redis_uv_attach(context, link->loop, on_context_gone, link);
    if (!attached) {
        char why[REDIS_WHY_BYTES_MAX];
        snprintf(why, sizeof why, "%s", context->err != 0 ? context->errstr : "no memory");
        link->lacked_memory = context->err == 0 || context->err == REDIS_ERR_OOM;
        redisAsyncFree(context);
        link_drop(link, "cannot connect", why);
        return;
    }
    link->context = context;
    context->data = link;
    link->replies_wanted = 0;
    redis_replies_use(&link->replies, context->c.reader, &link->replies_wanted);
    if (!local)
        (void)redisEnableKeepAlive(&context->c);
    redisAsyncSetConnectCallback(context, on_connect);
    if (link->access->address.tls) {
        /* Now, not when it is connected: hiredis cannot be told of a failure in that callback. */
        char why[REDIS_WHY_BYTES_MAX] = "";
        link->tls =
            redis_tls_begin(&context->c, &link->access->tls, link->place.host, why, sizeof why);
        if (link->tls == NULL)
            link_drop(link, "TLS failed", why);
    }
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found) {
    struct redis_link *link = request->data;
    link->resolving = false;
    char host[64];
    if (status == 0)
        status = uv_ip_name(found->ai_addr, host, sizeof host);
    uv_freeaddrinfo(found);
    if (link->state == REDIS_STATE_CLOSED)
        link_free_if_done(link);
    else if (link->state == REDIS_STATE_FALLING)
        link_rest(link);
    else if (status == 0)
        link_connect(link, host);
    else
        link_drop(link, "cannot look up the host", uv_strerror(status));
}

/* hiredis would look names up itself, and block the loop meanwhile. */
static void link_resolve(struct redis_link *link) {
    link_move(link, REDIS_STATE_RESOLVING);
    uv_timer_start(&link->timer, on_timer, REDIS_CONNECT_MS, 0);
    unsigned char number[16];
    const char *host = link->place.host;
    if (link->place.port == 0 || uv_inet_pton(AF_INET, host, number) == 0 ||
        uv_inet_pton(AF_INET6, host, number) == 0) {
        link_connect(link, host);
        return;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    link->resolve.data = link;
    int status = uv_getaddrinfo(link->loop, &link->resolve, on_resolved, host, NULL, &hints);
    link->resolving = status == 0;
    if (status != 0)
        link_drop(link, "cannot look up the host", uv_strerror(status));
}

static const char *seek_failed(const struct redis_link *link) {
    return link->access->address.cluster ? "no server of the cluster knows the master"
                                         : "no sentinel knows the master";
}

static void on_sought(void *ctx, const struct redis_place *place, uint32_t sentinel,
                      const char *why) {
    struct redis_link *link = ctx;
    link->seek = NULL;
    if (place == NULL) {
        link_drop(link, seek_failed(link), why);
        return;
    }
    link->sentinel = sentinel;
    link->place = *place;
    link_resolve(link);
}

static void link_attempt(struct redis_link *link) {
    const struct redis_access *access = link->access;
    link_move(link, REDIS_STATE_SEEKING);
    link->lacked_memory = false;
    if (access->address.master[0] == '\0' && !access->address.cluster) {
        link->place = access->address.places[0];
        link_resolve(link);
        return;
    }
    link->seek = redis_seek_start(link->loop, access, link->sentinel, on_sought, link);
    if (link->seek == NULL) {
        link->lacked_memory = true;
        link_drop(link, seek_failed(link), "no memory");
    }
}

static void on_timer(uv_timer_t *timer) {
    struct redis_link *link = timer->data;
    switch (link->state) {
    case REDIS_STATE_RESTING:
        link_attempt(link);
        break;
    case REDIS_STATE_RESOLVING:
        link_drop(link, "cannot look up the host", "no answer in time");
        uv_cancel((uv_req_t *)&link->resolve);
        break;
    case REDIS_STATE_CONNECTING:
        link_drop(link, "cannot connect", "no answer in time");
        break;
    case REDIS_STATE_LOGIN:
        link_drop(link, "login failed",
                  link->tls == NULL || link->answered
                      ? "no answer in time"
                      : "no answer in time: does a Redis without TLS listen there (redis://)?");
        break;
    default:
        assert(false);
    }
}

/* --- what redis_link.h offers ------------------------------------------------------------------
 */

struct redis_link *redis_link_open(uv_loop_t *loop, const struct redis_access *access,
                                   const struct redis_link_handler *handler) {
    assert(handler->on_up != NULL && handler->on_down != NULL);
    struct redis_link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return NULL;
    link->loop = loop;
    link->access = access;
    link->place = access->address.places[0];
    link->handler = *handler;
    retry_init(&link->retry, REDIS_RETRY_FIRST_MS, REDIS_RETRY_LAST_MS,
               uv_hrtime() ^ (uint64_t)(uintptr_t)link);
    TAILQ_INIT(&link->commands);
    uv_timer_init(loop, &link->timer);
    uv_timer_init(loop, &link->watchdog);
    link->handles_open = 2;
    link->timer.data = link->watchdog.data = link;
    uv_timer_start(&link->timer, on_timer, 0, 0);
    return link;
}

bool redis_link_is_up(const struct redis_link *link) {
    return link->state == REDIS_STATE_UP;
}

const struct redis_place *redis_link_place(const struct redis_link *link) {
    return &link->place;
}

bool redis_link_lacked_memory(const struct redis_link *link) {
    return link->lacked_memory;
}

static struct redis_command *command_create(struct redis_link *link, redis_reply_fn on_reply,
                                            void *ctx) {
    assert(on_reply != NULL);
    if (link->state != REDIS_STATE_UP || link->outstanding >= REDIS_OUTSTANDING_MAX)
        return NULL;
    struct redis_command *command = calloc(1, sizeof *command);
    if (command != NULL)
        *command = (struct redis_command){
            .link = link, .on_reply = on_reply, .ctx = ctx, .sent_ms = uv_now(link->loop)};
    else
        link->lacked_memory = true;
    return command;
}

static bool command_sent(struct redis_command *command, const redisCallback *before, int status) {
    struct redis_link *link = command->link;
    if (!link_took(link, before, status)) {
        free(command);
        return false;
    }
    TAILQ_INSERT_TAIL(&link->commands, command, entry);
    link->outstanding++;
    link->replies_wanted++;
    link->unflushed = true;
    if (!uv_is_active((uv_handle_t *)&link->watchdog))
        watchdog_arm(link, REDIS_COMMAND_MS);
    return true;
}

bool redis_link_send(struct redis_link *link, int argc, const char **argv, const size_t *sizes,
                     redis_reply_fn on_reply, void *ctx) {
    struct redis_command *command = command_create(link, on_reply, ctx);
    if (command == NULL)
        return false;
    const redisCallback *before = link->context->replies.tail;
    return command_sent(
        command, before,
        redisAsyncCommandArgv(link->context, on_command_reply, command, argc, argv, sizes));
}

bool redis_link_send_text(struct redis_link *link, const char *text, size_t size,
                          redis_reply_fn on_reply, void *ctx) {
    struct redis_command *command = command_create(link, on_reply, ctx);
    if (command == NULL)
        return false;
    const redisCallback *before = link->context->replies.tail;
    return command_sent(
        command, before,
        redisAsyncFormattedCommand(link->context, on_command_reply, command, text, size));
}

void redis_link_flush(struct redis_link *link) {
    if (link->state == REDIS_STATE_UP && link->unflushed)
        redisAsyncHandleWrite(link->context);
    link->unflushed = false; /* the link may have fallen, but it is ours until it is closed */
}

void redis_link_leave(struct redis_link *link, const char *why) {
    if (link->state == REDIS_STATE_UP)
        link_drop(link, why, "");
}

size_t redis_link_outstanding(const struct redis_link *link) {
    return link->outstanding;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct redis_link *link = handle->data;
    link->handles_open--;
    link_free_if_done(link);
}

void redis_link_close(struct redis_link *link, void (*on_closed)(void *ctx), void *ctx) {
    link_move(link, REDIS_STATE_CLOSED);
    link->on_closed = on_closed;
    link->closed_ctx = ctx;
    commands_fail(link);
    if (link->seek != NULL)
        redis_seek_cancel(link->seek);
    if (link->watch != NULL)
        redis_seek_cancel(link->watch);
    if (link->resolving)
        uv_cancel((uv_req_t *)&link->resolve);
    uv_close((uv_handle_t *)&link->timer, on_handle_closed);
    uv_close((uv_handle_t *)&link->watchdog, on_handle_closed);
    if (link->context != NULL)
        redisAsyncFree(link->context);
}
