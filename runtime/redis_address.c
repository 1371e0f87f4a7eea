#include "runtime/redis_address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_PORT_DEFAULT 6379
#define SENTINEL_PORT_DEFAULT 26379

/* Databases that a URL may name: far above what any server is configured for. */
#define REDIS_DATABASE_MAX 65535

static bool refuse(char *why, size_t why_size, const char *reason) {
    /* The URL itself is not repeated: it may hold a password that does not belong there. */
    snprintf(why, why_size,
             "%s; expected redis://[user@]host[:port][/database] (rediss:// over TLS), "
             "redis+sentinel://host[:port],.../name, redis+cluster://host[:port],... or "
             "unix:///path, for example redis://127.0.0.1:6379",
             reason);
    return false;
}

static bool number_parse(const char *text, size_t size, int most, int *out) {
    if (size == 0 || size > 5)
        return false;
    int value = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (text[i] - '0');
    }
    *out = value;
    return value <= most;
}

static bool part_copy(char *out, size_t out_size, const char *text, size_t size) {
    if (size == 0 || size >= out_size)
        return false;
    memcpy(out, text, size);
    out[size] = '\0';
    return true;
}

/* host, host:port, [v6] or [v6]:port */
static const char *place_parse(const char *text, size_t size, int port_default,
                               struct redis_place *place) {
    const char *end = text + size;
    const char *host_end, *port;
    if (size > 0 && text[0] == '[') {
        text++;
        host_end = memchr(text, ']', size - 1);
        if (host_end == NULL)
            return "the bracket of the IPv6 address is not closed";
        port = host_end + 1 == end ? NULL : host_end + 1;
        if (port != NULL && *port != ':')
            return "after the IPv6 address comes neither a port nor the end";
    } else {
        host_end = port = size > 0 ? memchr(text, ':', size) : NULL;
        if (host_end == NULL)
            host_end = end;
    }
    if (!part_copy(place->host, sizeof place->host, text, (size_t)(host_end - text)))
        return "the host is missing or too long";
    place->port = port_default;
    if (port != NULL && (!number_parse(port + 1, (size_t)(end - port - 1), 65535, &place->port) ||
                         place->port == 0))
        return "the port is not a number from 1 to 65535";
    return NULL;
}

/* One place, or several between commas. */
static const char *places_parse(const char *text, size_t size, bool sentinels,
                                struct redis_address *address) {
    int port_default = sentinels ? SENTINEL_PORT_DEFAULT : REDIS_PORT_DEFAULT;
    bool several = sentinels || address->cluster;
    const char *end = text + size;
    for (;;) {
        const char *comma = several ? memchr(text, ',', (size_t)(end - text)) : NULL;
        const char *place_end = comma != NULL ? comma : end;
        if (address->place_count == REDIS_SENTINELS_MAX)
            return sentinels ? "more than 9 sentinels" : "more than 9 servers";
        const char *wrong = place_parse(text, (size_t)(place_end - text), port_default,
                                        &address->places[address->place_count]);
        if (wrong != NULL)
            return wrong;
        address->place_count++;
        if (comma == NULL)
            return NULL;
        text = comma + 1;
    }
}

/* Behind the places: "", "/", "/database" (a cluster has only 0), and for sentinels "/name" before
 * it. */
static const char *tail_parse(const char *tail, bool sentinels, struct redis_address *address) {
    if (sentinels) {
        const char *name = tail[0] == '/' ? tail + 1 : tail;
        size_t size = strcspn(name, "/");
        if (tail[0] != '/' || !part_copy(address->master, sizeof address->master, name, size))
            return "behind the sentinels there is no name of a master, or one that is too long";
        tail = name + size;
    }
    if (tail[0] == '/' && tail[1] != '\0' &&
        !number_parse(tail + 1, strlen(tail + 1), REDIS_DATABASE_MAX, &address->database))
        return "the database is not a number from 0 to 65535";
    if (address->cluster && address->database != 0)
        return "a Redis Cluster has only database 0";
    return NULL;
}

static const char *user_parse(const char *text, size_t size, struct redis_address *address) {
    if (memchr(text, ':', size) != NULL)
        return "a password has no place in the URL, where every user of the machine can read it: "
               "give it by file or variable";
    return part_copy(address->user, sizeof address->user, text, size)
               ? NULL
               : "the user is empty or too long";
}

static const struct scheme {
    const char *prefix;
    bool tls, sentinels, cluster;
} schemes[] = {
    {"redis://", false, false, false},         {"rediss://", true, false, false},
    {"redis+sentinel://", false, true, false}, {"rediss+sentinel://", true, true, false},
    {"redis+cluster://", false, false, true},  {"rediss+cluster://", true, false, true},
};

static const struct scheme *scheme_of(const char *url) {
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (strncmp(url, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
            return &schemes[i];
    }
    return NULL;
}

bool redis_address_parse(const char *url, struct redis_address *address, char *why,
                         size_t why_size) {
    static const char local[] = "unix://";
    memset(address, 0, sizeof *address);
    if (strncmp(url, local, strlen(local)) == 0) {
        const char *path = url + strlen(local);
        address->place_count = 1;
        /* The kernel's bound on the path of a socket is 108 bytes, zero included. */
        if (path[0] != '/' || strlen(path) >= 108)
            return refuse(why, why_size, "the path is not absolute or longer than 107 bytes");
        return part_copy(address->places[0].host, REDIS_HOST_BYTES_MAX, path, strlen(path));
    }
    const struct scheme *scheme = scheme_of(url);
    if (scheme == NULL)
        return refuse(why, why_size,
                      "the scheme is none of redis, rediss, redis+sentinel, rediss+sentinel, "
                      "redis+cluster, rediss+cluster, unix");

    const char *wrong = NULL, *places = url + strlen(scheme->prefix);
    size_t size = strcspn(places, "/");
    const char *at = memchr(places, '@', size);
    address->tls = scheme->tls;
    address->cluster = scheme->cluster;
    if (at != NULL) {
        wrong = user_parse(places, (size_t)(at - places), address);
        size -= (size_t)(at + 1 - places);
        places = at + 1;
    }
    if (wrong == NULL)
        wrong = places_parse(places, size, scheme->sentinels, address);
    if (wrong == NULL)
        wrong = tail_parse(places + size, scheme->sentinels, address);
    return wrong == NULL || refuse(why, why_size, wrong);
}

void redis_place_format(const struct redis_place *place, char text[REDIS_PLACE_TEXT_BYTES]) {
    bool is_v6 = strchr(place->host, ':') != NULL;
    if (place->port == 0)
        snprintf(text, REDIS_PLACE_TEXT_BYTES, "%s", place->host);
    else
        snprintf(text, REDIS_PLACE_TEXT_BYTES, is_v6 ? "[%s]:%d" : "%s:%d", place->host,
                 place->port);
}
