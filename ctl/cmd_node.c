/* node status: one node, its store and its shards. version: of this program. */
#include <stdio.h>

#include "ctl/out.h"
#include "ctl/rpc.h"

/* Shards that fit beside each other as columns; the rest is in --json. */
#define SHARD_COLUMNS_MAX (TABLE_COLUMNS_MAX - 1)

static void scalar_write(const json_t *value, char *out, size_t capacity) {
    if (json_is_string(value)) {
        snprintf(out, capacity, "%s", json_string_value(value));
    } else if (json_is_integer(value)) {
        snprintf(out, capacity, "%lld", (long long)json_integer_value(value));
    } else if (json_is_boolean(value)) {
        snprintf(out, capacity, "%s", json_is_true(value) ? "yes" : "no");
    } else {
        snprintf(out, capacity, "-");
    }
}

/* Adds a row for each plain member of the first shard's `part` (NULL: of the shard itself), one
 * column a shard: counters may be added, none is known here by name. */
static void rows_add(struct table *table, const json_t *shards, const char *part) {
    char texts[TABLE_COLUMNS_MAX][64];
    const char *cells[TABLE_COLUMNS_MAX], *name;
    json_t *first, *value;
    first = json_array_get(shards, 0);
    json_object_foreach(part == NULL ? first : json_object_get(first, part), name, value) {
        if (json_is_object(value) || json_is_array(value)) {
            continue;
        }
        cells[0] = name;
        for (uint32_t i = 0; i + 1 < table->column_count; i++) {
            const json_t *shard = json_array_get(shards, i);
            scalar_write(json_object_get(part == NULL ? shard : json_object_get(shard, part), name),
                         texts[i], sizeof texts[i]);
            cells[1 + i] = texts[i];
        }
        table_row(table, cells);
    }
}

static void shards_print(const struct settings *settings, const json_t *shards) {
    size_t count = json_array_size(shards);
    uint32_t shown = count > SHARD_COLUMNS_MAX ? SHARD_COLUMNS_MAX : (uint32_t)count;
    if (shown == 0) {
        return;
    }
    struct table table;
    char texts[TABLE_COLUMNS_MAX][12];
    const char *cells[TABLE_COLUMNS_MAX] = {"SHARD"}, *name;
    json_t *value;
    table_init(&table, 1 + shown);
    for (uint32_t i = 0; i < shown; i++) {
        snprintf(texts[i], sizeof texts[i], "%u", i);
        cells[1 + i] = texts[i];
    }
    table_row(&table, cells);
    rows_add(&table, shards, NULL);
    json_object_foreach(json_array_get(shards, 0), name, value) {
        if (json_is_object(value)) {
            rows_add(&table, shards, name);
        }
    }
    table_print(&table, settings);
    if (count > shown) {
        printf("and %zu shards more (--json shows all)\n", count - shown);
    }
}

static void node_print(const struct settings *settings, const json_t *node) {
    const json_t *store = json_object_get(node, "store");
    bool up = json_is_true(json_object_get(store, "up"));
    printf("node         %s%s%s\n", color_on(settings, COLOR_BOLD), json_text(node, "node"),
           color_off(settings));
    printf("version      %s\n", json_text(node, "version"));
    printf("up for       %lld s\n", json_int(node, "uptime_s"));
    printf("map epoch    %lld\n", json_int(node, "epoch"));
    printf("plans        version %lld\n", json_int(node, "plans_version"));
    printf("store        %s%s%s, clock error %lld us\n\n",
           color_on(settings, up ? COLOR_GREEN : COLOR_RED), up ? "up" : "down",
           color_off(settings), json_int(store, "clock_error_us"));
    shards_print(settings, json_object_get(node, "shards"));
}

static enum exit_code status_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    struct rpc_answer answer;
    enum exit_code code = rpc_ask_plain(settings, METHOD_NODE_STATUS, &answer);
    json_t *node = code == EXIT_DONE ? json_of_value(answer.reply.result) : NULL;
    if (code == EXIT_DONE && !json_is_object(node)) {
        out_failure(settings, "the answer is not a node's status");
        code = EXIT_ANSWERED_ERROR;
    } else if (code == EXIT_DONE && settings->json) {
        out_json(json_incref(node));
    } else if (code == EXIT_DONE) {
        node_print(settings, node);
    }
    json_decref(node);
    rpc_answer_fini(&answer);
    return code;
}

static enum exit_code version_run(const struct invocation *invocation) {
    if (invocation->settings.json) {
        out_json(json_pack("{s:s, s:s, s:s}", "program", "sluicectl", "version", SLUICE_VERSION,
                           "nng", nng_version()));
    } else {
        printf("sluicectl %s (nng %s)\n", SLUICE_VERSION, nng_version());
    }
    return EXIT_DONE;
}

const struct command node_commands[] = {
    {"node", "status", "one node's store and shards", NULL, 0, 0, NULL,
     "Shows the node behind --control: its store, its shards and their counters.\v"
     "Example:\n"
     "  sluicectl node status --control tcp://127.0.0.1:7590",
     status_run},
    {NULL, "version", "the version of this program", NULL, 0, 0, NULL,
     "Prints the version of sluicectl.\v"
     "Example:\n"
     "  sluicectl version",
     version_run},
    {0},
};
