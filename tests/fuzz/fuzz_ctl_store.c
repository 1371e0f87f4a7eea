/*
 * Backups and restores, from a Redis that is none, or a broken one, or a Redis Cluster that sends
 * commands from one master to the next: each ends, with what came of it or a reason; a backup that
 * was kept is whole; all memory returns.
 *
 * The first byte chooses which, and how; the rest are the answers (lying_redis.h). What is restored
 * is a backup that was taken of an honest one.
 */
#include "ctl/backup.h"

#include <unistd.h>

#include "ctl/cluster.h"
#include "ctl/restore.h"
#include "proto/map_codec.h"
#include "proto/plan_codec.h"
#include "proto/record.h"
#include "tests/fuzz/lying_redis.h"

/* ctl/cluster.c has it, and asks nodes besides. */
uint64_t time_monotonic_ms(void) {
    return 0;
}

/* Choice: the store is a Redis Cluster. */
#define IN_CLUSTER 32

static bool in_cluster;
static char directory[64], honest[96], kept[96];

static void map_put(struct lying_text *out) {
    static uint8_t memory[MAP_BYTES_MAX];
    static struct map map;
    struct writer writer = writer_of(memory, sizeof memory);
    map_init(&map);
    map.epoch.number = 1;
    map.slot_count = 8;
    map.cluster = (struct cluster_id){.text = "0123456789abcdef"};
    map.node_count = map.shard_count = 1;
    map.nodes[0].id = name_of(bytes_of_text("n1"));
    endpoint_name_set(&map.nodes[0].control, bytes_of_text("tcp://n1:1"));
    endpoint_name_set(&map.shards[0].endpoint, bytes_of_text("tcp://n1:2"));
    map_spread(&map);
    map_write(&writer, &map);
    FUZZ_CHECK(!writer.overflow);
    lying_string(out, memory, writer.size);
}

static void plans_put(struct lying_text *out) {
    static uint8_t memory[PLAN_SET_BYTES_MAX];
    static struct plan_set plans;
    struct writer writer = writer_of(memory, sizeof memory);
    struct plan plan = {.name = name_of(bytes_of_text("p")), .generation_count = 1};
    plan.generations[0].terms = (struct terms){.limit_count = 1, .limits = {{1, 1000000000, 5}}};
    plan_set_init(&plans);
    plan_set_add(&plans, &plan);
    plans.version = 1;
    plan_set_write(&writer, &plans);
    FUZZ_CHECK(!writer.overflow);
    lying_string(out, memory, writer.size);
}

static void record_put(struct fuzz *fuzz, struct lying_text *out) {
    uint8_t memory[RECORD_BYTES_MAX];
    struct record record = {.plan = bytes_of_text("p"), .tat_count = 1};
    record.tats[0].ns = UINT64_C(1700000000000000000) + fuzz_u8(fuzz) * UINT64_C(100000000);
    lying_string(out, memory, record_write(&record, memory));
}

static bool ends_with(const char *text, const char *end) {
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static void hmget_put(struct fuzz *fuzz, const redisReply *words, struct lying_text *out) {
    const char *key = words->element[1]->str;
    if (ends_with(key, ":map") || ends_with(key, ":plans")) {
        lying_print(out, "*2\r\n$1\r\n1\r\n");
        (ends_with(key, ":map") ? map_put : plans_put)(out);
        return;
    }
    lying_print(out, "*%zu\r\n", words->elements - 2);
    for (size_t i = 2; i < words->elements; i++) {
        if (fuzz_u8(fuzz) % 2 == 0) {
            lying_print(out, "$-1\r\n");
        } else {
            record_put(fuzz, out);
        }
    }
}

/* Who serves what: two masters, with a gap, or one who does not know its own name. */
static void table_put(struct fuzz *fuzz, struct lying_text *out) {
    uint8_t choice = fuzz_u8(fuzz);
    lying_print(out, "*2\r\n*3\r\n:0\r\n:%d\r\n*2\r\n", choice == 255 ? 4095 : 8191);
    lying_print(out, choice % 4 == 3 ? "$-1\r\n" : "$8\r\n10.0.0.1\r\n");
    lying_print(out, ":7001\r\n*3\r\n:8192\r\n:16383\r\n*2\r\n$8\r\n10.0.0.%c\r\n:7002\r\n",
                choice % 8 == 7 ? '3' : '2');
}

/* Elsewhere, or later. */
static void redirect_put(struct fuzz *fuzz, struct lying_text *out) {
    static const char *const texts[] = {
        "MOVED 1 10.0.0.1:7001", "MOVED 1 10.0.0.2:7002",  "MOVED 1 :7009",
        "ASK 1 10.0.0.1:7001",   "ASK 1 10.0.0.2:7002",    "ASK 1 10.0.0.4:7004",
        "TRYAGAIN in a moment",  "CLUSTERDOWN not served", "MOVED 1 10.0.0.1",
    };
    lying_print(out, "-%s\r\n", texts[fuzz_below(fuzz, sizeof texts / sizeof texts[0])]);
}

static bool usual(struct fuzz *fuzz, const redisReply *words, struct lying_text *out) {
    const char *name = words->element[0]->str;
    bool has_key = strstr("HMGET SMEMBERS EXISTS HSCAN EVAL", name) != NULL;
    if (in_cluster && strcmp(name, "CLUSTER") == 0) {
        table_put(fuzz, out);
        return true;
    }
    if (in_cluster && has_key && fuzz_u8(fuzz) > 160) {
        redirect_put(fuzz, out);
        return true;
    }
    if (strcmp(name, "HMGET") == 0 && words->elements > 2) {
        hmget_put(fuzz, words, out);
    } else if (strcmp(name, "SMEMBERS") == 0) {
        lying_print(out, "*1\r\n$2\r\nn1\r\n");
    } else if (strcmp(name, "EXISTS") == 0) {
        lying_print(out, ":%d\r\n", fuzz_u8(fuzz) > 200);
    } else if (strcmp(name, "HSCAN") == 0 && ends_with(words->element[1]->str, ":keys")) {
        lying_print(out, "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\np\r\n");
    } else if (strcmp(name, "HSCAN") == 0) {
        lying_print(out, "*2\r\n$1\r\n%d\r\n*4\r\n$1\r\na\r\n", fuzz_u8(fuzz) > 240);
        record_put(fuzz, out);
        lying_print(out, "$1\r\nb\r\n");
        record_put(fuzz, out);
    } else if (strcmp(name, "EVAL") == 0 && strstr(words->element[1]->str, "unpack") == NULL &&
               strstr(words->element[1]->str, "'number'") == NULL) {
        lying_print(out, "*2\r\n$7\r\n1048577\r\n:%d\r\n", fuzz_u8(fuzz) % 2);
    } else if (strcmp(name, "EVAL") == 0) {
        lying_print(out, "$2\r\nOK\r\n");
    } else {
        return false;
    }
    return true;
}

/* --- runs ------------------------------------------------------------------------------------- */

static enum exit_code run(struct fuzz *fuzz, const char *path, uint8_t choice,
                          enum exit_code (*what)(const struct invocation *)) {
    struct invocation invocation = {.settings = {.json = true},
                                    .options = {.store = {.url = "redis://10.0.0.1:7001"},
                                                .live = (choice & 2) != 0,
                                                .replace = (choice & 4) != 0,
                                                .dry_run = (choice & 8) != 0,
                                                .slot_list = (choice & 16) != 0 ? "0-3,7" : NULL},
                                    .arguments = {path},
                                    .argument_count = 1};
    in_cluster = (choice & IN_CLUSTER) != 0;
    if (in_cluster) {
        invocation.options.store.url = "redis+cluster://10.0.0.1:7001,10.0.0.2:7002";
    }
    lying_open(fuzz, usual);
    enum exit_code code = what(&invocation);
    lying_close();
    return code;
}

static void directory_remove(void) {
    unlink(honest);
    unlink(kept);
    rmdir(directory);
}

/* What people are told is not read here. */
static void prepare(void) {
    struct fuzz none = fuzz_of((const uint8_t *)"", 0);
    snprintf(directory, sizeof directory, "/tmp/sluice-fuzz-XXXXXX");
    FUZZ_CHECK(mkdtemp(directory) != NULL && atexit(directory_remove) == 0);
    snprintf(honest, sizeof honest, "%s/honest", directory);
    snprintf(kept, sizeof kept, "%s/kept", directory);
    stdout = fopen("/dev/null", "w");
    FUZZ_CHECK(stdout != NULL);
    for (uint8_t choice = 0; choice <= IN_CLUSTER; choice += IN_CLUSTER) {
        FUZZ_CHECK(run(&none, honest, choice, backup_take) == EXIT_DONE);
        FUZZ_CHECK(run(&none, honest, choice, restore_run) == EXIT_DONE);
    }
    stderr = stdout;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t choice = fuzz_u8(&fuzz);
    if (directory[0] == '\0') {
        prepare();
    }
    if ((choice & 1) != 0) {
        (void)run(&fuzz, honest, choice, restore_run);
    } else if (run(&fuzz, kept, choice, backup_take) == EXIT_DONE) {
        FUZZ_CHECK(run(&fuzz, kept, 0, backup_verify) == EXIT_DONE);
    }
    unlink(kept);
    return 0;
}
