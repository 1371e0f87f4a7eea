/*
 * The order of a restore: the file is read to its end and found whole; what stands against it is
 * refused; slots are closed; pieces are written; plans; the map last. Before the map has its new
 * epoch no node can have a slot that was closed, so what is broken off is closed, not half open.
 */
#include "ctl/restore.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "ctl/interrupt.h"
#include "ctl/out.h"
#include "ctl/restore_impl.h"
#include "runtime/memory.h"

/* Times that the map is read again because somebody else has changed it. */
#define MAP_TRIES_MAX 20

/* map or plans; number expected, new number, value -> "OK" or the number. */
static const char replace_script[] =
    "local number = redis.call('HGET', KEYS[1], 'number') or '0'\n"
    "if number ~= ARGV[1] then return number end\n"
    "redis.call('HSET', KEYS[1], 'number', ARGV[2], 'value', ARGV[3])\n"
    "return 'OK'\n";

/* --- the file --------------------------------------------------------------------------------- */

static bool head_keep(struct restore *restore, const struct backup_head *head, char *why) {
    struct fault fault;
    struct reader map = reader_of(head->map), plans = reader_of(head->plans);
    restore->covers = head->slots;
    restore->taken_ms = head->time_ms;
    memcpy(restore->prefix, head->prefix.data, head->prefix.size);
    if (map_read(&map, &restore->file_map, &fault) != CODE_OK) {
        snprintf(why, BACKUP_WHY_BYTES, "%s: its map cannot be read: %s", restore->in.path,
                 fault.text);
        return false;
    }
    plan_set_init(&restore->file_plans);
    if (read_nil(&plans)) {
        return true;
    }
    if (plan_set_read(&plans, &restore->file_plans, &fault) != CODE_OK) {
        snprintf(why, BACKUP_WHY_BYTES, "%s: its plans cannot be read: %s", restore->in.path,
                 fault.text);
        return false;
    }
    struct stored_value *value = &restore->file_plans_value;
    value->number = restore->file_plans.version;
    value->size = head->plans.size;
    value->data = memory_need(head->plans.size);
    memcpy(value->data, head->plans.data, head->plans.size);
    return true;
}

/* All of it, before anything is done with any of it. */
static bool file_check(struct restore *restore, char why[BACKUP_WHY_BYTES]) {
    struct backup_piece piece;
    if (!backup_in_open(&restore->in, restore->invocation->arguments[0], why)) {
        return false;
    }
    while (backup_in_next(&restore->in, &piece, why)) {
        restore->pieces++;
        if (piece.kind == BACKUP_HEAD && !head_keep(restore, &piece.head, why)) {
            return false;
        }
    }
    return why[0] == '\0' && backup_in_rewind(&restore->in, why);
}

static bool slots_choose(struct restore *restore, char why[BACKUP_WHY_BYTES]) {
    const char *list = restore->invocation->options.slot_list;
    if (list == NULL) {
        restore->slots = restore->covers;
        return true;
    }
    if (!slot_list_parse(list, restore->file_map.slot_count, &restore->slots, why,
                         BACKUP_WHY_BYTES)) {
        return false;
    }
    for (uint32_t slot = 0; slot < SLOTS_MAX; slot++) {
        if (slot_set_has(&restore->slots, slot) && !slot_set_has(&restore->covers, slot)) {
            snprintf(why, BACKUP_WHY_BYTES, "--slots: slot %u is not in %s", slot,
                     restore->in.path);
            return false;
        }
    }
    return true;
}

/* --- what stands against it ------------------------------------------------------------------- */

static bool may(struct restore *restore, char why[BACKUP_WHY_BYTES]) {
    const struct command_options *options = &restore->invocation->options;
    const struct store_cluster *cluster = &restore->cluster;
    struct fault fault;
    if (cluster->map.epoch.number > 0 &&
        map_check_same(&cluster->map, &restore->file_map, &fault) != CODE_OK) {
        snprintf(why, BACKUP_WHY_BYTES, "the Redis at %s holds another cluster: %s",
                 restore->store.place, fault.text);
        return false;
    }
    if (cluster->alive_count == 0 || options->dry_run) {
        return true;
    }
    if (options->replace) {
        snprintf(why, BACKUP_WHY_BYTES,
                 "nodes are alive (%s), and --replace would give back tokens that they go on "
                 "granting: stop them first",
                 cluster->alive);
        return false;
    }
    if (!options->live) {
        snprintf(why, BACKUP_WHY_BYTES,
                 "nodes are alive (%s): stop them first; or, with --live, their slots that are "
                 "restored answer by policy until it is done",
                 cluster->alive);
        return false;
    }
    return true;
}

/* --- plans and map ---------------------------------------------------------------------------- */

/* Whether the number was the expected one. */
static void on_replaced(void *ctx, redisReply *reply) {
    bool *replaced = ctx;
    *replaced = (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) &&
                strcmp(reply->str, "OK") == 0;
}

static bool value_replace(struct restore *restore, const char *key, uint64_t expected,
                          uint64_t number, struct bytes value, bool *replaced) {
    char before[24], after[24];
    snprintf(before, sizeof before, "%" PRIu64, expected);
    snprintf(after, sizeof after, "%" PRIu64, number);
    const char *words[] = {"EVAL", replace_script,          "1", key, before,
                           after,  (const char *)value.data};
    size_t sizes[7];
    for (int i = 0; i < 7; i++) {
        sizes[i] = i == 6 ? value.size : strlen(words[i]);
    }
    return store_send(&restore->store, 7, words, sizes, on_replaced, replaced) &&
           store_wait(&restore->store, 0);
}

/* Versions only go up, so the higher one stays; `plans apply` changes them back, if need be. */
static bool plans_restore(struct restore *restore) {
    const struct stored_value *value = &restore->file_plans_value;
    if (value->number <= restore->cluster.plans_value.number || restore_is_dry(restore)) {
        restore->plans_replaced = value->number > restore->cluster.plans_value.number;
        return true;
    }
    store_key key;
    store_key_plans(restore->store.prefix, key);
    return value_replace(restore, key, restore->cluster.plans_value.number, value->number,
                         bytes_of(value->data, value->size), &restore->plans_replaced);
}

/* The store's map if it has one, else the file's, under the epoch that the slots were closed with.
 */
static bool map_restore(struct restore *restore) {
    uint8_t *memory = memory_need(MAP_BYTES_MAX);
    bool good = true;
    store_key key;
    store_key_map(restore->store.prefix, key);
    for (uint32_t tries = 0; good && !restore->map_replaced; tries++) {
        good = store_cluster_load(&restore->store, &restore->cluster);
        struct map *map =
            restore->cluster.map.epoch.number > 0 ? &restore->cluster.map : &restore->file_map;
        uint64_t before = restore->cluster.map_value.number;
        if (good && (before >= restore->epoch || tries == MAP_TRIES_MAX)) {
            good = store_fail(&restore->store,
                              "the map is changed by others all the while (epoch %" PRIu64 ")",
                              before);
        }
        if (good) {
            struct writer writer = writer_of(memory, MAP_BYTES_MAX);
            map->epoch.number = restore->epoch;
            map_write(&writer, map);
            good = value_replace(restore, key, before, restore->epoch, writer_bytes(&writer),
                                 &restore->map_replaced);
        }
    }
    free(memory);
    return good;
}

/* --- pieces ----------------------------------------------------------------------------------- */

static bool pieces_restore(struct restore *restore) {
    char why[BACKUP_WHY_BYTES];
    struct backup_piece piece;
    transfer_start(&restore->transfer, &restore->invocation->settings,
                   restore_is_dry(restore) ? "comparing" : "restoring", "pieces",
                   restore->pieces - 2); /* without head and end */
    bool good = true;
    while (good && backup_in_next(&restore->in, &piece, why)) {
        bool has_pairs = piece.kind == BACKUP_KEYS || piece.kind == BACKUP_BUCKETS;
        if (has_pairs && slot_set_has(&restore->slots, piece.pairs.slot.index)) {
            good = restore_piece(restore, &piece);
        } else if (has_pairs) {
            restore->transfer.done++;
        }
    }
    if (good && why[0] != '\0') { /* it was whole before */
        good = store_fail(&restore->store, "%s", why);
    }
    good = restore_settle(restore) && good;
    transfer_end(&restore->transfer);
    return good;
}

/* --- the report ------------------------------------------------------------------------------- */

static json_t *outcomes_json(const uint64_t outcomes[MERGE_COUNT]) {
    return json_pack("{s:I, s:I, s:I, s:I}", "written", (json_int_t)outcomes[MERGE_NEW], "raised",
                     (json_int_t)outcomes[MERGE_RAISED], "as_they_were",
                     (json_int_t)outcomes[MERGE_SAME], "kept", (json_int_t)outcomes[MERGE_KEPT]);
}

static void report(const struct restore *restore) {
    const struct settings *settings = &restore->invocation->settings;
    bool dry = restore_is_dry(restore);
    double seconds = transfer_seconds(&restore->transfer);
    uint64_t all = 0;
    for (uint32_t i = 0; i < MERGE_COUNT; i++) {
        all += restore->buckets[i];
    }
    if (settings->json) {
        out_json(json_pack(
            "{s:s, s:b, s:i, s:o, s:o, s:s, s:I, s:s, s:f}", "file", restore->in.path, "dry_run",
            (int)dry, "slots", (int)slot_set_count(&restore->slots), "buckets",
            outcomes_json(restore->buckets), "assignments", outcomes_json(restore->keys), "plans",
            restore->plans_replaced ? "file" : "store", "epoch", (json_int_t)restore->epoch,
            "alive", restore->cluster.alive, "seconds", seconds));
        return;
    }
    time_t taken = (time_t)(restore->taken_ms / 1000);
    char when[40];
    struct tm local;
    localtime_r(&taken, &local);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    printf("%s\n", dry ? "nothing was changed; this would be:" : "restored:");
    printf("backup       of %s, %u slots of it\n", when, slot_set_count(&restore->slots));
    printf("buckets      %" PRIu64 " written, %" PRIu64 " raised to what the backup has spent, "
           "%" PRIu64 " as they were, %" PRIu64 " kept that could not be compared\n",
           restore->buckets[MERGE_NEW], restore->buckets[MERGE_RAISED],
           restore->buckets[MERGE_SAME], restore->buckets[MERGE_KEPT]);
    printf("assignments  %" PRIu64 " written, %" PRIu64 " as they were, %" PRIu64
           " kept that were changed since\n",
           restore->keys[MERGE_NEW], restore->keys[MERGE_SAME], restore->keys[MERGE_KEPT]);
    printf("plans        %s\n", restore->plans_replaced ? "the backup's" : "the store's");
    printf("map epoch    %" PRIu64 "\n", restore->epoch);
    printf("time         %.1f s, %.0f buckets/s\n", seconds,
           seconds > 0 ? (double)all / seconds : 0);
    if (dry && restore->cluster.alive_count > 0) {
        printf("alive        %s: stop them first, or --live\n", restore->cluster.alive);
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum exit_code failed(struct restore *restore, bool closed) {
    out_failure(&restore->invocation->settings, "%s%s", restore->store.why,
                closed ? "; the slots that were to be restored stay closed to nodes until a "
                         "restore has gone to its end: run it again"
                       : "");
    return interrupt_came() ? EXIT_INTERRUPTED : store_exit(&restore->store);
}

static enum exit_code carry_out(struct restore *restore) {
    bool dry = restore_is_dry(restore);
    uint64_t file_epoch = restore->file_map.epoch.number;
    uint64_t store_epoch = restore->cluster.map.epoch.number;
    restore->epoch = (file_epoch > store_epoch ? file_epoch : store_epoch) + MAP_RESTORE_EPOCHS;
    restore->plans = restore->file_plans.version > restore->cluster.plans.version
                         ? &restore->file_plans
                         : &restore->cluster.plans;
    if (dry) {
        memset(restore->blank, restore->invocation->options.replace, sizeof restore->blank);
    } else if (!restore_slots_close(restore)) {
        return failed(restore, true);
    }
    if (!pieces_restore(restore) || !plans_restore(restore) ||
        (!dry && !(store_check_masters(&restore->store) && map_restore(restore)))) {
        return failed(restore, !dry);
    }
    report(restore);
    return EXIT_DONE;
}

static enum exit_code run(struct restore *restore) {
    const struct settings *settings = &restore->invocation->settings;
    struct store_options options = restore->invocation->options.store;
    char why[BACKUP_WHY_BYTES];
    if (!file_check(restore, why)) {
        out_failure(settings, "%s", why);
        return EXIT_FILE;
    }
    if (!slots_choose(restore, why)) {
        out_failure(settings, "%s", why);
        return EXIT_USAGE;
    }
    options.prefix = options.prefix != NULL ? options.prefix : restore->prefix;
    if (!store_open(&restore->store, &options) ||
        !store_cluster_load(&restore->store, &restore->cluster)) {
        return failed(restore, false);
    }
    if (!may(restore, why)) {
        out_failure(settings, "%s", why);
        return EXIT_ANSWERED_ERROR;
    }
    return carry_out(restore);
}

enum exit_code restore_run(const struct invocation *invocation) {
    struct restore *restore = memory_need(sizeof *restore);
    restore->invocation = invocation;
    restore_works_init(restore);
    interrupt_install();
    enum exit_code code = run(restore);
    store_close(&restore->store);
    backup_in_close(&restore->in);
    store_cluster_fini(&restore->cluster);
    restore_works_fini(restore);
    free(restore->file_plans_value.data);
    free(restore);
    return code;
}
