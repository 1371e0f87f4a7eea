/* map: who owns which slots, as a picture; or where one key lives. */
#include <inttypes.h>
#include <stdlib.h>

#include "ctl/goal.h"
#include "ctl/job_link.h"
#include "ctl/key_argument.h"
#include "ctl/map_picture.h"
#include "ctl/out.h"
#include "ctl/progress.h"

/* Shards of the legend; the rest is in --json. */
#define LEGEND_ROWS_MAX 64

/* Where one key lives. */
static enum exit_code place_print(const struct invocation *invocation, const struct map *map) {
    const struct settings *settings = &invocation->settings;
    struct key_argument key;
    if (!key_argument_read(invocation, invocation->arguments[0], &key)) {
        return EXIT_USAGE;
    }
    struct slot slot = slot_of_hash(key_hash(key.bytes), map->slot_count);
    struct shard_id owner = map_owner(map, slot);
    const struct map_shard *shard =
        owner.index == SHARD_ID_NONE.index ? NULL : &map->shards[owner.index];
    const char *node = shard ? map->nodes[shard->node].id.text : NULL;
    const char *endpoint = shard ? shard->endpoint.text : NULL;
    if (settings->json) {
        out_json(json_pack("{s:s, s:i, s:s?, s:s?}", "key", key.escaped, "slot", slot.index, "node",
                           node, "endpoint", endpoint));
    } else {
        printf("%s  slot %u  %s  %s\n", key.escaped, slot.index, node ? node : "no owner",
               endpoint ? endpoint : "");
    }
    return EXIT_DONE;
}

/* Marks the slots that the rebalance under way is still to move, or that a drained node has. */
static uint32_t marks_find(struct cluster *cluster, bool marked[SLOTS_MAX]) {
    struct job_link link = {.cluster = cluster};
    struct goal *goal = out_needed(calloc(1, sizeof *goal));
    struct placement_move *moves = out_needed(calloc(SLOTS_MAX, sizeof *moves));
    const struct map *map = &cluster->map;
    uint32_t count = 0, ownerless;
    for (uint32_t i = 0; i < map->slot_count; i++) {
        uint16_t owner = map->owner[i];
        if (owner < map->shard_count && map->nodes[map->shards[owner].node].weight == 0) {
            marked[i] = true;
        }
    }
    if (goal != NULL && moves != NULL && job_get(&link, true) == EXIT_DONE && link.has_job &&
        job_open(&link.seen) && !job_stale(&link.seen, time_now_ms()) &&
        strcmp(link.seen.by, "slots") == 0) {
        uint32_t planned = goal_plan(goal, cluster, moves, &ownerless);
        for (uint32_t i = 0; i < planned; i++) {
            marked[moves[i].slot.index] = true;
        }
    }
    for (uint32_t i = 0; i < map->slot_count; i++) {
        count += marked[i];
    }
    free(goal);
    free(moves);
    return count;
}

static void legend_print(const struct cluster *cluster) {
    const struct map *map = &cluster->map;
    struct table table;
    table_init(&table, 7);
    table_row(&table, (const char *const[]){"", "SHARD", "SLOTS", "SHARE %", "WEIGHT", "ALIVE",
                                            "ENDPOINT"});
    for (uint32_t i = 0; i < map->shard_count && i < LEGEND_ROWS_MAX; i++) {
        struct shard_id id = {.index = (uint16_t)i};
        const struct map_shard *shard = &map->shards[i];
        char letter[2] = {picture_letter(id), '\0'}, name[NAME_BYTES_MAX + 16], slots[16],
             share[16], weight[16];
        uint32_t owned = map_slots_owned(map, id);
        snprintf(name, sizeof name, "%s/%u", map->nodes[shard->node].id.text, shard->number);
        snprintf(slots, sizeof slots, "%u", owned);
        snprintf(share, sizeof share, "%.1f", 100.0 * owned / map->slot_count);
        snprintf(weight, sizeof weight, "%u", map->nodes[shard->node].weight);
        table_row(&table, (const char *const[]){letter, name, slots, share, weight,
                                                cluster->alive[shard->node] ? "yes" : "no",
                                                shard->endpoint.text});
    }
    table_print(&table, cluster->settings);
    if (map->shard_count > LEGEND_ROWS_MAX) {
        printf("and %u shards more (--json shows all)\n", map->shard_count - LEGEND_ROWS_MAX);
    }
}

static void map_print(struct cluster *cluster) {
    const struct settings *settings = cluster->settings;
    const struct map *map = &cluster->map;
    bool marked[SLOTS_MAX] = {false};
    uint32_t cells, cell_slots, due = marks_find(cluster, marked);
    uint32_t nobody = map_slots_owned(map, SHARD_ID_NONE);
    struct picture picture = {.map = map,
                              .marked = marked,
                              .columns = terminal_columns(),
                              .colored = color_on(settings, COLOR_BOLD)[0] != '\0'};
    picture_measure(&picture, &cells, &cell_slots);
    printf("epoch %" PRIu64 ", %u slots, %u a cell\n\n", map->epoch.number, map->slot_count,
           cell_slots);
    picture_print(stdout, &picture);
    putchar('\n');
    legend_print(cluster);
    if (due > 0) {
        printf("small letters: due to move (%u slots)\n", due);
    }
    if (map->shard_count > 26) {
        printf("letters begin again behind Z\n");
    }
    if (nobody > 0) {
        printf("%swithout an owner: %u%s\n", color_on(settings, COLOR_RED), nobody,
               color_off(settings));
    }
}

static enum exit_code map_json(const struct settings *settings) {
    struct rpc_answer answer;
    enum exit_code code = rpc_ask_plain(settings, METHOD_CLUSTER_MAP, &answer);
    if (code == EXIT_DONE) {
        out_json(json_of_value(answer.reply.result));
    }
    rpc_answer_fini(&answer);
    return code;
}

static enum exit_code map_run(const struct invocation *invocation) {
    if (invocation->settings.json && invocation->argument_count == 0) {
        return map_json(&invocation->settings);
    }
    struct cluster *cluster = cluster_create(&invocation->settings);
    enum exit_code code = cluster != NULL ? cluster_load(cluster) : EXIT_UNREACHABLE;
    if (code == EXIT_DONE && invocation->argument_count > 0) {
        code = place_print(invocation, &cluster->map);
    } else if (code == EXIT_DONE) {
        map_print(cluster);
    }
    free(cluster);
    return code;
}

static const struct argp_option map_options[] = {OPTION_HEX_ROW, {0}};

const struct command map_commands[] = {
    {NULL, "map", "who owns which slots, or where a key lives", "[KEY]", 0, 1, map_options,
     "Draws which shard owns which slots, small letters for slots that are due to move; with KEY, "
     "the slot and owner of that key.\v"
     "Examples:\n"
     "  sluicectl map\n"
     "  sluicectl map alice",
     map_run},
    {0},
};
