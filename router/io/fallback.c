#include "router/io/fallback.h"

#include <stdlib.h>

#include "proto/map_codec.h"
#include "router/io/shell.h"
#include "runtime/clock.h"

/* --- can it be asked? ----------------------------------------------------------------------- */

static void ready_set(struct router_shell *shell, bool ready) {
    struct fallback *fallback = &shell->fallback;
    if (fallback->ready == ready) {
        return;
    }
    fallback->ready = ready;
    struct router_event event = {.kind = ROUTER_EVENT_STORE, .store_up = ready};
    shell_step(shell, &event);
    if (ready) {
        char place[REDIS_PLACE_TEXT_BYTES];
        redis_place_format(redis_link_place(fallback->link), place);
        log_info(&shell->log, "takes of plans that say so can be decided in Redis at %s", place);
    }
}

static void settle(struct router_shell *shell) {
    struct fallback *fallback = &shell->fallback;
    ready_set(shell, redis_link_is_up(fallback->link) && fallback->loaded && fallback->checked);
}

static void foreign_tell(struct router_shell *shell, const char *why) {
    struct fallback *fallback = &shell->fallback;
    if (strcmp(fallback->foreign_told, why) != 0) {
        snprintf(fallback->foreign_told, sizeof fallback->foreign_told, "%s", why);
        log_error(&shell->log, "nothing is decided in the store at --redis: %s", why);
    }
}

/* Whether the map that the store holds is of this cluster. */
static bool map_is_ours(struct router_shell *shell, const redisReply *reply) {
    const struct map *known = router_map(shell->router);
    struct map *stored = malloc(sizeof *stored);
    struct fault fault = {.text = ""};
    bool ours = false;
    if (known == NULL || known->epoch.number == 0 || stored == NULL) {
        free(stored);
        return false; /* it is not known yet which cluster this is */
    }
    if (reply->type == REDIS_REPLY_STRING) {
        struct reader reader = reader_of(bytes_of(reply->str, (uint32_t)reply->len));
        ours = map_read(&reader, stored, &fault) == CODE_OK &&
               map_check_same(known, stored, &fault) == CODE_OK;
    } else {
        snprintf(fault.text, sizeof fault.text, "%s",
                 reply->type == REDIS_REPLY_ERROR
                     ? reply->str
                     : "it holds no map under this --key-prefix; is it the nodes' own?");
    }
    free(stored);
    if (!ours) {
        foreign_tell(shell, fault.text);
    }
    return ours;
}

static void on_map(void *ctx, redisReply *reply) {
    struct router_shell *shell = ctx;
    shell->fallback.asking = false;
    if (reply != NULL && !shell->closing) {
        shell->fallback.checked = map_is_ours(shell, reply);
        settle(shell);
    }
}

static void on_loaded(void *ctx, redisReply *reply) {
    struct router_shell *shell = ctx;
    struct fallback *fallback = &shell->fallback;
    if (reply == NULL || shell->closing) {
        return;
    }
    fallback->loaded = reply->type == REDIS_REPLY_STRING && reply->len == sizeof fallback->sha - 1;
    if (fallback->loaded) {
        memcpy(fallback->sha, reply->str, sizeof fallback->sha);
    } else {
        foreign_tell(shell, reply->type == REDIS_REPLY_ERROR ? reply->str : "unexpected answer");
    }
    settle(shell);
}

static bool words_send(struct router_shell *shell, int count, const char **words,
                       redis_reply_fn on_reply) {
    size_t sizes[4];
    for (int i = 0; i < count; i++) {
        sizes[i] = strlen(words[i]);
    }
    return redis_link_send(shell->fallback.link, count, words, sizes, on_reply, shell);
}

/* Asks for what is not known yet. */
static void check(struct router_shell *shell) {
    struct fallback *fallback = &shell->fallback;
    if (!redis_link_is_up(fallback->link) || fallback->asking) {
        return;
    }
    store_key key;
    store_key_map(fallback->prefix, key);
    const char *load[] = {"SCRIPT", "LOAD", fallback_script}, *map[] = {"HGET", key, "value"};
    if (!fallback->loaded) {
        words_send(shell, 3, load, on_loaded);
    }
    if (!fallback->checked) {
        fallback->asking = words_send(shell, 3, map, on_map);
    }
}

static void on_timer(uv_timer_t *timer) {
    struct router_shell *shell = timer->data;
    if (!shell->fallback.ready) {
        check(shell);
    }
}

/* --- the link ------------------------------------------------------------------------------- */

static void on_up(void *ctx, struct redis_link *link) {
    struct router_shell *shell = ctx;
    shell->fallback.loaded = shell->fallback.checked = false; /* it may be another server */
    shell->fallback.foreign_told[0] = '\0';
    check(shell);
}

static void on_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct router_shell *shell = ctx;
    if (was_up) {
        log_warn(&shell->log, "the link to Redis is lost: %s", why);
    } else if (strcmp(shell->fallback.foreign_told, why) != 0) {
        foreign_tell(shell, why);
    }
    shell->fallback.asking = false;
    ready_set(shell, false);
}

/* --- calls ---------------------------------------------------------------------------------- */

static void answer(struct router_shell *shell, const struct fallback_answer *answer) {
    struct router_event event = {.kind = ROUTER_EVENT_FALLBACK, .fallback = answer};
    shell_step(shell, &event);
}

static void refusal_log(struct router_shell *shell, const char *text) {
    uint64_t now_ns = shell_now_ns(shell);
    if (now_ns - shell->fallback.refused_logged_ns >= FALLBACK_LOG_NS) {
        shell->fallback.refused_logged_ns = now_ns;
        log_error(&shell->log, "Redis did not decide a take: %s", text);
    }
}

static bool answer_read(const redisReply *reply, struct fallback_answer *answer) {
    struct bytes parts[5];
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 5) {
        return false;
    }
    for (int i = 0; i < 5; i++) {
        if (reply->element[i]->type != REDIS_REPLY_STRING) {
            return false;
        }
        parts[i] = bytes_of(reply->element[i]->str, (uint32_t)reply->element[i]->len);
    }
    return fallback_answer_read(parts, answer);
}

static void on_reply(void *ctx, redisReply *reply) {
    const struct fallback_sent *sent = ctx;
    struct router_shell *shell = sent->shell;
    struct fallback_answer read = {.call = sent->call, .status = FALLBACK_FAILED};
    if (reply != NULL && !answer_read(reply, &read)) {
        read.status = FALLBACK_FAILED;
        bool is_error = reply->type == REDIS_REPLY_ERROR;
        refusal_log(shell, is_error ? reply->str : "unexpected answer");
        if (is_error && strncmp(reply->str, "NOSCRIPT", 8) == 0) {
            shell->fallback.loaded = false;
            ready_set(shell, false);
            check(shell);
        }
    }
    answer(shell, &read);
}

void fallback_send(struct router_shell *shell, const struct fallback_call *call) {
    struct fallback *fallback = &shell->fallback;
    struct fallback_words *words = &fallback->words;
    fallback_words_fill(words, call, fallback->prefix, fallback->sha);
    fallback->sent[call->index] = (struct fallback_sent){shell, call->index};
    if (!redis_link_send(fallback->link, words->count, words->words, words->sizes, on_reply,
                         &fallback->sent[call->index])) {
        fallback->unsent[fallback->unsent_count++] = call->index;
    }
}

void fallback_unsent(struct router_shell *shell) {
    struct fallback *fallback = &shell->fallback;
    while (fallback->unsent_count > 0) {
        struct fallback_answer failed = {.call = fallback->unsent[--fallback->unsent_count],
                                         .status = FALLBACK_FAILED};
        answer(shell, &failed);
    }
}

void fallback_warn(struct router_shell *shell) {
    struct fallback *fallback = &shell->fallback;
    const struct plan_set *plans = router_plans(shell->router);
    if (fallback->link != NULL || plans == NULL || plans->version == fallback->warned_version) {
        return;
    }
    fallback->warned_version = plans->version;
    for (uint32_t i = 0; i < plans->plan_count; i++) {
        if (plans->plans[i].on_unavailable == POLICY_REDIS) {
            log_warn(&shell->log,
                     "plan %s says on_unavailable: redis, and this router has no --redis: its "
                     "takes that no owner answers are denied",
                     plans->plans[i].name.text);
            return;
        }
    }
}

/* --- opening and closing -------------------------------------------------------------------- */

bool fallback_open(struct router_shell *shell, const struct router_settings *settings) {
    struct fallback *fallback = &shell->fallback;
    struct redis_link_handler handler = {shell, on_up, on_down};
    if (settings->redis == NULL) {
        return true;
    }
    fallback->prefix = settings->key_prefix;
    fallback->sent = calloc(FALLBACK_CALLS_MAX, sizeof *fallback->sent);
    fallback->unsent = calloc(FALLBACK_CALLS_MAX, sizeof *fallback->unsent);
    if (fallback->sent == NULL || fallback->unsent == NULL) {
        return false;
    }
    fallback->link = redis_link_open(shell->loop, settings->redis, &handler);
    if (fallback->link == NULL) {
        return false;
    }
    uv_timer_init(shell->loop, &fallback->timer);
    fallback->timer.data = shell;
    uv_timer_start(&fallback->timer, on_timer, FALLBACK_CHECK_MS, FALLBACK_CHECK_MS);
    return true;
}

void fallback_close(struct router_shell *shell) {
    struct fallback *fallback = &shell->fallback;
    if (fallback->link != NULL) {
        shell->open_count += 2;
        uv_close((uv_handle_t *)&fallback->timer, shell_handle_closed);
        redis_link_close(fallback->link, shell_part_closed, shell);
    }
}

void fallback_fini(struct router_shell *shell) {
    free(shell->fallback.sent);
    free(shell->fallback.unsent);
}
