#include "proto/plan_codec.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS UINT64_C(1000000)

/* Bytes of a place such as "plans[255].limits[3].period_ms". */
#define PLACE_BYTES_MAX 64

/* --- writing ------------------------------------------------------------------------------- */

void limit_write(struct writer *writer, const struct limit *limit) {
    write_map(writer, 3);
    write_text_uint(writer, "rate", limit->rate_tokens);
    write_text_uint(writer, "period_ms", limit->period_ns / NS_PER_MS);
    write_text_uint(writer, "burst", limit->burst_tokens);
}

void limit_write_array(struct writer *writer, const struct limit *limit) {
    write_array(writer, 3);
    write_uint(writer, limit->rate_tokens);
    write_uint(writer, limit->period_ns / NS_PER_MS);
    write_uint(writer, limit->burst_tokens);
}

/* Those from `first` on, newest first. */
static void generations_write(struct writer *writer, const struct plan *plan, uint32_t first) {
    write_array(writer, plan->generation_count - first);
    for (uint32_t i = first; i < plan->generation_count; i++) {
        const struct plan_generation *old = &plan->generations[i];
        write_array(writer, 2);
        write_uint(writer, old->generation);
        write_array(writer, old->terms.limit_count);
        for (uint32_t j = 0; j < old->terms.limit_count; j++) {
            limit_write_array(writer, &old->terms.limits[j]);
        }
    }
}

static void plan_write(struct writer *writer, const struct plan *plan) {
    const struct plan_generation *current = &plan->generations[0];
    write_map(writer, 6);
    write_text_str(writer, "name", name_bytes(&plan->name));
    write_text_text(writer, "on_unavailable", policy_text(plan->on_unavailable));
    write_text_text(writer, "durability", durability_text(plan->durability));
    write_text(writer, "limits");
    write_array(writer, current->terms.limit_count);
    for (uint32_t i = 0; i < current->terms.limit_count; i++) {
        limit_write(writer, &current->terms.limits[i]);
    }
    write_text_uint(writer, "generation", current->generation);
    write_text(writer, "history");
    generations_write(writer, plan, 1);
}

static void default_write(struct writer *writer, const struct plan_set *set) {
    write_text(writer, "default");
    if (set->default_at < 0) {
        write_nil(writer);
    } else {
        write_str(writer, name_bytes(&set->plans[set->default_at].name));
    }
}

void plan_set_write(struct writer *writer, const struct plan_set *set) {
    write_map(writer, 3);
    write_text_uint(writer, "version", set->version);
    default_write(writer, set);
    write_text(writer, "plans");
    write_array(writer, set->plan_count);
    for (uint32_t i = 0; i < set->plan_count; i++) {
        plan_write(writer, &set->plans[i]);
    }
}

bool policies_need_limits(const struct plan_set *set) {
    bool needed = false;
    for (uint32_t i = 0; i < set->plan_count; i++) {
        needed = needed || set->plans[i].on_unavailable == POLICY_REDIS;
    }
    return needed;
}

void policies_write(struct writer *writer, const struct plan_set *set) {
    bool limits = policies_need_limits(set);
    write_map(writer, 3);
    write_text_uint(writer, "version", set->version);
    default_write(writer, set);
    write_text(writer, "plans");
    write_array(writer, set->plan_count);
    for (uint32_t i = 0; i < set->plan_count; i++) {
        const struct plan *plan = &set->plans[i];
        bool with_limits = limits && plan->generations[0].terms.limit_count > 0;
        write_array(writer, with_limits ? 3 : 2);
        write_str(writer, name_bytes(&plan->name));
        write_text(writer, policy_text(plan->on_unavailable));
        if (with_limits) {
            generations_write(writer, plan, 0);
        }
    }
}

/* --- reading ------------------------------------------------------------------------------- */

static enum code expected(struct fault *fault, const char *at, const char *what,
                          const struct reader *reader) {
    return fault_set(fault, CODE_BAD_REQUEST, "%s: expected %s, got %s", at, what,
                     reader_describe(reader));
}

static enum code unknown_member(struct fault *fault, const char *at, struct bytes name,
                                const char *known) {
    return fault_set(fault, CODE_BAD_REQUEST, "%s: no member is called \"%.*s\" (there are: %s)",
                     at, (int)(name.size < 40 ? name.size : 40), (const char *)name.data, known);
}

static bool name_is(struct bytes name, const char *text) {
    return bytes_equal(name, bytes_of_text(text));
}

static enum code period_set(struct limit *limit, uint64_t period_ms, const char *what,
                            struct fault *fault) {
    if (period_ms > PERIOD_NS_MAX / NS_PER_MS) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s.period_ms: %" PRIu64 " is above %" PRIu64,
                         what, period_ms, PERIOD_NS_MAX / NS_PER_MS);
    }
    limit->period_ns = period_ms * NS_PER_MS;
    return CODE_OK;
}

/* Members of a limit that were read. */
#define MEMBER_RATE 1u
#define MEMBER_BURST 2u
#define MEMBER_PERIOD 4u

static enum code limit_member_read(struct reader *reader, struct bytes name, struct limit *limit,
                                   unsigned *seen, const char *what, struct fault *fault) {
    uint64_t value;
    bool is_rate = name_is(name, "rate"), is_burst = name_is(name, "burst");
    if (!is_rate && !is_burst && !name_is(name, "period_ms")) {
        return unknown_member(fault, what, name, "rate, period_ms, burst");
    }
    unsigned member = is_rate ? MEMBER_RATE : is_burst ? MEMBER_BURST : MEMBER_PERIOD;
    if (*seen & member) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s.%.*s: stands twice", what, (int)name.size,
                         (const char *)name.data);
    }
    *seen |= member;
    if (!read_uint(reader, &value)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "%s.%.*s: expected an integer of 1 or more, got %s", what, (int)name.size,
                         (const char *)name.data, reader_describe(reader));
    }
    if (is_rate) {
        limit->rate_tokens = value;
    } else if (is_burst) {
        limit->burst_tokens = value;
    } else {
        return period_set(limit, value, what, fault);
    }
    return CODE_OK;
}

enum code limit_read(struct reader *reader, struct limit *limit, const char *what,
                     struct fault *fault) {
    uint32_t members;
    unsigned seen = 0;
    memset(limit, 0, sizeof *limit);
    limit->period_ns = UINT64_C(1000) * NS_PER_MS;
    if (!read_map(reader, &members)) {
        return expected(fault, what, "{rate, period_ms, burst}", reader);
    }
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name;
        if (!read_bytes(reader, &name)) {
            return expected(fault, what, "a member's name", reader);
        }
        if (limit_member_read(reader, name, limit, &seen, what, fault) != CODE_OK) {
            return fault->code;
        }
    }
    if (!(seen & MEMBER_BURST)) {
        limit->burst_tokens = limit->rate_tokens;
    }
    return limit_check(limit, what, fault);
}

enum code limit_read_array(struct reader *reader, struct limit *limit, const char *what,
                           struct fault *fault) {
    uint32_t count;
    uint64_t period_ms;
    memset(limit, 0, sizeof *limit);
    if (!read_array(reader, &count) || count != 3 || !read_uint(reader, &limit->rate_tokens) ||
        !read_uint(reader, &period_ms) || !read_uint(reader, &limit->burst_tokens)) {
        return expected(fault, what, "[rate, period_ms, burst]", reader);
    }
    if (period_set(limit, period_ms, what, fault) != CODE_OK) {
        return fault->code;
    }
    return limit_check(limit, what, fault);
}

typedef enum code (*limit_reader_fn)(struct reader *, struct limit *, const char *, struct fault *);

static enum code terms_read(struct reader *reader, struct terms *terms, const char *at,
                            limit_reader_fn read_one, struct fault *fault) {
    if (!read_array(reader, &terms->limit_count)) {
        return expected(fault, at, "an array of limits", reader);
    }
    if (terms->limit_count < 1 || terms->limit_count > LIMITS_PER_PLAN_MAX) {
        uint32_t count = terms->limit_count;
        terms->limit_count = 0;
        return fault_set(fault, CODE_BAD_REQUEST, "%s: a plan has 1 to %d limits, got %u", at,
                         LIMITS_PER_PLAN_MAX, count);
    }
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        char what[PLACE_BYTES_MAX];
        snprintf(what, sizeof what, "%s[%u]", at, i);
        if (read_one(reader, &terms->limits[i], what, fault) != CODE_OK) {
            return fault->code;
        }
    }
    return CODE_OK;
}

static enum code generations_read(struct reader *reader, struct plan *plan, uint32_t first,
                                  const char *at, struct fault *fault) {
    uint32_t count;
    if (!read_array(reader, &count) || count > 1 + PLAN_HISTORY_MAX - first || first + count == 0) {
        return expected(fault, at, "a history of plans", reader);
    }
    plan->generation_count = first + count;
    for (uint32_t i = first; i < first + count; i++) {
        uint32_t parts;
        uint64_t generation;
        if (!read_array(reader, &parts) || parts != 2 || !read_uint(reader, &generation) ||
            generation > UINT32_MAX) {
            return expected(fault, at, "[generation, limits]", reader);
        }
        plan->generations[i].generation = (uint32_t)generation;
        if (terms_read(reader, &plan->generations[i].terms, at, limit_read_array, fault) !=
            CODE_OK) {
            return fault->code;
        }
    }
    return CODE_OK;
}

static enum code choice_read(struct reader *reader, struct plan *plan, bool is_policy,
                             const char *at, struct fault *fault) {
    struct bytes text;
    if (!read_bytes(reader, &text)) {
        return expected(fault, at, "a string", reader);
    }
    if (is_policy) {
        if (!policy_of_text(text, &plan->on_unavailable)) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "%s: expected deny, allow or redis, got \"%.*s\"", at,
                             (int)(text.size < 40 ? text.size : 40), (const char *)text.data);
        }
    } else if (!durability_of_text(text, &plan->durability)) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s: expected strict or relaxed, got \"%.*s\"",
                         at, (int)(text.size < 40 ? text.size : 40), (const char *)text.data);
    }
    return CODE_OK;
}

static enum code plan_name_read(struct reader *reader, struct plan *plan, const char *at,
                                struct fault *fault) {
    struct bytes text;
    if (!read_bytes(reader, &text) || !name_valid(text)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "%s: expected a name of 1 to %d letters, digits, '_', '-', '.'", at,
                         NAME_BYTES_MAX);
    }
    plan->name = name_of(text);
    return CODE_OK;
}

static enum code plan_member_read(struct reader *reader, struct bytes name, struct plan *plan,
                                  const char *plan_at, struct fault *fault) {
    char at[PLACE_BYTES_MAX];
    snprintf(at, sizeof at, "%s.%.*s", plan_at, (int)(name.size < 20 ? name.size : 20),
             (const char *)name.data);
    if (name_is(name, "name")) {
        return plan_name_read(reader, plan, at, fault);
    }
    if (name_is(name, "on_unavailable") || name_is(name, "durability")) {
        return choice_read(reader, plan, name_is(name, "on_unavailable"), at, fault);
    }
    if (name_is(name, "limits")) {
        return terms_read(reader, &plan->generations[0].terms, at, limit_read, fault);
    }
    if (name_is(name, "generation")) {
        uint64_t generation;
        if (!read_uint(reader, &generation) || generation > UINT32_MAX) {
            return expected(fault, at, "an integer", reader);
        }
        plan->generations[0].generation = (uint32_t)generation;
        return CODE_OK;
    }
    if (name_is(name, "history")) {
        return generations_read(reader, plan, 1, at, fault);
    }
    return unknown_member(fault, plan_at, name, "name, limits, on_unavailable, durability");
}

/* Notes that a member was read, by its place among `names`; what is none of them is for others to
 * say. */
static enum code member_once(struct bytes name, const char *const names[], unsigned *seen,
                             const char *at, struct fault *fault) {
    for (unsigned i = 0; names[i] != NULL; i++) {
        if (!name_is(name, names[i])) {
            continue;
        }
        if ((*seen >> i & 1u) != 0) {
            return fault_set(fault, CODE_BAD_REQUEST, "%s: %s stands twice", at, names[i]);
        }
        *seen |= 1u << i;
    }
    return CODE_OK;
}

static enum code plan_read(struct reader *reader, struct plan *plan, const char *at,
                           struct fault *fault) {
    static const char *const names[] = {
        "name", "limits", "on_unavailable", "durability", "generation", "history", NULL};
    uint32_t members;
    unsigned seen = 0;
    memset(plan, 0, sizeof *plan);
    plan->generation_count = 1;
    if (!read_map(reader, &members)) {
        return expected(fault, at, "{name, limits, ...}", reader);
    }
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name;
        if (!read_bytes(reader, &name)) {
            return expected(fault, at, "a member's name", reader);
        }
        if (member_once(name, names, &seen, at, fault) != CODE_OK ||
            plan_member_read(reader, name, plan, at, fault) != CODE_OK) {
            return fault->code;
        }
    }
    if (plan->name.size == 0) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s: the plan has no name", at);
    }
    if (plan->generations[0].terms.limit_count == 0) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s (%s): the plan has no limits", at,
                         plan->name.text);
    }
    return CODE_OK;
}

/* Reads one element of "plans" into `plan`. */
typedef enum code (*plan_reader_fn)(struct reader *, struct plan *, const char *, struct fault *);

static enum code plans_read(struct reader *reader, struct plan_set *set, plan_reader_fn read_one,
                            struct fault *fault) {
    uint32_t count;
    if (!read_array(reader, &count)) {
        return expected(fault, "plans", "an array", reader);
    }
    if (count > PLANS_MAX - set->plan_count) {
        return fault_set(fault, CODE_BAD_REQUEST, "plans: %u, at most %d are allowed", count,
                         PLANS_MAX);
    }
    for (uint32_t i = 0; i < count; i++) {
        char at[PLACE_BYTES_MAX];
        struct plan plan;
        snprintf(at, sizeof at, "plans[%u]", i);
        if (read_one(reader, &plan, at, fault) != CODE_OK) {
            return fault->code;
        }
        if (plan_set_find(set, name_bytes(&plan.name)) >= 0) {
            return fault_set(fault, CODE_BAD_REQUEST, "%s.name: two plans are called %s", at,
                             plan.name.text);
        }
        plan_set_add(set, &plan);
    }
    return CODE_OK;
}

/* `name` has no data if there is none; an empty one is no plan's. */
static enum code default_resolve(struct plan_set *set, struct bytes name, struct fault *fault) {
    if (name.data == NULL) {
        return CODE_OK;
    }
    set->default_at = plan_set_find(set, name);
    if (set->default_at < 0) {
        return fault_set(fault, CODE_BAD_REQUEST, "default: no plan is called \"%.*s\"",
                         (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
    }
    return CODE_OK;
}

static enum code set_read(struct reader *reader, struct plan_set *set, plan_reader_fn read_one,
                          struct fault *fault) {
    static const char *const names[] = {"version", "default", "plans", NULL};
    uint32_t members;
    unsigned seen = 0;
    struct bytes default_name = {0};
    bool has_plans = false;
    plan_set_init(set);
    if (!read_map(reader, &members)) {
        return expected(fault, "plan set", "{default, plans}", reader);
    }
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name;
        if (!read_bytes(reader, &name)) {
            return expected(fault, "plan set", "a member's name", reader);
        }
        if (member_once(name, names, &seen, "plan set", fault) != CODE_OK) {
            return fault->code;
        }
        if (name_is(name, "version")) {
            if (!read_uint(reader, &set->version)) {
                return expected(fault, "version", "an integer", reader);
            }
        } else if (name_is(name, "default")) {
            if (!read_nil(reader) && !read_bytes(reader, &default_name)) {
                return expected(fault, "default", "a plan's name or nil", reader);
            }
        } else if (name_is(name, "plans")) {
            has_plans = true;
            if (plans_read(reader, set, read_one, fault) != CODE_OK) {
                return fault->code;
            }
        } else {
            return unknown_member(fault, "plan set", name, "default, plans");
        }
    }
    /* Not taken for "none": that would be a slip of the pen which removes every plan. */
    if (!has_plans) {
        return fault_set(fault, CODE_BAD_REQUEST, "plan set: expected a member plans");
    }
    return default_resolve(set, default_name, fault);
}

enum code plan_set_read(struct reader *reader, struct plan_set *set, struct fault *fault) {
    return set_read(reader, set, plan_read, fault);
}

static enum code policy_pair_read(struct reader *reader, struct plan *plan, const char *at,
                                  struct fault *fault) {
    uint32_t parts;
    memset(plan, 0, sizeof *plan);
    plan->generation_count = 1;
    if (!read_array(reader, &parts) || parts < 2) {
        return expected(fault, at, "[name, policy]", reader);
    }
    if (plan_name_read(reader, plan, at, fault) != CODE_OK ||
        choice_read(reader, plan, true, at, fault) != CODE_OK) {
        return fault->code;
    }
    if (parts > 2 && generations_read(reader, plan, 0, at, fault) != CODE_OK) {
        return fault->code;
    }
    for (uint32_t i = 3; i < parts; i++) {
        struct bytes later;
        if (!read_any(reader, &later)) {
            return expected(fault, at, "[name, policy]", reader);
        }
    }
    return CODE_OK;
}

enum code policies_read(struct reader *reader, struct plan_set *set, struct fault *fault) {
    return set_read(reader, set, policy_pair_read, fault);
}
