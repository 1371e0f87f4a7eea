/*
 * A backup is taken from the store alone: no node is asked, none has to live. Each slot is read in
 * pages, assignments first, several slots at a time; a page is a piece of the file.
 */
#include "ctl/backup.h"

#include <inttypes.h>
#include <stdlib.h>

#include "ctl/backup_io.h"
#include "ctl/interrupt.h"
#include "ctl/out.h"
#include "ctl/slot_list.h"
#include "ctl/store_cluster.h"
#include "ctl/transfer.h"
#include "runtime/memory.h"

/* Slots that are read at a time. Arbitrary: the store always has the next question, and the pages
 * that it answers with fit into memory many times over. */
#define SCANS 16

/* What HSCAN is asked for; it brings more of a small hash, which is one piece of memory there. */
#define PAGE_TEXT "1000"

/* Times that a slot is begun anew, because its next page comes from another master of a Redis
 * Cluster. Arbitrary: it is moved once, or there and back. */
#define RESTARTS_MAX 100

/* Bytes of a cursor as text, zero included: 64 bits. */
#define CURSOR_BYTES 24

struct run;

/* One slot that is being read. */
struct scan {
    struct run *run;
    struct slot slot;
    bool active, reads_keys;
    char cursor[CURSOR_BYTES]; /* that is asked with */
    uint32_t server;           /* that the page before came from: elsewhere it means nothing */
    uint32_t restarts;         /* of this slot */
};

struct run {
    struct store store;
    struct store_cluster cluster;
    struct backup_out out;
    struct slot_set slots;
    struct backup_totals totals;
    struct transfer transfer;
    struct scan scans[SCANS];
    uint32_t next_slot; /* that has not been begun */
    uint64_t pieces;
    struct backup_pair *pairs; /* of a page */
    uint32_t pair_room;
};

/* --- pieces ----------------------------------------------------------------------------------- */

static bool put(struct run *run, uint32_t size) {
    char why[BACKUP_WHY_BYTES];
    run->pieces++;
    return backup_out_put(&run->out, size, why) || store_fail(&run->store, "%s", why);
}

static int pair_order(const void *left, const void *right) {
    const struct backup_pair *a = left, *b = right;
    uint32_t shared = a->key.size < b->key.size ? a->key.size : b->key.size;
    int order = memcmp(a->key.data, b->key.data, shared);
    return order != 0 ? order : (a->key.size > b->key.size) - (a->key.size < b->key.size);
}

/* What no Sluice has written is left out, and told of at the end. */
static bool pair_is_ours(struct bytes key, struct bytes value) {
    return key.size >= 1 && key.size <= KEY_BYTES_MAX && value.size <= BACKUP_VALUE_BYTES_MAX;
}

/* The page's pairs in order, each key once. */
static uint32_t page_sort(struct run *run, const redisReply *fields) {
    uint32_t count = 0, kept = 0;
    if (fields->elements / 2 > run->pair_room) {
        free(run->pairs);
        run->pair_room = (uint32_t)fields->elements / 2;
        run->pairs = memory_need(run->pair_room * sizeof *run->pairs);
    }
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *key = fields->element[i], *value = fields->element[i + 1];
        struct backup_pair pair = {bytes_of(key->str, key->len), bytes_of(value->str, value->len)};
        bool texts = key->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING;
        if (texts && pair_is_ours(pair.key, pair.value)) {
            run->pairs[count++] = pair;
        } else {
            run->totals.left_out++;
        }
    }
    if (count > 1) {
        qsort(run->pairs, count, sizeof *run->pairs, pair_order);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (kept == 0 || !bytes_equal(run->pairs[kept - 1].key, run->pairs[i].key)) {
            run->pairs[kept++] = run->pairs[i];
        }
    }
    return kept;
}

static bool page_put(struct run *run, const struct scan *scan, const redisReply *fields) {
    enum backup_kind kind = scan->reads_keys ? BACKUP_KEYS : BACKUP_BUCKETS;
    uint32_t count = page_sort(run, fields);
    *(scan->reads_keys ? &run->totals.keys : &run->totals.buckets) += count;
    for (uint32_t first = 0, end; first < count; first = end) {
        uint32_t bytes = 0;
        for (end = first;
             end < count && end - first < BACKUP_PAIRS_MAX && bytes < BACKUP_PAIRS_BYTES; end++) {
            bytes += run->pairs[end].key.size + run->pairs[end].value.size;
        }
        if (!put(run, backup_pairs_write(kind, run->pieces, scan->slot, &run->pairs[first],
                                         end - first, run->out.memory))) {
            return false;
        }
    }
    return true;
}

/* --- slots ------------------------------------------------------------------------------------ */

static void on_page(void *ctx, redisReply *reply);

static bool scan_ask(struct scan *scan) {
    struct run *run = scan->run;
    store_key key;
    if (scan->reads_keys) {
        store_key_keys(run->store.prefix, scan->slot, key);
    } else {
        store_key_buckets(run->store.prefix, scan->slot, key);
    }
    return store_send_words(&run->store, on_page, scan, "HSCAN", key, scan->cursor, "COUNT",
                            PAGE_TEXT, NULL);
}

static void scan_from_start(struct scan *scan, bool reads_keys) {
    scan->reads_keys = reads_keys;
    snprintf(scan->cursor, sizeof scan->cursor, "0");
    scan_ask(scan);
}

/* The next slot that nobody reads; none is left: the scan rests. */
static void scan_next_slot(struct scan *scan) {
    struct run *run = scan->run;
    uint32_t slot_count = run->cluster.map.slot_count;
    while (run->next_slot < slot_count && !slot_set_has(&run->slots, run->next_slot)) {
        run->next_slot++;
    }
    if (run->next_slot < slot_count) {
        scan->slot = (struct slot){(uint16_t)run->next_slot};
        scan->restarts = 0;
        run->next_slot++;
        scan_from_start(scan, true);
    }
}

/* Whether the page goes on where the one before ended; if not, the slot is begun anew. What is in
 * the file of it comes twice then, and counts twice. */
static bool page_follows(struct scan *scan) {
    struct store *store = &scan->run->store;
    bool follows = strcmp(scan->cursor, "0") == 0 || scan->server == store_answerer(store);
    scan->server = store_answerer(store);
    if (!follows && ++scan->restarts > RESTARTS_MAX) {
        store_fail(store, "slot %u has had another master %d times while it was read",
                   scan->slot.index, RESTARTS_MAX);
    } else if (!follows) {
        scan_from_start(scan, scan->reads_keys);
    }
    return follows;
}

static bool page_valid(const redisReply *reply) {
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
           reply->element[0]->type == REDIS_REPLY_STRING &&
           reply->element[1]->type == REDIS_REPLY_ARRAY && reply->element[1]->elements % 2 == 0;
}

static void on_page(void *ctx, redisReply *reply) {
    struct scan *scan = ctx;
    struct run *run = scan->run;
    if (!page_valid(reply)) {
        store_fail(&run->store, "Redis answered HSCAN with something else than a page");
        return;
    }
    if (interrupt_came()) {
        store_fail(&run->store, "interrupted");
        return;
    }
    if (!page_follows(scan) || !page_put(run, scan, reply->element[1])) {
        return;
    }
    run->transfer.buckets = run->totals.buckets;
    transfer_show(&run->transfer);
    snprintf(scan->cursor, sizeof scan->cursor, "%s", reply->element[0]->str);
    if (strcmp(scan->cursor, "0") != 0) {
        scan_ask(scan);
    } else if (scan->reads_keys) {
        scan_from_start(scan, false);
    } else {
        run->transfer.done++;
        scan_next_slot(scan);
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

static bool head_put(struct run *run) {
    const struct store_cluster *cluster = &run->cluster;
    struct backup_head head = {
        .cluster = bytes_of_text(cluster->map.cluster.text),
        .slot_count = cluster->map.slot_count,
        .time_ms = cluster->time_ns / 1000000,
        .prefix = bytes_of_text(run->store.prefix),
        .version = bytes_of_text(SLUICE_VERSION),
        .map = bytes_of(cluster->map_value.data, cluster->map_value.size),
        .plans = cluster->plans_value.number > 0
                     ? bytes_of(cluster->plans_value.data, cluster->plans_value.size)
                     : bytes_of("\xc0", 1),
        .slots = run->slots,
    };
    return put(run, backup_head_write(&head, run->out.memory));
}

static bool slots_read(struct run *run) {
    transfer_start(&run->transfer, run->transfer.settings, "backing up", "slots",
                   run->totals.slots);
    for (uint32_t i = 0; i < SCANS; i++) {
        run->scans[i].run = run;
        scan_next_slot(&run->scans[i]);
    }
    bool good = store_wait(&run->store, 0);
    transfer_end(&run->transfer);
    return good;
}

static void report(const struct run *run, const struct invocation *invocation) {
    const struct backup_totals *totals = &run->totals;
    double seconds = transfer_seconds(&run->transfer);
    bool to_stdout = run->out.file == stdout;
    FILE *to = to_stdout ? stderr : stdout;
    if (totals->left_out > 0) {
        fprintf(stderr,
                "sluicectl: %" PRIu64
                " entries were left out: their key or value is larger than any of Sluice's\n",
                totals->left_out);
    }
    if (invocation->settings.json && !to_stdout) {
        out_json(json_pack(
            "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f}", "file", run->out.path, "cluster",
            run->cluster.map.cluster.text, "slots", (json_int_t)totals->slots, "buckets",
            (json_int_t)totals->buckets, "keys", (json_int_t)totals->keys, "left_out",
            (json_int_t)totals->left_out, "bytes", (json_int_t)run->out.bytes, "seconds", seconds));
        return;
    }
    fprintf(to,
            "backed up %" PRIu64 " buckets and %" PRIu64 " assignments of %" PRIu64
            " slots, %" PRIu64 " bytes, in %.1f s (%.0f buckets/s)\n",
            totals->buckets, totals->keys, totals->slots, run->out.bytes, seconds,
            seconds > 0 ? (double)totals->buckets / seconds : 0);
}

/* Everything but opening and closing. */
static enum exit_code take(struct run *run, const struct invocation *invocation) {
    char why[BACKUP_WHY_BYTES];
    const struct settings *settings = &invocation->settings;
    if (!store_open(&run->store, &invocation->options.store) ||
        !store_cluster_load(&run->store, &run->cluster)) {
        out_failure(settings, "%s", run->store.why);
        return store_exit(&run->store);
    }
    if (run->cluster.map.epoch.number == 0) {
        out_failure(settings,
                    "the Redis at %s holds no cluster under \"%s\": is it the right one? "
                    "(--redis URL, --key-prefix TEXT)",
                    run->store.place, run->store.prefix);
        return EXIT_ANSWERED_ERROR;
    }
    if (!slot_list_parse(invocation->options.slot_list, run->cluster.map.slot_count, &run->slots,
                         why, sizeof why)) {
        out_failure(settings, "%s", why);
        return EXIT_USAGE;
    }
    run->totals.slots = slot_set_count(&run->slots);
    run->transfer.settings = settings;
    if (!backup_out_open(&run->out, invocation->arguments[0], why)) {
        out_failure(settings, "%s", why);
        return EXIT_FILE;
    }
    if (!head_put(run) || !slots_read(run) ||
        !put(run, backup_end_write(run->pieces, &run->totals, run->out.memory))) {
        out_failure(settings, "%s; nothing was kept", run->store.why);
        return interrupt_came() ? EXIT_INTERRUPTED : store_exit(&run->store);
    }
    if (!backup_out_finish(&run->out, why)) {
        out_failure(settings, "%s", why);
        return EXIT_FILE;
    }
    report(run, invocation);
    return EXIT_DONE;
}

enum exit_code backup_take(const struct invocation *invocation) {
    struct run *run = memory_need(sizeof *run);
    interrupt_install();
    enum exit_code code = take(run, invocation);
    backup_out_close(&run->out);
    store_close(&run->store);
    store_cluster_fini(&run->cluster);
    free(run->pairs);
    free(run);
    return code;
}

/* --- a look at a file ------------------------------------------------------------------------- */

static void verified(const struct backup_in *in, const struct backup_head *head,
                     const struct settings *settings) {
    const struct backup_totals *totals = &in->progress.totals;
    if (settings->json) {
        out_json(json_pack("{s:s, s:s%, s:I, s:I, s:I, s:I, s:I, s:I}", "file", in->path, "cluster",
                           (const char *)head->cluster.data, (size_t)head->cluster.size, "time_ms",
                           (json_int_t)head->time_ms, "slots", (json_int_t)totals->slots, "buckets",
                           (json_int_t)totals->buckets, "keys", (json_int_t)totals->keys,
                           "left_out", (json_int_t)totals->left_out, "bytes",
                           (json_int_t)in->offset));
        return;
    }
    printf("whole: %" PRIu64 " buckets and %" PRIu64 " assignments of %" PRIu64 " slots, %" PRIu64
           " bytes\n",
           totals->buckets, totals->keys, totals->slots, in->offset);
}

enum exit_code backup_verify(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    struct backup_in in;
    struct backup_piece piece;
    struct backup_head head = {0};
    uint8_t *head_bytes = NULL;
    char why[BACKUP_WHY_BYTES];
    bool open = backup_in_open(&in, invocation->arguments[0], why);
    while (open && backup_in_next(&in, &piece, why)) {
        if (piece.kind == BACKUP_HEAD) { /* it borrows from memory that is used again */
            head = piece.head;
            head_bytes = memory_need(head.cluster.size + 1u);
            memcpy(head_bytes, head.cluster.data, head.cluster.size);
            head.cluster.data = head_bytes;
        }
    }
    if (why[0] != '\0') {
        out_failure(settings, "%s", why);
    } else {
        verified(&in, &head, settings);
    }
    backup_in_close(&in);
    free(head_bytes);
    return why[0] == '\0' ? EXIT_DONE : EXIT_FILE;
}
