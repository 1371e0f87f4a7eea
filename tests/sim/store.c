#include "tests/sim/store.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/io/fallback_script.h"
#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/net.h"
#include "tests/sim/script.h"

/* 2024-01-01: what the server's clock says when the run begins. */
#define EPOCH_NS (UINT64_C(1704067200) * SECOND)

/* Nanoseconds of a command, on a quiet machine. */
#define COMMAND_NS (15 * US)

/* Commands under way; a server takes what comes. */
#define WAITING_MAX 65536

#define SHA_TEXT_SIZE 40

struct store_conn {
    struct net_end *end;
    struct process *process;
    redisReader *reader;
    uint32_t life; /* of the server that it was accepted by */
    bool ended;
};

struct command {
    struct store_conn *conn;
    redisReply *words;
};

static struct {
    struct machine *machine;
    struct net_listener *listener;
    struct db *db, *synced, *replica;
    uint64_t synced_ns, replica_ns;
    uint64_t lost_at_ns, kept_ns, begun_ns;
    uint32_t life;
    bool up;
    bool refuse;
    uint64_t each_ns, busy_until_ns, sick_since_ns;
    int64_t clock_offset_ns;
    struct command waiting[WAITING_MAX];
    uint32_t first, count;
    bool executing;
    struct scripts *scripts;
    int compiled[STORE_SCRIPTS]; /* production's scripts, as scripts_load numbers them */
    bool loaded[STORE_SCRIPTS];  /* SCRIPT LOAD has told this server of it */
    void (*seen)(const struct store_seen *seen);
    enum script plant_script;
    const char *plant_from, *plant_to;
} store;

struct machine *store_machine(void) {
    return store.machine;
}

struct db *store_db(void) {
    return store.db;
}

uint64_t store_clock(void) {
    return (uint64_t)((int64_t)(EPOCH_NS + sim_now()) + store.clock_offset_ns);
}

void store_clock_jump(int64_t ns) {
    sim_trace("store's clock jumps by %" PRId64 " ms", ns / (int64_t)MS);
    store.clock_offset_ns += ns;
}

void store_watch(void (*seen)(const struct store_seen *seen)) {
    store.seen = seen;
}

void store_plant(enum script script, const char *from, const char *to) {
    store.plant_script = script;
    store.plant_from = from;
    store.plant_to = to;
}

uint64_t store_lost_at(uint64_t *kept_ns) {
    *kept_ns = store.kept_ns;
    return store.lost_at_ns;
}

/* --- health -------------------------------------------------------------------------------- */

bool store_healthy(void) {
    return store.sick_since_ns == 0;
}

uint64_t store_begun_at(void) {
    return store.begun_ns;
}

uint64_t store_sick_since(void) {
    return store.sick_since_ns;
}

static void health_update(void) {
    bool well = store.up && !store.refuse && store.each_ns == 0 &&
                store.busy_until_ns <= sim_now() + 50 * MS;
    if (well) {
        store.sick_since_ns = 0;
    } else if (store.sick_since_ns == 0) {
        store.sick_since_ns = sim_now();
    }
}

static void on_health(void *ctx, uint64_t argument) {
    health_update();
}

/* --- executing ----------------------------------------------------------------------------- */

static const char *text_of(int script) {
    return script == STORE_SCRIPT_FALLBACK ? fallback_script : script_text((enum script)script);
}

static int script_of(struct bytes word, bool is_sha) {
    char sha[SHA_TEXT_SIZE + 1];
    for (int i = 0; i < STORE_SCRIPTS; i++) {
        snprintf(sha, sizeof sha, "%040d", i + 1);
        bool same = is_sha ? store.loaded[i] && bytes_equal(word, bytes_of_text(sha))
                           : bytes_equal(word, bytes_of_text(text_of(i)));
        if (same) {
            return i;
        }
    }
    return -1;
}

static void script_call(struct store_conn *conn, const struct bytes *words, uint32_t count,
                        struct buffer *out) {
    bool is_sha = bytes_equal(words[0], bytes_of_text("EVALSHA"));
    int script = script_of(words[1], is_sha);
    if (script < 0) {
        buffer_print(out, is_sha ? "-NOSCRIPT No matching script.\r\n" : "-ERR no such script\r\n");
        return;
    }
    /* Writes of several slots: some may be refused, and some not. */
    scripts_full(store.scripts, store.refuse);
    if (store.refuse && script != SCRIPT_NODES && script != SCRIPT_WRITE) {
        sim_cover(COVER_STORE_ERROR);
        buffer_print(out, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
        return;
    }
    uint32_t key_count = (uint32_t)strtoul((const char *)words[2].data, NULL, 10);
    struct store_seen seen = {.script = (enum script)script,
                              .process = conn->process,
                              .keys = words + 3,
                              .words = words + 3 + key_count,
                              .key_count = key_count,
                              .word_count = count - 3 - key_count};
    struct script_call call = {.script = store.compiled[script],
                               .now_ns = store_clock(),
                               .keys = seen.keys,
                               .words = seen.words,
                               .key_count = key_count,
                               .word_count = seen.word_count};
    scripts_run(store.scripts, store.db, &call, out);
    seen.answer = bytes_of(out->data, out->size);
    if (store.seen != NULL) {
        store.seen(&seen);
    }
}

static void info_write(struct buffer *out) {
    char text[256];
    snprintf(
        text, sizeof text,
        "# Server\r\nredis_version:7.0.15\r\nrun_id:%040u\r\n# Persistence\r\naof_enabled:1\r\n"
        "maxmemory_policy:noeviction\r\nrole:master\r\n",
        store.life);
    buffer_bulk(out, bytes_of_text(text));
}

static void time_write(struct buffer *out) {
    char seconds[24], micros[24];
    snprintf(seconds, sizeof seconds, "%" PRIu64, store_clock() / SECOND);
    snprintf(micros, sizeof micros, "%" PRIu64, store_clock() % SECOND / US);
    buffer_print(out, "*2\r\n");
    buffer_bulk(out, bytes_of_text(seconds));
    buffer_bulk(out, bytes_of_text(micros));
}

static void script_load(const struct bytes *words, struct buffer *out) {
    int script = script_of(words[2], false);
    char sha[SHA_TEXT_SIZE + 1];
    if (script < 0) {
        buffer_print(out, "-ERR no such script\r\n");
        return;
    }
    store.loaded[script] = true;
    snprintf(sha, sizeof sha, "%040d", script + 1);
    buffer_bulk(out, bytes_of_text(sha));
}

static void execute(struct store_conn *conn, const struct bytes *words, uint32_t count,
                    struct buffer *out) {
    const char *name = (const char *)words[0].data;
    if (strcmp(name, "EVAL") == 0 || strcmp(name, "EVALSHA") == 0) {
        script_call(conn, words, count, out);
    } else if (strcmp(name, "SCRIPT") == 0) {
        script_load(words, out);
    } else if (strcmp(name, "INFO") == 0) {
        info_write(out);
    } else if (strcmp(name, "TIME") == 0) {
        time_write(out);
    } else if (strcmp(name, "PING") == 0) {
        buffer_print(out, "+PONG\r\n");
    } else if (strcmp(name, "ROLE") == 0) {
        buffer_print(out, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    } else if (strcmp(name, "CONFIG") == 0) {
        buffer_print(out, "*2\r\n$11\r\nappendfsync\r\n$8\r\neverysec\r\n");
    } else {
        db_call(store.db, store_clock() / MS, words, count, out);
    }
}

static void execute_plan(void);

static void on_execute(void *ctx, uint64_t life) {
    if (life != store.life) {
        return;
    }
    store.executing = false;
    if (store.count == 0) {
        return;
    }
    struct command command = store.waiting[store.first];
    store.first = (store.first + 1) % WAITING_MAX;
    store.count--;
    struct bytes words[DB_WORDS_MAX];
    uint32_t count = (uint32_t)command.words->elements;
    assert(count > 0 && count <= DB_WORDS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        words[i] = bytes_of(command.words->element[i]->str, command.words->element[i]->len);
    }
    struct buffer out = {0};
    execute(command.conn, words, count, &out);
    if (!command.conn->ended) {
        net_send(command.conn->end, out.data, out.size);
    }
    buffer_free(&out);
    freeReplyObject(command.words);
    execute_plan();
}

static void execute_plan(void) {
    if (store.executing || store.count == 0) {
        return;
    }
    store.executing = true;
    uint64_t begins_ns = store.busy_until_ns > sim_now() ? store.busy_until_ns : sim_now();
    uint64_t cost_ns = COMMAND_NS / 2 + sim_below(STREAM_STORE, COMMAND_NS) + store.each_ns;
    store.busy_until_ns = begins_ns + cost_ns;
    sim_at(store.busy_until_ns, on_execute, NULL, store.life);
}

/* --- connections --------------------------------------------------------------------------- */

static void on_opened(void *ctx, int status) {}

static void on_arrived(void *ctx, const void *data, size_t size) {
    struct store_conn *conn = ctx;
    void *words = NULL;
    redisReaderFeed(conn->reader, data, size);
    while (redisReaderGetReply(conn->reader, &words) == REDIS_OK && words != NULL) {
        assert(store.count < WAITING_MAX);
        store.waiting[(store.first + store.count) % WAITING_MAX] = (struct command){conn, words};
        store.count++;
        words = NULL;
    }
    execute_plan();
}

/* What it had sent is in our buffers, and executed in its turn. */
static void on_ended(void *ctx, int status) {
    struct store_conn *conn = ctx;
    conn->ended = true;
    net_close(conn->end);
}

static const struct net_handler handler = {on_opened, on_arrived, on_ended, NULL};

static void on_accept(void *ctx, struct net_end *end) {
    struct store_conn *conn = sim_keep(sizeof *conn);
    conn->end = end;
    conn->process = net_peer_process(end);
    conn->reader = redisReaderCreate();
    conn->life = store.life;
    net_take(end, NULL, &handler, conn);
}

/* --- life ---------------------------------------------------------------------------------- */

static void on_sync(void *ctx, uint64_t argument) {
    if (store.up) {
        db_free(store.synced);
        store.synced = db_copy(store.db);
        store.synced_ns = sim_now();
    }
    sim_at(sim_now() + STORE_SYNC_NS, on_sync, NULL, 0);
}

static void on_replicate(void *ctx, uint64_t argument) {
    if (store.up) {
        db_free(store.replica);
        store.replica = db_copy(store.db);
        store.replica_ns = sim_now();
    }
    sim_at(sim_now() + sim_between(STREAM_STORE, 20 * MS, 800 * MS), on_replicate, NULL, 0);
}

static void server_begin(void) {
    store.life++;
    store.up = true;
    store.begun_ns = sim_now();
    store.busy_until_ns = sim_now();
    store.executing = false;
    memset(store.loaded, 0, sizeof store.loaded);
    store.listener = net_listen(store.machine, STORE_PORT, NULL, on_accept, NULL);
    assert(store.listener != NULL);
    health_update();
}

void store_start(struct machine *machine) {
    char why[256];
    store.machine = machine;
    store.db = db_create();
    store.synced = db_create();
    store.replica = db_create();
    store.scripts = scripts_create();
    if (check_planted(PLANT_UNFENCED)) {
        store_plant(STORE_SCRIPT_FALLBACK,
                    "redis.call('SET', KEYS[1], string.format('%.1f', held + 0.5))", "");
    }
    for (int i = 0; i < STORE_SCRIPTS; i++) {
        const char *text = text_of(i);
        char *planted = NULL;
        const char *found = store.plant_from == NULL ? NULL : strstr(text, store.plant_from);
        if (found != NULL && i == (int)store.plant_script) {
            size_t size = strlen(text) + strlen(store.plant_to) + 1;
            planted = malloc(size);
            assert(planted != NULL);
            snprintf(planted, size, "%.*s%s%s", (int)(found - text), text, store.plant_to,
                     found + strlen(store.plant_from));
        }
        store.compiled[i] = scripts_load(
            store.scripts, bytes_of_text(planted != NULL ? planted : text), why, sizeof why);
        if (store.compiled[i] < 0) {
            sim_fail("script", "%s", why);
        }
        free(planted);
    }
    server_begin();
    sim_at(sim_now() + STORE_SYNC_NS, on_sync, NULL, 0);
    sim_at(sim_now() + STORE_SYNC_NS / 3, on_replicate, NULL, 0);
}

static void on_begin(void *ctx, uint64_t argument) {
    sim_trace("store is back");
    server_begin();
}

static void server_end(uint64_t away_ns) {
    store.up = false;
    store.life++;
    while (store.count > 0) {
        freeReplyObject(store.waiting[store.first].words);
        store.first = (store.first + 1) % WAITING_MAX;
        store.count--;
    }
    net_unlisten(store.listener);
    net_reset_all(store.machine);
    health_update();
    sim_at(sim_now() + away_ns, on_begin, NULL, 0);
}

static void fall_back(struct db **to, uint64_t kept_ns) {
    struct db *copy = db_copy(*to);
    db_free(store.db);
    store.db = copy;
    store.lost_at_ns = sim_now();
    store.kept_ns = kept_ns;
    checks_store_lost();
}

void store_restart(uint64_t away_ns, bool tail_lost) {
    if (!store.up) {
        return;
    }
    sim_cover(COVER_STORE_CRASH);
    sim_trace("store dies%s", tail_lost ? ", and loses what was not on its disk" : "");
    if (tail_lost) {
        sim_cover(COVER_STORE_TAIL_LOST);
        fall_back(&store.synced, store.synced_ns);
    }
    server_end(away_ns);
}

void store_fail_over(uint64_t away_ns) {
    if (!store.up) {
        return;
    }
    sim_cover(COVER_STORE_FAILOVER);
    sim_trace("store's replica takes over, %" PRIu64 " ms behind",
              (sim_now() - store.replica_ns) / MS);
    fall_back(&store.replica, store.replica_ns);
    server_end(away_ns);
}

void store_stall(uint64_t ns) {
    sim_cover(COVER_STORE_STALL);
    sim_trace("store stands still for %" PRIu64 " ms", ns / MS);
    uint64_t until_ns = sim_now() + ns;
    store.busy_until_ns = store.busy_until_ns > until_ns ? store.busy_until_ns : until_ns;
    health_update();
    sim_at(store.busy_until_ns, on_health, NULL, 0);
}

void store_slow(uint64_t each_ns) {
    sim_cover(COVER_STORE_SLOW);
    sim_trace("store takes %" PRIu64 " us a command", each_ns / US);
    store.each_ns = each_ns;
    health_update();
}

void store_refuse(bool refuse) {
    sim_trace("store %s", refuse ? "refuses to write" : "writes again");
    store.refuse = refuse;
    health_update();
}
