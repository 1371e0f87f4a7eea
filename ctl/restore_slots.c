/*
 * Slots and their pieces. A slot is closed first: its fence is raised under an epoch that no node's
 * map has, so nodes drop it, and cannot have it back before the map gets there. A piece of a slot
 * that was not empty is compared with what is there, and what it changes is written on condition
 * that the fence is still ours; else it is begun anew.
 */
#include <assert.h>
#include <stdlib.h>

#include "ctl/interrupt.h"
#include "ctl/restore_impl.h"
#include "runtime/memory.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define RAISES TEXT(FENCE_RAISES)

/* fence, holder, buckets, keys; epoch, 1 to empty it -> [fence, is there anything], or "FENCED".
 * A fence may end in a half, raised by a router that decided here; ours is whole. */
static const char close_script[] =
    "local held = tonumber(redis.call('GET', KEYS[1]) or '0')\n"
    "if not held then return redis.error_reply('BADFENCE no number in ' .. KEYS[1]) end\n"
    "local least = tonumber(ARGV[1]) * " RAISES "\n"
    "if held >= least + " RAISES " then return 'FENCED' end\n"
    "local raised = string.format('%.0f', math.floor(math.max(held, least)) + 1)\n"
    "redis.call('SET', KEYS[1], raised)\n"
    "redis.call('SET', KEYS[2], 'restore')\n"
    "if ARGV[2] == '1' then redis.call('DEL', KEYS[3], KEYS[4]) end\n"
    "return {raised, redis.call('EXISTS', KEYS[3]) + redis.call('EXISTS', KEYS[4])}\n";

/* fence, buckets or keys; fence, (key, value)... -> "OK" or "FENCED". Strict about the fence: a
 * router's half is somebody who has written. */
static const char write_script[] =
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'FENCED' end\n"
    "redis.call('HSET', KEYS[2], unpack(ARGV, 2))\n"
    "return 'OK'\n";

/* Words before a write's pairs: EVAL, the text, 2, two keys, the fence. */
#define WRITE_WORDS 6

/* --- closing ---------------------------------------------------------------------------------- */

static void work_begin(struct work *work);

static void on_closed(void *ctx, redisReply *reply) {
    const struct closing *closing = ctx;
    struct restore *restore = closing->restore;
    uint32_t slot = closing->slot.index;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING) {
        store_fail(&restore->store,
                   "slot %u has a fence of a later epoch than %llu: another restore, or nodes of "
                   "another map, are at work here",
                   slot, (unsigned long long)restore->epoch);
        return;
    }
    snprintf(restore->fences[slot], sizeof restore->fences[slot], "%s", reply->element[0]->str);
    restore->blank[slot] = reply->element[1]->integer == 0;
    if (closing->work != NULL) {
        work_begin(closing->work);
    }
}

static bool slot_close(struct restore *restore, struct slot slot, struct work *work) {
    const char *prefix = restore->store.prefix;
    store_key fence, holder, buckets, keys;
    char epoch[24];
    struct closing *closing = &restore->closings[slot.index];
    *closing = (struct closing){restore, slot, work};
    store_key_fence(prefix, slot, fence);
    store_key_holder(prefix, slot, holder);
    store_key_buckets(prefix, slot, buckets);
    store_key_keys(prefix, slot, keys);
    snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)restore->epoch);
    bool empties = restore->invocation->options.replace && work == NULL;
    return store_send_words(&restore->store, on_closed, closing, "EVAL", close_script, "4", fence,
                            holder, buckets, keys, epoch, empties ? "1" : "0", NULL);
}

bool restore_slots_close(struct restore *restore) {
    for (uint32_t slot = 0; slot < SLOTS_MAX; slot++) {
        if (slot_set_has(&restore->slots, slot) &&
            !(slot_close(restore, (struct slot){(uint16_t)slot}, NULL) &&
              store_wait(&restore->store, RESTORE_WORKS))) {
            return false;
        }
    }
    return store_wait(&restore->store, 0);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void work_end(struct work *work) {
    struct restore *restore = work->restore;
    uint64_t *totals = work->kind == BACKUP_KEYS ? restore->keys : restore->buckets;
    for (uint32_t i = 0; i < MERGE_COUNT; i++) {
        totals[i] += work->outcomes[i];
    }
    restore->transfer.done++;
    restore->transfer.buckets += work->kind == BACKUP_BUCKETS ? work->count : 0;
    transfer_show(&restore->transfer);
    work->active = false;
    if (interrupt_came()) {
        store_fail(&restore->store, "interrupted");
    }
}

static void on_written(void *ctx, redisReply *reply) {
    struct work *work = ctx;
    struct restore *restore = work->restore;
    uint32_t slot = work->slot.index;
    if (reply->type != REDIS_REPLY_STATUS && reply->type != REDIS_REPLY_STRING) {
        store_fail(&restore->store, "Redis answered a write with something else than a word");
    } else if (strcmp(reply->str, "OK") == 0) {
        work_end(work);
    } else if (++work->tries == RESTORE_TRIES_MAX) {
        store_fail(&restore->store, "slot %u: others wrote to it %d times meanwhile", slot,
                   RESTORE_TRIES_MAX);
    } else {
        slot_close(restore, work->slot, work);
    }
}

static void collection_name(const struct work *work, store_key name) {
    const char *prefix = work->restore->store.prefix;
    if (work->kind == BACKUP_KEYS) {
        store_key_keys(prefix, work->slot, name);
    } else {
        store_key_buckets(prefix, work->slot, name);
    }
}

/* Sends what is to be written: `chosen` pairs, by index. */
static void work_write(struct work *work, const struct backup_pair *chosen, uint32_t count) {
    struct restore *restore = work->restore;
    if (count == 0 || restore_is_dry(restore)) {
        work_end(work);
        return;
    }
    store_key fence, collection;
    store_key_fence(restore->store.prefix, work->slot, fence);
    collection_name(work, collection);
    const char *head[WRITE_WORDS] = {"EVAL", write_script, "2",
                                     fence,  collection,   restore->fences[work->slot.index]};
    uint32_t word_count = WRITE_WORDS + 2 * count;
    const char **words = memory_need(word_count * sizeof *words);
    size_t *sizes = memory_need(word_count * sizeof *sizes);
    for (uint32_t i = 0; i < WRITE_WORDS; i++) {
        words[i] = head[i];
        sizes[i] = strlen(head[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct bytes parts[] = {chosen[i].key, chosen[i].value};
        for (uint32_t j = 0; j < 2; j++) {
            words[WRITE_WORDS + 2 * i + j] = (const char *)parts[j].data;
            sizes[WRITE_WORDS + 2 * i + j] = parts[j].size;
        }
    }
    store_send(&restore->store, (int)word_count, words, sizes, on_written, work);
    free(words);
    free(sizes);
}

/* --- comparing -------------------------------------------------------------------------------- */

static struct bytes value_held(const redisReply *reply) {
    return reply->type == REDIS_REPLY_STRING ? bytes_of(reply->str, reply->len) : (struct bytes){0};
}

static enum merge pair_merge(struct work *work, uint32_t at, struct bytes held,
                             struct backup_pair *out) {
    const struct restore *restore = work->restore;
    *out = work->pairs[at];
    if (work->kind == BACKUP_KEYS) { /* what an operator said last counts */
        return held.data == NULL                          ? MERGE_NEW
               : bytes_equal(held, work->pairs[at].value) ? MERGE_SAME
                                                          : MERGE_KEPT;
    }
    uint32_t size = 0;
    enum merge merge = restore_merge(restore->plans, restore->cluster.time_ns, out->value, held,
                                     work->merged[at], &size);
    if (merge == MERGE_RAISED) {
        out->value = bytes_of(work->merged[at], size);
    }
    return merge;
}

static void on_held(void *ctx, redisReply *reply) {
    struct work *work = ctx;
    struct restore *restore = work->restore;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != work->count) {
        store_fail(&restore->store, "Redis answered HMGET with something else than %u values",
                   work->count);
        return;
    }
    struct backup_pair *chosen = memory_need(work->count * sizeof *chosen);
    uint32_t count = 0;
    memset(work->outcomes, 0, sizeof work->outcomes);
    for (uint32_t i = 0; i < work->count; i++) {
        enum merge merge = pair_merge(work, i, value_held(reply->element[i]), &chosen[count]);
        work->outcomes[merge]++;
        count += merge == MERGE_NEW || merge == MERGE_RAISED;
    }
    work_write(work, chosen, count);
    free(chosen);
}

static void work_compare(struct work *work) {
    store_key collection;
    collection_name(work, collection);
    const char **words = memory_need((work->count + 2) * sizeof *words);
    size_t *sizes = memory_need((work->count + 2) * sizeof *sizes);
    words[0] = "HMGET";
    words[1] = collection;
    sizes[0] = strlen(words[0]);
    sizes[1] = strlen(words[1]);
    for (uint32_t i = 0; i < work->count; i++) {
        words[i + 2] = (const char *)work->pairs[i].key.data;
        sizes[i + 2] = work->pairs[i].key.size;
    }
    store_send(&work->restore->store, (int)work->count + 2, words, sizes, on_held, work);
    free(words);
    free(sizes);
}

/* A slot that was empty when it was closed holds what this restore has put there: of a key that
 * comes twice, the later. */
static void work_begin(struct work *work) {
    if (work->restore->blank[work->slot.index]) {
        memset(work->outcomes, 0, sizeof work->outcomes);
        work->outcomes[MERGE_NEW] = work->count;
        work_write(work, work->pairs, work->count);
    } else {
        work_compare(work);
    }
}

/* --- pieces ----------------------------------------------------------------------------------- */

/* One that is free; none if the slot has a piece under way: they follow one another. */
static struct work *work_find(struct restore *restore, struct slot slot) {
    struct work *found = NULL;
    for (uint32_t i = 0; i < RESTORE_WORKS; i++) {
        struct work *work = &restore->works[i];
        if (work->active && work->slot.index == slot.index) {
            return NULL;
        }
        found = work->active ? found : work;
    }
    return found;
}

static void work_fill(struct work *work, const struct backup_piece *piece) {
    struct backup_pairs pairs = piece->pairs;
    size_t size = (size_t)(pairs.reader.end - pairs.reader.at);
    free(work->memory);
    work->memory = memory_need(size);
    memcpy(work->memory, pairs.reader.at, size);
    pairs.reader = reader_of(bytes_of(work->memory, size));
    work->active = true;
    work->kind = piece->kind;
    work->slot = pairs.slot;
    work->tries = 0;
    work->count = 0;
    while (work->count < pairs.count && backup_pair_next(&pairs, &work->pairs[work->count])) {
        work->count++;
    }
}

bool restore_piece(struct restore *restore, const struct backup_piece *piece) {
    struct work *work;
    while ((work = work_find(restore, piece->pairs.slot)) == NULL) {
        size_t outstanding = store_under_way(&restore->store);
        assert(outstanding > 0); /* what is under way waits for an answer */
        if (!store_wait(&restore->store, outstanding - 1)) {
            return false;
        }
    }
    work_fill(work, piece);
    work_begin(work);
    return !restore->store.failed;
}

bool restore_settle(struct restore *restore) {
    return store_wait(&restore->store, 0);
}

void restore_works_init(struct restore *restore) {
    for (uint32_t i = 0; i < RESTORE_WORKS; i++) {
        struct work *work = &restore->works[i];
        work->restore = restore;
        work->pairs = memory_need(BACKUP_PAIRS_MAX * sizeof *work->pairs);
        work->merged = memory_need(BACKUP_PAIRS_MAX * sizeof *work->merged);
    }
}

void restore_works_fini(struct restore *restore) {
    for (uint32_t i = 0; i < RESTORE_WORKS; i++) {
        free(restore->works[i].memory);
        free(restore->works[i].pairs);
        free(restore->works[i].merged);
    }
}
