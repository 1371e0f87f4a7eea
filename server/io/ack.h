/*
 * What it means that the store has acknowledged a write: that Redis holds it in memory, that it is
 * on Redis's disk, or that so many replicas hold it too. Pure: whether a server can keep such a
 * promise is decided from what it says of itself.
 */
#ifndef SLUICE_SERVER_IO_ACK_H
#define SLUICE_SERVER_IO_ACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Replicas that an acknowledgement may ask for. Arbitrary, but safe: nobody runs more. */
#define ACK_REPLICAS_MAX 16

enum ack_kind {
    ACK_MEMORY,   /* survives the node's end */
    ACK_AOF,      /* survives Redis's end: its append-only file is on the disk */
    ACK_REPLICAS, /* survives the loss of Redis's machine: so many replicas hold it */
};

struct ack {
    enum ack_kind kind;
    uint32_t replicas; /* for ACK_REPLICAS */
};

/* What must follow a write on its connection, and be answered, before it counts. */
enum ack_follow_up {
    ACK_FOLLOW_UP_NONE, /* its own answer is enough */
    ACK_FOLLOW_UP_WAIT,
    ACK_FOLLOW_UP_WAITAOF,
};

/* "memory", "aof" or "replicas:N". False with the reason. */
bool ack_parse(const char *text, struct ack *ack, char *why, size_t why_size);

/* The value of a line "name:value" of Redis's INFO; empty if there is none. */
void info_value(const char *info, const char *name, char *value, size_t size);

/* Whether the server keeps the promise now. `info` is its INFO; `appendfsync` what CONFIG GET says
 * of that, NULL if it was not told. False: `why` says what to change. */
bool ack_check(const struct ack *ack, const char *info, const char *appendfsync,
               enum ack_follow_up *follow_up, char *why, size_t why_size);

#endif
