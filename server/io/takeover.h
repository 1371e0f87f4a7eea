/*
 * Acting on what server/core/ownership.h decides: proposes the map in which the slots of dead nodes
 * belong to the living. Belongs to the node's loop.
 */
#ifndef SLUICE_SERVER_IO_TAKEOVER_H
#define SLUICE_SERVER_IO_TAKEOVER_H

#include "server/core/ownership.h"
#include "server/io/membership.h"

struct takeover {
    struct ownership ownership;
    struct membership *membership;
    const char *node_id;
    bool proposed; /* and not yet answered */
    uint32_t slots;
    char dead[NAME_BYTES_MAX + 1]; /* one of them, for the event */
};

void takeover_init(struct takeover *takeover, const char *node_id, uint64_t lease_ttl_ns,
                   struct membership *membership);
void takeover_on_beat(struct takeover *takeover, const struct beat *beat);

#endif
