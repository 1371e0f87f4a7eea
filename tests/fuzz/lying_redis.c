#include "tests/fuzz/lying_redis.h"

#include <fcntl.h>
#include <hiredis/async.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Connections at a time, and of an input; commands that are answered of one. */
#define PEERS_MAX 80
#define COMMANDS_MAX 2000

/* Turns in which nothing is said until time passes, and beyond which a program waits for something
 * that never comes. */
#define IDLE_TURNS 5
#define IDLE_TURNS_MAX 200

/* Milliseconds that pass at once: more than anything waits. */
#define PASSED_MS 5000

struct peer {
    int fd; /* -1: the place is free */
    redisReader *reader;
    redisAsyncContext *context;
    redisConnectCallback *on_connect; /* NULL: it has been told */
};

static struct {
    struct fuzz *fuzz;
    lying_usual_fn usual;
    struct peer peers[PEERS_MAX];
    uint32_t answered;
    uint64_t skew_ms;
    bool stopped;
} redis;

/* --- texts ------------------------------------------------------------------------------------ */

void lying_print(struct lying_text *text, const char *format, ...) {
    size_t room = sizeof text->data - text->size;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text->data + text->size, room, format, arguments);
    va_end(arguments);
    text->size += size > 0 && (size_t)size < room ? (size_t)size : 0;
}

static void bytes_put(struct lying_text *text, const void *data, size_t size) {
    if (size <= sizeof text->data - text->size) {
        memcpy(text->data + text->size, data, size);
        text->size += size;
    }
}

void lying_string(struct lying_text *text, const void *data, size_t size) {
    if (size + 32 <= sizeof text->data - text->size) {
        lying_print(text, "$%zu\r\n", size);
        bytes_put(text, data, size);
        lying_print(text, "\r\n");
    }
}

/* Words that somebody looks for in an answer, or chokes on. */
static const char *const words_known[] = {
    "OK",
    "FENCED",
    "0",
    "1",
    "17",
    "1048577",
    "18446744073709551615",
    "-1",
    "",
    "slave",
    "master",
    "always",
    "everysec",
    "9223372036",
    "99999999999999999999",
    "HELD",
    "GRANTED",
    "REFUSED",
    "n1",
    "kind",
    "text",
    "epoch",
    "0123456789012345678901234567890123456789",
    "1.5",
    "redis_version:6.0.16\r\nrun_id:other\r\naof_enabled:0\r\n",
    ("redis_version:7.4.0\r\nrun_id:0000000000000000000000000000000000000000000000000000\r\n"
     "aof_enabled:1\r\nconnected_slaves:4294967297\r\nmaster_replid:x\r\ncluster_enabled:1\r\n"),
};
static const char *const errors_known[] = {
    "ERR no",
    "NOSCRIPT No matching script",
    "READONLY You can't write against a read only replica",
    "MOVED 12 10.0.0.2:7002",
    "MOVED 12 :7001",
    "MOVED 16383 h:65536",
    "ASK 12 10.0.0.3:7003",
    "TRYAGAIN",
    "CLUSTERDOWN Hash slot not served",
    "LOADING",
    "NOAUTH",
    "OOM",
    "MISCONF",
    "NOPERM",
    "NOREPLICAS",
    "BADFENCE",
    "",
    "Lua script attempted to access a non local key",
};
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A reply of any shape. Levels below 7: hiredis reads no deeper. */
static void lie(struct lying_text *text, uint32_t level) {
    static const char aggregates[] = {'*', '*', '*', '%', '~', '>', '|'};
    struct fuzz *fuzz = redis.fuzz;
    uint8_t choice = fuzz_u8(fuzz);
    if (choice < 64 && level < 7) {
        uint32_t count = fuzz_below(fuzz, 8);
        char kind = aggregates[choice % sizeof aggregates];
        lying_print(text, "%c%u\r\n", kind, count);
        uint32_t each = kind == '%' || kind == '|' ? 2 : 1;
        for (uint32_t i = 0; i < count * each; i++) {
            lie(text, level + 1);
        }
    } else if (choice < 128) {
        const char *word = words_known[choice % COUNT_OF(words_known)];
        lying_string(text, word, strlen(word));
    } else if (choice < 150) {
        struct bytes some = fuzz_bytes(fuzz, fuzz_below(fuzz, 40));
        lying_string(text, some.data, some.size);
    } else if (choice < 175) {
        lying_print(text, "-%s\r\n", errors_known[choice % COUNT_OF(errors_known)]);
    } else if (choice < 200) {
        lying_print(text, ":%lld\r\n", (long long)fuzz_u64(fuzz));
    } else if (choice < 215) {
        lying_print(text, choice % 2 == 0 ? "$-1\r\n" : "*-1\r\n");
    } else {
        static const char *const others[] = {
            "+OK\r\n",    "+\r\n",           ",1.5\r\n",       "#t\r\n", "_\r\n",
            "(12345\r\n", "=5\r\ntxt:a\r\n", "*268435456\r\n", "*0\r\n", "$0\r\n\r\n"};
        lying_print(text, "%s", others[choice % COUNT_OF(others)]);
    }
}

/* --- what a Redis would say ------------------------------------------------------------------- */

static void usual_answer(const redisReply *words, struct lying_text *out) {
    const char *name = words->element[0]->str;
    if (strcmp(name, "PING") == 0) {
        lying_print(out, "+PONG\r\n");
    } else if (strcmp(name, "ROLE") == 0) {
        lying_print(out, "*1\r\n$6\r\nmaster\r\n");
    } else if (strcmp(name, "TIME") == 0) {
        lying_print(out, "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n");
    } else if (strcmp(name, "INFO") == 0) {
        static const char info[] = "redis_version:7.4.0\r\nrun_id:a\r\nmaster_replid:b\r\n"
                                   "aof_enabled:1\r\nconnected_slaves:1\r\n";
        lying_string(out, info, strlen(info));
    } else if (strcmp(name, "CONFIG") == 0) {
        lying_print(out, "*2\r\n$11\r\nappendfsync\r\n$6\r\nalways\r\n");
    } else if (strcmp(name, "CLUSTER") == 0) {
        lying_print(out, "*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$8\r\n10.0.0.1\r\n:7001\r\n"
                         "*3\r\n:8192\r\n:16383\r\n*2\r\n$8\r\n10.0.0.2\r\n:7002\r\n");
    } else if (strcmp(name, "SENTINEL") == 0) {
        lying_print(out, "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n7001\r\n");
    } else {
        lying_print(out, "+OK\r\n");
    }
}

/* --- connections ------------------------------------------------------------------------------ */

static void peer_close(struct peer *peer) {
    if (peer->fd >= 0) {
        close(peer->fd);
        redisReaderFree(peer->reader);
    }
    *peer = (struct peer){.fd = -1};
}

/* Sends the answer; all that does not fit breaks the connection. */
static void peer_send(struct peer *peer, const struct lying_text *text) {
    if (send(peer->fd, text->data, text->size, MSG_NOSIGNAL) != (ssize_t)text->size) {
        peer_close(peer);
    }
}

static void command_answer(struct peer *peer, const redisReply *words) {
    static struct lying_text text;
    struct fuzz *fuzz = redis.fuzz;
    uint8_t choice = fuzz_u8(fuzz);
    text.size = 0;
    if (choice < 192 || redis.answered++ > COMMANDS_MAX) {
        if (!redis.usual(fuzz, words, &text)) {
            usual_answer(words, &text);
        }
    } else if (choice < 240) {
        lie(&text, 0);
    } else if (choice < 250) {
        struct bytes raw = fuzz_bytes(fuzz, fuzz_u8(fuzz));
        bytes_put(&text, raw.data, raw.size);
    } else if (choice < 252) { /* and one more that nobody asked for */
        lie(&text, 0);
        lie(&text, 0);
    } else if (choice < 254) {
        peer_close(peer);
        return;
    } /* else nothing at all */
    peer_send(peer, &text);
}

static bool peer_serve(struct peer *peer) {
    char bytes[1 << 14];
    bool gone = recv(peer->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT) == 0;
    bool did = peer->on_connect != NULL && !gone;
    if (did) {
        redisConnectCallback *on_connect = peer->on_connect;
        peer->on_connect = NULL;
        on_connect(peer->context, REDIS_OK);
    }
    if (peer->fd < 0) {
        return did;
    }
    ssize_t size = recv(peer->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (size == 0) {
        peer_close(peer);
        return true;
    }
    if (size > 0) {
        FUZZ_CHECK(redisReaderFeed(peer->reader, bytes, (size_t)size) == REDIS_OK);
        did = true;
    }
    void *words = NULL;
    while (peer->fd >= 0 && redisReaderGetReply(peer->reader, &words) == REDIS_OK &&
           words != NULL) {
        const redisReply *command = words;
        FUZZ_CHECK(command->type == REDIS_REPLY_ARRAY && command->elements >= 1);
        command_answer(peer, command);
        freeReplyObject(words);
    }
    return did;
}

/* --- what goes before hiredis and libuv ------------------------------------------------------- */

redisAsyncContext *__wrap_redisAsyncConnect(const char *host, int port);
redisAsyncContext *__wrap_redisAsyncConnectUnix(const char *path);
int __wrap_redisAsyncSetConnectCallback(redisAsyncContext *context, redisConnectCallback *fn);
int __wrap_redisEnableKeepAlive(redisContext *context);
uint16_t __wrap_redis_slot_of(const char *key, size_t size);
int __wrap_uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *request, uv_getaddrinfo_cb done,
                          const char *node, const char *service, const struct addrinfo *hints);
uint64_t __wrap_uv_now(const uv_loop_t *loop);
uint64_t __real_uv_now(const uv_loop_t *loop);
int __wrap_uv_run(uv_loop_t *loop, uv_run_mode mode);
int __real_uv_run(uv_loop_t *loop, uv_run_mode mode);
void __wrap_uv_stop(uv_loop_t *loop);
void __real_uv_stop(uv_loop_t *loop);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out);
int __wrap_nanosleep(const struct timespec *span, struct timespec *left);

redisAsyncContext *__wrap_redisAsyncConnect(const char *host, int port) {
    int pair[2];
    struct peer *peer = redis.peers;
    while (peer < redis.peers + PEERS_MAX && peer->fd >= 0) {
        peer++;
    }
    if (peer == redis.peers + PEERS_MAX) {
        return NULL; /* "no memory": the link tries again */
    }
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    redisOptions options = {.type = REDIS_CONN_USERFD, .endpoint = {.fd = pair[0]}};
    redisAsyncContext *context = redisAsyncConnectWithOptions(&options);
    FUZZ_CHECK(context != NULL && context->err == 0);
    context->c.flags |= REDIS_CONNECTED; /* it would look whether it is */
    *peer = (struct peer){.fd = pair[1], .reader = redisReaderCreate(), .context = context};
    FUZZ_CHECK(peer->reader != NULL);
    return context;
}

redisAsyncContext *__wrap_redisAsyncConnectUnix(const char *path) {
    return __wrap_redisAsyncConnect(path, 0);
}

int __wrap_redisAsyncSetConnectCallback(redisAsyncContext *context, redisConnectCallback *fn) {
    for (uint32_t i = 0; i < PEERS_MAX; i++) {
        if (redis.peers[i].fd >= 0 && redis.peers[i].context == context) {
            redis.peers[i].on_connect = fn;
        }
    }
    return REDIS_OK;
}

/* What it sets is TCP's. */
int __wrap_redisEnableKeepAlive(redisContext *context) {
    return REDIS_OK;
}

/* A store asks for each of its slots, and a checksum bit by bit takes long here. */
uint16_t __wrap_redis_slot_of(const char *key, size_t size) {
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum = sum * 31 + (uint8_t)key[i];
    }
    return sum % 16384;
}

int __wrap_uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *request, uv_getaddrinfo_cb done,
                          const char *node, const char *service, const struct addrinfo *hints) {
    return UV_EAI_NONAME;
}

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out) {
    return EAI_NONAME;
}

int __wrap_nanosleep(const struct timespec *span, struct timespec *left) {
    return 0;
}

uint64_t __wrap_uv_now(const uv_loop_t *loop) {
    return __real_uv_now(loop) + redis.skew_ms;
}

void __wrap_uv_stop(uv_loop_t *loop) {
    redis.stopped = true;
    __real_uv_stop(loop);
}

/* Those who wait for an answer wait here. */
int __wrap_uv_run(uv_loop_t *loop, uv_run_mode mode) {
    if (mode != UV_RUN_DEFAULT) {
        return __real_uv_run(loop, mode);
    }
    redis.stopped = false;
    for (uint32_t idle = 0; !redis.stopped && uv_loop_alive(loop);) {
        idle = lying_turn(loop) ? 0 : idle + 1;
        FUZZ_CHECK(idle < IDLE_TURNS_MAX);
        if (idle % IDLE_TURNS == IDLE_TURNS - 1 && !redis.stopped) {
            lying_time_pass(loop);
        }
    }
    redis.stopped = false;
    return uv_loop_alive(loop);
}

/* --- life ------------------------------------------------------------------------------------- */

void lying_open(struct fuzz *fuzz, lying_usual_fn usual) {
    memset(&redis, 0, sizeof redis);
    signal(SIGPIPE, SIG_IGN); /* as all our programs do */
    redis.fuzz = fuzz;
    redis.usual = usual;
    for (uint32_t i = 0; i < PEERS_MAX; i++) {
        redis.peers[i].fd = -1;
    }
}

void lying_close(void) {
    for (uint32_t i = 0; i < PEERS_MAX; i++) {
        peer_close(&redis.peers[i]);
    }
}

bool lying_turn(uv_loop_t *loop) {
    bool did = false;
    for (uint32_t i = 0; i < PEERS_MAX; i++) {
        if (redis.peers[i].fd >= 0) {
            did = peer_serve(&redis.peers[i]) || did;
        }
    }
    __real_uv_run(loop, UV_RUN_NOWAIT);
    return did;
}

static void timer_fire(uv_handle_t *handle, void *ctx) {
    uv_timer_t *timer = (uv_timer_t *)handle;
    if (handle->type == UV_TIMER && uv_is_active(handle) && !uv_is_closing(handle)) {
        uv_timer_start(timer, timer->timer_cb, 0, uv_timer_get_repeat(timer));
    }
}

void lying_time_pass(uv_loop_t *loop) {
    redis.skew_ms += PASSED_MS;
    uv_walk(loop, timer_fire, NULL);
}

void lying_end(uv_loop_t *loop) {
    for (uint32_t turns = 0; uv_loop_close(loop) != 0; turns++) {
        FUZZ_CHECK(turns < IDLE_TURNS_MAX);
        lying_turn(loop);
    }
}
