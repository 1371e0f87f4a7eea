/* The lease at start: is another process alive under our id? */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/reader.h"
#include "proto/store_keys.h"
#include "server/io/boot.h"
#include "server/io/redis_sync.h"

/* Milliseconds to wait for an answer to a connection attempt, and between looks at the lease. */
#define PROBE_MS 200
#define LOOK_MS 20

struct lease_look {
    bool held;
    char incarnation[INCARNATION_SIZE + 1];
    char control[ENDPOINT_BYTES_MAX + 1];
    long long ttl_ms;
};

/* The member "control" of a node's info. */
static void control_of_info(struct bytes info, char *control) {
    struct reader reader = reader_of(info);
    uint32_t members;
    control[0] = '\0';
    if (!read_map(&reader, &members)) {
        return;
    }
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name, value;
        if (!read_bytes(&reader, &name)) {
            return;
        }
        if (bytes_equal(name, bytes_of_text("control"))) {
            if (read_bytes(&reader, &value) && value.size <= ENDPOINT_BYTES_MAX) {
                memcpy(control, value.data, value.size);
                control[value.size] = '\0';
            }
            return;
        }
        if (!read_any(&reader, &value)) {
            return;
        }
    }
}

static bool lease_read(struct boot *boot, const char *key, struct lease_look *look, char *why) {
    memset(look, 0, sizeof *look);
    const char *get[] = {"HMGET", key, "incarnation", "info"};
    redisReply *reply = redis_sync_call(boot->redis, 4, get, why, BOOT_WHY_BYTES);
    if (reply == NULL) {
        return false;
    }
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_STRING) {
        look->held = true;
        snprintf(look->incarnation, sizeof look->incarnation, "%s", reply->element[0]->str);
        if (reply->element[1]->type == REDIS_REPLY_STRING) {
            control_of_info(bytes_of(reply->element[1]->str, reply->element[1]->len),
                            look->control);
        }
    }
    freeReplyObject(reply);
    const char *ttl[] = {"PTTL", key};
    reply = redis_sync_call(boot->redis, 2, ttl, why, BOOT_WHY_BYTES);
    if (reply == NULL) {
        return false;
    }
    look->ttl_ms = reply->integer;
    freeReplyObject(reply);
    return true;
}

/* True if a connection to tcp://host:port is refused outright: nobody can be alive behind it. */
static bool refuses_connections(const char *url) {
    char host[ENDPOINT_BYTES_MAX + 16];
    if (strncmp(url, "tcp://", 6) != 0) {
        return false;
    }
    snprintf(host, sizeof host, "%s", url + 6);
    char *port = strrchr(host, ':');
    if (port == NULL) {
        return false;
    }
    *port++ = '\0';
    char *name = host;
    if (name[0] == '[' && name[strlen(name) - 1] == ']') {
        name[strlen(name) - 1] = '\0';
        name++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(name, port, &hints, &found) != 0) {
        return false;
    }
    bool refused = false;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        int outcome = connect(fd, found->ai_addr, found->ai_addrlen) == 0 ? 0 : errno;
        if (outcome == EINPROGRESS) {
            struct pollfd waiting = {.fd = fd, .events = POLLOUT};
            socklen_t size = sizeof outcome;
            if (poll(&waiting, 1, PROBE_MS) <= 0 ||
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &outcome, &size) != 0) {
                outcome = ETIMEDOUT;
            }
        }
        refused = outcome == ECONNREFUSED;
        close(fd);
    }
    freeaddrinfo(found);
    return refused;
}

bool boot_lease_check(struct boot *boot, const struct node_settings *settings,
                      const struct log *log, char replaces[INCARNATION_SIZE + 1],
                      char why[BOOT_WHY_BYTES]) {
    char key[STORE_KEY_BYTES_MAX];
    store_key_node(settings->key_prefix, settings->node_id, key);
    struct lease_look first, look;
    if (!lease_read(boot, key, &first, why)) {
        return false;
    }
    memcpy(replaces, first.incarnation, sizeof first.incarnation);
    if (!first.held || refuses_connections(first.control)) {
        return true;
    }
    /* A lease runs out unless it is renewed: watch which. Each look must find less time left than
     * the one before, until there is none. */
    log_info(log, "a lease on %s is still held (%s): waiting whether it is renewed",
             settings->node_id, first.control);
    for (look = first; look.held;) {
        long long left_ms = look.ttl_ms;
        struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
        nanosleep(&pause, NULL);
        if (!lease_read(boot, key, &look, why)) {
            return false;
        }
        bool renewed = look.held && (look.ttl_ms >= left_ms || look.ttl_ms < 0 ||
                                     strcmp(look.incarnation, first.incarnation) != 0);
        if (renewed) {
            snprintf(why, BOOT_WHY_BYTES,
                     "another process runs as node %s (control endpoint %s, incarnation %s): two "
                     "nodes cannot share an id; start this one with another --node-id, or stop "
                     "the other",
                     settings->node_id, look.control, look.incarnation);
            return false;
        }
    }
    return true;
}

bool boot_lease_acquire(struct boot *boot, const struct node_settings *settings,
                        const char *replaces, struct bytes info, char why[BOOT_WHY_BYTES]) {
    char key[STORE_KEY_BYTES_MAX], nodes[STORE_KEY_BYTES_MAX], ttl[24];
    store_key_node(settings->key_prefix, settings->node_id, key);
    store_key_nodes(settings->key_prefix, nodes);
    snprintf(ttl, sizeof ttl, "%llu", (unsigned long long)(settings->lease_ttl_ns / 1000000));
    const char *argv[] = {"EVAL",
                          script_text(SCRIPT_ACQUIRE),
                          "2",
                          key,
                          nodes,
                          settings->node_id,
                          boot->incarnation,
                          (const char *)info.data,
                          ttl,
                          replaces};
    size_t sizes[10];
    for (int i = 0; i < 10; i++) {
        sizes[i] = i == 7 ? info.size : strlen(argv[i]);
    }
    redisReply *reply = redis_sync_call_sized(boot->redis, 10, argv, sizes, why, BOOT_WHY_BYTES);
    if (reply == NULL) {
        return false;
    }
    bool told = reply->type == REDIS_REPLY_STRING;
    bool taken = told && strcmp(reply->str, "OK") == 0;
    if (!told) {
        snprintf(why, BOOT_WHY_BYTES,
                 "Redis answered the lease of %s with something else than a text",
                 settings->node_id);
    } else if (!taken) {
        snprintf(why, BOOT_WHY_BYTES,
                 "another process (incarnation %s) took the id %s at the same moment", reply->str,
                 settings->node_id);
    }
    freeReplyObject(reply);
    return taken;
}
