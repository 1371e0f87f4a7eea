#include "runtime/redis_slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* CRC16 as XMODEM has it: polynomial 0x1021, nothing inverted. */
static uint16_t crc16(const char *data, size_t size) {
    uint16_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint16_t)((unsigned char)data[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)((crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

uint16_t redis_slot_of(const char *key, size_t size) {
    const char *open = memchr(key, '{', size);
    if (open != NULL) {
        const char *tag = open + 1;
        const char *close = memchr(tag, '}', size - (size_t)(tag - key));
        if (close != NULL && close > tag)
            return crc16(tag, (size_t)(close - tag)) % REDIS_SLOTS;
    }
    return crc16(key, size) % REDIS_SLOTS;
}

bool redis_place_equal(const struct redis_place *a, const struct redis_place *b) {
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* --- who serves what ------------------------------------------------------------------------- */

const struct redis_place *redis_topology_master(const struct redis_topology *topology,
                                                uint16_t slot) {
    uint8_t number = topology->served_by[slot];
    return number == 0 ? NULL : &topology->masters[number - 1];
}

/* 1 + its number; 0: no room. */
static uint8_t master_number(struct redis_topology *topology, const struct redis_place *place) {
    for (uint32_t i = 0; i < topology->master_count; i++) {
        if (redis_place_equal(&topology->masters[i], place))
            return (uint8_t)(i + 1);
    }
    if (topology->master_count == REDIS_MASTERS_MAX)
        return 0;
    topology->masters[topology->master_count] = *place;
    return (uint8_t)++topology->master_count;
}

bool redis_topology_set(struct redis_topology *topology, uint16_t slot,
                        const struct redis_place *place) {
    uint8_t number = master_number(topology, place);
    if (number != 0)
        topology->served_by[slot] = number;
    return number != 0;
}

static bool host_set(struct redis_place *place, const char *host, size_t size,
                     const struct redis_place *from) {
    if (size == 0) { /* it does not know its own: it is who answered */
        memcpy(place->host, from->host, sizeof place->host);
        return true;
    }
    bool known = !(size == 1 && host[0] == '?');
    if (!known || size >= sizeof place->host || memchr(host, '\0', size) != NULL)
        return false;
    memcpy(place->host, host, size);
    place->host[size] = '\0';
    return true;
}

static bool is_number(const redisReply *reply, long long least, long long most) {
    return reply->type == REDIS_REPLY_INTEGER && reply->integer >= least && reply->integer <= most;
}

/* [first, last, [host, port, ...], replicas...] */
static const char *range_read(const redisReply *range, const struct redis_place *from,
                              struct redis_topology *topology) {
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
        !is_number(range->element[0], 0, REDIS_SLOTS - 1) ||
        !is_number(range->element[1], range->element[0]->integer, REDIS_SLOTS - 1))
        return "a range of slots makes no sense";
    const redisReply *master = range->element[2];
    struct redis_place place = {.port = 0};
    if (master->type != REDIS_REPLY_ARRAY || master->elements < 2 ||
        !is_number(master->element[1], 1, 65535))
        return "a master makes no sense";
    const redisReply *host = master->element[0];
    bool named = host->type == REDIS_REPLY_STRING;
    if ((!named && host->type != REDIS_REPLY_NIL) ||
        !host_set(&place, named ? host->str : "", named ? host->len : 0, from))
        return "a master has no address";
    place.port = (int)master->element[1]->integer;
    uint8_t number = master_number(topology, &place);
    if (number == 0)
        return "the cluster has more than 64 masters";
    size_t count = (size_t)(range->element[1]->integer - range->element[0]->integer + 1);
    memset(&topology->served_by[range->element[0]->integer], number, count);
    return NULL;
}

bool redis_topology_read(const redisReply *reply, const struct redis_place *from,
                         struct redis_topology *topology, char *why, size_t why_size) {
    const char *wrong = NULL;
    struct redis_topology *next = calloc(1, sizeof *next);
    if (next == NULL)
        wrong = "no memory";
    else if (reply->type == REDIS_REPLY_ERROR)
        wrong = reply->str;
    else if (reply->type != REDIS_REPLY_ARRAY)
        wrong = "unexpected answer to CLUSTER SLOTS";
    for (size_t i = 0; wrong == NULL && i < reply->elements; i++)
        wrong = range_read(reply->element[i], from, next);
    if (wrong == NULL && next->master_count == 0)
        wrong = "nobody serves any slot of the cluster yet";
    if (wrong == NULL)
        *topology = *next;
    else
        snprintf(why, why_size, "%s", wrong);
    free(next);
    return wrong == NULL;
}

/* --- redirections ---------------------------------------------------------------------------- */

/* "<slot> <host>:<port>"; the host may be empty, or an IPv6 address. */
static bool place_read(const char *text, const struct redis_place *from,
                       struct redis_place *place) {
    const char *host = strchr(text, ' ');
    const char *colon = host != NULL ? strrchr(host, ':') : NULL;
    if (colon == NULL)
        return false;
    host++;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    bool number = colon[1] >= '0' && colon[1] <= '9' && *end == '\0' && port > 0 && port <= 65535;
    place->port = (int)port;
    return number && host_set(place, host, (size_t)(colon - host), from);
}

static bool begins(const char *text, const char *word) {
    return strncmp(text, word, strlen(word)) == 0;
}

struct redis_redirect redis_redirect_read(const redisReply *reply, const struct redis_place *from) {
    struct redis_redirect redirect = {.kind = REDIS_REDIRECT_NONE};
    if (reply == NULL || reply->type != REDIS_REPLY_ERROR)
        return redirect;
    if (begins(reply->str, "MOVED ") && place_read(reply->str + 6, from, &redirect.place))
        redirect.kind = REDIS_REDIRECT_MOVED;
    else if (begins(reply->str, "ASK ") && place_read(reply->str + 4, from, &redirect.place))
        redirect.kind = REDIS_REDIRECT_ASK;
    else if (begins(reply->str, "TRYAGAIN") ||
             /* A script that came upon a key that has been moved away already. */
             strstr(reply->str, "attempted to access a non local key") != NULL)
        redirect.kind = REDIS_REDIRECT_AGAIN;
    else if (begins(reply->str, "CLUSTERDOWN"))
        redirect.kind = REDIS_REDIRECT_DOWN;
    return redirect;
}
