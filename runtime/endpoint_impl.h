/*
 * What the two kinds of endpoint share: the beginning of their structs, and the table of functions
 * through which runtime/endpoint.h reaches them. Not for others.
 */
#ifndef SLUICE_RUNTIME_ENDPOINT_IMPL_H
#define SLUICE_RUNTIME_ENDPOINT_IMPL_H

#include "proto/bounds.h"
#include "runtime/endpoint.h"

struct endpoint_kind {
    /* Where the body of a reply of at most `capacity` bytes goes; NULL: nowhere. */
    uint8_t *(*reply_begin)(struct endpoint *endpoint, const struct endpoint_caller *caller,
                            uint32_t capacity);
    void (*reply_end)(struct endpoint *endpoint, uint32_t size);
    void (*flush)(struct endpoint *endpoint);
    bool (*caller_is_local)(const struct endpoint *endpoint, const struct endpoint_caller *caller);
    /* Brings counters that other threads keep up to date; may be NULL. */
    void (*count)(struct endpoint *endpoint);
    void (*stop)(struct endpoint *endpoint);
    void (*close)(struct endpoint *endpoint);
};

struct endpoint {
    const struct endpoint_kind *kind;
    uv_loop_t *loop;
    struct endpoint_handler handler;
    struct endpoint_counters counters;
    bool stopped;  /* takes in nothing more */
    bool closing;  /* and calls no handler */
    bool replying; /* between endpoint_reply_begin and endpoint_reply_end */
    void (*on_closed)(void *ctx);
    void *closed_ctx;
    char url[ENDPOINT_BYTES_MAX + 1];
};

int endpoint_sp_open(struct endpoint **out, uv_loop_t *loop, const char *url,
                     enum endpoint_sharing sharing, const struct endpoint_handler *handler,
                     char *why, size_t why_size);
int endpoint_nng_open(struct endpoint **out, uv_loop_t *loop, const char *url,
                      const struct endpoint_handler *handler, char *why, size_t why_size);

#endif
