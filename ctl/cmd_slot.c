/* slot show, slot move. */
#include <inttypes.h>
#include <stdlib.h>

#include "ctl/out.h"
#include "ctl/rebalance.h"
#include "ctl/rebalance_options.h"

static bool range_read(const struct invocation *invocation, struct slot_range *range) {
    if (slot_range_parse(invocation->arguments[0], range)) {
        return true;
    }
    out_failure(&invocation->settings,
                "expected a slot from 0 to %d, or a range of slots as in 0-63, got \"%s\"",
                SLOTS_MAX - 1, invocation->arguments[0]);
    return false;
}

static enum exit_code slot_print(struct cluster *cluster, uint32_t slot) {
    const struct settings *settings = cluster->settings;
    const struct map *map = &cluster->map;
    if (slot >= map->slot_count) {
        out_failure(settings, "slot %u: this cluster has slots 0 to %u", slot, map->slot_count - 1);
        return EXIT_ANSWERED_ERROR;
    }
    cluster_load_slots(cluster);
    uint16_t owner = map->owner[slot];
    const struct map_shard *shard = owner < map->shard_count ? &map->shards[owner] : NULL;
    const char *node = shard ? map->nodes[shard->node].id.text : NULL;
    bool alive = shard != NULL && cluster->alive[shard->node];
    if (settings->json) {
        out_json(json_pack(
            "{s:i, s:s?, s:i, s:s?, s:b, s:I, s:I, s:I}", "slot", (int)slot, "node", node, "shard",
            shard ? (int)shard->number : -1, "endpoint", shard ? shard->endpoint.text : NULL,
            "alive", (int)alive, "buckets", (json_int_t)cluster->buckets[slot], "takes",
            (json_int_t)cluster->takes[slot], "epoch", (json_int_t)map->epoch.number));
        return EXIT_DONE;
    }
    printf("slot      %u\n", slot);
    if (shard == NULL) {
        printf("owner     nobody\n");
    } else {
        printf("owner     %s/%u at %s%s\n", node, shard->number, shard->endpoint.text,
               alive ? "" : ", not alive");
        printf("buckets   %" PRIu64 "\n", cluster->buckets[slot]);
        printf("takes     %" PRIu64 " since this shard has it\n", cluster->takes[slot]);
    }
    printf("map epoch %" PRIu64 "\n", map->epoch.number);
    return EXIT_DONE;
}

static enum exit_code show_run(const struct invocation *invocation) {
    struct slot_range range;
    if (!range_read(invocation, &range)) {
        return EXIT_USAGE;
    }
    if (range.first != range.last) {
        out_failure(&invocation->settings, "expected one slot, got \"%s\"",
                    invocation->arguments[0]);
        return EXIT_USAGE;
    }
    struct cluster *cluster = cluster_create(&invocation->settings);
    enum exit_code code = cluster != NULL ? cluster_load(cluster) : EXIT_UNREACHABLE;
    code = code == EXIT_DONE ? slot_print(cluster, range.first) : code;
    free(cluster);
    return code;
}

static enum exit_code move_run(const struct invocation *invocation) {
    struct goal *goal = out_needed(calloc(1, sizeof *goal));
    struct cluster *cluster = cluster_create(&invocation->settings);
    enum exit_code code = EXIT_UNREACHABLE;
    if (goal != NULL && cluster != NULL) {
        goal->kind = GOAL_MOVE;
        if (!range_read(invocation, &goal->range)) {
            code = EXIT_USAGE;
        } else if (!shard_name_parse(invocation->arguments[1], &goal->target)) {
            out_failure(&invocation->settings,
                        "expected a node or one of its shards, as in n2 or n2/1, got \"%s\"",
                        invocation->arguments[1]);
            code = EXIT_USAGE;
        } else if ((code = cluster_load(cluster)) == EXIT_DONE && !goal_check(goal, cluster)) {
            code = EXIT_ANSWERED_ERROR;
        }
        code = code == EXIT_DONE ? rebalance_run(invocation, cluster, goal, false) : code;
    }
    free(cluster);
    free(goal);
    return code;
}

static const struct argp_option move_options[] = {REBALANCE_OPTION_ROWS, {0}};

const struct command slot_commands[] = {
    {"slot", "show", "a slot's owner, buckets and takes", "SLOT", 1, 1, NULL,
     "Shows who owns a slot and how busy it is.\v"
     "Example:\n"
     "  sluicectl slot show 17",
     show_run},
    {"slot", "move", "move slots to a node or a shard", "SLOT[-SLOT] NODE[/SHARD]", 2, 2,
     move_options,
     "Moves slots while the cluster serves, without asking. To a node: its shards take them in "
     "turn. A later rebalance may move them elsewhere.\v"
     "Examples:\n"
     "  sluicectl slot move 17 n2\n"
     "  sluicectl slot move 0-63 n2/1 --dry-run",
     move_run},
    {0},
};
