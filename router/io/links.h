/*
 * The links to shards: opened and closed as the core orders, batches encoded and sent, replies
 * decoded. On the loop's thread.
 */
#ifndef SLUICE_ROUTER_IO_LINKS_H
#define SLUICE_ROUTER_IO_LINKS_H

#include "router/core/router.h"
#include "runtime/link.h"

/* At most one line about a link in this time; a link that flaps would fill the log otherwise. */
#define LINK_LOG_INTERVAL_NS UINT64_C(5000000000)

struct router_shell;

struct links_slot {
    struct router_shell *shell;
    uint32_t index;
    struct link *link; /* NULL: closed, or its URL is none that can be connected to */
    uint64_t logged_ns;
    uint32_t unlogged; /* lines left out since */
};

struct links {
    struct links_slot *slots;        /* SHARDS_MAX */
    struct router_verdict *verdicts; /* TAKES_PER_REQUEST_MAX: the reply being decoded */
};

/* False without memory. */
bool links_init(struct router_shell *shell);

void links_order(struct router_shell *shell, const struct router_link_order *order);

/* Encodes and queues the batch; what the link does not take is noted in shell->unsent. */
void links_send(struct router_shell *shell, const struct router_batch *batch);
void links_flush(struct router_shell *shell, uint32_t index);

void links_close(struct router_shell *shell);

#endif
