/*
 * Peers that speak Redis's protocol: a Lua script in Redis, redis-cell, throttlecrab; and the two
 * ways of the study that keep state in an eventually consistent store.
 *
 * hiredis on the load's loop, written out as soon as a turn's commands are given. A connection that
 * breaks stays down: a peer that fails is a result, not something to be mended.
 */
#include <hiredis/async.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/target.h"
#include "runtime/redis_address.h"
#include "runtime/redis_uv.h"

/* The stores that a connection may need: [0] is --target. */
#define STORES_MAX 3
enum store { STORE_MAIN, STORE_REPLICA, STORE_SECOND };

/* The study's lifetime of an entry in the key-value store. */
#define KV_LIFETIME_S "300"

/* Bytes of a number as text. */
#define NUMBER_BYTES 32

/* The same bucket as Sluice's (GCRA; one time a key, microseconds), atomic since a script is. */
static const char lua_script[] =
    "local t = redis.call('TIME') local now = t[1] * 1000000 + t[2]\n"
    "local rate, period, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), "
    "tonumber(ARGV[4])\n"
    "local tat = tonumber(redis.call('GET', KEYS[1]) or now)\n"
    "if tat < now then tat = now end\n"
    "tat = tat + cost * period / rate\n"
    "if tat - now > burst * period / rate then return {0, math.ceil(tat - now)} end\n"
    "redis.call('SET', KEYS[1], string.format('%.3f', tat), 'PX', "
    "math.ceil((tat - now) / 1000) + 1)\n"
    "return {1, 0}";

struct redis_target {
    /* Sends a shot's first command. */
    bool (*ask)(struct lane *lane, struct shot *shot, struct bytes key);
    bool grant_is; /* what an array's first number says of a grant: 1 (Lua, throttlecrab) or 0 */
    bool script, hybrid;
    const char *verb; /* CL.THROTTLE, THROTTLE */
    uint32_t store_count;
    enum store stores[STORES_MAX];
    struct redis_place places[STORES_MAX];
    char rate[NUMBER_BYTES], period[NUMBER_BYTES], burst[NUMBER_BYTES], cost[NUMBER_BYTES];
    double increment_us, tolerance_us;
};

struct redis_lane {
    struct lane *lane;
    redisAsyncContext *contexts[STORES_MAX];
    uint32_t up_count;
    bool closing;
    char sha[41];
};

static struct redis_target *target_of(const struct load *load) {
    return load->memory;
}

static bool command_send(struct redis_lane *own, enum store store, redisCallbackFn *on_answer,
                         const struct shot *shot, int argc, const char **argv,
                         const size_t *sizes) {
    redisAsyncContext *context = own->contexts[store];
    return context != NULL &&
           redisAsyncCommandArgv(context, on_answer, (void *)(uintptr_t)load_shot_id(shot), argc,
                                 argv, sizes) == REDIS_OK;
}

/* The shot that an answer belongs to, or NULL if nobody waits for it any more. */
static struct shot *shot_of_answer(redisAsyncContext *context, const redisReply *reply,
                                   void *data) {
    struct redis_lane *own = context->data;
    if (own->closing || reply == NULL) {
        return NULL; /* lost: on_gone says so for all */
    }
    return load_shot_of(own->lane, (uint32_t)(uintptr_t)data);
}

static void shot_answer(struct shot *shot, struct outcome outcome) {
    load_take_done(shot, 0, outcome);
    load_shot_done(shot);
}

/* --- one command decides -------------------------------------------------------------------- */

static void on_decided(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct shot *shot = shot_of_answer(context, reply, data);
    if (shot == NULL) {
        return;
    }
    const struct redis_target *target = target_of(shot->lane->load);
    if (reply->type == REDIS_REPLY_ERROR) {
        shot_answer(shot, outcome_of_error(OUTCOME_SERVER));
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2 ||
               reply->element[0]->type != REDIS_REPLY_INTEGER) {
        shot_answer(shot, outcome_of_error(OUTCOME_PROTOCOL));
    } else {
        shot_answer(shot, outcome_of_answer((reply->element[0]->integer != 0) == target->grant_is));
    }
}

static bool script_ask(struct lane *lane, struct shot *shot, struct bytes key) {
    struct redis_target *target = target_of(lane->load);
    struct redis_lane *own = lane->connection;
    const char *argv[] = {"EVALSHA",    own->sha,       "1",           (const char *)key.data,
                          target->rate, target->period, target->burst, target->cost};
    size_t sizes[] = {7,
                      40,
                      1,
                      key.size,
                      strlen(target->rate),
                      strlen(target->period),
                      strlen(target->burst),
                      strlen(target->cost)};
    return command_send(own, STORE_MAIN, on_decided, shot, 8, argv, sizes);
}

/* VERB key max_burst count period quantity. */
static bool verb_ask(struct lane *lane, struct shot *shot, struct bytes key) {
    struct redis_target *target = target_of(lane->load);
    const char *argv[] = {target->verb, (const char *)key.data, target->burst,
                          target->rate, target->period,         target->cost};
    size_t sizes[] = {strlen(target->verb),   key.size,
                      strlen(target->burst),  strlen(target->rate),
                      strlen(target->period), strlen(target->cost)};
    return command_send(lane->connection, STORE_MAIN, on_decided, shot, 6, argv, sizes);
}

/* --- the asker decides ---------------------------------------------------------------------- */

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void on_kept(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct shot *shot = shot_of_answer(context, reply, data);
    if (shot == NULL) {
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        load_shot_failed(shot, OUTCOME_SERVER);
    } else if (--shot->parts == 0) {
        shot_answer(shot, outcome_of_answer(true));
    }
}

static bool keep(struct lane *lane, struct shot *shot, enum store store, double tat_us) {
    char name[KEY_TEXT_BYTES_MAX], text[NUMBER_BYTES];
    struct bytes key = load_key(lane->load, shot->keys[0], name);
    int size = snprintf(text, sizeof text, "%.3f", tat_us);
    const char *argv[] = {"SET", name, text, "EX", KV_LIFETIME_S};
    size_t sizes[] = {3, key.size, (size_t)size, 2, sizeof KV_LIFETIME_S - 1};
    return command_send(lane->connection, store, on_kept, shot, 5, argv, sizes);
}

/* The same bucket once more, on a level that may be old: a refusal changes nothing, a grant is
 * answered once the store has taken it (both stores, if there are two). */
static void decide(struct shot *shot, const redisReply *reply) {
    struct lane *lane = shot->lane;
    const struct redis_target *target = target_of(lane->load);
    double now = now_us(), tat = reply->type == REDIS_REPLY_STRING ? strtod(reply->str, NULL) : now;
    tat = (tat < now ? now : tat) + target->increment_us;
    if (tat - now > target->tolerance_us) {
        shot_answer(shot, outcome_of_answer(false));
        return;
    }
    shot->parts = target->hybrid ? 2 : 1;
    if (!keep(lane, shot, STORE_MAIN, tat) ||
        (target->hybrid && !keep(lane, shot, STORE_SECOND, tat))) {
        load_shot_failed(shot, OUTCOME_LOST);
    }
}

static bool look(struct lane *lane, struct shot *shot, enum store store,
                 redisCallbackFn *on_answer) {
    char name[KEY_TEXT_BYTES_MAX];
    struct bytes key = load_key(lane->load, shot->keys[0], name);
    const char *argv[] = {"GET", name};
    size_t sizes[] = {3, key.size};
    return command_send(lane->connection, store, on_answer, shot, 2, argv, sizes);
}

static void on_second_look(redisAsyncContext *context, void *answer, void *data) {
    struct shot *shot = shot_of_answer(context, answer, data);
    if (shot != NULL) {
        decide(shot, answer);
    }
}

static void on_look(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct shot *shot = shot_of_answer(context, reply, data);
    if (shot == NULL) {
        return;
    }
    struct lane *lane = shot->lane;
    if (reply->type == REDIS_REPLY_ERROR) {
        load_shot_failed(shot, OUTCOME_SERVER);
    } else if (reply->type == REDIS_REPLY_NIL && target_of(lane->load)->hybrid) {
        if (!look(lane, shot, STORE_SECOND, on_second_look)) {
            load_shot_failed(shot, OUTCOME_LOST);
        }
    } else {
        decide(shot, reply);
    }
}

static bool look_ask(struct lane *lane, struct shot *shot, struct bytes key) {
    return look(lane, shot, STORE_REPLICA, on_look);
}

/* --- connections ---------------------------------------------------------------------------- */

static void store_is_up(struct redis_lane *own) {
    if (++own->up_count == target_of(own->lane->load)->store_count) {
        load_lane_up(own->lane);
    }
}

static void on_script(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct redis_lane *own = context->data;
    if (own->closing || reply == NULL) {
        return;
    }
    if (reply->type != REDIS_REPLY_STRING || reply->len != 40) {
        load_lane_down(own->lane,
                       reply->type == REDIS_REPLY_ERROR ? reply->str : "SCRIPT LOAD gave no sum");
        return;
    }
    memcpy(own->sha, reply->str, 40);
    store_is_up(own);
}

static void on_connected(const redisAsyncContext *context, int status) {
    struct redis_lane *own = context->data;
    if (status != REDIS_OK || own->closing) {
        return; /* on_gone follows */
    }
    if (target_of(own->lane->load)->script) {
        redisAsyncCommand((redisAsyncContext *)context, on_script, NULL, "SCRIPT LOAD %s",
                          lua_script);
    } else {
        store_is_up(own);
    }
}

static void on_gone(void *ctx, const redisAsyncContext *context) {
    struct redis_lane *own = ctx;
    for (uint32_t store = 0; store < STORES_MAX; store++) {
        if (own->contexts[store] == context) {
            own->contexts[store] = NULL;
        }
    }
    if (!own->closing) {
        load_lane_down(own->lane, context->c.errstr[0] != '\0' ? context->c.errstr
                                                               : "the connection was closed");
    }
}

static bool store_connect(struct redis_lane *own, enum store store, char *why, size_t why_size) {
    struct load *load = own->lane->load;
    const struct redis_place *place = &target_of(load)->places[store];
    redisAsyncContext *context = place->port == 0 ? redisAsyncConnectUnix(place->host)
                                                  : redisAsyncConnect(place->host, place->port);
    if (context == NULL || context->err != 0 ||
        !redis_uv_attach(context, &load->loop, on_gone, own)) {
        snprintf(why, why_size, "cannot connect to %s: %s", place->host,
                 context != NULL ? context->errstr : "no memory");
        if (context != NULL) {
            redisAsyncFree(context);
        }
        return false;
    }
    context->data = own;
    own->contexts[store] = context;
    redisAsyncSetConnectCallback(context, on_connected);
    return true;
}

static bool redis_lane_open(struct lane *lane, char *why, size_t why_size) {
    const struct redis_target *target = target_of(lane->load);
    struct redis_lane *own = calloc(1, sizeof *own);
    lane->connection = own;
    if (own == NULL) {
        snprintf(why, why_size, "no memory");
        return false;
    }
    own->lane = lane;
    for (uint32_t i = 0; i < target->store_count; i++) {
        if (!store_connect(own, target->stores[i], why, why_size)) {
            return false;
        }
    }
    return true;
}

static bool redis_lane_send(struct lane *lane, struct shot *shot) {
    char name[KEY_TEXT_BYTES_MAX];
    return target_of(lane->load)->ask(lane, shot, load_key(lane->load, shot->keys[0], name));
}

/* hiredis would wait for the loop to say that the socket is writable; it nearly always is. Not from
 * within an answer: a failed write frees the context. */
static void contexts_flush(struct lane *lane) {
    struct redis_lane *own = lane->connection;
    for (uint32_t store = 0; store < STORES_MAX; store++) {
        if (own->contexts[store] != NULL) {
            redisAsyncHandleWrite(own->contexts[store]);
        }
    }
}

static void redis_lane_close(struct lane *lane) {
    struct redis_lane *own = lane->connection;
    if (own == NULL) {
        return;
    }
    own->closing = true;
    for (uint32_t store = 0; store < STORES_MAX; store++) {
        if (own->contexts[store] != NULL) {
            redisAsyncFree(own->contexts[store]);
        }
    }
    free(own);
    lane->connection = NULL;
}

/* --- the five of them ----------------------------------------------------------------------- */

static bool place_parse(const char *url, struct redis_place *place, char *why, size_t why_size) {
    struct redis_address address;
    if (!redis_address_parse(url, &address, why, why_size)) {
        return false;
    }
    if (address.tls || address.cluster || address.master[0] != '\0' || address.user[0] != '\0' ||
        address.database != 0) {
        snprintf(why, why_size, "\"%.200s\": a load goes to a plain redis://host:port", url);
        return false;
    }
    *place = address.places[0];
    return true;
}

static struct redis_target *redis_open(struct load *load, char *why, size_t why_size) {
    const struct load_settings *settings = &load->settings;
    struct redis_target *target = calloc(1, sizeof *target);
    double per_token_us =
        (double)settings->limit.period_ns / 1e3 / (double)settings->limit.rate_tokens;
    load->memory = target;
    if (target == NULL) {
        snprintf(why, why_size, "no memory");
        return NULL;
    }
    if (settings->plan != NULL || settings->batch != 1) {
        snprintf(why, why_size, "%s knows neither --plan nor --batch", settings->target->name);
        return NULL;
    }
    target->store_count = 1;
    target->increment_us = per_token_us * (double)settings->cost_tokens;
    target->tolerance_us = per_token_us * (double)settings->limit.burst_tokens;
    snprintf(target->rate, NUMBER_BYTES, "%llu", (unsigned long long)settings->limit.rate_tokens);
    snprintf(target->burst, NUMBER_BYTES, "%llu", (unsigned long long)settings->limit.burst_tokens);
    snprintf(target->cost, NUMBER_BYTES, "%llu", (unsigned long long)settings->cost_tokens);
    snprintf(target->period, NUMBER_BYTES, "%llu",
             (unsigned long long)settings->limit.period_ns / 1000);
    return place_parse(settings->url, &target->places[STORE_MAIN], why, why_size) ? target : NULL;
}

static bool lua_open(struct load *load, char *why, size_t why_size) {
    struct redis_target *target = redis_open(load, why, why_size);
    if (target == NULL) {
        return false;
    }
    target->ask = script_ask;
    target->script = target->grant_is = true;
    return true;
}

/* Periods are whole seconds there. redis-cell's bucket holds one more than its max_burst. */
static bool verb_open(struct load *load, const char *verb, bool grant_is, uint64_t burst_less,
                      char *why, size_t why_size) {
    struct redis_target *target = redis_open(load, why, why_size);
    const struct limit *limit = &load->settings.limit;
    if (target == NULL) {
        return false;
    }
    if (limit->period_ns % UINT64_C(1000000000) != 0) {
        snprintf(why, why_size, "%s counts in whole seconds: set --limit-period so",
                 load->settings.target->name);
        return false;
    }
    target->ask = verb_ask;
    target->verb = verb;
    target->grant_is = grant_is;
    snprintf(target->burst, NUMBER_BYTES, "%llu",
             (unsigned long long)(limit->burst_tokens - burst_less));
    snprintf(target->period, NUMBER_BYTES, "%llu",
             (unsigned long long)(limit->period_ns / UINT64_C(1000000000)));
    return true;
}

static bool cell_open(struct load *load, char *why, size_t why_size) {
    return verb_open(load, "CL.THROTTLE", false, 1, why, why_size);
}

static bool throttlecrab_open(struct load *load, char *why, size_t why_size) {
    return verb_open(load, "THROTTLE", true, 0, why, why_size);
}

static bool store_add(struct redis_target *target, enum store store, const char *url,
                      const char *option, char *why, size_t why_size) {
    if (url == NULL) {
        snprintf(why, why_size, "%s is needed: the URL of another Redis", option);
        return false;
    }
    target->stores[target->store_count++] = store;
    return place_parse(url, &target->places[store], why, why_size);
}

static bool kv_open(struct load *load, char *why, size_t why_size) {
    struct redis_target *target = redis_open(load, why, why_size);
    if (target == NULL) {
        return false;
    }
    target->ask = look_ask;
    return store_add(target, STORE_REPLICA, load->settings.replica_url, "--replica", why, why_size);
}

static bool hybrid_open(struct load *load, char *why, size_t why_size) {
    if (!kv_open(load, why, why_size)) {
        return false;
    }
    target_of(load)->hybrid = true;
    return store_add(target_of(load), STORE_SECOND, load->settings.second_url, "--second", why,
                     why_size);
}

static void redis_close(struct load *load) {
    free(load->memory);
    load->memory = NULL;
}

#define REDIS_TARGET(its_name, its_open)                                                           \
    {                                                                                              \
        .name = its_name, .open = its_open, .lane_open = redis_lane_open,                          \
        .lane_send = redis_lane_send, .lane_flush = contexts_flush,                                \
        .lane_close = redis_lane_close, .close = redis_close                                       \
    }
const struct target target_redis = REDIS_TARGET("redis", lua_open);
const struct target target_cell = REDIS_TARGET("redis-cell", cell_open);
const struct target target_throttlecrab = REDIS_TARGET("throttlecrab", throttlecrab_open);
const struct target target_kv = REDIS_TARGET("kv", kv_open);
const struct target target_hybrid = REDIS_TARGET("hybrid", hybrid_open);
