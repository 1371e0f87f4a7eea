/*
 * One request, one reply, over nng: what every command does. Blocks for at most the timeout.
 *
 * The socket lives for one call; nothing is sent twice.
 */
#ifndef SLUICE_CTL_RPC_H
#define SLUICE_CTL_RPC_H

#include <nng/nng.h>

#include "ctl/command.h"
#include "proto/plan_codec.h"
#include "proto/reply.h"
#include "proto/request.h"

/* Bytes of the largest request: an applied plan set. */
#define RPC_REQUEST_BYTES_MAX (PLAN_SET_BYTES_MAX + 256)

/* Nodes that a key's verb is sent on to before the map is taken to be in flux. */
#define RPC_HOPS_MAX 4

struct rpc_answer {
    nng_msg *message;   /* owned: rpc_answer_fini; NULL: there was no reply */
    struct reply reply; /* borrows from the message */
    bool nobody_there;  /* there was none: no connection came about */
    char failure[384];  /* there was none: why */
};

/* False, with `failure` filled, if no reply came. Call rpc_answer_fini in either case. */
bool rpc_call(const char *url, struct bytes request, uint32_t timeout_ms,
              struct rpc_answer *answer);
void rpc_answer_fini(struct rpc_answer *answer);

/* Calls `url`, follows MOVED if `follow`, and prints what went wrong. EXIT_DONE: the reply is a
 * result. rpc_answer_fini in either case. */
enum exit_code rpc_ask(const struct settings *settings, const char *url, bool follow,
                       struct bytes request, struct rpc_answer *answer);

/* The same, but an error that was answered is not printed. EXIT_ANSWERED_ERROR: out_error is the
 * caller's to call. */
enum exit_code rpc_try(const struct settings *settings, const char *url, bool follow,
                       struct bytes request, struct rpc_answer *answer);

/* Milliseconds after which the error that was answered says that it is worth while to ask again;
 * 0: it says nothing, or is none. */
uint32_t rpc_retry_ms(const struct rpc_answer *answer);

/* rpc_ask at the control endpoint for a method without parameters. */
enum exit_code rpc_ask_plain(const struct settings *settings, enum method method,
                             struct rpc_answer *answer);

#endif
