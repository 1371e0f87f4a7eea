/*
 * The events that tell of handovers. A large rebalance makes thousands of them, and the list of
 * events is bounded: those of five seconds share an event, which names them all.
 *
 *     340 slots went to n3/0: 0-3@5 4-7@6; n3/1: 8,13,17@7 ...      slots@epoch that moved them
 *
 * It is written at the first handover and replaced at each that joins it, so that a node which dies
 * has told of everything; when it is full another begins. On the node's loop.
 */
#ifndef SLUICE_SERVER_IO_MOVE_EVENTS_H
#define SLUICE_SERVER_IO_MOVE_EVENTS_H

#include "server/io/membership.h"

/* Bytes of an event's list of handovers: about 100 of neighbouring slots, and always one of the
 * most slots that a handover has, all apart (64 of up to 6 characters each), to the longest name.
 */
#define MOVE_EVENT_LIST_BYTES 900

/* Nanoseconds that one event may span: whoever reads the list looks for times and for an order,
 * too. A job of half an hour leaves some 360 events of each of its sources. */
#define MOVE_EVENT_SPAN_NS UINT64_C(5000000000)

struct move_events {
    struct membership *membership;
    struct log log;
    struct name node;
    uint32_t number; /* of the last target's shard */
    uint32_t slots;  /* told of in this event */
    uint64_t began_ns;
    uint64_t turn; /* which event of this process */
    char list[MOVE_EVENT_LIST_BYTES];
};

void move_events_init(struct move_events *events, struct membership *membership,
                      const struct log *log);

/* `count` slots went to a shard by the map of that epoch. */
void move_events_add(struct move_events *events, const struct slot *slots, uint32_t count,
                     const struct name *node, uint32_t number, struct epoch epoch);
#endif
