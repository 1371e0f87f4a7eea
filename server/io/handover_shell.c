#include "server/io/handover_shell.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/map_codec.h"
#include "proto/reply.h"
#include "proto/request.h"
#include "runtime/link.h"
#include "runtime/memory.h"
#include "server/io/move_events.h"

/* Ids of the two requests to the target. */
enum { ID_REACHING = 1, ID_CHANGED = 2 };

struct handover_shell {
    struct handover core;
    struct log log;
    uv_loop_t *loop;
    struct membership *membership;
    struct shard_loop **shards;
    uint32_t shard_count;
    uv_timer_t timer;
    struct link *link; /* to the target's control endpoint, while one is under way */
    struct map *next;  /* room for a proposal */
    struct move_events events;
    bool closing;
    const char *stop_at; /* a test's hook: the file that names a step to stop at; or NULL */
    handover_done_fn done;
    void *ctx;
};

static void update_perform(struct handover_shell *shell, const struct handover_update *update);

/* Stops the whole process at a step that a test has named, in a file that is taken away then,
 * before anything is done about it. */
static void test_hook(struct handover_shell *shell) {
    char wanted[32] = "";
    FILE *file = shell->stop_at == NULL ? NULL : fopen(shell->stop_at, "re");
    if (file == NULL) {
        return;
    }
    bool read = fgets(wanted, sizeof wanted, file) != NULL;
    fclose(file);
    if (read && strcmp(wanted, handover_state_name(shell->core.state)) == 0) {
        unlink(shell->stop_at);
        raise(SIGSTOP);
    }
}

static void step(struct handover_shell *shell, struct handover_event *event) {
    struct handover_update update;
    enum handover_state before = shell->core.state;
    event->now_ns = clock_monotonic_ns();
    event->map = &membership_state(shell->membership)->map;
    handover_step(&shell->core, event, shell->next, &update);
    if (shell->core.state != before) {
        log_debug(&shell->log, "handover: %s -> %s", handover_state_name(before),
                  handover_state_name(shell->core.state));
        test_hook(shell);
    }
    update_perform(shell, &update);
}

/* --- updates ------------------------------------------------------------------------------- */

/* Seals exactly the handover's slots on the shards that own any of them; or nothing, on all. */
static void shards_tell(struct handover_shell *shell, bool seal, bool reload) {
    const struct handover *core = &shell->core;
    const struct map *map = &membership_state(shell->membership)->map;
    int32_t self = map_find_node(map, name_bytes(&core->self));
    for (uint32_t number = 0; number < shell->shard_count; number++) {
        struct shard_id id = self < 0 ? SHARD_ID_NONE : map_find_shard(map, (uint32_t)self, number);
        struct shard_message *message = memory_need(sizeof *message);
        message->kind = SHARD_MESSAGE_SEAL;
        message->token = core->turn;
        message->reload = reload;
        bool any = !seal;
        for (uint32_t i = 0; seal && i < core->slot_count; i++) {
            uint32_t slot = core->slots[i].index;
            if (id.index != UINT16_MAX && map->owner[slot] == id.index) {
                message->sealed[slot / 8] |= (uint8_t)(1u << (slot % 8));
                any = true;
            }
        }
        /* A shard whose mailbox is full never says that it has sealed: that ends by the deadline.
         */
        if (!any || !shard_loop_tell(shell->shards[number], message)) {
            free(message);
        }
    }
}

/* Tells the target of this map's epoch: it looks at the map now instead of at its next heartbeat,
 * and answers with what it is. */
static void target_refresh(struct handover_shell *shell, uint32_t id) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, id, METHOD_CLUSTER_REFRESH);
    write_array(&writer, 1);
    write_uint(&writer, membership_state(shell->membership)->map.epoch.number);
    if (shell->link != NULL && link_send(shell->link, id, writer_bytes(&writer)) == LINK_SENT) {
        link_flush(shell->link);
    }
}

static void on_timer(uv_timer_t *timer) {
    struct handover_event event = {.kind = HANDOVER_EVENT_TIME};
    step(timer->data, &event);
}

static void on_changed(void *ctx, enum code code, uint64_t number) {
    struct handover_shell *shell = ctx;
    if (shell->closing) {
        return;
    }
    struct handover_event event = {.kind = HANDOVER_EVENT_CHANGED};
    event.beat = membership_beat(shell->membership);
    event.lost = code == CODE_CONFLICT;
    step(shell, &event);
}

static void link_drop(struct handover_shell *shell) {
    if (shell->link != NULL) {
        link_close(shell->link, NULL, NULL);
        shell->link = NULL;
    }
}

static void update_perform(struct handover_shell *shell, const struct handover_update *update) {
    if (update->seal || update->unseal) {
        shards_tell(shell, update->seal, update->reload);
    }
    if (update->change) {
        membership_replace_map(shell->membership, shell->next, on_changed, shell);
    }
    if (update->refresh) {
        target_refresh(shell, ID_CHANGED);
    }
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t left_ns = update->deadline_ns > now_ns ? update->deadline_ns - now_ns : 0;
    if (update->deadline_ns == 0) {
        uv_timer_stop(&shell->timer);
    } else {
        uv_timer_start(&shell->timer, on_timer, (left_ns + 999999) / 1000000, 0);
    }
    if (update->done) {
        const struct handover *core = &shell->core;
        if (update->fault.code == CODE_OK) {
            move_events_add(&shell->events, core->slots, core->slot_count, &core->target_node,
                            core->target_number, core->proposed);
        }
        link_drop(shell);
        shell->done(shell->ctx, &update->fault, update->sealed_ns);
    }
}

/* --- reaching the target ------------------------------------------------------------------- */

static void on_up(void *ctx, struct link *link) {
    target_refresh(ctx, ID_REACHING);
}

/* The link goes on trying; the deadline is what ends it. */
static void on_down(void *ctx, struct link *link, bool was_up, const char *why) {
    struct handover_shell *shell = ctx;
    log_debug(&shell->log, "handover: %s: %s", link_url(link), why);
}

static bool peer_read(struct bytes result, struct handover_peer *peer) {
    struct reader reader = reader_of(result);
    uint32_t members;
    *peer = (struct handover_peer){.slots = 0};
    if (!read_map(&reader, &members)) {
        return false;
    }
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name, text;
        bool good = read_bytes(&reader, &name);
        if (good && bytes_equal(name, bytes_of_text("node"))) {
            good = read_bytes(&reader, &text) && name_valid(text);
            peer->node = good ? name_of(text) : peer->node;
        } else if (good && bytes_equal(name, bytes_of_text("cluster"))) {
            good = read_bytes(&reader, &text) &&
                   (text.size == 0 || cluster_id_set(&peer->cluster, text));
        } else if (good && bytes_equal(name, bytes_of_text("slots"))) {
            good = read_uint(&reader, &peer->slots);
        } else if (good && bytes_equal(name, bytes_of_text("map_format"))) {
            good = read_uint(&reader, &peer->map_format);
        } else if (good && bytes_equal(name, bytes_of_text("version"))) {
            good = read_bytes(&reader, &peer->version);
        } else {
            good = good && read_any(&reader, &text);
        }
        if (!good) {
            return false;
        }
    }
    return true;
}

/* Who is there: the node that the map says, or somebody else at its old place. */
static void on_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {
    struct handover_shell *shell = ctx;
    struct handover_peer peer;
    struct reply reply;
    struct fault fault;
    if (id != ID_REACHING) {
        return;
    }
    struct handover_event event = {.kind = HANDOVER_EVENT_REACHED, .fault = &fault};
    if (!reply_read(body, &reply) || reply.is_error || !peer_read(reply.result, &peer)) {
        fault_set(&fault, CODE_CONFLICT, "what answers at %s is no node of this version",
                  link_url(link));
        event.kind = HANDOVER_EVENT_REFUSED;
    } else if (handover_check_peer(&shell->core, &membership_state(shell->membership)->map,
                                   MAP_FORMAT, &peer, &fault) != CODE_OK) {
        log_warn(&shell->log, "handover: %s", fault.text);
        event.kind = HANDOVER_EVENT_REFUSED;
    }
    step(shell, &event);
}

enum code handover_shell_start(struct handover_shell *shell, const struct slot *slots,
                               uint32_t count, struct shard_id target, handover_done_fn done,
                               void *ctx, struct fault *fault) {
    const struct map *map = &membership_state(shell->membership)->map;
    struct handover_update update;
    if (handover_start(&shell->core, map, slots, count, target, clock_monotonic_ns(), &update) !=
        CODE_OK) {
        *fault = update.fault;
        return fault->code;
    }
    shell->done = done;
    shell->ctx = ctx;
    test_hook(shell);
    if (update.reach) {
        char why[256];
        struct link_handler handler = {shell, on_up, on_down, on_reply};
        const char *url = map->nodes[map->shards[target.index].node].control.text;
        if (link_open(&shell->link, shell->loop, url, &handler, why, sizeof why) != 0) {
            shell->link = NULL;
            log_warn(&shell->log, "handover: cannot reach %s: %s", url, why);
        }
    }
    update_perform(shell, &update);
    return CODE_OK;
}

bool handover_shell_busy(const struct handover_shell *shell) {
    return shell->core.state != HANDOVER_IDLE;
}

void handover_shell_on_sealed(struct handover_shell *shell, const struct node_message *message) {
    struct handover_event event = {.kind = HANDOVER_EVENT_SEALED, .turn = message->token};
    step(shell, &event);
}

void handover_shell_on_beat(struct handover_shell *shell, const struct beat *beat) {
    struct handover_event event = {.kind = HANDOVER_EVENT_BEAT, .beat = beat->number};
    step(shell, &event);
}

/* --- life ---------------------------------------------------------------------------------- */

struct handover_shell *handover_shell_open(uv_loop_t *loop,
                                           const struct handover_options *options) {
    struct handover_shell *shell = calloc(1, sizeof *shell);
    struct map *next = malloc(sizeof *next);
    if (shell == NULL || next == NULL) {
        free(shell);
        free(next);
        return NULL;
    }
    handover_init(&shell->core, bytes_of_text(options->settings->node_id));
    shell->stop_at = options->settings->test_stop_at;
    shell->log = *options->log;
    shell->loop = loop;
    shell->membership = options->membership;
    shell->shards = options->shards;
    shell->shard_count = options->shard_count;
    shell->next = next;
    move_events_init(&shell->events, options->membership, options->log);
    uv_timer_init(loop, &shell->timer);
    shell->timer.data = shell;
    return shell;
}

static void on_timer_closed(uv_handle_t *handle) {
    struct handover_shell *shell = handle->data;
    free(shell->next);
    free(shell);
}

void handover_shell_close(struct handover_shell *shell) {
    shell->closing = true;
    if (shell->core.state != HANDOVER_IDLE) {
        struct fault fault;
        fault_set(&fault, CODE_UNAVAILABLE, "%s", reason_text(REASON_STOPPING));
        shell->done(shell->ctx, &fault, 0);
    }
    link_drop(shell);
    uv_close((uv_handle_t *)&shell->timer, on_timer_closed);
}
