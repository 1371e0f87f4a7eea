/*
 * The nng door: clients' requests over MessagePack-RPC, at one or more endpoints.
 *
 * Decodes requests into events of the core and encodes its answers. Refuses what is wrong by
 * itself: the core sees sound requests only. On the loop's thread.
 */
#ifndef SLUICE_ROUTER_IO_DOOR_NNG_H
#define SLUICE_ROUTER_IO_DOOR_NNG_H

#include "router/io/router_shell.h"

struct door_endpoint {
    struct router_shell *shell;
    uint32_t index;
    struct endpoint *endpoint;
    bool unflushed;
};

struct door {
    struct take *takes; /* TAKES_PER_REQUEST_MAX: the request being decoded */
    uint32_t endpoint_count;
    struct door_endpoint endpoints[URL_LIST_MAX];
    uint64_t refused; /* requests answered with an error before they reached the core */
};

/* -1 with the reason in `why`; what was opened is given back by door_close. */
int door_open(struct router_shell *shell, const struct router_settings *settings, char *why,
              size_t why_size);

void door_answer(struct router_shell *shell, const struct router_answer *answer);
void door_status(struct router_shell *shell, const struct status_asker *asker,
                 const struct status *status);
void door_flush(struct router_shell *shell);

/* Takes in nothing more. */
void door_stop(struct router_shell *shell);
void door_close(struct router_shell *shell);

#endif
