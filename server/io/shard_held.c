#include "server/io/shard_held.h"

#include <assert.h>
#include <stdlib.h>

/* Requests with held results, and those of one turn that have an id while they are decided. */
#define IDS_MAX (SHARD_HELD_MAX + TAKES_PER_REQUEST_MAX)

/* Bytes of a cell, which each id has one of: a request of one take fits, so that keeping it back
 * gets no memory and the next one finds the cell warm. Larger ones get a piece of their own. */
#define CELL_BYTES 256u

struct kept {
    struct held_request request;
    uint32_t waiting; /* releases that are still to come */
    uint32_t reply_bytes;
    uint32_t change_count, result_count; /* the first ones are results */
    struct held_change *changes;         /* request.held_count */
    struct slot *slots;                  /* request.count */
    uint8_t *reply;
};

struct held_replies {
    uint64_t bytes;
    struct kept *last; /* given out as ready, with a piece of its own: freed at the next call */
    uint8_t *cells;    /* of IDS_MAX; of which only what is used takes memory */
    uint32_t free_count;
    uint32_t free_ids[IDS_MAX];
    struct kept *kept[IDS_MAX];
    uint32_t unanswered[IDS_MAX]; /* of a request that could not be kept: releases to come */
};

struct held_replies *held_replies_create(void) {
    struct held_replies *replies = calloc(1, sizeof *replies);
    if (replies == NULL || (replies->cells = calloc(IDS_MAX, CELL_BYTES)) == NULL) {
        free(replies);
        return NULL;
    }
    while (replies->free_count < IDS_MAX) {
        replies->free_ids[replies->free_count] = IDS_MAX - 1 - replies->free_count;
        replies->free_count++;
    }
    return replies;
}

/* Aligned as malloc's: a cell's size is a power of two. */
static struct kept *cell_of(const struct held_replies *replies, uint32_t id) {
    return (struct kept *)(replies->cells + (size_t)id * CELL_BYTES);
}

static bool in_cell(size_t size) {
    return size <= CELL_BYTES;
}

static void last_free(struct held_replies *replies) {
    free(replies->last);
    replies->last = NULL;
}

void held_replies_destroy(struct held_replies *replies) {
    if (replies == NULL) {
        return;
    }
    last_free(replies);
    for (uint32_t i = 0; i < IDS_MAX; i++) {
        if (replies->kept[i] != cell_of(replies, i)) {
            free(replies->kept[i]);
        }
    }
    free(replies->cells);
    free(replies);
}

uint32_t held_replies_id(struct held_replies *replies) {
    /* A request with a held result has at least one of SHARD_HELD_MAX. */
    assert(replies->free_count > 0);
    replies->free_count--;
    return replies->free_ids[replies->free_count];
}

void held_replies_give_back(struct held_replies *replies, uint32_t id) {
    replies->free_ids[replies->free_count] = id;
    replies->free_count++;
}

bool held_replies_room(const struct held_replies *replies) {
    return replies->bytes < HELD_BYTES_MAX;
}

/* One piece of memory: the head, changes, slots, and the reply's bytes. */
static size_t kept_size(const struct held_request *request, uint32_t reply_bytes) {
    return sizeof(struct kept) + request->held_count * sizeof(struct held_change) +
           request->count * sizeof(struct slot) + reply_bytes;
}

bool held_replies_keep(struct held_replies *replies, uint32_t id,
                       const struct held_request *request, struct bytes reply,
                       const struct slot slots[]) {
    size_t size = kept_size(request, reply.size);
    struct kept *kept = in_cell(size) ? cell_of(replies, id) : malloc(size);
    if (kept == NULL) {
        replies->unanswered[id] = request->held_count;
        return false;
    }
    *kept = (struct kept){
        .request = *request, .waiting = request->held_count, .reply_bytes = reply.size};
    kept->changes = (struct held_change *)(kept + 1);
    kept->slots = (struct slot *)(kept->changes + request->held_count);
    kept->reply = (uint8_t *)(kept->slots + request->count);
    memcpy(kept->slots, slots, request->count * sizeof slots[0]);
    memcpy(kept->reply, reply.data, reply.size);
    replies->kept[id] = kept;
    replies->bytes += size;
    return true;
}

static struct held_change *change_of(struct kept *kept, uint16_t item) {
    /* Results come before errors, and once for an item. */
    for (uint32_t i = 0; i < kept->result_count; i++) {
        if (kept->changes[i].item == item) {
            return &kept->changes[i];
        }
    }
    kept->change_count++;
    return &kept->changes[kept->change_count - 1];
}

static struct held_change *change_add_result(struct kept *kept) {
    kept->changes[kept->change_count] = kept->changes[kept->result_count];
    kept->change_count++;
    kept->result_count++;
    return &kept->changes[kept->result_count - 1];
}

static void change_note(struct kept *kept, uint16_t item, const struct shard_release *release) {
    bool is_error = release->kind == SHARD_RELEASE_REASON;
    struct held_change *change = is_error ? change_of(kept, item) : change_add_result(kept);
    change->item = item;
    change->slot = kept->slots[item];
    if (is_error) {
        change->result =
            (struct take_result){.code = reason_code(release->reason), .reason = release->reason};
    } else {
        change->result = *release->result;
    }
}

void held_replies_prefetch(const struct held_replies *replies, uint64_t token) {
    const struct kept *cell = cell_of(replies, (uint32_t)(token >> 16));
    __builtin_prefetch(cell);
    __builtin_prefetch((const uint8_t *)cell + 64);
    __builtin_prefetch((const uint8_t *)cell + 128);
}

bool held_replies_release(struct held_replies *replies, const struct shard_release *release,
                          struct held_ready *ready) {
    uint32_t id = (uint32_t)(release->token >> 16);
    uint16_t item = (uint16_t)release->token;
    struct kept *kept = replies->kept[id];
    last_free(replies);
    if (kept == NULL) {
        if (release->kind == SHARD_RELEASE_RESULT_HELD) {
            return false;
        }
        assert(replies->unanswered[id] > 0);
        replies->unanswered[id]--;
        if (replies->unanswered[id] == 0) {
            held_replies_give_back(replies, id);
        }
        return false;
    }
    assert(kept->waiting > 0 && item < kept->request.count);
    if (release->kind != SHARD_RELEASE_GRANTED) {
        change_note(kept, item, release);
    }
    if (release->kind == SHARD_RELEASE_RESULT_HELD) {
        return false;
    }
    kept->waiting--;
    if (kept->waiting > 0) {
        return false;
    }
    size_t size = kept_size(&kept->request, kept->reply_bytes);
    replies->kept[id] = NULL;
    replies->bytes -= size;
    replies->last = in_cell(size) ? NULL : kept;
    held_replies_give_back(replies, id);
    *ready = (struct held_ready){.request = kept->request,
                                 .reply = bytes_of(kept->reply, kept->reply_bytes),
                                 .changes = kept->changes,
                                 .change_count = kept->change_count};
    return true;
}
