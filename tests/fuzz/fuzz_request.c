/* Requests: the head, then the params by each reader, the method's own and all others. What is
 * taken in is written anew and must be read as the same. */
#include "proto/map.h"
#include "proto/plan_codec.h"
#include "proto/request.h"
#include "tests/fuzz/fuzz.h"

static uint8_t memory[MESSAGE_BYTES_MAX];
static struct fault fault;

static void refused(enum code code) {
    FUZZ_CHECK(code != CODE_OK && fault.code == code);
    FUZZ_CHECK(fault.text[0] != '\0' && memchr(fault.text, '\0', sizeof fault.text) != NULL);
}

/* True if the params were taken in: they are to be written into the writer and read again. */
static bool taken(enum code code, struct writer *writer) {
    if (code != CODE_OK) {
        refused(code);
        return false;
    }
    *writer = writer_of(memory, sizeof memory);
    return true;
}

static struct bytes written(const struct writer *writer) {
    FUZZ_CHECK(!writer->overflow);
    return writer_bytes(writer);
}

/* --- takes ----------------------------------------------------------------------------------- */

static void take_check(const struct take *take) {
    FUZZ_CHECK(take->key.size >= 1 && take->key.size <= KEY_BYTES_MAX);
    FUZZ_CHECK(take->cost_tokens <= TOKENS_MAX);
    FUZZ_CHECK(take->deadline_ms >= 1 && take->deadline_ms <= DEADLINE_MS_MAX);
    if (take->plan.kind == PLAN_CHOICE_NAMED) {
        FUZZ_CHECK(name_valid(take->plan.name));
    } else if (take->plan.kind == PLAN_CHOICE_INLINE) {
        FUZZ_CHECK(limit_check(&take->plan.limit, "limit", &fault) == CODE_OK);
    }
}

static void takes_compare(const struct take *a, const struct take *b) {
    FUZZ_CHECK(bytes_equal(a->key, b->key) && a->cost_tokens == b->cost_tokens);
    FUZZ_CHECK(a->plan.kind == b->plan.kind && a->deadline_ms == b->deadline_ms);
    if (a->plan.kind == PLAN_CHOICE_NAMED) {
        FUZZ_CHECK(bytes_equal(a->plan.name, b->plan.name));
    } else if (a->plan.kind == PLAN_CHOICE_INLINE) {
        FUZZ_CHECK(limit_equal(&a->plan.limit, &b->plan.limit));
    }
}

static void take_try(struct bytes params, uint32_t msgid) {
    struct take take, again;
    struct writer writer;
    struct request request;
    if (!taken(request_read_take(params, &take, &fault), &writer)) {
        return;
    }
    take_check(&take);
    enum verb verb = (enum verb)(msgid % 3);
    request_write_single(&writer, msgid, verb, &take, take.deadline_ms);
    FUZZ_CHECK(request_read(written(&writer), &request, &fault) == CODE_OK);
    FUZZ_CHECK(request.has_msgid && request.msgid == msgid);
    FUZZ_CHECK(request.method == (verb == VERB_TAKE   ? METHOD_TAKE
                                  : verb == VERB_PEEK ? METHOD_PEEK
                                                      : METHOD_REFUND));
    FUZZ_CHECK(request_read_take(request.params, &again, &fault) == CODE_OK);
    takes_compare(&take, &again);
}

static void take_many_try(struct bytes params) {
    static struct take takes[TAKES_PER_REQUEST_MAX], again[TAKES_PER_REQUEST_MAX];
    struct writer writer;
    uint32_t count, count_again;
    if (!taken(request_read_take_many(params, takes, &count, &fault), &writer)) {
        return;
    }
    write_array(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        take_check(&takes[i]);
        request_write_take(&writer, &takes[i], 0);
    }
    FUZZ_CHECK(request_read_take_many(written(&writer), again, &count_again, &fault) == CODE_OK);
    FUZZ_CHECK(count == count_again);
    for (uint32_t i = 0; i < count; i++) {
        takes_compare(&takes[i], &again[i]);
    }
}

/* --- the operator's verbs --------------------------------------------------------------------- */

static void init_try(struct bytes params) {
    struct writer writer;
    uint32_t slots, again;
    if (taken(request_read_init(params, &slots, &fault), &writer)) {
        FUZZ_CHECK(slot_count_valid(slots));
        write_array(&writer, 1);
        write_map(&writer, 1);
        write_text_uint(&writer, "slots", slots);
        FUZZ_CHECK(request_read_init(written(&writer), &again, &fault) == CODE_OK);
        FUZZ_CHECK(slots == again);
    }
}

static void key_try(struct bytes params) {
    struct writer writer;
    struct bytes key, plan, key_again, plan_again;
    if (taken(request_read_key(params, &key, &fault), &writer)) {
        FUZZ_CHECK(key.size >= 1 && key.size <= KEY_BYTES_MAX);
        write_array(&writer, 1);
        write_bin(&writer, key);
        FUZZ_CHECK(request_read_key(written(&writer), &key_again, &fault) == CODE_OK);
        FUZZ_CHECK(bytes_equal(key, key_again));
    }
    if (taken(request_read_assign(params, &key, &plan, &fault), &writer)) {
        FUZZ_CHECK(key.size >= 1 && key.size <= KEY_BYTES_MAX);
        FUZZ_CHECK(plan.size == 0 || name_valid(plan));
        write_array(&writer, 2);
        write_bin(&writer, key);
        if (plan.size > 0) {
            write_str(&writer, plan);
        } else {
            write_nil(&writer);
        }
        FUZZ_CHECK(request_read_assign(written(&writer), &key_again, &plan_again, &fault) ==
                   CODE_OK);
        FUZZ_CHECK(bytes_equal(key, key_again) && bytes_equal(plan, plan_again));
    }
}

static void apply_try(struct bytes params) {
    static struct plan_set set, again;
    struct writer writer;
    uint64_t base, base_again;
    if (taken(request_read_apply(params, &set, &base, &fault), &writer)) {
        write_array(&writer, 2);
        plan_set_write(&writer, &set);
        write_map(&writer, 1);
        write_text_uint(&writer, "base", base);
        FUZZ_CHECK(request_read_apply(written(&writer), &again, &base_again, &fault) == CODE_OK);
        FUZZ_CHECK(base == base_again && set.plan_count == again.plan_count);
        FUZZ_CHECK(set.version == again.version && set.default_at == again.default_at);
    }
}

static void number_try(struct bytes params) {
    struct writer writer;
    uint64_t number, again;
    if (taken(request_read_number(params, "a number", 100, 1, 1000, &number, &fault), &writer)) {
        FUZZ_CHECK(number >= 1 && number <= 1000);
        write_array(&writer, 1);
        write_uint(&writer, number);
        FUZZ_CHECK(request_read_number(written(&writer), "a number", 7, 1, 1000, &again, &fault) ==
                   CODE_OK);
        FUZZ_CHECK(number == again);
    }
}

static void move_try(struct bytes params) {
    static struct slot slots[SLOTS_MAX], slots_again[SLOTS_MAX];
    struct writer writer;
    uint32_t count, number, count_again, number_again;
    struct bytes node, again;
    if (!taken(request_read_move(params, slots, &count, &node, &number, &fault), &writer)) {
        return;
    }
    FUZZ_CHECK(count >= 1 && count <= SLOTS_MAX && number < SHARDS_MAX && name_valid(node));
    write_array(&writer, 3);
    write_array(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        FUZZ_CHECK(slots[i].index < SLOTS_MAX);
        write_uint(&writer, slots[i].index);
    }
    write_str(&writer, node);
    write_uint(&writer, number);
    FUZZ_CHECK(request_read_move(written(&writer), slots_again, &count_again, &again, &number_again,
                                 &fault) == CODE_OK);
    FUZZ_CHECK(count == count_again && number == number_again && bytes_equal(node, again));
    FUZZ_CHECK(memcmp(slots, slots_again, count * sizeof slots[0]) == 0);
}

static void node_try(struct bytes params) {
    struct writer writer;
    struct bytes id, again;
    uint32_t weight, weight_again;
    if (taken(request_read_weight(params, &id, &weight, &fault), &writer)) {
        FUZZ_CHECK(name_valid(id) && weight <= WEIGHT_MAX);
        write_array(&writer, 2);
        write_str(&writer, id);
        write_uint(&writer, weight);
        FUZZ_CHECK(request_read_weight(written(&writer), &again, &weight_again, &fault) == CODE_OK);
        FUZZ_CHECK(bytes_equal(id, again) && weight == weight_again);
    }
    if (taken(request_read_node(params, &id, &fault), &writer)) {
        FUZZ_CHECK(name_valid(id));
        write_array(&writer, 1);
        write_str(&writer, id);
        FUZZ_CHECK(request_read_node(written(&writer), &again, &fault) == CODE_OK);
        FUZZ_CHECK(bytes_equal(id, again));
    }
}

static void rebalance_try(struct bytes params) {
    struct writer writer;
    uint64_t follows, follows_again;
    struct bytes value, again;
    if (taken(request_read_rebalance(params, &follows, &value, &fault), &writer)) {
        FUZZ_CHECK(value.size >= 1 && value.size <= REBALANCE_BYTES_MAX);
        write_array(&writer, 2);
        write_uint(&writer, follows);
        write_encoded(&writer, value);
        FUZZ_CHECK(request_read_rebalance(written(&writer), &follows_again, &again, &fault) ==
                   CODE_OK);
        FUZZ_CHECK(follows == follows_again && bytes_equal(value, again));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct request request;
    enum code code = request_read(bytes_of(data, size), &request, &fault);
    if (code != CODE_OK) {
        refused(code);
        return 0;
    }
    FUZZ_CHECK(request.has_msgid && strlen(method_text(request.method)) > 0);
    struct bytes params = request.params;
    FUZZ_CHECK(params.data + params.size == data + size);
    if (request_read_none(params, &fault) != CODE_OK) {
        refused(fault.code);
    }
    take_try(params, request.msgid);
    take_many_try(params);
    init_try(params);
    key_try(params);
    number_try(params);
    move_try(params);
    node_try(params);
    rebalance_try(params);
    if (request.method == METHOD_PLANS_APPLY) { /* alone: it is large, and slow to clear */
        apply_try(params);
    }
    return 0;
}
