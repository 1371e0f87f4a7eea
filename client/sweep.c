/* Ends calls whose time is over, wherever they wait: an answer that never comes, or a lane that
 * never becomes free, must not keep a caller. */
#include "client/client.h"

/* Moves the expired calls of a queue to `expired`. */
static void queue_sweep(struct call_list *queue, int64_t now_ms, struct call_list *expired) {
    struct call_list kept = {0};
    struct call *call;
    while ((call = call_list_pop(queue)) != NULL) {
        call_list_push(call->expires_ms <= now_ms ? expired : &kept, call);
    }
    *queue = kept;
}

static void lane_sweep(struct lane *lane, int64_t now_ms, struct call_list *unsent,
                       struct call_list *sent) {
    if (lane->state != LANE_SENDING && lane->state != LANE_WAITING) {
        return;
    }
    for (uint32_t i = 0; i < lane->call_count; i++) {
        struct call *call = lane->calls[i];
        if (call != NULL && call->expires_ms <= now_ms) {
            lane->calls[i] = NULL; /* its place in the reply is skipped */
            lane->client->call_count--;
            call_list_push(lane->was_sent ? sent : unsent, call);
        }
    }
}

static uint32_t calls_expire(struct call_list *calls, enum sluice_error error,
                             const char *message) {
    struct call *call;
    uint32_t count = 0;
    while ((call = call_list_pop(calls)) != NULL) {
        call_fail(call, error, message);
        count++;
    }
    return count;
}

void client_sweep(void *argument) {
    struct sluice_client *client = argument;
    if (nng_aio_result(client->sweeper) != 0) { /* cancelled by close */
        client_lock(client);
        client_sweep_again(client, false);
        client_unlock(client);
        return;
    }
    struct call_list queued = {0}, unsent = {0}, sent = {0};
    int64_t now_ms = client_now_ms();
    client_lock(client);
    queue_sweep(&client->batchable, now_ms, &queued);
    queue_sweep(&client->single, now_ms, &queued);
    for (struct call *call = queued.first; call != NULL; call = call->next) {
        client->call_count--;
    }
    for (uint32_t i = 0; i < BATCH_LANES; i++) {
        lane_sweep(&client->batch_lanes[i], now_ms, &unsent, &sent);
    }
    for (uint32_t i = 0; i < SINGLE_LANES; i++) {
        lane_sweep(&client->single_lanes[i], now_ms, &unsent, &sent);
    }
    bool connected = client->connected_count > 0;
    client_unlock(client);
    calls_expire(&sent, SLUICE_TIMEOUT, NULL);
    calls_expire(&unsent, SLUICE_UNREACHABLE, NULL);
    calls_expire(&queued, connected ? SLUICE_TIMEOUT : SLUICE_UNREACHABLE,
                 "waited behind other requests until its deadline; nothing was sent");
    client_lock(client);
    client_sweep_again(client, client->call_count > 0 && !client->closing);
    client_unlock(client);
}
