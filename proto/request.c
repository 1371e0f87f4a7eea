#include "proto/request.h"

#include <inttypes.h>

#include "proto/plan_codec.h"
#include "proto/slot.h"

static const struct {
    const char *text;
    uint32_t size; /* of the text, without its zero */
    enum method_kind kind;
} methods[] = {
#define X(name, text, kind) [METHOD_##name] = {text, sizeof(text) - 1, METHOD_KIND_##kind},
    METHODS(X)
#undef X
};

const char *method_text(enum method method) {
    return methods[method].text;
}

enum method_kind method_kind(enum method method) {
    return methods[method].kind;
}

static bool method_of_text(struct bytes text, enum method *method) {
    for (int i = 0; i < METHOD_COUNT; i++) {
        if (bytes_equal(text, bytes_of(methods[i].text, methods[i].size))) {
            *method = (enum method)i;
            return true;
        }
    }
    return false;
}

enum code request_read(struct bytes message, struct request *request, struct fault *fault) {
    struct reader reader = reader_of(message);
    memset(request, 0, sizeof *request);
    uint32_t count;
    uint64_t type, msgid;
    struct bytes name;
    if (!read_array(&reader, &count)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "expected the array [0, msgid, method, params], got %s",
                         reader_describe(&reader));
    }
    if (count != 4) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "expected [0, msgid, method, params], got an array of %u", count);
    }
    if (!read_uint(&reader, &type) || type != 0) {
        return fault_set(fault, CODE_BAD_REQUEST, "type: expected 0 (a request), got %s",
                         reader_describe(&reader));
    }
    if (!read_uint(&reader, &msgid) || msgid > UINT32_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "msgid: expected an integer of 32 bits, got %s",
                         reader_describe(&reader));
    }
    request->has_msgid = true;
    request->msgid = (uint32_t)msgid;
    if (!read_bytes(&reader, &name)) {
        return fault_set(fault, CODE_BAD_REQUEST, "method: expected a string, got %s",
                         reader_describe(&reader));
    }
    if (!method_of_text(name, &request->method)) {
        return fault_set(fault, CODE_UNKNOWN_METHOD, "no method is called \"%.*s\"",
                         (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
    }
    request->params = bytes_of(reader.at, (size_t)(reader.end - reader.at));
    return CODE_OK;
}

/* --- the parts of a take; `at` is the place of the take in messages: "params" or "params[7]" ----
 */

static enum code key_read(struct reader *reader, const char *at, struct bytes *key,
                          struct fault *fault) {
    if (!read_bytes(reader, key)) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s[0]: key must be a string or binary, got %s",
                         at, reader_describe(reader));
    }
    if (key->size == 0) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s[0]: key is empty", at);
    }
    if (key->size > KEY_BYTES_MAX) {
        return fault_set(fault, CODE_TOO_LARGE, "%s[0]: key has %u bytes, at most %d are allowed",
                         at, key->size, KEY_BYTES_MAX);
    }
    return CODE_OK;
}

static enum code cost_read(struct reader *reader, const char *at, uint64_t *cost,
                           struct fault *fault) {
    if (!read_uint(reader, cost)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "%s[1]: cost must be an integer of 0 or more, got %s", at,
                         reader_describe(reader));
    }
    if (*cost > TOKENS_MAX) {
        return fault_set(fault, CODE_TOO_LARGE, "%s[1]: cost %" PRIu64 " is above %" PRIu64, at,
                         *cost, TOKENS_MAX);
    }
    return CODE_OK;
}

static enum code plan_choice_read(struct reader *reader, const char *at, struct plan_choice *plan,
                                  struct fault *fault) {
    if (read_nil(reader)) {
        plan->kind = PLAN_CHOICE_DEFAULT;
        return CODE_OK;
    }
    if (read_bytes(reader, &plan->name)) {
        plan->kind = PLAN_CHOICE_NAMED;
        if (!name_valid(plan->name)) {
            return fault_set(fault, CODE_UNKNOWN_PLAN,
                             "%s[2]: no plan can have that name (1 to %d of a-z A-Z 0-9 _ - .)", at,
                             NAME_BYTES_MAX);
        }
        return CODE_OK;
    }
    uint32_t count;
    struct reader probe = *reader;
    if (!read_map(&probe, &count)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "%s[2]: plan must be a name, nil or an inline limit, got %s", at,
                         reader_describe(reader));
    }
    char what[40];
    size_t at_size = strlen(at);
    memcpy(what, at, at_size);
    memcpy(what + at_size, "[2]", sizeof "[2]");
    plan->kind = PLAN_CHOICE_INLINE;
    return limit_read(reader, &plan->limit, what, fault);
}

static enum code options_read(struct reader *reader, struct take *take, struct fault *fault) {
    uint32_t count;
    if (!read_map(reader, &count)) {
        return fault_set(fault, CODE_BAD_REQUEST, "params[3]: options must be a map, got %s",
                         reader_describe(reader));
    }
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        if (!read_bytes(reader, &name)) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "params[3]: an option's name must be a string, got %s",
                             reader_describe(reader));
        }
        if (!bytes_equal(name, bytes_of_text("deadline_ms"))) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "params[3]: no option is called \"%.*s\" (there is: deadline_ms)",
                             (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
        }
        uint64_t deadline;
        if (!read_uint(reader, &deadline) || deadline < 1 || deadline > DEADLINE_MS_MAX) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "params[3].deadline_ms: expected an integer from 1 to %d, got %s",
                             DEADLINE_MS_MAX, reader_describe(reader));
        }
        take->deadline_ms = (uint32_t)deadline;
    }
    return CODE_OK;
}

/* The first three elements of a take, of which `count` are there. */
static enum code take_read(struct reader *reader, uint32_t count, const char *at, struct take *take,
                           struct fault *fault) {
    take->cost_tokens = 1;
    take->plan.kind = PLAN_CHOICE_DEFAULT;
    take->deadline_ms = DEADLINE_MS_DEFAULT;
    if (key_read(reader, at, &take->key, fault) != CODE_OK ||
        (count > 1 && cost_read(reader, at, &take->cost_tokens, fault) != CODE_OK) ||
        (count > 2 && plan_choice_read(reader, at, &take->plan, fault) != CODE_OK)) {
        return fault->code;
    }
    return CODE_OK;
}

static enum code done_check(const struct reader *reader, struct fault *fault) {
    if (!reader_done(reader)) {
        return fault_set(fault, CODE_BAD_REQUEST, "bytes are left over behind the request");
    }
    return CODE_OK;
}

/* Reads `[`: an array of `least` to `most` elements. */
static enum code params_open(struct reader *reader, uint32_t least, uint32_t most,
                             const char *expected, uint32_t *count, struct fault *fault) {
    *count = 0;
    if (!read_array(reader, count)) {
        return fault_set(fault, CODE_BAD_REQUEST, "params: expected %s, got %s", expected,
                         reader_describe(reader));
    }
    if (*count < least || *count > most) {
        return fault_set(fault, CODE_BAD_REQUEST, "params: expected %s, got an array of %u",
                         expected, *count);
    }
    return CODE_OK;
}

enum code request_read_take(struct bytes params, struct take *take, struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t count;
    if (params_open(&reader, 1, 4, "[key, cost, plan, options]", &count, fault) != CODE_OK ||
        take_read(&reader, count, "params", take, fault) != CODE_OK ||
        (count > 3 && options_read(&reader, take, fault) != CODE_OK)) {
        return fault->code;
    }
    return done_check(&reader, fault);
}

static enum code take_many_item_read(struct reader *reader, uint32_t index, struct take *take,
                                     struct fault *fault) {
    uint32_t count;
    if (!read_array(reader, &count)) {
        return fault_set(fault, CODE_BAD_REQUEST, "params[%u]: expected [key, cost, plan], got %s",
                         index, reader_describe(reader));
    }
    if (count < 1 || count > 3) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "params[%u]: expected [key, cost, plan], got an array of %u", index,
                         count);
    }
    struct reader start = *reader;
    if (take_read(reader, count, "params", take, fault) == CODE_OK) {
        return CODE_OK;
    }
    /* Only now is the item's place worth formatting: read it again to name it. */
    char at[24] = "params[";
    char digits[12];
    uint32_t size = 0;
    do {
        digits[size++] = (char)('0' + index % 10);
        index /= 10;
    } while (index > 0);
    uint32_t end = 7;
    while (size > 0) {
        at[end++] = digits[--size];
    }
    at[end] = ']';
    return take_read(&start, count, at, take, fault);
}

enum code request_read_take_many(struct bytes params, struct take *takes, uint32_t *count,
                                 struct fault *fault) {
    struct reader reader = reader_of(params);
    if (!read_array(&reader, count)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "params: expected [[key, cost, plan], ...], got %s",
                         reader_describe(&reader));
    }
    if (*count > TAKES_PER_REQUEST_MAX) {
        return fault_set(fault, CODE_TOO_LARGE, "params: %u takes, at most %d go in one request",
                         *count, TAKES_PER_REQUEST_MAX);
    }
    for (uint32_t i = 0; i < *count; i++) {
        if (take_many_item_read(&reader, i, &takes[i], fault) != CODE_OK) {
            return fault->code;
        }
    }
    return done_check(&reader, fault);
}

enum code request_read_none(struct bytes params, struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t count;
    if (params_open(&reader, 0, 0, "[]", &count, fault) != CODE_OK) {
        return fault->code;
    }
    return done_check(&reader, fault);
}

/* An options map with one unsigned integer in it, for the operator's verbs. */
static enum code option_uint_read(struct reader *reader, const char *at, const char *option,
                                  uint64_t *value, struct fault *fault) {
    uint32_t count;
    if (!read_map(reader, &count)) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s: expected a map, got %s", at,
                         reader_describe(reader));
    }
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        if (!read_bytes(reader, &name) || !bytes_equal(name, bytes_of_text(option))) {
            return fault_set(fault, CODE_BAD_REQUEST, "%s: the only option here is \"%s\"", at,
                             option);
        }
        if (!read_uint(reader, value)) {
            return fault_set(fault, CODE_BAD_REQUEST, "%s.%s: expected an integer, got %s", at,
                             option, reader_describe(reader));
        }
    }
    return CODE_OK;
}

enum code request_read_init(struct bytes params, uint32_t *slot_count, struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t count;
    uint64_t slots = SLOTS_DEFAULT;
    if (params_open(&reader, 0, 1, "[{slots: n}]", &count, fault) != CODE_OK ||
        (count > 0 && option_uint_read(&reader, "params[0]", "slots", &slots, fault) != CODE_OK)) {
        return fault->code;
    }
    if (!slot_count_valid(slots)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "params[0].slots: expected a power of two from 1 to %d, got %" PRIu64,
                         SLOTS_MAX, slots);
    }
    *slot_count = (uint32_t)slots;
    return done_check(&reader, fault);
}

enum code request_read_key(struct bytes params, struct bytes *key, struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t count;
    if (params_open(&reader, 1, 1, "[key]", &count, fault) != CODE_OK ||
        key_read(&reader, "params", key, fault) != CODE_OK) {
        return fault->code;
    }
    return done_check(&reader, fault);
}

enum code request_read_assign(struct bytes params, struct bytes *key, struct bytes *plan,
                              struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t count;
    if (params_open(&reader, 2, 2, "[key, plan]", &count, fault) != CODE_OK ||
        key_read(&reader, "params", key, fault) != CODE_OK) {
        return fault->code;
    }
    *plan = (struct bytes){0};
    if (!read_nil(&reader)) {
        if (!read_bytes(&reader, plan)) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "params[1]: plan must be a name or nil, got %s",
                             reader_describe(&reader));
        }
        if (!name_valid(*plan)) {
            return fault_set(fault, CODE_UNKNOWN_PLAN, "params[1]: no plan can have that name");
        }
    }
    return done_check(&reader, fault);
}

enum code request_read_apply(struct bytes params, struct plan_set *set, uint64_t *base,
                             struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t count;
    *base = UINT64_MAX;
    if (params_open(&reader, 1, 2, "[plan set, {base: version}]", &count, fault) != CODE_OK ||
        plan_set_read(&reader, set, fault) != CODE_OK ||
        (count > 1 && option_uint_read(&reader, "params[1]", "base", base, fault) != CODE_OK)) {
        return fault->code;
    }
    return done_check(&reader, fault);
}

void request_write_head(struct writer *writer, uint32_t msgid, enum method method) {
    write_array(writer, 4);
    write_uint(writer, 0);
    write_uint(writer, msgid);
    write_str(writer, bytes_of(methods[method].text, methods[method].size));
}

/* Keys that are no UTF-8 must not travel as msgpack strings: other languages would refuse them. A
 * binary holds both, and is as short. */
void request_write_take(struct writer *writer, const struct take *take, uint32_t deadline_ms) {
    bool has_plan = take->plan.kind != PLAN_CHOICE_DEFAULT;
    write_array(writer, deadline_ms > 0 ? 4 : has_plan ? 3 : 2);
    write_bin(writer, take->key);
    write_uint(writer, take->cost_tokens);
    if (take->plan.kind == PLAN_CHOICE_NAMED) {
        write_str(writer, take->plan.name);
    } else if (take->plan.kind == PLAN_CHOICE_INLINE) {
        limit_write(writer, &take->plan.limit);
    } else if (deadline_ms > 0) {
        write_nil(writer);
    }
    if (deadline_ms > 0) {
        write_map(writer, 1);
        write_text_uint(writer, "deadline_ms", deadline_ms);
    }
}

void request_write_single(struct writer *writer, uint32_t msgid, enum verb verb,
                          const struct take *take, uint32_t deadline_ms) {
    static const enum method of_verb[] = {
        [VERB_TAKE] = METHOD_TAKE, [VERB_PEEK] = METHOD_PEEK, [VERB_REFUND] = METHOD_REFUND};
    request_write_head(writer, msgid, of_verb[verb]);
    request_write_take(writer, take, deadline_ms);
}
