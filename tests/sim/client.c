/* Clients: each asks one router, over production's own link, and keeps account of its answers. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/reply.h"
#include "proto/request.h"
#include "runtime/link.h"
#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/loop.h"
#include "tests/sim/report.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

/* Requests of one client that wait for their answers. */
#define OUTSTANDING_MAX 512

/* Takes of a take_many. */
#define MANY_MAX 6

struct asked {
    bool used;
    uint32_t id, generation; /* of the link it was sent on */
    enum verb verb;
    uint32_t count;
    uint32_t keys[MANY_MAX];
    uint64_t costs[MANY_MAX];
    uint64_t sent_ns, deadline_ms;
    bool many;
};

struct client {
    uint32_t index;
    uint32_t router;
    uv_loop_t loop;
    uv_timer_t timer;
    struct link *link;
    uint32_t next_id, generation;
    struct asked asked[OUTSTANDING_MAX];
    uint32_t outstanding;
};

/* The plan of a key: every fourth has the default, a plan of two limits, a slow one, its own. */
const char *key_plan(uint32_t key) {
    static const char *const plans[] = {NULL, "double", "slow", NULL};
    return plans[key % 4];
}

static void take_fill(uint32_t key, uint64_t cost, char name[32], struct take *take) {
    key_name(key, name);
    *take = (struct take){.key = bytes_of_text(name), .cost_tokens = cost};
    if (key % 4 == 3) {
        take->plan.kind = PLAN_CHOICE_INLINE;
        take->plan.limit = (struct limit){7 + key, SECOND, (15 + key) * wide_times()};
    } else if (key_plan(key) != NULL) {
        take->plan.kind = PLAN_CHOICE_NAMED;
        take->plan.name = bytes_of_text(key_plan(key));
    }
}

/* --- asking -------------------------------------------------------------------------------- */

static struct asked *asked_get(struct client *client) {
    for (uint32_t i = 0; i < OUTSTANDING_MAX; i++) {
        if (!client->asked[i].used) {
            return &client->asked[i];
        }
    }
    return NULL;
}

static void ask_fill(struct client *client, struct asked *asked) {
    const struct config *config = &world.config;
    client->next_id = (client->next_id + 1) & INT32_MAX;
    *asked = (struct asked){.used = true,
                            .id = client->next_id,
                            .generation = client->generation,
                            .count = 1,
                            .sent_ns = sim_now(),
                            .deadline_ms = DEADLINE_MS_DEFAULT};
    asked->many = config_has(config, FEATURE_MANY) && sim_chance(STREAM_CLIENTS, 250);
    if (asked->many) {
        asked->count = (uint32_t)sim_between(STREAM_CLIENTS, 1, MANY_MAX);
        sim_cover(COVER_MANY);
    } else if (config_has(config, FEATURE_PEEKS) && sim_chance(STREAM_CLIENTS, 100)) {
        asked->verb = VERB_PEEK;
        sim_cover(COVER_PEEK);
    } else if (config_has(config, FEATURE_REFUNDS) && sim_chance(STREAM_CLIENTS, 60)) {
        asked->verb = VERB_REFUND;
        sim_cover(COVER_REFUND);
    }
    if (config->scenario != NULL) { /* one take of the one key that it is about */
        asked->costs[0] = 1;
        return;
    }
    if (!asked->many) {
        asked->deadline_ms = sim_between(STREAM_CLIENTS, 20, 400);
    }
    for (uint32_t i = 0; i < asked->count; i++) {
        /* Some keys are hot. */
        uint32_t bound = sim_chance(STREAM_CLIENTS, 500) ? (config->keys + 3) / 4 : config->keys;
        asked->keys[i] = (uint32_t)sim_below(STREAM_CLIENTS, bound);
        asked->costs[i] = sim_chance(STREAM_CLIENTS, 800) ? 1 : sim_below(STREAM_CLIENTS, 8);
    }
}

static void ask(struct client *client) {
    uint8_t memory[4096];
    struct writer writer = writer_of(memory, sizeof memory);
    struct asked *asked = asked_get(client);
    char name[32];
    struct take take;
    if (asked == NULL || !link_is_up(client->link)) {
        return;
    }
    ask_fill(client, asked);
    if (asked->many) {
        request_write_head(&writer, asked->id, METHOD_TAKE_MANY);
        write_array(&writer, asked->count);
        for (uint32_t i = 0; i < asked->count; i++) {
            take_fill(asked->keys[i], asked->costs[i], name, &take);
            request_write_take(&writer, &take, 0);
        }
    } else {
        take_fill(asked->keys[0], asked->costs[0], name, &take);
        request_write_single(&writer, asked->id, asked->verb, &take, (uint32_t)asked->deadline_ms);
    }
    assert(!writer.overflow);
    if (link_send(client->link, asked->id, writer_bytes(&writer)) != LINK_SENT) {
        asked->used = false;
        return;
    }
    link_flush(client->link);
    client->outstanding++;
    report_of_run()->requests++;
}

/* --- answers ------------------------------------------------------------------------------- */

static void result_count(const struct asked *asked, uint32_t at, const struct take_result *result,
                         const struct reply *error) {
    struct check_answer answer = {.key = asked->keys[at],
                                  .verb = asked->verb,
                                  .cost = asked->costs[at],
                                  .sent_ns = asked->sent_ns,
                                  .result = result};
    check_answer(&answer);
    if (result->code != CODE_OK) {
        sim_cover(COVER_TAKE_ERROR);
    } else if ((result->flags & TAKE_FLAG_DEGRADED) != 0) {
        sim_cover(COVER_TAKE_DEGRADED);
    } else if (asked->verb == VERB_TAKE) {
        sim_cover(result->allowed ? COVER_TAKE_GRANTED : COVER_TAKE_REFUSED);
    }
}

static void answer_read(struct client *client, const struct asked *asked, struct bytes body) {
    struct reply reply, error;
    struct take_result result = {0};
    if (!reply_read(body, &reply) || !reply.has_msgid || reply.msgid != asked->id) {
        sim_fail("answers", "client %u: request %u was answered by what is no answer to it",
                 client->index, asked->id);
    }
    if (reply.is_error) {
        sim_trace("client %u: %u -> %s: %.*s", client->index, asked->id, code_text(reply.code),
                  (int)reply.message.size, (const char *)reply.message.data);
        if (reply.code == CODE_OVERLOADED) {
            sim_cover(COVER_ROUTER_FULL);
        }
        result.code = reply.code;
        for (uint32_t i = 0; i < asked->count; i++) {
            result_count(asked, i, &result, &reply);
        }
        return;
    }
    struct reader reader = reader_of(reply.result);
    uint32_t count = 1;
    if (asked->many && (!read_array(&reader, &count) || count != asked->count)) {
        sim_fail("answers", "client %u: %u takes were answered by %u results", client->index,
                 asked->count, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!result_read(&reader, &result, &error)) {
            sim_fail("answers", "client %u: a result that cannot be read", client->index);
        }
        sim_trace("client %u: %u %s key-%u %" PRIu64 " -> %s, %" PRIu64 " left", client->index,
                  asked->id, verb_text(asked->verb), asked->keys[i], asked->costs[i],
                  result.code != CODE_OK ? code_text(result.code)
                  : result.allowed       ? "granted"
                                         : "refused",
                  result.code == CODE_OK ? result.remaining_tokens : 0);
        result_count(asked, i, &result, &error);
    }
}

static void on_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {
    struct client *client = ctx;
    for (uint32_t i = 0; i < OUTSTANDING_MAX; i++) {
        struct asked *asked = &client->asked[i];
        if (asked->used && asked->id == id && asked->generation == client->generation) {
            answer_read(client, asked, body);
            asked->used = false;
            client->outstanding--;
            return;
        }
    }
    sim_fail("answers", "client %u: an answer to %u, which was answered before or never asked",
             client->index, id);
}

static void on_up(void *ctx, struct link *link) {}

static void on_down(void *ctx, struct link *link, bool was_up, const char *why) {
    struct client *client = ctx;
    client->generation++;
    client->outstanding = 0;
    for (uint32_t i = 0; i < OUTSTANDING_MAX; i++) {
        client->asked[i].used = false;
    }
}

/* --- the program --------------------------------------------------------------------------- */

static void late_look(const struct client *client) {
    for (uint32_t i = 0; i < OUTSTANDING_MAX; i++) {
        const struct asked *asked = &client->asked[i];
        if (asked->used) {
            check_waiting(client->index, client->router, asked->id, asked->sent_ns,
                          asked->deadline_ms);
        }
    }
}

static void on_timer(uv_timer_t *timer) {
    struct client *client = timer->data;
    uint64_t mean_ms = world.config.request_every_ns / MS;
    late_look(client);
    if (world.config.scenario != NULL) {
        for (uint32_t due = scenario_due(client->index); due > 0; due--) {
            ask(client);
        }
        uv_timer_start(timer, on_timer, scenario_rest_ms(client->index), 0);
        return;
    }
    uint64_t silent_from_ns = OUTAGE_BEGINS_NS - OUTAGE_SILENCE_NS;
    uint64_t silent_to_ns = OUTAGE_BEGINS_NS + world.config.outage_ns + OUTAGE_RETURN_NS;
    if (world.config.outage_ns > 0 && sim_now() >= silent_from_ns && sim_now() < silent_to_ns) {
        uv_timer_start(timer, on_timer, (silent_to_ns - sim_now()) / MS + 1, 0);
        return;
    }
    if (sim_now() < world.config.end_ns - config_refill_ns(&world.config)) {
        uint32_t burst = sim_chance(STREAM_CLIENTS, 50) ? 20 : 1;
        for (uint32_t i = 0; i < burst; i++) {
            ask(client);
        }
    }
    uv_timer_start(timer, on_timer, sim_below(STREAM_CLIENTS, 2 * mean_ms) + 1, 0);
}

static int client_main(void *ctx) {
    struct client *client = ctx;
    char url[64], why[256];
    struct link_handler handler = {client, on_up, on_down, on_reply};
    router_url(&world.routers[client->router], url);
    uv_loop_init(&client->loop);
    uv_timer_init(&client->loop, &client->timer);
    client->timer.data = client;
    int opened = link_open(&client->link, &client->loop, url, &handler, why, sizeof why);
    assert(opened == 0);
    uv_timer_start(&client->timer, on_timer, 0, 0);
    uv_run(&client->loop, UV_RUN_DEFAULT);
    return 0;
}

static void on_exit_never(void *ctx, int status) {
    sim_fail("simulator", "a client ended");
}

void clients_begin(void) {
    for (uint32_t i = 0; i < world.config.clients; i++) {
        struct client *client = sim_keep(sizeof *client);
        char name[16];
        client->index = i;
        client->router = i % world.config.routers;
        snprintf(name, sizeof name, "c%u", i + 1);
        process_start(world.clients[i], name, client_main, client, on_exit_never);
    }
}
