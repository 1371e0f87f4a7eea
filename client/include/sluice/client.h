/*
 * libsluice: asks a Sluice cluster whether a key may spend tokens.
 *
 *     struct sluice_client *client;
 *     struct sluice_request take = {.key = "alice", .cost = 1};
 *     struct sluice_result result;
 *     if (sluice_open(&client, "tcp://127.0.0.1:7400", NULL) == SLUICE_OK) {
 *         if (sluice_take(client, &take, &result) == SLUICE_OK && result.allowed) ...
 *         sluice_close(client);
 *     }
 *
 * A client may be used by any number of threads at once. Takes that are asked for while others are
 * under way travel together in one message; none ever waits for company. Connections are made and
 * made again in the background: opening a client succeeds even if no router is up yet, and calls
 * succeed again by themselves after a router has come back.
 *
 * Every call ends: with an answer or an error, at most its deadline and SLUICE_MARGIN_MS later.
 * No request is ever sent twice, so a take counts at most once.
 */
#ifndef SLUICE_CLIENT_H
#define SLUICE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SLUICE_API __attribute__((visibility("default")))
#define SLUICE_MUST_USE __attribute__((warn_unused_result))
#else
#define SLUICE_API
#define SLUICE_MUST_USE
#endif

/* Bytes of a key at most; it has at least one. */
#define SLUICE_KEY_BYTES_MAX 256
/* Tokens of a cost, rate or burst at most: 2^48. */
#define SLUICE_TOKENS_MAX (UINT64_C(1) << 48)
/* Takes in one sluice_take_many. */
#define SLUICE_TAKES_MAX 4096
/* Milliseconds that a call may take: unless it says otherwise, and at most. */
#define SLUICE_DEADLINE_MS_DEFAULT 250
#define SLUICE_DEADLINE_MS_MAX 60000
/* Milliseconds beyond the deadline that an answer may still be on its way. Arbitrary, but safe: a
 * router answers by the deadline, and a network round trip is shorter. */
#define SLUICE_MARGIN_MS 50
/* Calls of a client that have not ended yet, unless its options say otherwise. */
#define SLUICE_CALLS_MAX_DEFAULT 16384
/* Routers of a client. */
#define SLUICE_ROUTERS_MAX 16
/* Bytes of a result's message, zero included. */
#define SLUICE_MESSAGE_BYTES_MAX 192
/* No wait is long enough: the cost is above the burst. */
#define SLUICE_RETRY_NEVER (-1)

/* X(name, text). Errors of the client first, then those that the cluster answers. */
#define SLUICE_ERRORS(X)                                                                           \
    X(OK, "no error")                                                                              \
    X(INVALID, "an argument is out of its bounds; nothing was sent")                               \
    X(NO_MEMORY, "no memory; nothing was sent")                                                    \
    X(TIMEOUT, "no answer before the deadline; the tokens may or may not have been spent")         \
    X(UNREACHABLE, "no router was connected before the deadline; nothing was sent")                \
    X(LOST, "the connection broke before the answer; the tokens may or may not have been spent")   \
    X(CLOSED, "the client was closed before the answer")                                           \
    X(PROTOCOL, "the answer is not of this protocol")                                              \
    X(OVERLOADED, "a bounded queue is full, here or at the server; not to be tried again at once") \
    X(BAD_REQUEST, "the server calls the request wrong")                                           \
    X(UNKNOWN_METHOD, "the server does not know this kind of request")                             \
    X(UNKNOWN_PLAN, "the plan named, assigned or taken by default does not exist")                 \
    X(TOO_LARGE, "the request is beyond a bound of the server")                                    \
    X(MOVED, "another shard owns the key; ask a router, or that shard")                            \
    X(UNAVAILABLE, "nobody could decide in time; may be tried again")                              \
    X(FORBIDDEN, "the server does not allow this request here")                                    \
    X(CONFLICT, "another change came first")

enum sluice_error {
#define SLUICE_X(name, text) SLUICE_##name,
    SLUICE_ERRORS(SLUICE_X)
#undef SLUICE_X
};

/* What the error means, in one line; static. */
SLUICE_API const char *sluice_error_text(enum sluice_error error);
/* "SLUICE_TIMEOUT"; static. */
SLUICE_API const char *sluice_error_name(enum sluice_error error);

struct sluice_client;

struct sluice_options {
    uint32_t calls_max; /* calls that have not ended yet; 0: SLUICE_CALLS_MAX_DEFAULT */
};

/* A limit said in the request: `rate` tokens a period, at most `burst` at once. */
struct sluice_limit {
    uint64_t rate;
    uint64_t period_ms; /* 0: 1000 */
    uint64_t burst;     /* 0: the rate */
};

/* What is asked. Everything is borrowed for the duration of the function it is given to; zeroed
 * members mean the default. */
struct sluice_request {
    const void *key;
    size_t key_size;                  /* bytes; 0: key is zero-terminated text */
    uint64_t cost;                    /* tokens; 0 spends nothing and is a look */
    const char *plan;                 /* NULL: the plan assigned to the key, else the default */
    const struct sluice_limit *limit; /* an inline limit in place of a plan */
    uint32_t deadline_ms;             /* 0: SLUICE_DEADLINE_MS_DEFAULT */
};

/* What is answered. The numbers speak of the plan's tightest limit. */
struct sluice_result {
    enum sluice_error error; /* SLUICE_OK: the rest counts */
    bool allowed;            /* the cost was spent (true), or nothing was (false) */
    bool degraded;           /* decided not by the owner but by the plan's on_unavailable policy */
    uint64_t remaining;      /* tokens left */
    uint64_t limit;          /* the limit's burst */
    int64_t retry_after_us; /* 0 if allowed; after so long the same take can pass; or RETRY_NEVER */
    uint64_t reset_after_us;                /* until the limit is full again */
    char message[SLUICE_MESSAGE_BYTES_MAX]; /* of an error: the details; else "" */
};

/* Opens a client of the routers at these URLs, one ("tcp://127.0.0.1:7400") or several with commas
 * between; several share the load, and those that are away are passed over. `options` may be NULL.
 * Does not wait for connections. INVALID: a URL is none; NO_MEMORY. */
SLUICE_API SLUICE_MUST_USE enum sluice_error sluice_open(struct sluice_client **client,
                                                         const char *routers,
                                                         const struct sluice_options *options);

/* Ends every call that has not ended with SLUICE_CLOSED (a take that was already sent may have been
 * spent), waits until all callbacks have returned, and frees the client. Calls that wait in other
 * threads return; no thread may begin one any more, or be about to. Not from a callback. NULL is
 * fine. */
SLUICE_API void sluice_close(struct sluice_client *client);

/* --- blocking: not from a callback ---------------------------------------------------------- */

/* Spends `request->cost` tokens, or none. Fills `result` in every case and returns result->error.
 */
SLUICE_API SLUICE_MUST_USE enum sluice_error sluice_take(struct sluice_client *client,
                                                         const struct sluice_request *request,
                                                         struct sluice_result *result);

/* Answers what take would, and spends nothing. */
SLUICE_API SLUICE_MUST_USE enum sluice_error sluice_peek(struct sluice_client *client,
                                                         const struct sluice_request *request,
                                                         struct sluice_result *result);

/* Gives the cost back, never above full. */
SLUICE_API SLUICE_MUST_USE enum sluice_error sluice_refund(struct sluice_client *client,
                                                           const struct sluice_request *request,
                                                           struct sluice_result *result);

/* `count` takes (1 to SLUICE_TAKES_MAX), each decided by itself; results[i] answers requests[i].
 * Returns SLUICE_OK, or the first error among the results. If one take is INVALID, or there is no
 * room for all, none is sent. */
SLUICE_API SLUICE_MUST_USE enum sluice_error sluice_take_many(struct sluice_client *client,
                                                              const struct sluice_request *requests,
                                                              size_t count,
                                                              struct sluice_result *results);

/* --- asynchronous --------------------------------------------------------------------------- */

/*
 * Each returns SLUICE_OK, and then the callback is called exactly once; or INVALID, NO_MEMORY,
 * OVERLOADED or CLOSED, and then it is never called.
 *
 * The callback runs on a thread of nng's, possibly before the function has returned, and possibly
 * beside other callbacks of the same client. Within it any asynchronous call may be made; no
 * blocking one, and not sluice_close: they would wait for the callback itself. It should be brief:
 * other answers wait behind it. The result is borrowed for the callback.
 */
typedef void (*sluice_callback)(void *context, const struct sluice_result *result);
typedef void (*sluice_many_callback)(void *context, const struct sluice_result *results,
                                     size_t count);

SLUICE_API SLUICE_MUST_USE enum sluice_error sluice_take_async(struct sluice_client *client,
                                                               const struct sluice_request *request,
                                                               sluice_callback callback,
                                                               void *context);
SLUICE_API SLUICE_MUST_USE enum sluice_error sluice_peek_async(struct sluice_client *client,
                                                               const struct sluice_request *request,
                                                               sluice_callback callback,
                                                               void *context);
SLUICE_API SLUICE_MUST_USE enum sluice_error
sluice_refund_async(struct sluice_client *client, const struct sluice_request *request,
                    sluice_callback callback, void *context);
/* Called back once, with all results. */
SLUICE_API SLUICE_MUST_USE enum sluice_error
sluice_take_many_async(struct sluice_client *client, const struct sluice_request *requests,
                       size_t count, sluice_many_callback callback, void *context);

/*
 * Batching: takes under the default deadline that find four requests of the client under way are
 * gathered, and sent as one request of up to 1,024 as soon as one of the four is answered; a take
 * that finds fewer goes out at once. Takes with a deadline of their own, peeks and refunds always
 * travel singly, because a batch carries no deadline.
 */

#ifdef __cplusplus
}
#endif

#endif
