#include "tests/unit/fake_masters.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/store_keys.h"
#include "runtime/redis_slots.h"

/* Scripts that a link loads. */
#define SCRIPTS 4

/* --- the journal --------------------------------------------------------------------------- */

static void note(struct fake_masters *all, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void note(struct fake_masters *all, const char *format, ...) {
    size_t room = sizeof all->journal - all->journal_size;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(all->journal + all->journal_size, room, format, arguments);
    va_end(arguments);
    assert_true(size >= 0 && (size_t)size < room);
    all->journal_size += (size_t)size;
}

static bool journal_long(void *ctx) {
    const struct fake_masters *all = ((void **)ctx)[0];
    return all->journal_size >= strlen(((void **)ctx)[1]);
}

void fake_expect(struct fake_masters *all, const char *journal) {
    void *ctx[] = {all, (void *)journal};
    (void)loop_wait(&all->loop, journal_long, ctx);
    loop_run_ms(&all->loop, 30); /* nothing more comes */
    assert_string_equal(all->journal, journal);
    all->journal_size = 0;
    all->journal[0] = '\0';
}

/* Turns of the loop in which the store has read what it was answered. Arbitrary, but safe: on
 * loopback an answer is there one turn after it was written. */
#define TURNS 20

struct awaited {
    const struct fake_masters *all;
    uint32_t tables, master, links, turns;
};

static bool awaited_there(void *ctx) {
    struct awaited *awaited = ctx;
    return awaited->all->tables >= awaited->tables &&
           fake_links(awaited->all, awaited->master) >= awaited->links && ++awaited->turns > TURNS;
}

uint32_t fake_links(const struct fake_masters *all, uint32_t master) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < FAKE_PEERS_MAX; i++) {
        const struct fake_peer *peer = &all->masters[master].peers[i];
        count += peer->reader != NULL && peer->scripts >= SCRIPTS;
    }
    return count;
}

void fake_await_links(struct fake_masters *all, uint32_t master, uint32_t count) {
    struct awaited awaited = {.all = all, .master = master, .links = count};
    assert_true(loop_wait(&all->loop, awaited_there, &awaited));
}

void fake_await_table(struct fake_masters *all) {
    struct awaited awaited = {.all = all, .tables = all->tables + 1};
    assert_true(loop_wait(&all->loop, awaited_there, &awaited));
}

/* --- a master ------------------------------------------------------------------------------ */

static void on_written(uv_write_t *request, int status) {
    free(request);
}

static void peer_flush(struct fake_peer *peer) {
    if (peer->reader == NULL || peer->master->holding || peer->out_size == 0)
        return;
    uv_write_t *request = malloc(sizeof *request + peer->out_size);
    memcpy(request + 1, peer->out, peer->out_size);
    uv_buf_t buffer = uv_buf_init((char *)(request + 1), (unsigned)peer->out_size);
    peer->out_size = 0;
    uv_write(request, (uv_stream_t *)&peer->tcp, &buffer, 1, on_written);
}

static void answer(struct fake_peer *peer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void answer(struct fake_peer *peer, const char *format, ...) {
    size_t room = sizeof peer->out - peer->out_size;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(peer->out + peer->out_size, room, format, arguments);
    va_end(arguments);
    assert_true(size >= 0 && (size_t)size < room);
    peer->out_size += (size_t)size;
}

static void answer_info(struct fake_peer *peer) {
    char text[300];
    int size = snprintf(text, sizeof text,
                        "redis_version:7.0.15\r\nrun_id:%039u%c\r\nmaster_replid:%040u\r\n"
                        "connected_slaves:%u\r\n",
                        peer->master->history, peer->master->name, peer->master->history,
                        peer->master->replicas);
    answer(peer, "$%d\r\n%s\r\n", size, text);
}

static void answer_table(struct fake_peer *peer) {
    struct fake_masters *all = peer->master->all;
    all->tables++;
    int low = all->masters[all->low].port, high = all->masters[all->high].port;
    answer(peer,
           "*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n"
           "*3\r\n:8192\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n",
           low, high);
}

/* What it was told to say, or what a master in order would. */
static void answer_keyed(struct fake_peer *peer, const char *usual) {
    struct fake_master *master = peer->master;
    if (master->said_count > 0) {
        usual = master->said[master->said_first % FAKE_SAID_MAX];
        master->said_first++;
        master->said_count--;
    }
    answer(peer, "%s", usual);
}

static void answer_script(struct fake_peer *peer, const redisReply *words) {
    static const char *const usual[] = {"$1\r\n5\r\n", "$2\r\nOK\r\n", "$2\r\nOK\r\n",
                                        "*2\r\n$-1\r\n$-1\r\n"};
    int script = words->element[1]->str[39] - '0';
    note(peer->master->all, "%c%c", peer->master->name, "rwaf"[script]);
    answer_keyed(peer, usual[script]);
}

static void command_answer(struct fake_peer *peer, const redisReply *words) {
    struct fake_masters *all = peer->master->all;
    const char *name = words->element[0]->str;
    if (strcmp(name, "ROLE") == 0)
        answer(peer, "*1\r\n$6\r\nmaster\r\n");
    else if (strcmp(name, "INFO") == 0)
        answer_info(peer);
    else if (strcmp(name, "CLUSTER") == 0)
        answer_table(peer);
    else if (strcmp(name, "SCRIPT") == 0)
        answer(peer, "$40\r\n%040u\r\n", peer->scripts++ % SCRIPTS);
    else if (strcmp(name, "TIME") == 0)
        answer(peer, "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n");
    else if (strcmp(name, "EVALSHA") == 0)
        answer_script(peer, words);
    else if (strcmp(name, "HSCAN") == 0) {
        note(all, "%ch%s", peer->master->name, words->element[2]->str);
        answer_keyed(peer, "*2\r\n$1\r\n0\r\n*0\r\n");
    } else if (strcmp(name, "ASKING") == 0) {
        note(all, "%c?", peer->master->name);
        answer(peer, "+OK\r\n");
    } else if (strcmp(name, "WAIT") == 0) {
        note(all, "%cW", peer->master->name);
        answer(peer, ":%u\r\n", peer->master->replicas);
    } else {
        answer(peer, "+PONG\r\n");
    }
}

static void on_peer_closed(uv_handle_t *handle) {
    struct fake_peer *peer = handle->data;
    redisReaderFree(peer->reader);
    peer->reader = NULL;
}

static void peer_close(struct fake_peer *peer) {
    if (peer->reader != NULL && !uv_is_closing((uv_handle_t *)&peer->tcp))
        uv_close((uv_handle_t *)&peer->tcp, on_peer_closed);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer) {
    static char room[FAKE_BYTES_MAX];
    *buffer = uv_buf_init(room, sizeof room);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    struct fake_peer *peer = stream->data;
    void *words = NULL;
    if (size < 0) {
        peer_close(peer);
        return;
    }
    redisReaderFeed(peer->reader, buffer->base, (size_t)size);
    while (redisReaderGetReply(peer->reader, &words) == REDIS_OK && words != NULL) {
        command_answer(peer, words);
        freeReplyObject(words);
    }
    peer_flush(peer);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct fake_master *master = listener->data;
    struct fake_peer *peer = master->peers;
    while (peer->reader != NULL)
        peer++;
    assert_true(peer < master->peers + FAKE_PEERS_MAX);
    peer->master = master;
    peer->reader = redisReaderCreate();
    peer->out_size = 0;
    peer->scripts = 0;
    uv_tcp_init(listener->loop, &peer->tcp);
    peer->tcp.data = peer;
    uv_accept(listener, (uv_stream_t *)&peer->tcp);
    uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read);
}

static void master_open(struct fake_masters *all, uint32_t number) {
    struct fake_master *master = &all->masters[number];
    struct sockaddr_in address;
    int size = sizeof address;
    *master = (struct fake_master){
        .all = all, .name = (char)('A' + number), .history = 1 + number, .replicas = 1};
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(&all->loop, &master->listener);
    master->listener.data = master;
    assert_int_equal(uv_tcp_bind(&master->listener, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&master->listener, 16, on_connection), 0);
    uv_tcp_getsockname(&master->listener, (struct sockaddr *)&address, &size);
    master->port = ntohs(address.sin_port);
}

void fake_say(struct fake_masters *all, uint32_t master, const char *text) {
    struct fake_master *speaker = &all->masters[master];
    assert_true(speaker->said_count < FAKE_SAID_MAX);
    char *out = speaker->said[(speaker->said_first + speaker->said_count) % FAKE_SAID_MAX];
    const char *place = strstr(text, "PLACE");
    speaker->said_count++;
    if (place == NULL)
        snprintf(out, sizeof speaker->said[0], "%s", text);
    else
        snprintf(out, sizeof speaker->said[0], "%.*s127.0.0.1:%d%s", (int)(place - text), text,
                 all->masters[1 - master].port, place + strlen("PLACE"));
}

void fake_hold(struct fake_masters *all, uint32_t master, bool holding) {
    all->masters[master].holding = holding;
    for (uint32_t i = 0; i < FAKE_PEERS_MAX; i++)
        peer_flush(&all->masters[master].peers[i]);
}

void fake_cut(struct fake_masters *all, uint32_t master) {
    for (uint32_t i = 0; i < FAKE_PEERS_MAX; i++)
        peer_close(&all->masters[master].peers[i]);
}

/* --- the store ----------------------------------------------------------------------------- */

static void on_event(void *ctx, struct shard_event *event) {
    struct fake_masters *all = ctx;
    if (event->kind == SHARD_EVENT_STORED) {
        note(all, "=%u%c", event->stored.op_id, "oXF"[event->stored.status]);
        return;
    }
    if (!event->store.restarted)
        note(all, event->store.up ? "+" : "-");
    for (uint32_t i = 0; event->store.restarted && i < SLOTS_MAX; i++) {
        if ((event->store.lost[i / 8] >> (i % 8) & 1) != 0)
            note(all, "!%u", i);
    }
}

static void on_clock(void *ctx, const struct clock_sample *sample) {}

void fake_open(struct fake_masters *all, const char *ack) {
    char url[100], why[300];
    memset(all, 0, sizeof *all);
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&all->loop);
    for (uint32_t i = 0; i < FAKE_MASTERS; i++)
        master_open(all, i);
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d,127.0.0.1:%d", all->masters[0].port,
             all->masters[1].port);
    assert_true(redis_address_parse(url, &all->access.address, why, sizeof why));
    struct store_options options = {.access = &all->access,
                                    .prefix = "t:",
                                    .incarnation = "0123456789abcdef",
                                    .log = &all->log};
    assert_true(ack_parse(ack, &options.ack, why, sizeof why));
    struct store_handler handler = {all, on_event, on_clock};
    all->store = store_open(&all->loop, &options, &handler);
    assert_non_null(all->store);
    fake_expect(all, "+");
}

void fake_close(struct fake_masters *all) {
    store_close(all->store);
    for (uint32_t i = 0; i < FAKE_MASTERS; i++)
        fake_cut(all, i);
    for (uint32_t i = 0; i < FAKE_MASTERS; i++)
        uv_close((uv_handle_t *)&all->masters[i].listener, NULL);
    uv_run(&all->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&all->loop), 0);
}

uint32_t fake_do(struct fake_masters *all, enum shard_op_kind kind, uint16_t slot,
                 uint64_t cursor) {
    const struct shard_op_entry entry = {.key = bytes_of_text("key"), .remove = true};
    struct shard_op op = {.kind = kind,
                          .slot = {.index = slot},
                          .op_id = ++all->op_id,
                          .fence = kind == SHARD_OP_RAISE_FENCE ? 0 : 5,
                          .cursor = cursor,
                          .entries = &entry,
                          .entry_count = kind == SHARD_OP_WRITE,
                          .key = bytes_of_text("key")};
    store_perform(all->store, &op, (struct epoch){.number = 1});
    store_turn(all->store);
    return op.op_id;
}

uint16_t fake_slot(bool upper) {
    for (uint16_t i = 0;; i++) {
        store_key key;
        int size = store_key_fence("t:", (struct slot){.index = i}, key);
        if ((redis_slot_of(key, (size_t)size) >= REDIS_SLOTS / 2) == upper)
            return i;
    }
}
