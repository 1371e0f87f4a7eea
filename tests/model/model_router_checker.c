#include "tests/model/model_router_checker.h"

/* --- chance --------------------------------------------------------------------------------- */

uint64_t random_next(struct world *world) {
    uint64_t z = world->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t below(struct world *world, uint32_t bound) {
    return (uint32_t)(random_next(world) % bound);
}

bool chance(struct world *world, uint32_t percent) {
    return below(world, 100) < percent;
}

/* True for the one occasion at which the planted fault is to show. */
static bool plant_now(struct world *world, enum plant plant) {
    if (world->plant != plant || world->planted || !chance(world, 5)) {
        return false;
    }
    world->planted = true;
    return true;
}

/* --- answers -------------------------------------------------------------------------------- */

/* What an item may be answered when no shard decided it in time. */
static void late_result_check(struct world *world, const struct asked *asked,
                              const struct asked_item *item, const struct take_result *take) {
    bool degraded = (take->flags & TAKE_FLAG_DEGRADED) != 0;
    switch (take->code) {
    case CODE_OK: {
        int32_t plan = item->plan.size == 0 ? world->plans->default_at
                                            : plan_set_find(world->plans, item->plan);
        CHECK(world, degraded && asked->verb == VERB_TAKE, "an invented answer");
        CHECK(world, world->view_since_ns <= world->now_ns, "a policy from nowhere");
        CHECK(world, plan >= 0, "an answer under a plan that is none");
        CHECK(world, take->allowed == (world->plans->plans[plan].on_unavailable == POLICY_ALLOW),
              "not what the policy says");
        break;
    }
    case CODE_UNKNOWN_PLAN:
        CHECK(world, bytes_equal(item->plan, bytes_of_text("gone")), "a plan that is known");
        break;
    case CODE_OVERLOADED:
        CHECK(world, item->overloaded_ns != 0, "no shard was overloaded last");
        break;
    default:
        CHECK(world, take->code == CODE_UNAVAILABLE, "code %d", (int)take->code);
        CHECK(world, world->view_since_ns >= item->deadline_ns || asked->verb != VERB_TAKE,
              "no policy was asked");
        break;
    }
}

static void result_check(struct world *world, const struct asked *asked, uint32_t position,
                         const struct router_result *result) {
    const struct asked_item *item = &asked->items[position];
    bool late = world->now_ns >= item->deadline_ns;
    bool degraded = (result->take.flags & TAKE_FLAG_DEGRADED) != 0;
    CHECK(world, (result->take.code == CODE_OK) == (result->text == NULL), "error without a text");
    if (item->decided) {
        CHECK(world, result->take.code == item->decision, "another answer than the shard's");
        CHECK(world, !degraded, "degraded though decided");
        CHECK(world,
              item->decision != CODE_OK || result->take.remaining_tokens == item->decision_number,
              "the result of another take");
        return;
    }
    CHECK(world, late, "not decided by a shard, and not late");
    late_result_check(world, asked, item, &result->take);
}

static void answer_check(struct world *world, const struct router_answer *answer,
                         const struct router_result *results) {
    uint64_t request;
    memcpy(&request, answer->caller->bytes, sizeof request);
    CHECK(world, request < world->asked_count, "an answer to no request");
    struct asked *asked = &world->asked[request];
    CHECK(world, answer->msgid == (uint32_t)request * 3, "another msgid");
    CHECK(world, !asked->answered, "request %" PRIu64 " was answered twice", request);
    CHECK(world, asked->many == answer->many, "another form");
    asked->answered = true;
    world->pending_items -= asked->count;
    bool full = world->pending_items + asked->count > ITEMS_MAX;
    CHECK(world, (answer->refusal != REASON_NONE) == full, "refused %d, full %d",
          (int)answer->refusal, (int)full);
    if (answer->refusal != REASON_NONE) {
        return;
    }
    CHECK(world, answer->count == asked->count, "%u results of %u", answer->count, asked->count);
    for (uint32_t i = 0; i < answer->count; i++) {
        result_check(world, asked, i, &results[i]);
    }
}

void late_check(struct world *world) {
    while (world->unanswered_first < world->asked_count &&
           world->asked[world->unanswered_first].answered) {
        world->unanswered_first++;
    }
    for (uint32_t i = world->unanswered_first; i < world->asked_count; i++) {
        CHECK(world,
              world->asked[i].answered || world->asked[i].last_deadline_ns + 1 * MS > world->now_ns,
              "request %u has had no answer", i);
    }
}

/* --- what the router wants done ------------------------------------------------------------- */

void flight_end(struct world *world, struct flight *flight) {
    for (uint32_t i = 0; i < flight->count; i++) {
        world->asked[flight->items[i].request].items[flight->items[i].position].outstanding = false;
    }
    world->stale[world->stale_count++ % 32] =
        (struct item_ref){.request = flight->link, .position = flight->id};
    flight->used = false;
}

void link_end(struct world *world, uint32_t link) {
    world->places[link].up = false;
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++) {
        struct flight *flight = &world->flights[i];
        if (flight->used && flight->link == link) {
            flight_end(world, flight);
            /* Nobody refused them this time: what was sent elsewhere meanwhile, to another owner,
             * did not overtake them. */
            for (uint32_t j = 0; j < flight->count; j++) {
                struct item_ref ref = flight->items[j];
                world->asked[ref.request].items[ref.position].refused_epoch = 0;
            }
        }
    }
}

static void order_perform(struct world *world, const struct router_link_order *order) {
    CHECK(world, order->link < LINKS_MAX, "link %u", order->link);
    struct place *place = &world->places[order->link];
    CHECK(world, place->open == (order->kind != ROUTER_LINK_OPEN), "order %d", (int)order->kind);
    link_end(world, order->link);
    place->open = order->kind != ROUTER_LINK_CLOSE;
    if (order->kind == ROUTER_LINK_OPEN) {
        place->url = *order->endpoint;
    }
}

static struct item_ref ref_of(const struct take *take) {
    return (struct item_ref){.request = (uint32_t)(take->cost_tokens / REQUEST_ITEMS_MAX),
                             .position = (uint32_t)(take->cost_tokens % REQUEST_ITEMS_MAX)};
}

/* No item of the same key that came before, and was refused since, may still be waiting. Takes and
 * the other verbs go on their own. */
static void order_check(struct world *world, struct item_ref ref) {
    const struct asked *asked = &world->asked[ref.request];
    for (uint32_t i = world->unanswered_first; i <= ref.request; i++) {
        const struct asked *other = &world->asked[i];
        uint32_t count = i == ref.request ? ref.position : other->count;
        bool alike = (other->verb == VERB_TAKE) == (asked->verb == VERB_TAKE);
        for (uint32_t j = 0; !other->answered && alike && j < count; j++) {
            const struct asked_item *item = &other->items[j];
            bool given_up = world->now_ns >= item->deadline_ns;
            CHECK(world,
                  item->key != asked->items[ref.position].key || item->refused_epoch == 0 ||
                      item->decided || item->outstanding || given_up,
                  "%u/%u sent before %u/%u", ref.request, ref.position, i, j);
        }
    }
}

static void item_check(struct world *world, const struct flight *flight, const struct take *take,
                       struct item_ref *ref) {
    char key[KEY_BYTES_MAX + 1];
    memcpy(key, take->key.data, take->key.size);
    key[take->key.size] = '\0';
    *ref = ref_of(take);
    CHECK(world, ref->request < world->asked_count, "request %u", ref->request);
    struct asked *asked = &world->asked[ref->request];
    struct asked_item *item = &asked->items[ref->position];
    CHECK(world, !asked->answered && !item->decided && !item->outstanding, "%s sent again", key);
    CHECK(world, world->now_ns < item->deadline_ns + 1 * MS, "%s sent too late", key);
    CHECK(world,
          item->overloaded_ns == 0 || item->overloaded_epoch != world->map->epoch.number ||
              world->now_ns >= item->overloaded_ns + RETRY_OVERLOADED_NS,
          "%s sent too soon", key);
    struct shard_id owner =
        map_owner(world->map, slot_of_hash(key_hash(take->key), world->map->slot_count));
    CHECK(world,
          owner.index < SHARDS && strcmp(world->map->shards[owner.index].endpoint.text,
                                         world->places[flight->link].url.text) == 0,
          "%s sent to %s", key, world->places[flight->link].url.text);
    order_check(world, *ref);
    item->outstanding = true;
    item->overloaded_ns = 0;
}

/* The fault: two takes of a key that waited, in each other's place. */
static void plant_overtaking(struct world *world, const struct take **takes, uint32_t count) {
    for (uint32_t i = 0; i + 1 < count; i++) {
        struct item_ref ref = ref_of(takes[i]);
        const struct asked_item *item = &world->asked[ref.request].items[ref.position];
        for (uint32_t j = i + 1; j < count; j++) {
            if (item->refused_epoch != 0 && bytes_equal(takes[i]->key, takes[j]->key) &&
                plant_now(world, PLANT_OVERTAKE)) {
                const struct take *first = takes[i];
                takes[i] = takes[j];
                takes[j] = first;
                return;
            }
        }
    }
}

static void batch_perform(struct world *world, const struct router_batch *batch) {
    uint32_t outstanding = 0;
    struct flight *flight = NULL;
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++) {
        struct flight *at = &world->flights[i];
        CHECK(world, !at->used || at->id != batch->id, "id %u is in use", batch->id);
        outstanding += at->used && at->link == batch->link;
        flight = at->used ? flight : at;
    }
    CHECK(world, outstanding < BATCHES_PER_LINK && flight != NULL, "too many batches");
    CHECK(world, batch->many || batch->count == 1, "a single request of %u", batch->count);
    *flight = (struct flight){.used = true,
                              .many = batch->many,
                              .link = batch->link,
                              .id = batch->id,
                              .count = batch->count};
    if (plant_now(world, PLANT_MISROUTE)) {
        flight->link = (flight->link + 1) % LINKS_MAX;
    }
    CHECK(world, world->places[flight->link].up, "link %u is down", flight->link);
    const struct take *takes[ITEMS_MAX];
    CHECK(world, batch->count >= 1 && batch->count <= ITEMS_MAX, "a batch of %u", batch->count);
    memcpy(takes, batch->takes, batch->count * sizeof takes[0]);
    plant_overtaking(world, takes, batch->count);
    for (uint32_t i = 0; i < batch->count; i++) {
        item_check(world, flight, takes[i], &flight->items[i]);
    }
}

void world_tell(struct world *world, struct router_event *event) {
    static struct router_result results[ITEMS_MAX];
    struct router_update update;
    event->now_ns = world->now_ns;
    router_step(world->router, event, &update);
    world->wake_at_ns = update.wake_at_ns;
    for (uint32_t i = 0; i < update.link_order_count; i++) {
        order_perform(world, &update.link_orders[i]);
    }
    for (uint32_t i = 0; i < update.batch_count; i++) {
        batch_perform(world, &update.batches[i]);
    }
    for (uint32_t i = 0; i < update.answer_count; i++) {
        const struct router_answer *answer = &update.answers[i];
        if (plant_now(world, PLANT_LOSE_ITEM)) {
            continue;
        }
        if (answer->count > 0) {
            memcpy(results, answer->results, answer->count * sizeof results[0]);
        }
        if (answer->count > 1 && plant_now(world, PLANT_SWAP_RESULTS)) {
            results[0] = answer->results[1];
            results[1] = answer->results[0];
        }
        answer_check(world, answer, results);
        if (plant_now(world, PLANT_ANSWER_TWICE)) {
            answer_check(world, answer, results);
        }
    }
}
