/*
 * A router's way to the store, for takes that no owner answers (router/core/fallback.h): one link,
 * its script, and whether that store is this cluster's at all. On the loop's thread.
 *
 * It can be asked when the link is up, the server knows the script, and the map that it holds is of
 * the cluster that this router has learned from nodes: deciding in another's records would grant
 * everything twice. Until then, and whenever the link is lost, the core is told that there is no
 * store.
 */
#ifndef SLUICE_ROUTER_IO_FALLBACK_H
#define SLUICE_ROUTER_IO_FALLBACK_H

#include "router/io/fallback_script.h"
#include "runtime/redis_link.h"

/* Milliseconds between two looks at a store that cannot be asked yet, though its link is up. */
#define FALLBACK_CHECK_MS 250

/* Nanoseconds between two log lines about what the store refused. */
#define FALLBACK_LOG_NS UINT64_C(1000000000)

/* Bytes of a SHA-1 in hexadecimal, zero included. */
#define FALLBACK_SHA_BYTES 41

struct router_shell;

/* A call of the core, on its way. */
struct fallback_sent {
    struct router_shell *shell;
    uint32_t call;
};

struct fallback {
    struct redis_link *link; /* NULL: there is no store to ask */
    const char *prefix;
    uv_timer_t timer;
    bool ready, loaded, checked, asking;
    char sha[FALLBACK_SHA_BYTES];
    uint64_t refused_logged_ns, warned_version;
    char foreign_told[FAULT_TEXT_BYTES_MAX]; /* why it is not this cluster's, as said last */
    struct fallback_sent *sent;              /* FALLBACK_CALLS_MAX, by the core's index */
    uint32_t *unsent;                        /* calls that the link did not take */
    uint32_t unsent_count;
    struct fallback_words words; /* scratch */
};

struct router_settings;

/* False without memory. Without settings->redis nothing is opened, and nothing can be asked. */
bool fallback_open(struct router_shell *shell, const struct router_settings *settings);

/* Asks; what cannot be sent comes back by fallback_unsent. */
void fallback_send(struct router_shell *shell, const struct fallback_call *call);

/* Hands what could not be sent to the core. */
void fallback_unsent(struct router_shell *shell);

/* Says once for each version of the plans that some of them want a store, if there is none. */
void fallback_warn(struct router_shell *shell);

/* Counts itself in the shell's open parts; memory is given back by fallback_fini. */
void fallback_close(struct router_shell *shell);
void fallback_fini(struct router_shell *shell);

#endif
