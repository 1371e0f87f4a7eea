/*
 * A node's control endpoint, from the message on: whatever is asked, by whom, and whatever the
 * store and the shards answer, in whichever order, each request gets one answer that is a reply; a
 * caller of another machine changes nothing; a map that is proposed is a valid one and the next;
 * all memory returns.
 *
 * What the control endpoint stands on (endpoint, membership, shards, handover) is played here:
 * questions wait in a list, and the input says which is answered next, and how.
 */
#include "server/io/control.h"

#include "proto/plan_codec.h"
#include "proto/reply.h"
#include "proto/request.h"
#include "tests/fuzz/fuzz.h"

#define STEPS_MAX 80
#define REQUESTS_MAX (STEPS_MAX + 1)
#define PARAMS_BYTES_MAX 256
#define SHARDS 2

struct shard_loop {
    uint32_t number;
};

enum question_kind { CHANGED, LISTED, ASKED, HANDOVER, SHARD_ADMIN, SHARD_STATUS };

struct question {
    enum question_kind kind;
    uint32_t shard;
    uint64_t token;
    void *ctx;
    membership_changed_fn changed;
    membership_listed_fn listed;
    membership_reply_fn asked;
    handover_done_fn moved;
};

static struct world {
    struct fuzz fuzz;
    struct control *control;
    struct endpoint_handler handler;
    struct shard_loop loops[SHARDS];
    struct cluster_state state;
    struct question questions[REQUESTS_MAX * (SHARDS + 2)];
    uint32_t question_count;
    uint32_t asked; /* requests */
    bool answered[REQUESTS_MAX];
    bool remote[REQUESTS_MAX]; /* and of an operator's method */
    bool is_remote;            /* the one being asked */
} world;

/* --- the endpoint ----------------------------------------------------------------------------- */

int endpoint_open(struct endpoint **out, uv_loop_t *loop, const char *url,
                  const struct endpoint_handler *handler, char *why, size_t why_size) {
    world.handler = *handler;
    *out = (struct endpoint *)&world;
    return 0;
}

const char *endpoint_url(const struct endpoint *endpoint) {
    return "tcp://127.0.0.1:1";
}

void endpoint_reply(struct endpoint *endpoint, const struct endpoint_caller *caller,
                    struct bytes body) {
    struct reply reply;
    FUZZ_CHECK(caller->peer < world.asked && !world.answered[caller->peer]);
    FUZZ_CHECK(reply_read(body, &reply));
    FUZZ_CHECK(!world.remote[caller->peer] || (reply.is_error && reply.code == CODE_FORBIDDEN));
    world.answered[caller->peer] = true;
}

void endpoint_flush(struct endpoint *endpoint) {}

bool endpoint_caller_is_local(const struct endpoint *endpoint,
                              const struct endpoint_caller *caller) {
    return !world.is_remote;
}

void endpoint_close(struct endpoint *endpoint, void (*on_closed)(void *ctx), void *ctx) {
    on_closed(ctx);
}

/* --- who is asked ----------------------------------------------------------------------------- */

static struct question *question_add(enum question_kind kind, void *ctx) {
    FUZZ_CHECK(world.question_count < sizeof world.questions / sizeof world.questions[0]);
    struct question *question = &world.questions[world.question_count++];
    *question = (struct question){.kind = kind, .ctx = ctx};
    return question;
}

struct cluster_state *membership_state(const struct membership *membership) {
    return &world.state;
}

uint64_t membership_age_ms(const struct membership *membership) {
    return 5;
}

bool membership_store_up(const struct membership *membership) {
    return fuzz_u8(&world.fuzz) % 2 == 0;
}

uint64_t membership_beat(struct membership *membership) {
    return 1;
}

void membership_event(struct membership *membership, const char *kind, const char *format, ...) {
    FUZZ_CHECK(!world.is_remote);
}

void membership_replace_map(struct membership *membership, const struct map *next,
                            membership_changed_fn done, void *ctx) {
    struct fault fault;
    FUZZ_CHECK(!world.is_remote && map_check(next, &fault) == CODE_OK);
    FUZZ_CHECK(next->epoch.number == 1 || next->epoch.number == world.state.map.epoch.number + 1);
    question_add(CHANGED, ctx)->changed = done;
}

void membership_replace_plans(struct membership *membership, const struct plan_set *next,
                              membership_changed_fn done, void *ctx) {
    FUZZ_CHECK(!world.is_remote && next->version == world.state.plans.version + 1);
    question_add(CHANGED, ctx)->changed = done;
}

void membership_list(struct membership *membership, membership_listed_fn done, void *ctx) {
    question_add(LISTED, ctx)->listed = done;
}

void membership_events(struct membership *membership, uint32_t count, membership_reply_fn done,
                       void *ctx) {
    FUZZ_CHECK(!world.is_remote && count >= 1 && count <= EVENTS_MAX);
    question_add(ASKED, ctx)->asked = done;
}

void membership_rebalance_get(struct membership *membership, membership_reply_fn done, void *ctx) {
    question_add(ASKED, ctx)->asked = done;
}

void membership_rebalance_put(struct membership *membership, uint64_t follows, struct bytes value,
                              membership_changed_fn done, void *ctx) {
    FUZZ_CHECK(!world.is_remote && value.size >= 1 && value.size <= REBALANCE_BYTES_MAX);
    question_add(CHANGED, ctx)->changed = done;
}

void membership_forget(struct membership *membership, struct bytes id, membership_changed_fn done,
                       void *ctx) {
    FUZZ_CHECK(!world.is_remote && map_find_node(&world.state.map, id) >= 0);
    question_add(CHANGED, ctx)->changed = done;
}

enum code handover_shell_start(struct handover_shell *shell, const struct slot *slots,
                               uint32_t count, struct shard_id target, handover_done_fn done,
                               void *ctx, struct fault *fault) {
    FUZZ_CHECK(!world.is_remote && count >= 1 && count <= HANDOVER_SLOTS_MAX);
    FUZZ_CHECK(target.index < world.state.map.shard_count);
    for (uint32_t i = 0; i < count; i++) {
        FUZZ_CHECK(slots[i].index < world.state.map.slot_count);
    }
    if (fuzz_u8(&world.fuzz) % 4 == 0) {
        return fault_set(fault, CODE_OVERLOADED, "one at a time");
    }
    question_add(HANDOVER, ctx)->moved = done;
    return CODE_OK;
}

const char *shard_loop_url(const struct shard_loop *loop) {
    return "tcp://127.0.0.1:2";
}

bool shard_loop_tell(struct shard_loop *loop, struct shard_message *message) {
    bool is_admin = message->kind == SHARD_MESSAGE_ADMIN;
    FUZZ_CHECK(is_admin || message->kind == SHARD_MESSAGE_STATUS);
    FUZZ_CHECK(!is_admin || !world.is_remote);
    if (fuzz_u8(&world.fuzz) % 8 == 0) {
        return false;
    }
    struct question *question = question_add(is_admin ? SHARD_ADMIN : SHARD_STATUS, NULL);
    question->shard = loop->number;
    question->token = message->token;
    free(message);
    return true;
}

/* --- what they answer ------------------------------------------------------------------------- */

static void answer_changed(const struct question *question) {
    static const enum code codes[] = {CODE_OK, CODE_CONFLICT, CODE_UNAVAILABLE};
    enum code code = codes[fuzz_below(&world.fuzz, 3)];
    question->changed(question->ctx, code, world.state.map.epoch.number + code);
}

static void answer_listed(const struct question *question) {
    static struct member members[3];
    struct member_list list = {.members = members, .count = fuzz_below(&world.fuzz, 5)};
    memset(members, 0, sizeof members);
    for (uint32_t i = 0; i < 3; i++) {
        char id[] = {'n', (char)('1' + i), '\0'};
        members[i].id = name_of(bytes_of_text(id));
        members[i].alive = fuzz_u8(&world.fuzz) % 4 > 0;
        members[i].lease_ms = (int8_t)fuzz_u8(&world.fuzz);
        members[i].weight = WEIGHT_DEFAULT;
        members[i].shard_count =
            members[i].alive ? fuzz_below(&world.fuzz, NODE_SHARDS_MAX + 1) : 0;
        endpoint_name_set(&members[i].control, bytes_of_text("tcp://n:1"));
        for (uint32_t j = 0; j < members[i].shard_count; j++) {
            endpoint_name_set(&members[i].shards[j], bytes_of_text("tcp://n:2"));
        }
    }
    question->listed(question->ctx, list.count > 3 ? NULL : &list);
}

/* Made of at most 16 parts: texts, integers, lists, nothing. */
static void reply_make(redisReply *reply, uint32_t depth, uint32_t *left) {
    static const int types[] = {REDIS_REPLY_STRING,  REDIS_REPLY_ARRAY, REDIS_REPLY_STRING,
                                REDIS_REPLY_INTEGER, REDIS_REPLY_NIL,   REDIS_REPLY_ERROR};
    *reply = (redisReply){.type = types[depth == 0 ? 1 : fuzz_below(&world.fuzz, 6)]};
    if (reply->type == REDIS_REPLY_ARRAY && depth < 3) {
        uint32_t count = fuzz_below(&world.fuzz, 7);
        count = count < *left ? count : *left;
        *left -= count;
        reply->elements = count;
        reply->element = calloc(count + 1, sizeof reply->element[0]);
        FUZZ_CHECK(reply->element != NULL);
        for (uint32_t i = 0; i < count; i++) {
            reply->element[i] = calloc(1, sizeof *reply);
            FUZZ_CHECK(reply->element[i] != NULL);
            reply_make(reply->element[i], depth + 1, left);
        }
    } else if (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_ERROR) {
        static const char *const names[] = {"kind", "node", "text", "epoch"};
        uint8_t choice = fuzz_u8(&world.fuzz);
        struct bytes text =
            choice < 4 ? bytes_of_text(names[choice]) : fuzz_bytes(&world.fuzz, choice % 16);
        reply->str = calloc(1, (size_t)text.size + 1);
        FUZZ_CHECK(reply->str != NULL);
        memcpy(reply->str, text.data, text.size);
        reply->len = text.size;
    } else {
        reply->type = reply->type == REDIS_REPLY_ARRAY ? REDIS_REPLY_NIL : reply->type;
        reply->integer = (int64_t)fuzz_u8(&world.fuzz) - 128;
    }
}

static void reply_end(redisReply *reply) {
    for (size_t i = 0; i < reply->elements; i++) {
        reply_end(reply->element[i]);
        free(reply->element[i]);
    }
    free(reply->element);
    free(reply->str);
}

static void answer_asked(const struct question *question) {
    redisReply reply;
    uint32_t left = 16;
    if (fuzz_u8(&world.fuzz) % 8 == 0) {
        question->asked(question->ctx, NULL);
        return;
    }
    reply_make(&reply, 0, &left);
    question->asked(question->ctx, &reply);
    reply_end(&reply);
}

static void answer_shard(const struct question *question) {
    struct slot_load loads[3] = {{1, 2, 3}, {4, 5, 6}, {7, UINT32_MAX, UINT64_MAX}};
    struct node_message message = {
        .kind = question->kind == SHARD_ADMIN ? NODE_MESSAGE_ADMIN : NODE_MESSAGE_STATUS,
        .shard = question->shard,
        .token = question->token,
        .wait_ms = fuzz_below(&world.fuzz, 3),
        .reason = (enum reason)fuzz_below(&world.fuzz, REASON_DEADLINE + 1),
        .loads = loads,
        .load_count = fuzz_below(&world.fuzz, 4),
    };
    message.info.limit_count = fuzz_below(&world.fuzz, LIMITS_PER_PLAN_MAX + 1);
    message.info.plan.size = fuzz_below(&world.fuzz, 3);
    memset(message.info.plan.text, 'p', 3);
    control_on_shard(world.control, &message);
}

static void answer(uint32_t at) {
    struct question question = world.questions[at];
    struct fault fault = {.code = CODE_OK};
    world.questions[at] = world.questions[--world.question_count];
    world.is_remote = false;
    switch (question.kind) {
    case CHANGED:
        answer_changed(&question);
        break;
    case LISTED:
        answer_listed(&question);
        break;
    case ASKED:
        answer_asked(&question);
        break;
    case HANDOVER:
        if (fuzz_u8(&world.fuzz) % 2 == 0) {
            fault_set(&fault, CODE_UNAVAILABLE, "the target does not answer");
        }
        question.moved(question.ctx, &fault, 1000);
        break;
    default:
        answer_shard(&question);
    }
}

/* --- who asks --------------------------------------------------------------------------------- */

static void value_write(struct writer *writer, uint32_t depth) {
    static const char *const texts[] = {"n1", "n2", "n4", "p", "slots", "base", "plans", "key"};
    uint8_t choice = fuzz_u8(&world.fuzz);
    switch (choice % 8) {
    case 0:
        write_nil(writer);
        break;
    case 1:
    case 2:
        write_uint(writer, fuzz_u8(&world.fuzz) % 32);
        break;
    case 3:
        write_uint(writer, fuzz_u64(&world.fuzz));
        break;
    case 4:
    case 5:
        write_text(writer, texts[choice / 8 % 8]);
        break;
    case 6:
        write_bin(writer, fuzz_bytes(&world.fuzz, choice / 8));
        break;
    default:
        if (depth > 3) {
            write_bool(writer, true);
            break;
        }
        uint32_t count = choice / 8 % 5;
        bool is_map = choice > 200;
        (is_map ? write_map : write_array)(writer, count);
        for (uint32_t i = 0; i < (is_map ? 2 * count : count); i++) {
            value_write(writer, depth + 1);
        }
    }
}

static void names_and_numbers_write(struct writer *writer, enum method method) {
    static const char *const ids[] = {"n1", "n2", "n3", "n4"};
    const char *id = ids[fuzz_below(&world.fuzz, 4)];
    uint32_t number = fuzz_below(&world.fuzz, 20);
    switch (method) {
    case METHOD_SLOTS_MOVE:
        write_array(writer, 3);
        write_array(writer, 2);
        write_uint(writer, number);
        write_uint(writer, number + 1);
        write_text(writer, id);
        write_uint(writer, fuzz_below(&world.fuzz, 3));
        break;
    case METHOD_NODE_WEIGHT:
        write_array(writer, 2);
        write_text(writer, id);
        write_uint(writer, number);
        break;
    case METHOD_NODE_REMOVE:
        write_array(writer, 1);
        write_text(writer, id);
        break;
    case METHOD_KEY_ASSIGN:
    case METHOD_KEY_RESET:
    case METHOD_KEY_SHOW:
        write_array(writer, method == METHOD_KEY_ASSIGN ? 2 : 1);
        write_bin(writer, bytes_of(&number, 1));
        if (method == METHOD_KEY_ASSIGN) {
            write_text(writer, "p");
        }
        break;
    case METHOD_REBALANCE_PUT:
        write_array(writer, 2);
        write_uint(writer, number);
        value_write(writer, 1);
        break;
    case METHOD_PLANS_APPLY:
        write_array(writer, 1);
        plan_set_write(writer, &world.state.plans);
        break;
    default:
        write_array(writer, 0);
    }
}

static void ask(void) {
    uint8_t memory[4096];
    struct writer writer = writer_of(memory, sizeof memory);
    enum method method = (enum method)fuzz_below(&world.fuzz, METHOD_COUNT);
    uint8_t choice = fuzz_u8(&world.fuzz);
    uint32_t number = world.asked++;
    struct endpoint_caller caller = {.peer = number};
    request_write_head(&writer, number, method);
    if (choice % 4 > 0) {
        names_and_numbers_write(&writer, method);
    } else {
        value_write(&writer, 0);
    }
    struct bytes body = writer_bytes(&writer);
    if (choice >= 240 && body.size > 0) {
        memory[fuzz_u8(&world.fuzz) % body.size] = fuzz_u8(&world.fuzz);
    }
    world.is_remote = choice % 16 == 3;
    world.remote[number] =
        world.is_remote && choice < 240 && method_kind(method) == METHOD_KIND_CONTROL;
    if (choice == 239) {
        world.remote[number] = false;
        world.handler.on_oversize(world.handler.ctx, NULL, &caller, body, UINT64_C(1) << 30);
    } else {
        world.handler.on_request(world.handler.ctx, NULL, &caller, body);
        world.handler.on_turn(world.handler.ctx, NULL);
    }
    world.is_remote = false;
}

/* --- a life ----------------------------------------------------------------------------------- */

static void map_make(struct map *map) {
    uint8_t nodes = fuzz_below(&world.fuzz, 4);
    map_init(map);
    map->epoch.number = nodes; /* none: no map yet */
    map->slot_count = 16;
    map->cluster = (struct cluster_id){.text = "0123456789abcdef"};
    for (uint32_t i = 0; i < nodes; i++) {
        char id[] = {'n', (char)('1' + i), '\0'};
        map->nodes[i].id = name_of(bytes_of_text(id));
        map->nodes[i].weight = fuzz_below(&world.fuzz, 101);
        endpoint_name_set(&map->nodes[i].control, bytes_of_text("tcp://n:1"));
        for (uint16_t j = 0; j < SHARDS; j++) {
            struct map_shard *shard = &map->shards[map->shard_count++];
            shard->node = (uint16_t)i;
            shard->number = j;
            endpoint_name_set(&shard->endpoint, bytes_of_text("tcp://n:2"));
        }
    }
    map->node_count = nodes;
    uint8_t owners = fuzz_u8(&world.fuzz);
    if (nodes > 0) {
        map_spread(map);
    }
    for (uint32_t i = 0; i < map->slot_count && (nodes == 0 || owners > 100); i++) {
        map->owner[i] = nodes == 0 || owners > 200 ? UINT16_MAX : 0; /* of nobody; all of one */
    }
}

static void plans_make(struct plan_set *plans) {
    struct plan plan = {.name = name_of(bytes_of_text("p")), .generation_count = 1};
    plan.generations[0].terms = (struct terms){.limit_count = 1, .limits = {{1, 1000000000, 5}}};
    plan_set_init(plans);
    plan_set_add(plans, &plan);
    plans->version = 3;
}

/* The node adopts what was changed: the next epoch, and who waits for it is answered. */
static void adopt(uint64_t epoch) {
    world.state.map.epoch.number = world.state.map.epoch.number == 0 ? 0 : epoch;
    control_on_beat(world.control);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct boot boot = {.incarnation = "0123456789abcdef"};
    struct node_settings settings = {.node_id = "n1", .control = "tcp://127.0.0.1:0"};
    struct log log = {0};
    char why[128];
    memset(&world, 0, sizeof world);
    world.fuzz = fuzz_of(data, size);
    struct shard_loop *loops[SHARDS] = {&world.loops[0], &world.loops[1]};
    world.loops[1].number = 1;
    map_make(&world.state.map);
    plans_make(&world.state.plans);
    struct control_options options = {&settings, &boot, &log, loops, SHARDS};
    world.control = control_open(NULL, &options, why, sizeof why);
    FUZZ_CHECK(world.control != NULL);
    control_membership_set(world.control, NULL, NULL);
    for (uint32_t i = 0; i < STEPS_MAX && !fuzz_done(&world.fuzz); i++) {
        uint8_t choice = fuzz_u8(&world.fuzz);
        if (choice < 120 || world.question_count == 0) {
            ask();
        } else if (choice < 240) {
            answer(choice % world.question_count);
        } else {
            adopt(world.state.map.epoch.number + 1);
        }
    }
    while (world.question_count > 0) {
        answer(0);
    }
    adopt(UINT64_MAX);
    world.state.map.epoch.number = UINT64_MAX;
    control_on_beat(world.control);
    for (uint32_t i = 0; i < world.asked; i++) {
        FUZZ_CHECK(world.answered[i]);
    }
    control_close(world.control);
    return 0;
}
