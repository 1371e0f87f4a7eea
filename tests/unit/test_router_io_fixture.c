#include "tests/unit/test_router_io_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- made-up shards ------------------------------------------------------------------------- */

static void takes_answer(struct fake_shard *shard, struct writer *writer,
                         const struct request *request) {
    static struct take takes[TAKES_PER_REQUEST_MAX];
    struct fault fault;
    uint32_t count = 1;
    bool many = request->method == METHOD_TAKE_MANY;
    enum code code = many ? request_read_take_many(request->params, takes, &count, &fault)
                          : request_read_take(request->params, takes, &fault);
    assert_int_equal(code, CODE_OK);
    shard->takes_seen += count;
    if (many) {
        write_array(writer, count - (shard->manner == SHORT_LIST));
    }
    for (uint32_t i = shard->manner == SHORT_LIST; i < count; i++) {
        struct take_result result = {.allowed = true, .remaining_tokens = takes[i].cost_tokens};
        struct moved moved = {
            .epoch = {shard->fixture->map->epoch.number + shard->fixture->epochs_ahead}};
        if (shard->manner == MOVED) {
            fault_set(&fault, CODE_MOVED, "not mine");
            error_write(writer, &fault, &moved);
        } else {
            result_write(writer, &result);
        }
    }
}

static void on_shard_request(void *ctx, struct endpoint *endpoint,
                             const struct endpoint_caller *caller, struct bytes body) {
    struct fake_shard *shard = ctx;
    struct request request;
    struct fault fault;
    assert_int_equal(request_read(body, &request, &fault), CODE_OK);
    struct writer writer = writer_of(shard->fixture->scratch, sizeof shard->fixture->scratch);
    reply_write_head(&writer, request.msgid);
    if (request.method == METHOD_CLUSTER_MAP) {
        shard->polls_seen++;
        cluster_view_write(&writer, shard->fixture->map, shard->fixture->plans, 0);
    } else {
        takes_answer(shard, &writer, &request);
    }
    if (shard->manner == SILENT && request.method != METHOD_CLUSTER_MAP) {
        return;
    }
    if (shard->manner == GARBAGE && request.method != METHOD_CLUSTER_MAP) {
        writer = writer_of(shard->fixture->scratch, sizeof shard->fixture->scratch);
        reply_write_head(&writer, request.msgid);
        write_text(&writer, "what?");
    }
    assert_false(writer.overflow);
    endpoint_reply(endpoint, caller, writer_bytes(&writer));
}

static void on_shard_oversize(void *ctx, struct endpoint *endpoint,
                              const struct endpoint_caller *caller, struct bytes start,
                              uint64_t size) {
    fail();
}

static void on_shard_turn(void *ctx, struct endpoint *endpoint) {}

static void shard_open(struct fixture *fixture, uint32_t index) {
    struct fake_shard *shard = &fixture->shards[index];
    struct endpoint_handler handler = {.ctx = shard,
                                       .on_request = on_shard_request,
                                       .on_oversize = on_shard_oversize,
                                       .on_turn = on_shard_turn};
    char why[256];
    shard->fixture = fixture;
    assert_int_equal(endpoint_open(&shard->endpoint, &fixture->loop, "tcp://127.0.0.1:0", &handler,
                                   why, sizeof why),
                     0);
    snprintf(shard->url, sizeof shard->url, "%s", endpoint_url(shard->endpoint));
}

void shard_close(struct fixture *fixture, uint32_t index) {
    endpoint_close(fixture->shards[index].endpoint, NULL, NULL);
    fixture->shards[index].endpoint = NULL;
}

void map_give_to(struct fixture *fixture, uint32_t owner) {
    struct map *map = fixture->map;
    map->epoch.number++;
    for (uint32_t i = 0; i < SHARDS; i++) {
        endpoint_name_set(&map->shards[i].endpoint, bytes_of_text(fixture->shards[i].url));
    }
    for (uint32_t i = 0; i < map->slot_count; i++) {
        map->owner[i] = (uint16_t)owner;
    }
}

/* --- waiting -------------------------------------------------------------------------------- */

void on_patience_end(uv_timer_t *timer) {
    struct fixture *fixture = timer->data;
    fixture->out_of_patience = true;
}

uint64_t counted(const struct fixture *fixture, size_t offset) {
    uint64_t value;
    memcpy(&value, (const uint8_t *)router_shell_counters(fixture->shell) + offset, sizeof value);
    return value;
}
/* --- the client ----------------------------------------------------------------------------- */

static void on_client_up(void *ctx, struct link *link) {}

static void on_client_down(void *ctx, struct link *link, bool was_up, const char *why) {}

static void on_client_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {
    struct fixture *fixture = ctx;
    assert_true(body.size <= sizeof fixture->reply_memory);
    memcpy(fixture->reply_memory, body.data, body.size);
    fixture->reply_bytes = bytes_of(fixture->reply_memory, body.size);
    fixture->reply_count++;
}

void send_bytes(struct fixture *fixture, struct bytes body) {
    assert_int_equal(link_send(fixture->client, fixture->next_id++, body), LINK_SENT);
    link_flush(fixture->client);
}

struct reply call_bytes(struct fixture *fixture, struct bytes body) {
    struct reply reply;
    uint32_t before = fixture->reply_count;
    send_bytes(fixture, body);
    WAIT(fixture, fixture->reply_count > before);
    assert_true(reply_read(fixture->reply_bytes, &reply));
    return reply;
}

struct reply call(struct fixture *fixture, enum verb verb, const char *key, uint64_t cost,
                  const char *plan, uint32_t deadline_ms) {
    uint8_t memory[512];
    struct writer writer = writer_of(memory, sizeof memory);
    struct take take = {.key = bytes_of_text(key), .cost_tokens = cost};
    if (plan != NULL) {
        take.plan.kind = PLAN_CHOICE_NAMED;
        take.plan.name = bytes_of_text(plan);
    }
    request_write_single(&writer, 77, verb, &take, deadline_ms);
    struct reply reply = call_bytes(fixture, writer_bytes(&writer));
    assert_true(reply.has_msgid);
    assert_int_equal(reply.msgid, 77);
    return reply;
}

struct reply call_method(struct fixture *fixture, enum method method) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 78, method);
    write_array(&writer, 0);
    return call_bytes(fixture, writer_bytes(&writer));
}

struct take_result result_of(const struct reply *reply) {
    struct take_result result;
    struct reader reader = reader_of(reply->result);
    assert_false(reply->is_error);
    assert_true(result_read(&reader, &result, NULL));
    return result;
}

/* --- fixtures ------------------------------------------------------------------------------- */

static void client_open(struct fixture *fixture) {
    struct link_handler handler = {.ctx = fixture,
                                   .on_up = on_client_up,
                                   .on_down = on_client_down,
                                   .on_reply = on_client_reply};
    char why[256];
    assert_int_equal(
        link_open(&fixture->client, &fixture->loop, fixture->router_url, &handler, why, sizeof why),
        0);
    WAIT(fixture, link_is_up(fixture->client));
}

static void router_open(struct fixture *fixture, const char *nodes) {
    struct router_settings settings = {0};
    char why[256];
    assert_true(url_list_parse("tcp://127.0.0.1:0", &settings.listen, why, sizeof why));
    assert_true(url_list_parse(nodes, &settings.nodes, why, sizeof why));
    assert_int_equal(router_shell_open(&fixture->shell, &fixture->loop, &settings, &fixture->log,
                                       why, sizeof why),
                     0);
    snprintf(fixture->router_url, sizeof fixture->router_url, "%s",
             router_shell_url(fixture->shell, 0));
    assert_null(router_shell_url(fixture->shell, 1));
}

static void views_make(struct fixture *fixture) {
    struct map *map = calloc(1, sizeof *map);
    map_init(map);
    map->slot_count = 64;
    map->node_count = 1;
    map->nodes[0].id = name_of(bytes_of_text("n1"));
    endpoint_name_set(&map->nodes[0].control, bytes_of_text(fixture->shards[0].url));
    map->shard_count = SHARDS;
    map->shards[1].number = 1;
    fixture->map = map;
    fixture->plans = calloc(1, sizeof *fixture->plans);
    plan_set_init(fixture->plans);
    fixture->plans->version = 1;
    struct plan plan = {.name = name_of(bytes_of_text("free")), .generation_count = 1};
    plan_set_add(fixture->plans, &plan);
    plan.name = name_of(bytes_of_text("open"));
    plan.on_unavailable = POLICY_ALLOW;
    plan_set_add(fixture->plans, &plan);
    fixture->plans->default_at = 0;
}

int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    uv_loop_init(&fixture->loop);
    uv_timer_init(&fixture->loop, &fixture->patience);
    fixture->patience.data = fixture;
    log_init(&fixture->log, LOG_LEVEL_ERROR, false, STDERR_FILENO, "test");
    for (uint32_t i = 0; i < SHARDS; i++) {
        shard_open(fixture, i);
    }
    views_make(fixture);
    map_give_to(fixture, 0);
    char nodes[2 * ENDPOINT_BYTES_MAX + 64];
    snprintf(nodes, sizeof nodes, "tcp://127.0.0.1:1, %s,%s", fixture->shards[1].url,
             fixture->shards[0].url);
    router_open(fixture, nodes);
    client_open(fixture);
    WAIT(fixture, router_shell_map(fixture->shell) != NULL);
    *state = fixture;
    return 0;
}

void on_router_stopped(void *ctx) {
    struct fixture *fixture = ctx;
    fixture->router_stopped = true;
}

int teardown(void **state) {
    struct fixture *fixture = *state;
    if (fixture->shell != NULL) {
        router_shell_stop(fixture->shell, on_router_stopped, fixture);
        WAIT(fixture, fixture->router_stopped);
    }
    for (uint32_t i = 0; i < SHARDS; i++) {
        if (fixture->shards[i].endpoint != NULL) {
            shard_close(fixture, i);
        }
    }
    link_close(fixture->client, NULL, NULL);
    uv_close((uv_handle_t *)&fixture->patience, NULL);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    free(fixture->map);
    free(fixture->plans);
    free(fixture);
    return 0;
}

int setup_alone(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    uv_loop_init(&fixture->loop);
    uv_timer_init(&fixture->loop, &fixture->patience);
    fixture->patience.data = fixture;
    log_init(&fixture->log, LOG_LEVEL_ERROR, false, STDERR_FILENO, "test");
    router_open(fixture, "tcp://127.0.0.1:1");
    client_open(fixture);
    *state = fixture;
    return 0;
}
