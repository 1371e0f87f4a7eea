/*
 * A lane: room for one request that is under way, with its nng context and its calls.
 *
 *              lane_send             sent               answered, or failed
 *     IDLE ------------> SENDING ----------> WAITING ----------------------> ENDING --> IDLE
 *                           |                                                  ^
 *                           +--------------------------------------------------+
 *                                            failed
 *
 * Changed only under the client's mutex. From SENDING to the end the aio is nng's. In ENDING the
 * calls belong to the thread that calls back.
 */
#ifndef SLUICE_CLIENT_LANE_H
#define SLUICE_CLIENT_LANE_H

#include <nng/nng.h>

#include "client/call.h"

/* Takes of one batch. Arbitrary, but safe: a quarter of what a request may hold, so that a batch
 * keeps a shard for a fraction of a millisecond. */
#define BATCH_CALLS_MAX 1024

enum lane_state { LANE_IDLE, LANE_SENDING, LANE_WAITING, LANE_ENDING };

struct lane {
    struct sluice_client *client;
    enum lane_state state;
    bool is_batch; /* else: one call */
    bool was_sent;
    uint32_t call_count;
    struct call **calls; /* entries are NULL once their call has expired */
    int64_t expires_ms;  /* the latest of its calls */
    nng_ctx context;
    nng_aio *aio;
};

/* SLUICE_OK, NO_MEMORY. */
enum sluice_error lane_init(struct lane *lane, struct sluice_client *client, nng_socket socket,
                            bool is_batch);
/* Has nng end what is under way; the lane's callback still comes. Without the client's mutex. */
void lane_cancel(struct lane *lane);
/* Of a lane that is IDLE, before the socket is closed; waits until its callback has returned. */
void lane_fini(struct lane *lane);

/* Sends the lane's calls as one request. False: no memory, and nothing has changed. With the
 * client's mutex held: nng never calls back from within. */
bool lane_send(struct lane *lane, uint32_t msgid);

#endif
