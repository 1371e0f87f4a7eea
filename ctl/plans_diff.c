#include "ctl/plans_diff.h"

#include <inttypes.h>
#include <stdio.h>

#include "ctl/out.h"
#include "ctl/text.h"

#define NS_PER_MS UINT64_C(1000000)

void terms_write(const struct terms *terms, char out[LIMITS_TEXT_BYTES_MAX]) {
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < terms->limit_count && used < LIMITS_TEXT_BYTES_MAX; i++) {
        const struct limit *limit = &terms->limits[i];
        char rate[TEXT_RATE_BYTES_MAX], burst[40] = "";
        text_rate_write(limit->rate_tokens, limit->period_ns / NS_PER_MS, rate);
        if (limit->burst_tokens != limit->rate_tokens) {
            snprintf(burst, sizeof burst, " burst %" PRIu64, limit->burst_tokens);
        }
        used += (size_t)snprintf(out + used, LIMITS_TEXT_BYTES_MAX - used, "%s%s%s",
                                 i > 0 ? ", " : "", rate, burst);
    }
}

static const struct terms *terms_of(const struct plan *plan) {
    return &plan->generations[0].terms;
}

static bool plan_same(const struct plan *a, const struct plan *b) {
    return terms_equal(terms_of(a), terms_of(b)) && a->on_unavailable == b->on_unavailable &&
           a->durability == b->durability;
}

/* The place of a plan of the same name, or -1. */
static int32_t plan_like(const struct plan_set *set, const struct plan *like) {
    return plan_set_find(set, name_bytes(&like->name));
}

static const char *default_text(const struct plan_set *set) {
    return set->default_at < 0 ? "none" : set->plans[set->default_at].name.text;
}

static void plan_print(const struct settings *settings, char sign, enum color color,
                       const struct plan *plan) {
    char limits[LIMITS_TEXT_BYTES_MAX];
    terms_write(terms_of(plan), limits);
    printf("%s%c %s%s  %s, on_unavailable %s\n", color_on(settings, color), sign, plan->name.text,
           color_off(settings), limits, policy_text(plan->on_unavailable));
}

static void change_print(const struct settings *settings, const struct plan *from,
                         const struct plan *to) {
    char before[LIMITS_TEXT_BYTES_MAX], after[LIMITS_TEXT_BYTES_MAX];
    terms_write(terms_of(from), before);
    terms_write(terms_of(to), after);
    printf("%s~ %s%s", color_on(settings, COLOR_YELLOW), to->name.text, color_off(settings));
    if (!terms_equal(terms_of(from), terms_of(to))) {
        printf("  %s -> %s", before, after);
    }
    if (from->on_unavailable != to->on_unavailable) {
        printf("  on_unavailable %s -> %s", policy_text(from->on_unavailable),
               policy_text(to->on_unavailable));
    }
    if (from->durability != to->durability) {
        printf("  durability %s -> %s", durability_text(from->durability),
               durability_text(to->durability));
    }
    printf("\n");
}

uint32_t plans_diff_print(const struct settings *settings, const struct plan_set *from,
                          const struct plan_set *to) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < from->plan_count; i++) {
        if (plan_like(to, &from->plans[i]) < 0) {
            plan_print(settings, '-', COLOR_RED, &from->plans[i]);
            count++;
        }
    }
    for (uint32_t i = 0; i < to->plan_count; i++) {
        int32_t before = plan_like(from, &to->plans[i]);
        if (before < 0) {
            plan_print(settings, '+', COLOR_GREEN, &to->plans[i]);
            count++;
        } else if (!plan_same(&from->plans[before], &to->plans[i])) {
            change_print(settings, &from->plans[before], &to->plans[i]);
            count++;
        }
    }
    if (strcmp(default_text(from), default_text(to)) != 0) {
        printf("%s~ default%s  %s -> %s\n", color_on(settings, COLOR_YELLOW), color_off(settings),
               default_text(from), default_text(to));
        count++;
    }
    return count;
}

json_t *plans_diff_json(const struct plan_set *from, const struct plan_set *to) {
    json_t *added = json_array(), *removed = json_array(), *changed = json_array();
    for (uint32_t i = 0; i < from->plan_count; i++) {
        if (plan_like(to, &from->plans[i]) < 0) {
            json_array_append_new(removed, json_string(from->plans[i].name.text));
        }
    }
    for (uint32_t i = 0; i < to->plan_count; i++) {
        int32_t before = plan_like(from, &to->plans[i]);
        if (before < 0 || !plan_same(&from->plans[before], &to->plans[i])) {
            json_array_append_new(before < 0 ? added : changed,
                                  json_string(to->plans[i].name.text));
        }
    }
    json_t *diff =
        json_pack("{s:o, s:o, s:o}", "added", added, "removed", removed, "changed", changed);
    if (strcmp(default_text(from), default_text(to)) != 0) {
        json_object_set_new(
            diff, "default",
            json_pack("{s:s, s:s}", "from", default_text(from), "to", default_text(to)));
    }
    return diff;
}
