/*
 * The router's core against random clients, shards, links and maps, with a checker that knows of
 * every request what may be answered and when.
 *
 *     model_router [--seed N] [--runs N] [--steps N] [--plant FAULT]
 *
 * A seed replays exactly. A planted fault changes what the checker sees of the router, and must be
 * found: lose-item, answer-twice, swap-results, misroute, overtake.
 */

#include "tests/model/model_router_checker.h"

static const char *const plan_names[] = {"free", "open", "gone"};

/* --- what may happen ------------------------------------------------------------------------ */

static void client_asks(struct world *world) {
    struct take takes[REQUEST_ITEMS_MAX];
    char keys[REQUEST_ITEMS_MAX][16];
    uint64_t request = world->asked_count;
    if (request == REQUESTS_MAX) {
        return;
    }
    world->asked_count++;
    struct asked *asked = &world->asked[request];
    asked->many = chance(world, 40);
    asked->verb = asked->many || chance(world, 60) ? VERB_TAKE
                  : chance(world, 50)              ? VERB_PEEK
                                                   : VERB_REFUND;
    asked->count = asked->many ? below(world, REQUEST_ITEMS_MAX + 1) : 1;
    for (uint32_t i = 0; i < asked->count; i++) {
        uint32_t plan = below(world, 5);
        uint32_t deadline_ms = 1 + below(world, chance(world, 2) ? DEADLINE_MS_MAX : 200);
        /* Few keys, so that takes of one meet; the cost tells them apart. */
        asked->items[i].key = below(world, KEYS);
        snprintf(keys[i], sizeof keys[i], "key-%u", asked->items[i].key);
        takes[i] = (struct take){.key = bytes_of_text(keys[i]),
                                 .deadline_ms = deadline_ms,
                                 .cost_tokens = request * REQUEST_ITEMS_MAX + i};
        if (plan < 3) {
            takes[i].plan.kind = PLAN_CHOICE_NAMED;
            takes[i].plan.name = asked->items[i].plan = bytes_of_text(plan_names[plan]);
        } else if (plan == 3) {
            takes[i].plan.kind = PLAN_CHOICE_INLINE;
        }
        asked->items[i].deadline_ns = world->now_ns + deadline_ms * MS;
        if (asked->items[i].deadline_ns > asked->last_deadline_ns) {
            asked->last_deadline_ns = asked->items[i].deadline_ns;
        }
    }
    world->pending_items += asked->count;
    struct router_caller caller = {0};
    memcpy(caller.bytes, &request, sizeof request);
    struct router_event event = {.kind = ROUTER_EVENT_REQUEST};
    event.request.caller = &caller;
    event.request.msgid = (uint32_t)request * 3;
    event.request.many = asked->many;
    event.request.verb = asked->verb;
    event.request.takes = takes;
    event.request.count = asked->count;
    world_tell(world, &event);
    memset(keys, 'x', sizeof keys); /* nothing of a request is borrowed */
}

/* A shard's word on one item, and what the checker makes of it. */
static struct router_verdict verdict_make(struct world *world, struct flight *flight,
                                          struct item_ref ref) {
    static const enum code codes[] = {CODE_MOVED, CODE_UNAVAILABLE, CODE_OVERLOADED,
                                      CODE_UNKNOWN_PLAN};
    struct asked *asked = &world->asked[ref.request];
    struct asked_item *item = &asked->items[ref.position];
    struct router_verdict verdict = {.take.remaining_tokens = ++world->decisions};
    if (chance(world, 25)) {
        verdict.take.code = codes[below(world, 4)];
        verdict.text = bytes_of_text("no");
        verdict.moved.epoch.number = world->map->epoch.number + below(world, 3) - 1;
    }
    if (asked->answered || item->decided) {
        return verdict; /* too late for this item */
    }
    if (verdict.take.code == CODE_OK || verdict.take.code == CODE_UNKNOWN_PLAN) {
        item->decided = true;
        item->decision = verdict.take.code;
        item->decision_number = verdict.take.remaining_tokens;
        return verdict;
    }
    item->refused_epoch = world->map->epoch.number;
    if (verdict.take.code == CODE_OVERLOADED) {
        item->overloaded_ns = world->now_ns;
        item->overloaded_epoch = world->map->epoch.number;
    }
    return verdict;
}

static void shard_answers(struct world *world) {
    struct router_verdict verdicts[ITEMS_MAX];
    struct router_event event = {.kind = ROUTER_EVENT_REPLY};
    struct flight *flight = &world->flights[below(world, FLIGHTS_MAX)];
    event.reply.verdicts = verdicts;
    if (!flight->used || chance(world, 3)) {
        /* An answer that comes twice, or after its link was lost. */
        struct item_ref stale = world->stale[below(world, 32)];
        verdicts[0] = (struct router_verdict){.take.remaining_tokens = 77};
        event.reply.link = stale.request;
        event.reply.batch_id = stale.position;
        event.reply.count = 1;
        if (world->stale_count >= 32) {
            world_tell(world, &event);
        }
        return;
    }
    event.reply.link = flight->link;
    event.reply.batch_id = flight->id;
    event.reply.count = flight->count;
    if (chance(world, 5)) {
        event.reply.outcome = chance(world, 50) ? ROUTER_OUTCOME_UNREADABLE : ROUTER_OUTCOME_UNSENT;
    } else if (chance(world, 3)) {
        event.reply.count += chance(world, 50) ? 1 : UINT32_MAX; /* one more, one less */
    } else {
        for (uint32_t i = 0; i < flight->count; i++) {
            struct asked *asked = &world->asked[flight->items[i].request];
            struct asked_item *item = &asked->items[flight->items[i].position];
            /* Past its deadline the router has forgotten the item, though its job goes on. */
            bool forgotten = !item->outstanding;
            verdicts[i] = forgotten ? (struct router_verdict){0}
                                    : verdict_make(world, flight, flight->items[i]);
        }
    }
    flight_end(world, flight);
    world_tell(world, &event);
}

/* Items that the router has given up leave their flights: it has done so at every deadline up to
 * the TURN that came. */
static void flights_expire(struct world *world) {
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++) {
        struct flight *flight = &world->flights[i];
        for (uint32_t j = 0; flight->used && j < flight->count; j++) {
            struct item_ref ref = flight->items[j];
            struct asked_item *item = &world->asked[ref.request].items[ref.position];
            uint64_t fires_ms = (item->deadline_ns + MS - 1) / MS;
            if (world->now_ns / MS >= fires_ms) {
                item->outstanding = false;
            }
        }
    }
}

static void time_passes(struct world *world, uint64_t ns) {
    struct router_event event = {.kind = ROUTER_EVENT_TURN};
    if (world->wake_at_ns < world->now_ns + ns) { /* a loop would not sleep over it */
        ns = world->wake_at_ns > world->now_ns ? world->wake_at_ns - world->now_ns : 0;
    }
    world->now_ns += ns;
    world_tell(world, &event);
    flights_expire(world);
    late_check(world);
}

static void link_changes(struct world *world, uint32_t link, bool up) {
    struct router_event event = {.kind = ROUTER_EVENT_LINK};
    struct place *place = &world->places[link];
    if (!place->open || place->up == up) {
        return;
    }
    if (!up) {
        link_end(world, link);
    }
    place->up = up;
    event.link.link = link;
    event.link.up = up;
    world_tell(world, &event);
}

static void map_fill(struct world *world, struct map *map, uint64_t epoch) {
    uint32_t first = below(world, 4);
    map_init(map);
    map->epoch.number = epoch;
    map->slot_count = SLOTS;
    map->node_count = 1;
    map->shard_count = SHARDS;
    for (uint32_t i = 0; i < SHARDS; i++) {
        char url[40];
        snprintf(url, sizeof url, "tcp://shard-%u", first + i); /* shards come and go */
        endpoint_name_set(&map->shards[i].endpoint, bytes_of_text(url));
        map->shards[i].number = (uint16_t)i;
    }
    uint32_t owners = 1 + below(world, SHARDS);
    for (uint32_t i = 0; i < SLOTS; i++) {
        map->owner[i] = chance(world, 5) ? UINT16_MAX : (uint16_t)below(world, owners);
    }
}

static void map_changes(struct world *world) {
    uint64_t epoch = world->map->epoch.number + 1;
    bool older = epoch > 2 && chance(world, 30);
    map_fill(world, world->spare, older ? epoch - 1 - below(world, 2) : epoch);
    struct router_event event = {.kind = ROUTER_EVENT_VIEW};
    event.view.map = world->spare;
    event.view.plans = world->plans;
    if (!older) { /* the checker goes by it from here on, as the router must */
        world->spare = world->map;
        world->map = (struct map *)event.view.map;
        world->view_since_ns =
            world->view_since_ns == UINT64_MAX ? world->now_ns : world->view_since_ns;
    }
    world_tell(world, &event);
    CHECK(world, router_map(world->router) == world->map, "an older map was taken");
}

/* --- a run ---------------------------------------------------------------------------------- */

static void world_create(struct world *world, uint64_t seed, enum plant plant) {
    struct router_options options = {
        .items_max = ITEMS_MAX, .links_max = LINKS_MAX, .batches_per_link_max = BATCHES_PER_LINK};
    size_t size = (router_size(&options) + 63) & ~(size_t)63;
    *world = (struct world){.seed = seed,
                            .random = seed,
                            .plant = plant,
                            .now_ns = 5000 * MS,
                            .view_since_ns = UINT64_MAX};
    world->memory = aligned_alloc(64, size);
    memset(world->memory, 0, size);
    world->router = router_init(world->memory, &options);
    world->map = calloc(1, sizeof *world->map);
    world->spare = calloc(1, sizeof *world->spare);
    world->plans = calloc(1, sizeof *world->plans);
    world->asked = calloc(REQUESTS_MAX, sizeof *world->asked);
    plan_set_init(world->plans);
    world->plans->version = 1;
    for (uint32_t i = 0; i < 2; i++) {
        struct plan plan = {.name = name_of(bytes_of_text(plan_names[i])), .generation_count = 1};
        plan.on_unavailable = i == 0 ? POLICY_DENY : POLICY_ALLOW;
        plan_set_add(world->plans, &plan);
    }
    world->plans->default_at = (int32_t)below(world, 2);
}

static void world_destroy(struct world *world) {
    free(world->memory);
    free(world->map);
    free(world->spare);
    free(world->plans);
    free(world->asked);
}

static void world_step(struct world *world) {
    uint32_t dice = below(world, 1000);
    if (dice < 300) {
        client_asks(world);
    } else if (dice < 600) {
        shard_answers(world);
    } else if (dice < 940) {
        time_passes(world, chance(world, 50) ? 0 : random_next(world) % (20 * MS));
    } else if (dice < 990) {
        link_changes(world, below(world, LINKS_MAX), chance(world, 70));
    } else {
        map_changes(world);
    }
}

/* Everything is answered in the end, and nothing is left in a pool. */
static void world_end(struct world *world) {
    while (world->unanswered_first < world->asked_count) {
        uint64_t before_ns = world->now_ns;
        time_passes(world, 1000 * MS);
        CHECK(world, world->now_ns > before_ns || world->wake_at_ns > world->now_ns, "no progress");
    }
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        link_changes(world, i, false);
    }
    time_passes(world, 0);
    const struct router_counters *counters = router_counters(world->router);
    CHECK(world, counters->pending_items == 0, "%" PRIu64 " items left", counters->pending_items);
    CHECK(world, counters->pending_requests == 0, "jobs are left");
    CHECK(world, counters->pending_batches == 0, "batches are left");
    CHECK(world, counters->requests == world->asked_count, "requests were not counted");
}

static enum plant plant_of(const char *text) {
    static const char *const names[] = {"none",         "lose-item", "answer-twice",
                                        "swap-results", "misroute",  "overtake"};
    for (int i = 0; i < 6; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (enum plant)i;
        }
    }
    fprintf(stderr, "no fault is called %s\n", text);
    exit(2);
}

int main(int argc, char **argv) {
    uint64_t seed = 1, runs = 300, steps = 4000;
    enum plant plant = PLANT_NONE;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0) {
            seed = strtoull(argv[i + 1], NULL, 10);
            runs = 1;
        } else if (strcmp(argv[i], "--runs") == 0) {
            runs = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--steps") == 0) {
            steps = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--plant") == 0) {
            plant = plant_of(argv[i + 1]);
        }
    }
    struct router_counters sum = {0};
    for (uint64_t run = 0; run < runs; run++) {
        struct world world;
        world_create(&world, seed + run, plant);
        for (uint64_t i = 0; i < steps; i++) {
            world_step(&world);
        }
        world_end(&world);
        const struct router_counters *counters = router_counters(world.router);
#define X(name) sum.name += counters->name;
        ROUTER_COUNTERS(X)
#undef X
        world_destroy(&world);
    }
    printf("%" PRIu64 " runs from seed %" PRIu64 ":", runs, seed);
#define X(name) printf(" %s %" PRIu64, #name, sum.name);
    ROUTER_COUNTERS(X)
#undef X
    printf("\n");
    return 0;
}
