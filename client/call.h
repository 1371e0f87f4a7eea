/*
 * A call: one take, peek or refund from being asked to being answered. Encoded when it is asked, so
 * that nothing of the caller's is kept.
 *
 * Owned by the client's queue, then by a lane; freed by call_end, which calls back.
 */
#ifndef SLUICE_CLIENT_CALL_H
#define SLUICE_CLIENT_CALL_H

#include <pthread.h>
#include <stdatomic.h>

#include "proto/take.h"
#include "sluice/client.h"

/* Calls that end together: those of one blocking function, or of one take_many. */
struct group {
    atomic_size_t left; /* calls that have not ended */
    size_t count;
    struct sluice_result *results;
    sluice_many_callback callback; /* NULL: somebody blocks in group_wait */
    void *context;
    pthread_mutex_t mutex; /* from here on: blocking only */
    pthread_cond_t ended;
    bool is_ended;
};

struct call {
    struct call *next;
    enum verb verb;
    bool may_batch;     /* a take under the default deadline */
    int64_t expires_ms; /* deadline and margin, on the client's clock */
    uint32_t deadline_ms;
    sluice_callback callback; /* if no group */
    void *context;
    struct group *group;
    size_t index; /* of its result in the group */
    uint32_t params_size;
    uint8_t params[]; /* [key, cost, plan, options] */
};

/* Checks and encodes. INVALID with the reason in `message` (may be NULL), or NO_MEMORY. */
enum sluice_error call_create(const struct sluice_request *take, enum verb verb,
                              char message[SLUICE_MESSAGE_BYTES_MAX], struct call **out);

/* Answers the call with the result (borrowed) and frees it. Without any lock: it calls back. */
void call_end(struct call *call, const struct sluice_result *result);

/* The same with an error; `message` NULL: the error's own text. */
void call_fail(struct call *call, enum sluice_error error, const char *message);

void group_init_blocking(struct group *group, size_t count, struct sluice_result *results);
/* Waits until all calls have ended, and leaves nothing behind. */
void group_wait_blocking(struct group *group);
/* Frees itself once it has called back. NULL: no memory. */
struct group *group_create(size_t count, sluice_many_callback callback, void *context);

void result_fail(struct sluice_result *result, enum sluice_error error, const char *message);

#endif
