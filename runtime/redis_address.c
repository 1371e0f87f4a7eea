#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/redis_link.h"

#define REDIS_PORT_DEFAULT 6379

/* Databases that a URL may name: far above what any server is configured for. */
#define REDIS_DATABASE_MAX 65535

static bool refuse(char *why, size_t why_size, const char *reason) {
    /* The URL itself is not repeated: it may hold a password that does not belong there. */
    snprintf(why, why_size,
             "%s; expected redis://[user@]host[:port][/database] or unix:///path, for example "
             "redis://127.0.0.1:6379",
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
static const char *place_parse(const char *text, size_t size, struct redis_address *address) {
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
    if (!part_copy(address->host, sizeof address->host, text, (size_t)(host_end - text)))
        return "the host is missing or too long";
    address->port = REDIS_PORT_DEFAULT;
    if (port != NULL && (!number_parse(port + 1, (size_t)(end - port - 1), 65535, &address->port) ||
                         address->port == 0))
        return "the port is not a number from 1 to 65535";
    return NULL;
}

bool redis_address_parse(const char *url, struct redis_address *address, char *why,
                         size_t why_size) {
    static const char tcp[] = "redis://", local[] = "unix://", tls[] = "rediss://";
    memset(address, 0, sizeof *address);
    if (strncmp(url, local, strlen(local)) == 0) {
        const char *path = url + strlen(local);
        /* The kernel's bound on the path of a socket is 108 bytes, zero included. */
        if (path[0] != '/' || strlen(path) >= 108)
            return refuse(why, why_size, "the path is not absolute or longer than 107 bytes");
        return part_copy(address->host, sizeof address->host, path, strlen(path));
    }
    if (strncmp(url, tls, strlen(tls)) == 0)
        return refuse(why, why_size, "TLS to Redis is not supported (use a tunnel)");
    if (strncmp(url, tcp, strlen(tcp)) != 0)
        return refuse(why, why_size, "the scheme is neither redis:// nor unix://");

    const char *place = url + strlen(tcp);
    size_t size = strcspn(place, "/");
    const char *at = memchr(place, '@', size);
    if (at != NULL) {
        size_t user_size = (size_t)(at - place);
        if (memchr(place, ':', user_size) != NULL)
            return refuse(why, why_size,
                          "a password has no place in the URL, where every user of "
                          "the machine can read it: give it by file or variable");
        if (!part_copy(address->user, sizeof address->user, place, user_size))
            return refuse(why, why_size, "the user is empty or too long");
        size -= user_size + 1;
        place = at + 1;
    }
    const char *wrong = place_parse(place, size, address);
    if (wrong != NULL)
        return refuse(why, why_size, wrong);
    const char *database = place + size;
    if (database[0] == '/' && database[1] != '\0' &&
        !number_parse(database + 1, strlen(database + 1), REDIS_DATABASE_MAX, &address->database))
        return refuse(why, why_size, "the database is not a number from 0 to 65535");
    return true;
}
