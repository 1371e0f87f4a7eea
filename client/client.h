/*
 * Inside a client: its queues, its lanes, and the sweeper that ends calls whose time is over.
 *
 * One mutex guards all of it. It is never held while calling back.
 */
#ifndef SLUICE_CLIENT_CLIENT_H
#define SLUICE_CLIENT_CLIENT_H

#include "client/lane.h"

/* Requests under way at once: of batches, and of calls that travel singly. Arbitrary, but safe:
 * four keep a connection busy, and leave time for a batch to gather. */
#define BATCH_LANES 4
#define SINGLE_LANES 32

/* Milliseconds between looks for expired calls, while there are calls: a fifth of the margin. */
#define SWEEP_EVERY_MS 10

struct call_list {
    struct call *first;
    struct call *last;
};

struct sluice_client {
    pthread_mutex_t mutex;
    pthread_cond_t ended; /* of a client that is being closed: something of nng's has ended */
    nng_socket socket;
    nng_aio *sweeper;
    bool socket_open;
    bool closing;
    bool sweeping;           /* the sweeper is armed */
    int32_t connected_count; /* routers */
    uint32_t call_count;     /* that have not ended */
    uint32_t calls_max;
    uint32_t next_msgid;
    struct call_list batchable; /* waiting for a batch lane, oldest first */
    struct call_list single;    /* waiting for a single lane */
    struct lane batch_lanes[BATCH_LANES];
    struct lane single_lanes[SINGLE_LANES];
};

void client_lock(struct sluice_client *client);
void client_unlock(struct sluice_client *client);

/* Monotonic. */
int64_t client_now_ms(void);

/* Queues calls (a list of `count`, moved) and sends what can be sent. OVERLOADED or CLOSED: the
 * calls are still the caller's. */
enum sluice_error client_submit(struct sluice_client *client, struct call_list calls,
                                uint32_t count);

/* The lane's request has ended: its calls are the calling thread's to end. True: because the client
 * is being closed, whatever nng says. */
bool client_lane_ending(struct sluice_client *client, struct lane *lane);
/* They have been called back: the lane is free for the next request. */
void client_lane_ended(struct sluice_client *client, struct lane *lane);

void call_list_push(struct call_list *list, struct call *call);
struct call *call_list_pop(struct call_list *list);

/* The sweeper's callback (sweep.c); re-arms itself while there are calls. */
void client_sweep(void *client);
/* With the mutex held: the sweeper rests from now on, or is armed again. */
void client_sweep_again(struct sluice_client *client, bool again);

#endif
