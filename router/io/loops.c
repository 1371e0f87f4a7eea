#include "router/io/loops.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/mailbox.h"

/* Messages that a loop's mailbox holds: the statuses of each loop on their way round, and what is
 * said at the end, once by each. */
#define LOOP_MAILBOX_MESSAGES (ROUTER_LOOPS_MAX * (ROUTER_STATUSES_MAX + 1) + 2)

enum message_kind { MESSAGE_STATUS, MESSAGE_STOP, MESSAGE_STOPPED, MESSAGE_EXIT };

struct message {
    enum message_kind kind;
};

/* A cluster.status on its way, owned by the loop that it is at. */
struct round {
    struct message message; /* first: the two are one pointer */
    uint32_t home;          /* the loop that was asked */
    struct status_asker asker;
    struct status status;
};

struct router_loop {
    struct router_loops *loops;
    uint32_t index;
    uv_loop_t *loop; /* NULL: there is none */
    uv_loop_t own;   /* of all but the first */
    uv_thread_t thread;
    bool started;
    struct mailbox *mailbox;
    struct router_shell *shell; /* NULL: gone */
    uint32_t rounds;            /* that began here and are not back */
    bool exiting;
    struct message stop, stopped, exit; /* each is sent once at most */
};

struct router_loops {
    uint32_t count;
    uint32_t stopped_count; /* on the first loop */
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
    struct router_loop each[];
};

/* Mailboxes are sized for all that can be under way, so full is a bug. */
static void loop_tell(struct router_loop *loop, struct message *message) {
    bool put = mailbox_put(loop->mailbox, message);
    assert(put);
}

/* --- the end --------------------------------------------------------------------------------- */

static void loops_exit(struct router_loops *loops) {
    void (*on_stopped)(void *ctx) = loops->on_stopped;
    void *ctx = loops->stopped_ctx;
    for (uint32_t i = 1; i < loops->count; i++) {
        struct router_loop *loop = &loops->each[i];
        if (loop->started) {
            loop->exit.kind = MESSAGE_EXIT;
            loop_tell(loop, &loop->exit);
            uv_thread_join(&loop->thread);
            int closed = uv_loop_close(loop->loop);
            assert(closed == 0);
        }
    }
    if (loops->each[0].mailbox != NULL) {
        mailbox_close(loops->each[0].mailbox, NULL);
    }
    free(loops);
    if (on_stopped != NULL) {
        on_stopped(ctx);
    }
}

/* On the first loop: one more has stopped. `loops` may be gone after this. */
static void loops_stopped_one(struct router_loops *loops) {
    loops->stopped_count++;
    if (loops->stopped_count == loops->count) {
        loops_exit(loops);
    }
}

/* Says that this loop has stopped, if it has. */
static void stopped_check(struct router_loop *loop) {
    if (loop->shell != NULL || loop->rounds > 0) {
        return;
    }
    if (loop->index == 0) {
        loops_stopped_one(loop->loops);
        return;
    }
    loop->stopped.kind = MESSAGE_STOPPED;
    loop_tell(&loop->loops->each[0], &loop->stopped);
}

static void on_shell_stopped(void *ctx) {
    struct router_loop *loop = ctx;
    loop->shell = NULL;
    stopped_check(loop);
}

static void shell_stop(struct router_loop *loop) {
    if (loop->shell != NULL) {
        router_shell_stop(loop->shell, on_shell_stopped, loop);
    } else {
        stopped_check(loop);
    }
}

void router_loops_stop(struct router_loops *loops, void (*on_stopped)(void *ctx), void *ctx) {
    loops->on_stopped = on_stopped;
    loops->stopped_ctx = ctx;
    for (uint32_t i = 1; i < loops->count; i++) {
        struct router_loop *loop = &loops->each[i];
        if (loop->started) {
            loop->stop.kind = MESSAGE_STOP;
            loop_tell(loop, &loop->stop);
        }
    }
    shell_stop(&loops->each[0]);
}

/* --- statuses -------------------------------------------------------------------------------- */

static void round_end(struct router_loop *loop, struct round *round) {
    loop->rounds--;
    if (loop->shell != NULL) {
        router_shell_status(loop->shell, &round->asker, &round->status);
    }
    status_fini(&round->status);
    free(round);
    if (loop->shell == NULL) {
        stopped_check(loop);
    }
}

static void round_pass(struct router_loop *loop, struct round *round) {
    if (loop->shell != NULL) {
        (void)router_shell_status_add(loop->shell, &round->status);
    }
    loop_tell(&loop->loops->each[(loop->index + 1) % loop->loops->count], &round->message);
}

static bool on_status(void *ctx, const struct status_asker *asker) {
    struct router_loop *loop = ctx;
    struct round *round = calloc(1, sizeof *round);
    if (round == NULL) {
        return false;
    }
    round->message.kind = MESSAGE_STATUS;
    round->home = loop->index;
    round->asker = *asker;
    loop->rounds++;
    round_pass(loop, round);
    return true;
}

static void on_message(void *ctx, void *content) {
    struct router_loop *loop = ctx;
    struct message *message = content;
    switch (message->kind) {
    case MESSAGE_STATUS: {
        struct round *round = content;
        if (round->home == loop->index) {
            round_end(loop, round);
        } else {
            round_pass(loop, round);
        }
        break;
    }
    case MESSAGE_STOP:
        shell_stop(loop);
        break;
    case MESSAGE_STOPPED:
        loops_stopped_one(loop->loops);
        break;
    case MESSAGE_EXIT:
        loop->exiting = true;
        mailbox_close(loop->mailbox, NULL);
        break;
    }
}

/* --- the beginning --------------------------------------------------------------------------- */

/* The addresses of the loops after the first: those that can be shared, with the ports that the
 * first one got. */
static void listen_others(const struct router_shell *first, struct url_list *listen) {
    const char *url;
    *listen = (struct url_list){0};
    for (uint32_t i = 0; (url = router_shell_url(first, i)) != NULL; i++) {
        if (endpoint_can_be_shared(url)) {
            (void)endpoint_name_set(&listen->urls[listen->count++], bytes_of_text(url));
        }
    }
}

static bool loop_open(struct router_loop *loop, const struct router_settings *settings,
                      const struct log *log, char *why, size_t why_size) {
    const struct router_loops *loops = loop->loops;
    struct router_settings own = *settings;
    struct log logger = *log;
    if (loops->count > 1) {
        char who[sizeof log->who];
        snprintf(who, sizeof who, "%.40s/loop-%u", log->who, loop->index);
        log_derive(&logger, log, who);
        own.sharing = loop->index == 0 ? ENDPOINT_SHARED_FIRST : ENDPOINT_SHARED;
        own.status_ctx = loop;
        own.on_status = on_status;
    }
    if (loop->index > 0) {
        listen_others(loops->each[0].shell, &own.listen);
    }
    loop->mailbox = mailbox_create(loop->loop, LOOP_MAILBOX_MESSAGES, on_message, loop);
    if (loop->mailbox == NULL) {
        snprintf(why, why_size, "no memory");
        return false;
    }
    return router_shell_open(&loop->shell, loop->loop, &own, &logger, why, why_size) == 0;
}

static void thread_run(void *argument) {
    struct router_loop *loop = argument;
    uv_run(loop->loop, UV_RUN_DEFAULT);
    assert(loop->exiting); /* a loop does not end by itself */
}

/* Gives back a loop that has no thread, on the caller's. */
static void loop_abandon(struct router_loop *loop) {
    if (loop->loop == NULL) {
        return;
    }
    if (loop->shell != NULL) {
        router_shell_stop(loop->shell, NULL, NULL);
        loop->shell = NULL;
    }
    if (loop->mailbox != NULL) {
        mailbox_close(loop->mailbox, NULL);
    }
    uv_run(loop->loop, UV_RUN_DEFAULT);
    int closed = uv_loop_close(loop->loop);
    assert(closed == 0);
}

static bool loops_start(struct router_loops *loops, const struct router_settings *settings,
                        const struct log *log, char *why, size_t why_size) {
    for (uint32_t i = 0; i < loops->count; i++) {
        struct router_loop *loop = &loops->each[i];
        if (i > 0 && uv_loop_init(&loop->own) != 0) {
            snprintf(why, why_size, "cannot make an event loop");
            return false;
        }
        loop->loop = i > 0 ? &loop->own : loop->loop;
        if (!loop_open(loop, settings, log, why, why_size)) {
            return false;
        }
    }
    for (uint32_t i = 1; i < loops->count; i++) {
        struct router_loop *loop = &loops->each[i];
        int status = uv_thread_create(&loop->thread, thread_run, loop);
        if (status != 0) {
            snprintf(why, why_size, "cannot start a thread: %s", uv_strerror(status));
            return false;
        }
        loop->started = true;
    }
    return true;
}

static bool settings_check(const struct router_settings *settings, uint32_t count, char *why,
                           size_t why_size) {
    bool shared = count == 1;
    for (uint32_t i = 0; i < settings->listen.count; i++) {
        shared |= endpoint_can_be_shared(settings->listen.urls[i].text);
    }
    if (!shared) {
        snprintf(why, why_size,
                 "%u loops need an address that they can share: tcp://, beside or instead of %s",
                 count, settings->listen.urls[0].text);
    }
    return shared;
}

int router_loops_open(struct router_loops **out, uv_loop_t *loop, uint32_t count,
                      const struct router_settings *settings, const struct log *log, char *why,
                      size_t why_size) {
    assert(count >= 1 && count <= ROUTER_LOOPS_MAX);
    if (!settings_check(settings, count, why, why_size)) {
        return -1;
    }
    struct router_loops *loops = calloc(1, sizeof *loops + count * sizeof loops->each[0]);
    if (loops == NULL) {
        snprintf(why, why_size, "no memory");
        return -1;
    }
    loops->count = count;
    for (uint32_t i = 0; i < count; i++) {
        loops->each[i].loops = loops;
        loops->each[i].index = i;
    }
    loops->each[0].loop = loop;
    if (loops_start(loops, settings, log, why, why_size)) {
        *out = loops;
        return 0;
    }
    for (uint32_t i = 1; i < count; i++) {
        if (!loops->each[i].started) {
            loop_abandon(&loops->each[i]);
            loops->stopped_count++;
        }
    }
    router_loops_stop(loops, NULL, NULL);
    return -1;
}

const char *router_loops_url(const struct router_loops *loops, uint32_t index) {
    return router_shell_url(loops->each[0].shell, index);
}
