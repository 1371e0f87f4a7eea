/* init, status, nodes: the cluster as a whole. */
#include "ctl/out.h"
#include "ctl/rpc.h"

/* Asks for a map-like result and makes it JSON; NULL with *code set if there is none. */
static json_t *ask_json(const struct settings *settings, struct bytes request,
                        enum exit_code *code) {
    struct rpc_answer answer;
    *code = rpc_ask(settings, settings->control, false, request, &answer);
    json_t *json = *code == EXIT_DONE ? json_of_value(answer.reply.result) : NULL;
    rpc_answer_fini(&answer);
    if (*code == EXIT_DONE && !json_is_object(json)) {
        out_failure(settings, "the answer is not a map");
        *code = EXIT_ANSWERED_ERROR;
        json_decref(json);
        json = NULL;
    }
    return json;
}

static enum exit_code init_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 1, METHOD_CLUSTER_INIT);
    write_array(&writer, invocation->options.slot_count > 0 ? 1 : 0);
    if (invocation->options.slot_count > 0) {
        write_map(&writer, 1);
        write_text_uint(&writer, "slots", invocation->options.slot_count);
    }
    enum exit_code code;
    json_t *made = ask_json(settings, writer_bytes(&writer), &code);
    if (made == NULL) {
        return code;
    }
    if (settings->json) {
        out_json(made);
        return code;
    }
    printf("%screated%s  epoch %lld: %lld slots on %lld shards of %lld nodes\n",
           color_on(settings, COLOR_GREEN), color_off(settings), json_int(made, "epoch"),
           json_int(made, "slots"), json_int(made, "shards"), json_int(made, "nodes"));
    json_decref(made);
    return code;
}

static json_t *status_ask(const struct settings *settings, enum exit_code *code) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 1, METHOD_CLUSTER_STATUS);
    write_array(&writer, 0);
    return ask_json(settings, writer_bytes(&writer), code);
}

static void number_write(const json_t *object, const char *member, char out[24]) {
    snprintf(out, 24, "%lld", json_int(object, member));
}

static const char *yes_no(const json_t *object, const char *member) {
    return json_is_true(json_object_get(object, member)) ? "yes" : "no";
}

static void nodes_print(const struct settings *settings, const json_t *nodes) {
    struct table table;
    table_init(&table, 9);
    table_row(&table, (const char *const[]){"NODE", "ALIVE", "SHARDS", "SLOTS", "WEIGHT", "EPOCH",
                                            "PLANS", "LEASE MS", "CONTROL"});
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        char shards[24], slots[24], epoch[24], plans[24], lease[24], weight[24];
        snprintf(shards, sizeof shards, "%zu", json_array_size(json_object_get(node, "shards")));
        number_write(node, "slots_owned", slots);
        number_write(node, "weight", weight);
        number_write(node, "epoch", epoch);
        number_write(node, "plans_version", plans);
        number_write(node, "lease_ms", lease);
        table_row(&table,
                  (const char *const[]){json_text(node, "id"), yes_no(node, "alive"), shards, slots,
                                        weight, epoch, plans, lease, json_text(node, "control")});
    }
    table_print(&table, settings);
}

static void links_print(const struct settings *settings, const json_t *status) {
    const json_t *links = json_object_get(status, "links");
    struct table table;
    table_init(&table, 3);
    table_row(&table, (const char *const[]){"SHARD", "UP", "OUTSTANDING"});
    for (size_t i = 0; i < json_array_size(links); i++) {
        const json_t *link = json_array_get(links, i);
        char outstanding[24];
        number_write(link, "outstanding", outstanding);
        table_row(&table, (const char *const[]){json_text(link, "endpoint"), yes_no(link, "up"),
                                                outstanding});
    }
    table_print(&table, settings);
    const char *name;
    json_t *value;
    printf("\n");
    json_object_foreach(json_object_get(status, "counters"), name, value) {
        printf("%-28s %lld\n", name, (long long)json_integer_value(value));
    }
}

static enum exit_code status_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    enum exit_code code;
    json_t *status = status_ask(settings, &code);
    if (status == NULL) {
        return code;
    }
    if (settings->json) {
        out_json(status);
        return code;
    }
    const char *node = json_text(status, "node");
    printf("%s%s%s %s%s%s\n", color_on(settings, COLOR_BOLD), json_text(status, "program"),
           color_off(settings), json_text(status, "version"), node[0] ? ", node " : "", node);
    if (json_int(status, "epoch") == 0) {
        printf("%sno map yet%s: `sluicectl init` creates it\n", color_on(settings, COLOR_YELLOW),
               color_off(settings));
    } else {
        const char *id = json_text(status, "cluster");
        printf("%s%s%smap epoch %lld, %lld slots\n", id[0] ? "cluster " : "", id, id[0] ? ", " : "",
               json_int(status, "epoch"), json_int(status, "slots"));
    }
    printf("plans version %lld%s\n\n", json_int(status, "plans_version"),
           json_int(status, "plans_version") == 0 ? ": `sluicectl plans apply FILE` sets them"
                                                  : "");
    if (json_object_get(status, "links") != NULL) {
        links_print(settings, status);
    } else {
        nodes_print(settings, json_object_get(status, "nodes"));
    }
    json_decref(status);
    return code;
}

static enum exit_code nodes_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    enum exit_code code;
    json_t *status = status_ask(settings, &code);
    if (status == NULL) {
        return code;
    }
    json_t *nodes = json_object_get(status, "nodes");
    if (settings->json) {
        out_json(nodes != NULL ? json_incref(nodes) : json_array());
    } else {
        nodes_print(settings, nodes);
    }
    json_decref(status);
    return code;
}

static const struct argp_option init_options[] = {
    {"slots", OPTION_SLOTS, "N", 0, "partitions of the key space, a power of two (1024)", 0}, {0}};

const struct command cluster_commands[] = {
    {NULL, "init", "create the map of a new cluster", NULL, 0, 0, init_options,
     "Creates the map: every slot goes to a shard of the nodes that are alive now. The number of "
     "slots cannot be changed later.\v"
     "Examples:\n"
     "  sluicectl init\n"
     "  sluicectl init --slots 4096",
     init_run},
    {NULL, "status", "the cluster at a glance", NULL, 0, 0, NULL,
     "Shows the map's epoch, the plans' version and every node; of a router (--control with the "
     "router's URL) its links and counters.\v"
     "Examples:\n"
     "  sluicectl status\n"
     "  sluicectl status --control tcp://127.0.0.1:7400",
     status_run},
    {NULL, "nodes", "the nodes and their leases", NULL, 0, 0, NULL,
     "Lists the nodes: alive or not, their slots, and the versions they have.\v"
     "Examples:\n"
     "  sluicectl nodes\n"
     "  sluicectl --json nodes",
     nodes_run},
    {0},
};
