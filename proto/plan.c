#include "proto/plan.h"

#include <assert.h>

#include "proto/slot.h"

static const char *const policy_texts[] = {
#define X(name, text) [POLICY_##name] = text,
    POLICIES(X)
#undef X
};

static const char *const durability_texts[] = {
#define X(name, text) [DURABILITY_##name] = text,
    DURABILITIES(X)
#undef X
};

static int text_find(const char *const *texts, int count, struct bytes text) {
    for (int i = 0; i < count; i++) {
        if (bytes_equal(text, bytes_of_text(texts[i]))) {
            return i;
        }
    }
    return -1;
}

const char *policy_text(enum policy policy) {
    return policy_texts[policy];
}

bool policy_of_text(struct bytes text, enum policy *policy) {
    int found = text_find(policy_texts, POLICY_COUNT, text);
    *policy = found < 0 ? POLICY_DENY : (enum policy)found;
    return found >= 0;
}

const char *durability_text(enum durability durability) {
    return durability_texts[durability];
}

bool durability_of_text(struct bytes text, enum durability *durability) {
    int found = text_find(durability_texts, DURABILITY_COUNT, text);
    *durability = found < 0 ? DURABILITY_STRICT : (enum durability)found;
    return found >= 0;
}

/* a-z A-Z 0-9 _ - . of ASCII, whatever the locale: a bit each. Every take that names its plan looks
 * at each byte of the name. */
static bool is_of_names(uint8_t c) {
    static const uint64_t of_names[2] = {
        UINT64_C(0x3ff) << '0' | UINT64_C(1) << '-' | UINT64_C(1) << '.',
        UINT64_C(0x07fffffe) | UINT64_C(1) << ('_' - 64) | UINT64_C(0x07fffffe) << ('a' - 'A'),
    };
    return c < 128 && (of_names[c / 64] >> (c % 64) & 1) != 0;
}

bool name_valid(struct bytes text) {
    if (text.size == 0 || text.size > NAME_BYTES_MAX || text.data[0] == '_' ||
        text.data[0] == '-' || text.data[0] == '.') {
        return false;
    }
    for (uint32_t i = 0; i < text.size; i++) {
        if (!is_of_names(text.data[i])) {
            return false;
        }
    }
    return true;
}

struct name name_of(struct bytes valid) {
    assert(valid.size <= NAME_BYTES_MAX);
    struct name name = {.size = (uint8_t)valid.size};
    if (valid.size > 0) {
        memcpy(name.text, valid.data, valid.size);
    }
    return name;
}

void plan_set_init(struct plan_set *set) {
    memset(set, 0, sizeof *set);
    set->default_at = -1;
}

void plan_set_add(struct plan_set *set, const struct plan *plan) {
    assert(set->plan_count < PLANS_MAX);
    assert(plan->generation_count >= 1);
    set->plans[set->plan_count] = *plan;
    set->plan_count++;
    uint64_t at = key_hash(name_bytes(&plan->name)) & (PLAN_INDEX_SIZE - 1);
    while (set->index[at] != 0) {
        at = (at + 1) & (PLAN_INDEX_SIZE - 1);
    }
    set->index[at] = (uint16_t)set->plan_count;
}

int32_t plan_set_find(const struct plan_set *set, struct bytes name) {
    uint64_t at = key_hash(name) & (PLAN_INDEX_SIZE - 1);
    for (; set->index[at] != 0; at = (at + 1) & (PLAN_INDEX_SIZE - 1)) {
        int32_t plan = set->index[at] - 1;
        if (bytes_equal(name_bytes(&set->plans[plan].name), name)) {
            return plan;
        }
    }
    return -1;
}

const struct terms *plan_terms_at(const struct plan *plan, uint32_t generation) {
    for (uint32_t i = 0; i < plan->generation_count; i++) {
        if (plan->generations[i].generation <= generation) {
            return &plan->generations[i].terms;
        }
    }
    return &plan->generations[plan->generation_count - 1].terms;
}

static bool plan_set_equal(const struct plan_set *a, const struct plan_set *b) {
    if (a->plan_count != b->plan_count || (a->default_at < 0) != (b->default_at < 0)) {
        return false;
    }
    if (a->default_at >= 0 && !bytes_equal(name_bytes(&a->plans[a->default_at].name),
                                           name_bytes(&b->plans[b->default_at].name))) {
        return false;
    }
    for (uint32_t i = 0; i < b->plan_count; i++) {
        int32_t at = plan_set_find(a, name_bytes(&b->plans[i].name));
        if (at < 0 || a->plans[at].on_unavailable != b->plans[i].on_unavailable ||
            a->plans[at].durability != b->plans[i].durability ||
            !terms_equal(&a->plans[at].generations[0].terms, &b->plans[i].generations[0].terms)) {
            return false;
        }
    }
    return true;
}

/* A plan taken out and later put back under its name must not meet records of its former life as
 * if they were of its new one: generations of a new plan start above the set's version. */
static void plan_succeed(struct plan *plan, const struct plan *before, uint64_t version) {
    plan->generation_count = 1;
    if (before == NULL) {
        plan->generations[0].generation = (uint32_t)version;
        return;
    }
    if (terms_equal(&before->generations[0].terms, &plan->generations[0].terms)) {
        memcpy(plan->generations, before->generations, sizeof plan->generations);
        plan->generation_count = before->generation_count;
        return;
    }
    plan->generations[0].generation = (uint32_t)version;
    for (uint32_t i = 0; i < before->generation_count && i < PLAN_HISTORY_MAX; i++) {
        plan->generations[plan->generation_count++] = before->generations[i];
    }
}

bool plan_set_succeed(const struct plan_set *current, const struct plan_set *wanted,
                      struct plan_set *next) {
    if (current->version > 0 && plan_set_equal(current, wanted)) {
        return false;
    }
    plan_set_init(next);
    next->version = current->version + 1;
    next->default_at = wanted->default_at;
    for (uint32_t i = 0; i < wanted->plan_count; i++) {
        struct plan plan = wanted->plans[i];
        int32_t at = plan_set_find(current, name_bytes(&plan.name));
        plan_succeed(&plan, at < 0 ? NULL : &current->plans[at], next->version);
        plan_set_add(next, &plan);
    }
    return true;
}
