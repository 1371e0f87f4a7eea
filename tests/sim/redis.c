/* hiredis's connections on the simulated network. Its reader and its formats are the library's own.
 */
#include "tests/sim/redis_names.h"

#include <arpa/inet.h>
#include <assert.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/redis_tls.h"
#include "runtime/redis_uv.h"
#include "tests/sim/loop.h"
#include "tests/sim/net.h"
#include "tests/sim/world.h"

/* What a proposal of a map comes late by at most: longer than a node needs to connect again. */
#define MAP_LATE_NS (600 * MS)

struct client {
    redisAsyncContext context; /* first: hiredis's users hold this */
    uv_loop_t *loop;
    struct net_end *end;
    redisReader *reader;
    void (*on_gone)(void *ctx, const redisAsyncContext *context);
    void *ctx;
    bool opened_told, opened, posted, in_callback, freeing, gone;
    int ended; /* 1: not yet */
    struct process *process;
};

static struct client *client_of(redisAsyncContext *context) {
    return (struct client *)context;
}

static uint32_t address_of(const char *host) {
    struct in_addr address = {0};
    int read = inet_pton(AF_INET, host, &address);
    assert(read == 1);
    return ntohl(address.s_addr);
}

static void post(struct client *client);

/* --- the end of a connection --------------------------------------------------------------- */

/* The oldest; NULL: none. The caller's to free. */
static redisCallback *callback_take(struct client *client) {
    redisCallback *callback = client->context.replies.head;
    if (callback != NULL) {
        client->context.replies.head = callback->next;
        if (callback->next == NULL) {
            client->context.replies.tail = NULL;
        }
    }
    return callback;
}

static void callbacks_fail(struct client *client) {
    redisCallback *callback;
    while ((callback = callback_take(client)) != NULL) {
        callback->fn(&client->context, NULL, callback->privdata);
        free(callback);
    }
}

static void client_free(struct client *client) {
    if (client->gone) {
        return;
    }
    client->gone = true;
    net_close(client->end);
    if (client->reader != NULL) {
        redisReaderFree(client->reader);
        client->reader = NULL;
    }
    /* hiredis 1.x lets go first, 0.14 calls back first. */
#if HIREDIS_MAJOR > 0
    client->on_gone(client->ctx, &client->context);
    callbacks_fail(client);
#else
    callbacks_fail(client);
    client->on_gone(client->ctx, &client->context);
#endif
}

void redisAsyncFree(redisAsyncContext *context) {
    struct client *client = client_of(context);
    if (client->end == NULL) {
        return; /* never attached */
    }
    if (client->in_callback) {
        client->freeing = true;
    } else {
        client_free(client);
    }
}

/* --- turns --------------------------------------------------------------------------------- */

static void error_set(struct client *client, const char *text) {
    client->context.err = client->context.c.err = REDIS_ERR_IO;
    snprintf(client->context.c.errstr, sizeof client->context.c.errstr, "%s", text);
    client->context.errstr = client->context.c.errstr;
}

static void replies_read(struct client *client) {
    void *reply = NULL;
    while (!client->gone && redisReaderGetReply(client->reader, &reply) == REDIS_OK &&
           reply != NULL) {
        redisCallback *callback = callback_take(client);
        assert(callback != NULL);
        client->in_callback = true;
        callback->fn(&client->context, reply, callback->privdata);
        client->in_callback = false;
        client->reader->fn->freeObject(reply);
        free(callback);
        reply = NULL;
        if (client->freeing) {
            client_free(client);
        }
    }
}

static void on_item(void *ctx) {
    struct client *client = ctx;
    client->posted = false;
    if (client->gone) {
        return;
    }
    if (client->opened && !client->opened_told) {
        client->opened_told = true;
        client->in_callback = true;
        client->context.onConnect(&client->context, REDIS_OK);
        client->in_callback = false;
        if (client->freeing) {
            client_free(client);
            return;
        }
    }
    replies_read(client);
    if (!client->gone && client->ended != 1) {
        error_set(client, client->ended == 0 ? "Server closed the connection" : "Connection error");
        if (!client->opened_told) {
            client->context.onConnect(&client->context, REDIS_ERR);
        }
        client_free(client);
    }
}

static void post(struct client *client) {
    if (!client->posted && !client->gone) {
        client->posted = true;
        loop_post(client->loop, on_item, client);
    }
}

static void on_opened(void *ctx, int status) {
    struct client *client = ctx;
    client->opened = status == 0;
    client->ended = status == 0 ? 1 : status;
    post(client);
}

static void on_arrived(void *ctx, const void *data, size_t size) {
    struct client *client = ctx;
    if (client->reader != NULL) {
        redisReaderFeed(client->reader, data, size);
        post(client);
    }
}

static void on_ended(void *ctx, int status) {
    struct client *client = ctx;
    client->ended = status;
    post(client);
}

static const struct net_handler handler = {on_opened, on_arrived, on_ended, NULL};

/* --- what the programs call ---------------------------------------------------------------- */

redisAsyncContext *redisAsyncConnect(const char *host, int port) {
    struct client *client = sim_keep(sizeof *client);
    client->context.c.errstr[0] = '\0';
    client->context.errstr = client->context.c.errstr;
    client->ended = 1;
    client->process = process_current();
    client->reader = client->context.c.reader = redisReaderCreate();
    client->context.c.fd = (int)address_of(host); /* until it is attached: whom to connect to */
    client->context.c.flags = port;
    return &client->context;
}

redisAsyncContext *redisAsyncConnectUnix(const char *path) {
    assert(false);
    return NULL;
}

bool redis_uv_attach(redisAsyncContext *context, uv_loop_t *loop,
                     void (*on_gone)(void *ctx, const redisAsyncContext *context), void *ctx) {
    struct client *client = client_of(context);
    client->loop = loop;
    client->on_gone = on_gone;
    client->ctx = ctx;
    client->end = net_connect(client->process->machine, client->process, (uint32_t)context->c.fd,
                              (uint16_t)context->c.flags, &handler, client);
    return true;
}

int redisAsyncSetConnectCallback(redisAsyncContext *context, redisConnectCallback *fn) {
    context->onConnect = fn;
    return REDIS_OK;
}

int redisEnableKeepAlive(redisContext *context) {
    return REDIS_OK;
}

/* A call of a script whose only key is the map. */
static bool proposes_map(const char *text, size_t size) {
    static const char keys[] = "\r\n$1\r\n1\r\n$20\r\nsluice:{cluster}:map\r\n";
    return memmem(text, size, keys, sizeof keys - 1) != NULL;
}

static int command_add(struct client *client, redisCallbackFn *fn, void *data, const char *text,
                       long long size) {
    if (client->freeing || client->gone || size < 0) {
        return REDIS_ERR;
    }
    redisCallback *callback = calloc(1, sizeof *callback);
    assert(callback != NULL);
    *callback = (redisCallback){.fn = fn, .privdata = data};
    redisCallback *newest = client->context.replies.tail;
    *(newest == NULL ? &client->context.replies.head : &newest->next) = callback;
    client->context.replies.tail = callback;
    net_send(client->end, text, (size_t)size);
    if (config_has(&world.config, FEATURE_LATE_MAPS) && proposes_map(text, (size_t)size) &&
        sim_chance(STREAM_NET, 300)) {
        net_give_up(client->end, sim_below(STREAM_NET, MAP_LATE_NS) + 1);
    }
    return REDIS_OK;
}

int redisAsyncCommand(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                      const char *format, ...) {
    char *text = NULL;
    va_list values;
    va_start(values, format);
    int size = redisvFormatCommand(&text, format, values);
    va_end(values);
    int status = command_add(client_of(context), fn, data, text, size);
    redisFreeCommand(text);
    return status;
}

int redisAsyncCommandArgv(redisAsyncContext *context, redisCallbackFn *fn, void *data, int argc,
                          const char **argv, const size_t *sizes) {
    char *text = NULL;
    long long size = redisFormatCommandArgv(&text, argc, argv, sizes);
    int status = command_add(client_of(context), fn, data, text, size);
    redisFreeCommand(text);
    return status;
}

int redisAsyncFormattedCommand(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                               const char *text, size_t size) {
    return command_add(client_of(context), fn, data, text, (long long)size);
}

/* Everything leaves as it is given. */
void redisAsyncHandleWrite(redisAsyncContext *context) {}

/* --- TLS ----------------------------------------------------------------------------------- */

bool redis_tls_available(char *why, size_t why_size) {
    snprintf(why, why_size, "TLS is not simulated");
    return false;
}

struct redis_tls *redis_tls_begin(redisContext *connection, const struct redis_tls_files *files,
                                  const char *host, char *why, size_t why_size) {
    return NULL;
}

void redis_tls_end(struct redis_tls *tls, bool answered, char *why, size_t why_size) {}
