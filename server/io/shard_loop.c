#include "server/io/shard_loop.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/memory.h"
#include "server/io/memory_huge.h"
#include "server/io/memory_map.h"
#include "server/io/shard_loop_impl.h"

static uint64_t cluster_now_ns(struct shard_loop *loop) {
    return clock_now_ns(&loop->clock, clock_monotonic_ns());
}

/* --- telling the node ---------------------------------------------------------------------- */

static struct node_message *message_to_node(struct shard_loop *loop, enum node_message_kind kind) {
    struct node_message *message = memory_need(sizeof *message);
    message->kind = kind;
    message->shard = loop->number;
    return message;
}

/* The node's mailbox is sized for every answer it may have asked for, so full is a bug. */
static void node_tell(struct shard_loop *loop, struct node_message *message) {
    bool put = mailbox_put(loop->node_mailbox, message);
    assert(put);
}

static void loads_tell(struct shard_loop *loop, struct node_message *message) {
    const struct map *map = &loop->state->map;
    if (loop->shard == NULL || loop->id.index == UINT16_MAX) {
        return;
    }
    message->loads = calloc(map_slots_owned(map, loop->id) + 1, sizeof *message->loads);
    for (uint32_t i = 0; i < map->slot_count && message->loads != NULL; i++) {
        if (map->owner[i] == loop->id.index) {
            struct shard_slot_load load;
            shard_slot_load(loop->shard, (struct slot){.index = (uint16_t)i}, &load);
            message->loads[message->load_count++] = (struct slot_load){
                .slot = (uint16_t)i, .buckets = load.buckets, .takes = load.takes};
        }
    }
}

static void status_tell(struct shard_loop *loop, uint64_t token) {
    struct node_message *message = message_to_node(loop, NODE_MESSAGE_STATUS);
    message->token = token;
    if (loop->shard != NULL) {
        message->status.counters = *shard_counters(loop->shard);
    }
    loads_tell(loop, message);
    message->status.endpoint = *endpoint_counters(loop->endpoint);
    message->status.clock_error_ns = clock_error_ns(&loop->clock, clock_monotonic_ns());
    message->status.store_up = store_is_up(loop->store);
    node_tell(loop, message);
}

/* --- the step and its update --------------------------------------------------------------- */

static void notice_log(struct shard_loop *loop, const struct shard_notice *notice) {
    struct log_quoted key;
    switch (notice->kind) {
    case SHARD_NOTICE_UNREADABLE:
        log_error(&loop->log,
                  "slot %u: the record of key %s cannot be read (%s); takes on it are refused "
                  "until: sluicectl key reset",
                  notice->slot.index, log_quote(&key, notice->key), notice->text);
        break;
    case SHARD_NOTICE_NEWER:
        log_error(&loop->log,
                  "slot %u: the record of key %s cannot be read (%s); it stays as it is, and takes "
                  "on it are refused here",
                  notice->slot.index, log_quote(&key, notice->key), notice->text);
        break;
    case SHARD_NOTICE_FENCED:
        log_warn(
            &loop->log,
            "slot %u: a newer owner has raised the fence, or a router has decided in the store; "
            "its buckets are dropped",
            notice->slot.index);
        break;
    case SHARD_NOTICE_SERVING: {
        const struct shard_counters *counters = shard_counters(loop->shard);
        log_info(&loop->log, "serving %" PRIu64 " slots, %" PRIu64 " buckets",
                 counters->slots_owned, counters->buckets);
        node_tell(loop, message_to_node(loop, NODE_MESSAGE_SERVING));
        break;
    }
    }
}

static void on_wake(uv_timer_t *timer);

static void wake_arm(struct shard_loop *loop, uint64_t wake_at_ns) {
    uint64_t now_ns = cluster_now_ns(loop);
    uint64_t wait_ms = wake_at_ns <= now_ns ? 0 : (wake_at_ns - now_ns + 999999) / 1000000;
    uv_timer_start(&loop->wake_timer, on_wake, wait_ms, 0);
}

/* Persist, then send, then arm the timer: a reply never overtakes the write that it waited for. */
static void update_perform(struct shard_loop *loop, const struct shard_update *update) {
    for (uint32_t i = 0; i < update->op_count; i++) {
        store_perform(loop->store, &update->ops[i], loop->epoch);
    }
    store_turn(loop->store);
    if (update->result_count > 0) {
        shard_requests_answer(loop, update->results, update->held_count > 0 ? update->held : NULL);
    }
    shard_requests_release(loop, update->releases, update->release_count);
    for (uint32_t i = 0; i < update->admin_reply_count; i++) {
        struct node_message *message = message_to_node(loop, NODE_MESSAGE_ADMIN);
        message->token = update->admin_replies[i].token;
        message->reason = update->admin_replies[i].reason;
        message->wait_ms = update->admin_replies[i].wait_ms;
        message->info = update->admin_replies[i].info;
        node_tell(loop, message);
    }
    for (uint32_t i = 0; i < update->notice_count; i++) {
        notice_log(loop, &update->notices[i]);
    }
    if (update->sealed && loop->seal_asked) {
        loop->seal_asked = false;
        struct node_message *message = message_to_node(loop, NODE_MESSAGE_SEALED);
        message->token = loop->seal_token;
        node_tell(loop, message);
    }
    if (update->stopped && !loop->stopped_said) {
        loop->stopped_said = true;
        node_tell(loop, message_to_node(loop, NODE_MESSAGE_STOPPED));
    }
    wake_arm(loop, update->wake_at_ns);
}

void shard_loop_step(struct shard_loop *loop, struct shard_event *event) {
    struct shard_update update;
    event->now_ns = cluster_now_ns(loop);
    shard_step(loop->shard, event, &update);
    update_perform(loop, &update);
}

static void on_wake(uv_timer_t *timer) {
    struct shard_event event = {.kind = SHARD_EVENT_TICK};
    shard_loop_step(timer->data, &event);
}

/* --- what arrives from outside ------------------------------------------------------------- */

uint64_t shard_loop_age_ms(const struct shard_loop *loop) {
    return loop->store_lost_ns == 0 ? 0 : (clock_monotonic_ns() - loop->store_lost_ns) / 1000000;
}

static void on_store_event(void *ctx, struct shard_event *event) {
    struct shard_loop *loop = ctx;
    if (event->kind == SHARD_EVENT_STORE) {
        loop->store_lost_ns = event->store.up ? 0 : clock_monotonic_ns();
    }
    if (loop->shard != NULL) {
        shard_loop_step(loop, event);
    }
}

static void on_store_clock(void *ctx, const struct clock_sample *sample) {
    struct shard_loop *loop = ctx;
    clock_sample_add(&loop->clock, sample);
}

/* The shard is created when the number of slots is first known. */
static bool shard_reserve(struct shard_loop *loop) {
    if (loop->shard != NULL || loop->state->map.epoch.number == 0) {
        return loop->shard != NULL;
    }
    struct shard_options options = {.slot_count = loop->state->map.slot_count,
                                    .snapshot_interval_ns = loop->settings->snapshot_interval_ns,
                                    .memory_bytes_max = loop->settings->shard_memory_bytes_max,
                                    .resident_max = (uint32_t)loop->settings->resident_buckets_max,
                                    .memory = memory_map()};
    if (loop->settings->huge_pages && loop->huge == NULL) {
        loop->huge = memory_huge_create(options.memory_bytes_max);
    }
    if (loop->huge != NULL) {
        options.memory = memory_huge(loop->huge);
    } else if (loop->settings->huge_pages) {
        log_warn(&loop->log, "no addresses for huge pages: buckets live in pages of usual size");
    }
    loop->shard = shard_create(&options);
    if (loop->shard == NULL) {
        log_error(&loop->log, "no memory for the shard's tables");
        return false;
    }
    struct shard_event event = {.kind = SHARD_EVENT_STORE};
    event.store.up = store_is_up(loop->store);
    shard_loop_step(loop, &event);
    return true;
}

static void state_adopt(struct shard_loop *loop, struct cluster_state *state) {
    struct cluster_state *before = loop->state;
    const struct map *map = &state->map;
    loop->state = state;
    int32_t node = map_find_node(map, bytes_of_text(loop->settings->node_id));
    loop->id = node < 0 ? SHARD_ID_NONE : map_find_shard(map, (uint32_t)node, loop->number);
    if (shard_reserve(loop)) {
        struct shard_event plans = {.kind = SHARD_EVENT_PLANS};
        plans.plans.set = &state->plans;
        shard_loop_step(loop, &plans);
        uint8_t owned[SLOTS_MAX / 8] = {0};
        for (uint32_t i = 0; i < map->slot_count && loop->id.index != UINT16_MAX; i++) {
            if (map->owner[i] == loop->id.index) {
                owned[i / 8] |= (uint8_t)(1u << (i % 8));
            }
        }
        struct shard_event own = {.kind = SHARD_EVENT_OWN};
        own.own.slots = owned;
        own.own.restored =
            loop->epoch.number > 0 && map->epoch.number >= loop->epoch.number + MAP_RESTORE_EPOCHS;
        /* Not before: until it knows its slots by this map, the shard may want one that the map
         * gives to another, and must not raise that one's fence under this epoch. */
        loop->epoch = map->epoch;
        shard_loop_step(loop, &own);
    }
    cluster_state_release(before);
}

static void admin_step(struct shard_loop *loop, const struct shard_message *message) {
    if (loop->shard == NULL) {
        struct node_message *reply = message_to_node(loop, NODE_MESSAGE_ADMIN);
        reply->token = message->token;
        reply->reason = REASON_NO_MAP;
        node_tell(loop, reply);
        return;
    }
    struct shard_event event = {.kind = SHARD_EVENT_ADMIN};
    event.admin.token = message->token;
    event.admin.kind = message->admin_kind;
    event.admin.key = bytes_of(message->key, message->key_size);
    event.admin.plan = name_bytes(&message->plan);
    shard_loop_step(loop, &event);
}

static void seal_step(struct shard_loop *loop, const struct shard_message *message) {
    if (loop->shard == NULL) {
        return;
    }
    struct shard_event event = {.kind = SHARD_EVENT_SEAL};
    event.seal.slots = message->sealed;
    event.seal.reload = message->reload;
    loop->seal_asked = true;
    loop->seal_token = message->token;
    shard_loop_step(loop, &event);
}

static void shard_stop(struct shard_loop *loop) {
    if (loop->shard == NULL) {
        node_tell(loop, message_to_node(loop, NODE_MESSAGE_STOPPED));
        return;
    }
    struct shard_event event = {.kind = SHARD_EVENT_STOP};
    shard_loop_step(loop, &event);
}

static void shard_exit(struct shard_loop *loop) {
    loop->exiting = true;
    uv_close((uv_handle_t *)&loop->wake_timer, NULL);
    endpoint_close(loop->endpoint, NULL, NULL);
    store_close(loop->store);
    mailbox_close(loop->mailbox, NULL);
}

static void on_message(void *ctx, void *content) {
    struct shard_loop *loop = ctx;
    struct shard_message *message = content;
    switch (message->kind) {
    case SHARD_MESSAGE_STATE:
        state_adopt(loop, message->state);
        break;
    case SHARD_MESSAGE_ADMIN:
        admin_step(loop, message);
        break;
    case SHARD_MESSAGE_STATUS:
        status_tell(loop, message->token);
        break;
    case SHARD_MESSAGE_SEAL:
        seal_step(loop, message);
        break;
    case SHARD_MESSAGE_STOP:
        shard_stop(loop);
        break;
    case SHARD_MESSAGE_EXIT:
        shard_exit(loop);
        break;
    }
    free(message);
}

/* --- life ---------------------------------------------------------------------------------- */

struct shard_loop *shard_loop_open(const struct shard_loop_options *options, char *why,
                                   size_t why_size) {
    struct shard_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL || (loop->reply = malloc(REPLY_BYTES_MAX)) == NULL ||
        (loop->held = held_replies_create()) == NULL ||
        (loop->state = cluster_state_create()) == NULL || uv_loop_init(&loop->loop) != 0) {
        snprintf(why, why_size, "no memory for a shard");
        if (loop != NULL) {
            free(loop->reply);
            held_replies_destroy(loop->held);
            cluster_state_release(loop->state);
        }
        free(loop);
        return NULL;
    }
    char who[80];
    snprintf(who, sizeof who, "%s/shard-%u", options->settings->node_id, options->number);
    log_derive(&loop->log, options->log, who);
    loop->settings = options->settings;
    loop->number = options->number;
    loop->clock = *options->clock;
    loop->redis = options->redis;
    loop->ack = options->ack;
    loop->node_mailbox = options->node_mailbox;
    loop->id = SHARD_ID_NONE;
    uv_timer_init(&loop->loop, &loop->wake_timer);
    loop->wake_timer.data = loop;
    struct endpoint_handler handler = shard_requests_handler(loop);
    bool opened =
        endpoint_open(&loop->endpoint, &loop->loop, options->listen, &handler, why, why_size) == 0;
    loop->mailbox =
        opened ? mailbox_create(&loop->loop, SHARD_MAILBOX_MESSAGES, on_message, loop) : NULL;
    if (opened && loop->mailbox == NULL) {
        snprintf(why, why_size, "no memory for a shard's mailbox");
    }
    struct store_handler store = {loop, on_store_event, on_store_clock};
    struct store_options stored = {.access = loop->redis,
                                   .prefix = loop->settings->key_prefix,
                                   .ack = loop->ack,
                                   .incarnation = options->incarnation,
                                   .shard = options->number,
                                   .log = &loop->log};
    loop->store = loop->mailbox != NULL ? store_open(&loop->loop, &stored, &store) : NULL;
    if (loop->store == NULL) {
        shard_loop_join(loop);
        return NULL;
    }
    return loop;
}

const char *shard_loop_url(const struct shard_loop *loop) {
    return endpoint_url(loop->endpoint);
}

static void thread_run(void *argument) {
    struct shard_loop *loop = argument;
    uv_run(&loop->loop, UV_RUN_DEFAULT);
}

bool shard_loop_start(struct shard_loop *loop) {
    loop->started = uv_thread_create(&loop->thread, thread_run, loop) == 0;
    return loop->started;
}

bool shard_loop_started(const struct shard_loop *loop) {
    return loop->started;
}

bool shard_loop_tell(struct shard_loop *loop, struct shard_message *message) {
    return mailbox_put(loop->mailbox, message);
}

void shard_loop_join(struct shard_loop *loop) {
    if (loop->started) {
        uv_thread_join(&loop->thread);
    } else {
        /* Never ran: close what was opened, here. */
        uv_close((uv_handle_t *)&loop->wake_timer, NULL);
        if (loop->endpoint != NULL) {
            endpoint_close(loop->endpoint, NULL, NULL);
        }
        if (loop->store != NULL) {
            store_close(loop->store);
        }
        if (loop->mailbox != NULL) {
            mailbox_close(loop->mailbox, NULL);
        }
        uv_run(&loop->loop, UV_RUN_DEFAULT);
    }
    int closed = uv_loop_close(&loop->loop);
    assert(closed == 0);
    if (loop->shard != NULL) {
        shard_destroy(loop->shard);
    }
    if (loop->huge != NULL) {
        memory_huge_destroy(loop->huge);
    }
    cluster_state_release(loop->state);
    held_replies_destroy(loop->held);
    free(loop->reply);
    free(loop);
}
