/* The shard's endpoint: requests decoded, decided together once a turn, answered. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/cluster_view.h"
#include "proto/map_codec.h"
#include "proto/plan_codec.h"
#include "proto/request.h"
#include "server/io/shard_loop_impl.h"

static void reply_send(struct shard_loop *loop, const struct endpoint_caller *caller,
                       const struct writer *writer) {
    assert(!writer->overflow);
    endpoint_reply(loop->endpoint, caller, writer_bytes(writer));
}

static void error_send(struct shard_loop *loop, const struct endpoint_caller *caller,
                       bool has_msgid, uint32_t msgid, const struct fault *fault,
                       const struct moved *moved) {
    struct writer writer;
    if (endpoint_reply_begin(loop->endpoint, caller, REPLY_HEAD_BYTES_MAX + RESULT_BYTES_MAX,
                             &writer)) {
        reply_write_error(&writer, has_msgid, msgid, fault, moved);
        endpoint_reply_end(loop->endpoint, &writer);
    }
}

/* --- answers ------------------------------------------------------------------------------- */

/* Where the slot is now, for MOVED. */
static void moved_fill(const struct shard_loop *loop, struct slot slot, struct moved *moved) {
    const struct map *map = &loop->state->map;
    struct shard_id owner = map_owner(map, slot);
    *moved = (struct moved){.slot = slot, .epoch = map->epoch};
    if (owner.index < map->shard_count) {
        moved->endpoint = endpoint_name_bytes(&map->shards[owner.index].endpoint);
    }
}

/* Spells out an error result of the shard: message, and where the slot moved. */
static void fault_of_result(struct shard_loop *loop, const struct take_result *result,
                            const struct take *take, struct fault *fault, struct moved *moved) {
    if (result->reason == REASON_PLAN_NOT_FOUND) {
        fault_set(fault, result->code, "no plan is called \"%.*s\"", (int)take->plan.name.size,
                  (const char *)take->plan.name.data);
    } else {
        fault_set(fault, result->code, "%s", reason_text(result->reason));
    }
    memset(moved, 0, sizeof *moved);
    if (result->code == CODE_MOVED) {
        moved_fill(loop, slot_of_hash(key_hash(take->key), loop->state->map.slot_count), moved);
    }
}

static void element_write(struct shard_loop *loop, struct writer *writer,
                          const struct take_result *result, const struct take *take) {
    if (result->code == CODE_OK) {
        result_write(writer, result);
        return;
    }
    struct fault fault;
    struct moved moved;
    fault_of_result(loop, result, take, &fault, &moved);
    error_write(writer, &fault, result->code == CODE_MOVED ? &moved : NULL);
}

/* The reply stands in loop->reply: kept back until its held results are released. */
static bool request_keep(struct shard_loop *loop, const struct turn_request *request,
                         uint32_t held_count, struct bytes reply) {
    struct slot slots[TAKES_PER_REQUEST_MAX];
    for (uint32_t i = 0; i < request->count; i++) {
        slots[i] = slot_of_hash(key_hash(loop->items[request->first + i].take.key),
                                loop->state->map.slot_count);
    }
    struct held_request held = {.caller = request->caller,
                                .msgid = request->msgid,
                                .is_many = request->is_many,
                                .count = request->count,
                                .held_count = held_count};
    return held_replies_keep(loop->held, request->id, &held, reply, slots);
}

static void results_write(struct shard_loop *loop, const struct turn_request *request,
                          const struct take_result *results, struct writer *writer) {
    reply_write_head(writer, request->msgid);
    if (request->is_many) {
        write_array(writer, request->count);
    }
    for (uint32_t i = 0; i < request->count; i++) {
        element_write(loop, writer, &results[i], &loop->items[request->first + i].take);
    }
}

static uint32_t results_size_max(const struct take_result *results, uint32_t count) {
    uint32_t size = REPLY_HEAD_BYTES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        size += result_size_max(results[i].code);
    }
    return size;
}

/* Nothing is held back: encoded into what leaves for the caller. */
static void request_answer_now(struct shard_loop *loop, const struct turn_request *request,
                               const struct take_result *results) {
    struct writer writer;
    if (endpoint_reply_begin(loop->endpoint, &request->caller,
                             results_size_max(results, request->count), &writer)) {
        results_write(loop, request, results, &writer);
        endpoint_reply_end(loop->endpoint, &writer);
    }
}

static void request_answer(struct shard_loop *loop, const struct turn_request *request,
                           const struct take_result *results, const bool *held) {
    uint32_t held_count = 0;
    for (uint32_t i = 0; held != NULL && i < request->count; i++) {
        held_count += held[request->first + i];
    }
    if (held_count == 0) {
        held_replies_give_back(loop->held, request->id);
    }
    const struct take_result *first = &results[request->first];
    if (!request->is_many && first->code != CODE_OK) {
        struct fault fault;
        struct moved moved;
        fault_of_result(loop, first, &loop->items[request->first].take, &fault, &moved);
        error_send(loop, &request->caller, true, request->msgid, &fault,
                   first->code == CODE_MOVED ? &moved : NULL);
        return;
    }
    if (held_count == 0) {
        request_answer_now(loop, request, first);
        return;
    }
    struct writer writer = writer_of(loop->reply, REPLY_BYTES_MAX);
    results_write(loop, request, first, &writer);
    assert(!writer.overflow);
    if (!request_keep(loop, request, held_count, writer_bytes(&writer))) {
        struct fault fault;
        fault_set(&fault, CODE_OVERLOADED, "this shard has no memory for a reply");
        error_send(loop, &request->caller, true, request->msgid, &fault, NULL);
    }
}

void shard_requests_answer(struct shard_loop *loop, const struct take_result *results,
                           const bool *held) {
    for (uint32_t i = 0; i < loop->request_count; i++) {
        request_answer(loop, &loop->requests[i], results, held);
    }
}

/* --- answers that were kept back ----------------------------------------------------------- */

static void change_write(const struct shard_loop *loop, struct writer *writer,
                         const struct held_change *change) {
    struct fault fault;
    struct moved moved;
    if (change->result.code == CODE_OK) {
        result_write(writer, &change->result);
        return;
    }
    fault_set(&fault, change->result.code, "%s", reason_text(change->result.reason));
    moved_fill(loop, change->slot, &moved);
    error_write(writer, &fault, fault.code == CODE_MOVED ? &moved : NULL);
}

static int change_order(const void *a, const void *b) {
    return (int)((const struct held_change *)a)->item - (int)((const struct held_change *)b)->item;
}

/* A list as it was kept, but for the items that changed. */
static void list_write(struct shard_loop *loop, struct writer *writer, struct held_ready *ready) {
    qsort(ready->changes, ready->change_count, sizeof ready->changes[0], change_order);
    reply_write_head(writer, ready->request.msgid);
    write_array(writer, ready->request.count);
    struct reader elements =
        reader_of(bytes_of(ready->reply.data + writer->size, ready->reply.size - writer->size));
    for (uint32_t i = 0, changed = 0; i < ready->request.count; i++) {
        struct bytes element;
        bool read = read_any(&elements, &element);
        assert(read);
        if (changed < ready->change_count && ready->changes[changed].item == i) {
            change_write(loop, writer, &ready->changes[changed]);
            changed++;
        } else {
            write_encoded(writer, element);
        }
    }
}

/* The reply as it was kept, with other results and errors in their places. */
static void changes_send(struct shard_loop *loop, struct held_ready *ready) {
    const struct held_request *request = &ready->request;
    const struct take_result *first = &ready->changes[0].result;
    struct writer writer = writer_of(loop->reply, REPLY_BYTES_MAX);
    if (request->is_many) {
        list_write(loop, &writer, ready);
    } else if (first->code == CODE_OK) {
        reply_write_head(&writer, request->msgid);
        result_write(&writer, first);
    } else {
        struct fault fault;
        struct moved moved;
        fault_set(&fault, first->code, "%s", reason_text(first->reason));
        moved_fill(loop, ready->changes[0].slot, &moved);
        reply_write_error(&writer, true, request->msgid, &fault,
                          fault.code == CODE_MOVED ? &moved : NULL);
    }
    reply_send(loop, &request->caller, &writer);
}

/* Releases come by slot, so what was kept for them lies anywhere: so many are fetched ahead. */
#define RELEASES_AHEAD 8

void shard_requests_release(struct shard_loop *loop, const struct shard_release *releases,
                            uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct held_ready ready;
        if (i + RELEASES_AHEAD < count) {
            held_replies_prefetch(loop->held, releases[i + RELEASES_AHEAD].token);
        }
        if (!held_replies_release(loop->held, &releases[i], &ready)) {
            continue;
        }
        if (ready.change_count == 0) {
            endpoint_reply(loop->endpoint, &ready.request.caller, ready.reply);
        } else {
            changes_send(loop, &ready);
        }
    }
    if (count > 0) {
        endpoint_flush(loop->endpoint);
    }
}

/* --- the turn ------------------------------------------------------------------------------ */

static void turn_refuse(struct shard_loop *loop, enum reason reason) {
    for (uint32_t i = 0; i < loop->item_count; i++) {
        loop->refused[i] = (struct take_result){.code = reason_code(reason), .reason = reason};
    }
    shard_requests_answer(loop, loop->refused, NULL);
}

static void turn_decide(struct shard_loop *loop) {
    if (loop->request_count == 0) {
        return;
    }
    if (loop->shard == NULL) {
        turn_refuse(loop, REASON_NO_MAP); /* there is no shard before the first map */
    } else if (!held_replies_room(loop->held)) {
        turn_refuse(loop, REASON_QUEUE_FULL);
    } else {
        struct shard_event event = {.kind = SHARD_EVENT_TAKES};
        event.takes.items = loop->items;
        event.takes.count = loop->item_count;
        shard_loop_step(loop, &event);
    }
    loop->request_count = 0;
    loop->item_count = 0;
}

/* Makes room for a request of that many items. */
static void turn_room(struct shard_loop *loop, uint32_t count) {
    if (loop->request_count == TAKES_PER_REQUEST_MAX ||
        loop->item_count + count > TAKES_PER_REQUEST_MAX) {
        turn_decide(loop);
    }
}

/* There is room; the takes of its items are there already, or still to be copied. */
static struct shard_item *turn_add(struct shard_loop *loop, const struct endpoint_caller *caller,
                                   const struct request *request, uint32_t count) {
    struct turn_request *added = &loop->requests[loop->request_count++];
    *added = (struct turn_request){.caller = *caller,
                                   .msgid = request->msgid,
                                   .is_many = request->method == METHOD_TAKE_MANY,
                                   .id = held_replies_id(loop->held),
                                   .first = loop->item_count,
                                   .count = count};
    enum verb verb = request->method == METHOD_PEEK     ? VERB_PEEK
                     : request->method == METHOD_REFUND ? VERB_REFUND
                                                        : VERB_TAKE;
    struct shard_item *items = &loop->items[loop->item_count];
    for (uint32_t i = 0; i < count; i++) {
        items[i].verb = verb;
        items[i].token = held_token(added->id, i);
    }
    loop->item_count += count;
    return items;
}

static enum code take_many_add(struct shard_loop *loop, const struct endpoint_caller *caller,
                               const struct request *request, struct fault *fault) {
    uint32_t count;
    if (request_read_take_many(request->params, loop->takes, &count, fault) != CODE_OK) {
        return fault->code;
    }
    turn_room(loop, count);
    struct shard_item *items = turn_add(loop, caller, request, count);
    for (uint32_t i = 0; i < count; i++) {
        items[i].take = loop->takes[i];
    }
    return CODE_OK;
}

/* Decoded where it is decided. */
static enum code take_add(struct shard_loop *loop, const struct endpoint_caller *caller,
                          const struct request *request, struct fault *fault) {
    turn_room(loop, 1);
    if (request_read_take(request->params, &loop->items[loop->item_count].take, fault) != CODE_OK) {
        return fault->code;
    }
    turn_add(loop, caller, request, 1);
    return CODE_OK;
}

/* --- read-only methods --------------------------------------------------------------------- */

static void view_send(struct shard_loop *loop, const struct endpoint_caller *caller,
                      uint32_t msgid) {
    struct writer writer = writer_of(loop->reply, REPLY_BYTES_MAX);
    reply_write_head(&writer, msgid);
    cluster_view_write(&writer, &loop->state->map, &loop->state->plans, shard_loop_age_ms(loop));
    reply_send(loop, caller, &writer);
}

/* A shard knows little of the cluster beyond the map: the node's control endpoint tells more. */
static void status_send(struct shard_loop *loop, const struct endpoint_caller *caller,
                        uint32_t msgid) {
    const struct map *map = &loop->state->map;
    struct writer writer = writer_of(loop->reply, REPLY_BYTES_MAX);
    reply_write_head(&writer, msgid);
    write_map(&writer, 9);
    write_text_text(&writer, "program", "sluice-node");
    write_text_text(&writer, "version", SLUICE_VERSION);
    write_text_text(&writer, "node", loop->settings->node_id);
    write_text_uint(&writer, "shard", loop->number);
    write_text_uint(&writer, "epoch", map->epoch.number);
    write_text_uint(&writer, "slots", map->slot_count);
    write_text_uint(&writer, "plans_version", loop->state->plans.version);
    write_text_uint(&writer, "slots_owned",
                    loop->shard != NULL ? shard_counters(loop->shard)->slots_owned : 0);
    write_text_uint(&writer, "slots_serving",
                    loop->shard != NULL ? shard_counters(loop->shard)->slots_serving : 0);
    reply_send(loop, caller, &writer);
}

static void read_only(struct shard_loop *loop, const struct endpoint_caller *caller,
                      const struct request *request) {
    struct fault fault;
    if (request_read_none(request->params, &fault) != CODE_OK) {
        error_send(loop, caller, true, request->msgid, &fault, NULL);
    } else if (request->method == METHOD_CLUSTER_MAP) {
        view_send(loop, caller, request->msgid);
    } else {
        status_send(loop, caller, request->msgid);
    }
}

/* --- the endpoint's handler ---------------------------------------------------------------- */

static void on_request(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                       struct bytes body) {
    struct shard_loop *loop = ctx;
    struct request request;
    struct fault fault;
    if (request_read(body, &request, &fault) != CODE_OK) {
        error_send(loop, caller, request.has_msgid, request.msgid, &fault, NULL);
        return;
    }
    switch (method_kind(request.method)) {
    case METHOD_KIND_NODE:
        fault_set(&fault, CODE_UNKNOWN_METHOD, "%s is answered at a node's control endpoint",
                  method_text(request.method));
        error_send(loop, caller, true, request.msgid, &fault, NULL);
        return;
    case METHOD_KIND_CONTROL:
        fault_set(&fault, CODE_FORBIDDEN,
                  "%s is the operator's: it is answered at a node's control endpoint",
                  method_text(request.method));
        error_send(loop, caller, true, request.msgid, &fault, NULL);
        return;
    case METHOD_KIND_READ:
        read_only(loop, caller, &request);
        return;
    case METHOD_KIND_TAKE:
        break;
    }
    enum code code = request.method == METHOD_TAKE_MANY
                         ? take_many_add(loop, caller, &request, &fault)
                         : take_add(loop, caller, &request, &fault);
    if (code != CODE_OK) {
        error_send(loop, caller, true, request.msgid, &fault, NULL);
    }
}

static void on_oversize(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                        struct bytes first, uint64_t size) {
    struct shard_loop *loop = ctx;
    struct request request;
    struct fault ignored, fault;
    request_read(first, &request, &ignored);
    fault_set(&fault, CODE_TOO_LARGE, "the message has %llu bytes, at most %u are allowed",
              (unsigned long long)size, MESSAGE_BYTES_MAX);
    error_send(loop, caller, request.has_msgid, request.msgid, &fault, NULL);
}

static void on_turn(void *ctx, struct endpoint *endpoint) {
    turn_decide(ctx);
}

struct endpoint_handler shard_requests_handler(struct shard_loop *loop) {
    return (struct endpoint_handler){
        .ctx = loop, .on_request = on_request, .on_oversize = on_oversize, .on_turn = on_turn};
}
