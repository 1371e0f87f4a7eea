#include "client/client.h"

#include <assert.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdlib.h>
#include <time.h>

/* Milliseconds before a broken connection is made again: at first, and at most. Short, because
 * calls wait for it within their deadline. */
#define RECONNECT_MIN_MS 10
#define RECONNECT_MAX_MS 500

void client_lock(struct sluice_client *client) {
    int error = pthread_mutex_lock(&client->mutex);
    assert(error == 0);
    (void)error;
}

void client_unlock(struct sluice_client *client) {
    int error = pthread_mutex_unlock(&client->mutex);
    assert(error == 0);
    (void)error;
}

int64_t client_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void call_list_push(struct call_list *list, struct call *call) {
    call->next = NULL;
    if (list->first == NULL) {
        list->first = call;
    } else {
        list->last->next = call;
    }
    list->last = call;
}

struct call *call_list_pop(struct call_list *list) {
    struct call *call = list->first;
    if (call != NULL) {
        list->first = call->next;
    }
    return call;
}

/* --- queues to lanes; with the mutex held ---------------------------------------------------- */

/* Fills the lane from the queue and sends it. False: there was no memory; the calls are back. */
static bool lane_fill(struct sluice_client *client, struct lane *lane, struct call_list *queue) {
    uint32_t most = lane->is_batch ? BATCH_CALLS_MAX : 1;
    struct call_list before = *queue;
    lane->call_count = 0;
    lane->expires_ms = 0;
    while (lane->call_count < most && queue->first != NULL) {
        struct call *call = queue->first;
        queue->first = call->next; /* the links stay, so that the queue can be put back */
        lane->calls[lane->call_count++] = call;
        if (call->expires_ms > lane->expires_ms) {
            lane->expires_ms = call->expires_ms;
        }
    }
    if (!lane_send(lane, client->next_msgid++)) {
        *queue = before;
        return false;
    }
    return true;
}

static void lanes_fill(struct sluice_client *client, struct lane *lanes, uint32_t lane_count,
                       struct call_list *queue) {
    for (uint32_t i = 0; i < lane_count && queue->first != NULL; i++) {
        if (lanes[i].state == LANE_IDLE && !lane_fill(client, &lanes[i], queue)) {
            return; /* no memory: the next lane or the sweeper comes by again */
        }
    }
}

static void client_send(struct sluice_client *client) {
    if (!client->closing) {
        lanes_fill(client, client->batch_lanes, BATCH_LANES, &client->batchable);
        lanes_fill(client, client->single_lanes, SINGLE_LANES, &client->single);
    }
}

/* --- life of a call -------------------------------------------------------------------------- */

enum sluice_error client_submit(struct sluice_client *client, struct call_list calls,
                                uint32_t count) {
    int64_t now_ms = client_now_ms();
    client_lock(client);
    enum sluice_error error = SLUICE_OK;
    if (client->closing) {
        error = SLUICE_CLOSED;
    } else if (count > client->calls_max - client->call_count) {
        error = SLUICE_OVERLOADED;
    } else {
        client->call_count += count;
        struct call *call;
        while ((call = call_list_pop(&calls)) != NULL) {
            call->expires_ms = now_ms + call->deadline_ms + SLUICE_MARGIN_MS;
            call_list_push(call->may_batch ? &client->batchable : &client->single, call);
        }
        client_send(client);
        if (!client->sweeping) {
            client_sweep_again(client, true);
        }
    }
    client_unlock(client);
    return error;
}

bool client_lane_ending(struct sluice_client *client, struct lane *lane) {
    client_lock(client);
    lane->state = LANE_ENDING;
    for (uint32_t i = 0; i < lane->call_count; i++) {
        client->call_count -= lane->calls[i] != NULL;
    }
    bool closing = client->closing;
    client_unlock(client);
    return closing;
}

void client_lane_ended(struct sluice_client *client, struct lane *lane) {
    client_lock(client);
    lane->state = LANE_IDLE;
    client_send(client);
    pthread_cond_signal(&client->ended);
    client_unlock(client);
}

void client_sweep_again(struct sluice_client *client, bool again) {
    client->sweeping = again;
    if (again) {
        nng_sleep_aio(SWEEP_EVERY_MS, client->sweeper);
    } else {
        pthread_cond_signal(&client->ended);
    }
}

/* --- opening --------------------------------------------------------------------------------- */

/* nng's callback: a router has been connected or lost. The two may come in either order, but each
 * "before it is added" is followed by one "after it was removed". */
static void router_changed(nng_pipe pipe, nng_pipe_ev event, void *argument) {
    struct sluice_client *client = argument;
    client_lock(client);
    client->connected_count += event == NNG_PIPE_EV_ADD_PRE ? 1 : -1;
    client_unlock(client);
}

static enum sluice_error error_of_open(int error) {
    return error == 0 ? SLUICE_OK : error == NNG_ENOMEM ? SLUICE_NO_MEMORY : SLUICE_INVALID;
}

static enum sluice_error routers_dial(struct sluice_client *client, const char *routers) {
    char *list = strdup(routers), *rest = list, *url;
    if (list == NULL) {
        return SLUICE_NO_MEMORY;
    }
    int error = 0;
    uint32_t count = 0;
    while (error == 0 && (url = strsep(&rest, ",")) != NULL) {
        url += strspn(url, " ");
        error = ++count > SLUICE_ROUTERS_MAX
                    ? NNG_EINVAL
                    : nng_dial(client->socket, url, NULL, NNG_FLAG_NONBLOCK);
    }
    free(list);
    return error_of_open(error);
}

static enum sluice_error socket_open(struct sluice_client *client) {
    int error = nng_req0_open(&client->socket);
    if (error != 0) {
        return error_of_open(error);
    }
    client->socket_open = true;
    if ((error = nng_socket_set_size(client->socket, NNG_OPT_RECVMAXSZ, MESSAGE_BYTES_MAX)) != 0 ||
        (error = nng_socket_set_ms(client->socket, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS)) != 0 ||
        (error = nng_socket_set_ms(client->socket, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS)) != 0 ||
        (error = nng_pipe_notify(client->socket, NNG_PIPE_EV_ADD_PRE, router_changed, client)) !=
            0 ||
        (error = nng_pipe_notify(client->socket, NNG_PIPE_EV_REM_POST, router_changed, client)) !=
            0) {
        return error_of_open(error);
    }
    return SLUICE_OK;
}

static enum sluice_error lanes_init(struct sluice_client *client) {
    enum sluice_error error = SLUICE_OK;
    for (uint32_t i = 0; i < BATCH_LANES && error == SLUICE_OK; i++) {
        error = lane_init(&client->batch_lanes[i], client, client->socket, true);
    }
    for (uint32_t i = 0; i < SINGLE_LANES && error == SLUICE_OK; i++) {
        error = lane_init(&client->single_lanes[i], client, client->socket, false);
    }
    return error;
}

enum sluice_error sluice_open(struct sluice_client **out, const char *routers,
                              const struct sluice_options *options) {
    struct sluice_client *client = routers == NULL ? NULL : calloc(1, sizeof *client);
    *out = NULL;
    if (client == NULL) {
        return routers == NULL ? SLUICE_INVALID : SLUICE_NO_MEMORY;
    }
    pthread_mutex_init(&client->mutex, NULL);
    pthread_cond_init(&client->ended, NULL);
    client->calls_max =
        options != NULL && options->calls_max > 0 ? options->calls_max : SLUICE_CALLS_MAX_DEFAULT;
    enum sluice_error error = socket_open(client);
    if (error == SLUICE_OK) {
        error = error_of_open(nng_aio_alloc(&client->sweeper, client_sweep, client));
    }
    if (error == SLUICE_OK) {
        error = lanes_init(client);
    }
    if (error == SLUICE_OK) {
        error = routers_dial(client, routers);
    }
    if (error != SLUICE_OK) {
        sluice_close(client);
        return error;
    }
    *out = client;
    return SLUICE_OK;
}

/* --- closing --------------------------------------------------------------------------------- */

static void queue_close(struct call_list queue) {
    struct call *call;
    while ((call = call_list_pop(&queue)) != NULL) {
        call_fail(call, SLUICE_CLOSED, NULL);
    }
}

static bool lanes_idle(const struct lane *lanes, uint32_t lane_count) {
    uint32_t idle = 0;
    while (idle < lane_count && lanes[idle].state == LANE_IDLE) {
        idle++;
    }
    return idle == lane_count;
}

/* Ends what nng has under way, and waits until the callbacks have told of it. nng_aio_stop promises
 * as much, but that of nng 1.10 does not wait for one whose time is just over. Nothing is begun any
 * more: all that begins anything looks at `closing` under the mutex. */
static void lanes_end(struct sluice_client *client) {
    if (client->sweeper != NULL) {
        nng_aio_cancel(client->sweeper);
    }
    for (uint32_t i = 0; i < BATCH_LANES; i++) {
        lane_cancel(&client->batch_lanes[i]);
    }
    for (uint32_t i = 0; i < SINGLE_LANES; i++) {
        lane_cancel(&client->single_lanes[i]);
    }
    client_lock(client);
    while (client->sweeping || !lanes_idle(client->batch_lanes, BATCH_LANES) ||
           !lanes_idle(client->single_lanes, SINGLE_LANES)) {
        pthread_cond_wait(&client->ended, &client->mutex);
    }
    client_unlock(client);
}

void sluice_close(struct sluice_client *client) {
    if (client == NULL) {
        return;
    }
    client_lock(client);
    client->closing = true;
    struct call_list batchable = client->batchable, single = client->single;
    client->batchable = client->single = (struct call_list){0};
    client_unlock(client);
    queue_close(batchable);
    queue_close(single);
    lanes_end(client);
    /* The socket goes last: nng 1.5 may be about to end a request whose time is over, and would
     * reach for a context that closing the socket has freed. Freeing an aio waits for that. */
    if (client->sweeper != NULL) {
        nng_aio_free(client->sweeper);
    }
    for (uint32_t i = 0; i < BATCH_LANES; i++) {
        lane_fini(&client->batch_lanes[i]);
    }
    for (uint32_t i = 0; i < SINGLE_LANES; i++) {
        lane_fini(&client->single_lanes[i]);
    }
    if (client->socket_open) {
        nng_close(client->socket);
    }
    pthread_cond_destroy(&client->ended);
    pthread_mutex_destroy(&client->mutex);
    free(client);
}
