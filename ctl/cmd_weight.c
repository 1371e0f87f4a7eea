/* node drain, resume, weight, remove: what share of the slots a node is due. */
#include <inttypes.h>
#include <stdlib.h>

#include "ctl/out.h"
#include "ctl/rebalance.h"
#include "ctl/rebalance_options.h"
#include "ctl/text.h"

static enum exit_code drain_run(const struct invocation *invocation) {
    struct goal *goal = out_needed(calloc(1, sizeof *goal));
    struct cluster *cluster = cluster_create(&invocation->settings);
    enum exit_code code = EXIT_UNREACHABLE;
    if (goal != NULL && cluster != NULL) {
        goal->kind = GOAL_DRAIN;
        goal->node = invocation->arguments[0];
        code = cluster_load(cluster);
        if (code == EXIT_DONE && !goal_check(goal, cluster)) {
            code = EXIT_ANSWERED_ERROR;
        }
        code = code == EXIT_DONE ? rebalance_run(invocation, cluster, goal, true) : code;
    }
    free(cluster);
    free(goal);
    return code;
}

static enum exit_code weigh(const struct invocation *invocation, uint32_t weight) {
    const struct settings *settings = &invocation->settings;
    const char *id = invocation->arguments[0];
    struct cluster *cluster = cluster_create(settings);
    enum exit_code code = cluster != NULL ? cluster_load(cluster) : EXIT_UNREACHABLE;
    if (code == EXIT_DONE && cluster_find_node(cluster, bytes_of_text(id)) < 0) {
        code = EXIT_ANSWERED_ERROR;
    }
    code = code == EXIT_DONE ? cluster_weigh(cluster, id, weight) : code;
    if (code == EXIT_DONE && settings->json) {
        out_json(json_pack("{s:s, s:i, s:I}", "node", id, "weight", (int)weight, "epoch",
                           (json_int_t)cluster->least.number));
    } else if (code == EXIT_DONE) {
        printf("%sweight %u%s  %s; no slot has moved: `sluicectl rebalance` does that\n",
               color_on(settings, COLOR_GREEN), weight, color_off(settings), id);
    }
    free(cluster);
    return code;
}

static enum exit_code resume_run(const struct invocation *invocation) {
    return weigh(invocation,
                 invocation->options.has_weight ? invocation->options.weight : WEIGHT_DEFAULT);
}

static enum exit_code weight_run(const struct invocation *invocation) {
    uint64_t weight;
    const char *text = invocation->arguments[1];
    if (!text_uint(bytes_of_text(text), &weight) || weight > WEIGHT_MAX) {
        out_failure(&invocation->settings,
                    "W: expected a whole number from 0 (drained) to %d, got \"%s\"", WEIGHT_MAX,
                    text);
        return EXIT_USAGE;
    }
    return weigh(invocation, (uint32_t)weight);
}

static enum exit_code remove_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    const char *id = invocation->arguments[0];
    uint8_t memory[128];
    struct writer writer = writer_of(memory, sizeof memory);
    struct rpc_answer answer = {0};
    struct cluster *cluster = cluster_create(settings);
    enum exit_code code = cluster != NULL ? cluster_load(cluster) : EXIT_UNREACHABLE;
    int32_t node = code == EXIT_DONE ? cluster_find_node(cluster, bytes_of_text(id)) : -1;
    if (code == EXIT_DONE && node < 0) {
        code = EXIT_ANSWERED_ERROR;
    } else if (code == EXIT_DONE && cluster->alive[node]) {
        out_failure(settings, "%s is alive: drain it and stop it first", id);
        code = EXIT_ANSWERED_ERROR;
    } else if (code == EXIT_DONE) {
        request_write_head(&writer, 1, METHOD_NODE_REMOVE);
        write_array(&writer, 1);
        write_text(&writer, id);
        code = cluster_ask(cluster, writer_bytes(&writer), &answer);
    }
    if (code == EXIT_DONE && settings->json) {
        out_json(json_of_value(answer.reply.result));
    } else if (code == EXIT_DONE) {
        printf("%sremoved%s  %s\n", color_on(settings, COLOR_GREEN), color_off(settings), id);
    }
    rpc_answer_fini(&answer);
    free(cluster);
    return code;
}

static const struct argp_option drain_options[] = {REBALANCE_OPTION_ROWS, {0}};
static const struct argp_option resume_options[] = {
    {"weight", OPTION_WEIGHT, "W", 0, "share of the slots that it is due (100)", 0}, {0}};

const struct command weight_commands[] = {
    {"node", "drain", "move every slot off a node", "NODE", 1, 1, drain_options,
     "Gives the node a weight of 0, so that nothing comes back to it, and moves its slots to the "
     "others while the cluster serves. Afterwards it may be stopped.\v"
     "Examples:\n"
     "  sluicectl node drain n3 --dry-run\n"
     "  sluicectl node drain n3 --yes",
     drain_run},
    {"node", "resume", "let a drained node have slots again", "NODE", 1, 1, resume_options,
     "Gives the node a weight again; `sluicectl rebalance` then moves slots to it.\v"
     "Example:\n"
     "  sluicectl node resume n3 && sluicectl rebalance --yes",
     resume_run},
    {"node", "weight", "what share of the slots a node is due", "NODE W", 2, 2, NULL,
     "Sets a node's weight: 100 is an ordinary node, 200 is due twice its slots, 0 none. Moves "
     "nothing by itself.\v"
     "Example:\n"
     "  sluicectl node weight n1 200 && sluicectl rebalance",
     weight_run},
    {"node", "remove", "take a node that is gone out of the map", "NODE", 1, 1, NULL,
     "Forgets a node that is stopped and owns no slot.\v"
     "Example:\n"
     "  sluicectl node remove n3",
     remove_run},
    {0},
};
