#include "tests/chaos/judge.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool judge_forgivable(const struct evidence *evidence, const struct grant *grant, uint32_t slot,
                      uint64_t reach_ns) {
    for (uint32_t i = 0; i < evidence->loss_count; i++) {
        const struct loss *loss = &evidence->losses[i];
        if (loss->kind == LOSS_LINKS)
            continue;
        uint64_t before_ns = loss->before_ns < reach_ns ? loss->before_ns : reach_ns;
        if (grant->answered_ns >= loss->at_ns - before_ns && grant->sent_ns <= loss->until_ns &&
            loss_concerns(loss, slot))
            return true;
    }
    return false;
}

/* The grants that count for the key, and its look, at the end of `list`; which has room for one
 * more. Returns how many. */
static uint32_t grants_gather(const struct evidence *evidence, uint32_t class_at,
                              const struct key_record *key, uint64_t reach_ns, bool forgive,
                              struct grant *list, uint64_t *forgiven) {
    const struct grant *grants = &evidence->grants[key->grants_at];
    uint32_t count = 0, slot = 0;
    forgive = forgive && !evidence->classes[class_at].strict && key->grant_count > 0;
    if (forgive)
        slot = evidence_slot(evidence, grants[0].key);
    for (uint32_t i = 0; i < key->grant_count; i++) {
        if (forgive && judge_forgivable(evidence, &grants[i], slot, reach_ns))
            *forgiven += grants[i].cost;
        else
            list[count++] = grants[i];
    }
    if (key->looked)
        list[count++] = (struct grant){key->looked_sent_ns, key->looked_answered_ns, 0, key->level};
    return count;
}

/* The limit that the grants come nearest to. */
static struct bound_verdict judge_grants(struct bound *bound, const struct record_class *class,
                                         struct grant *list, uint32_t count, uint64_t error_ns) {
    struct bound_verdict worst = {.within = true, .slack_tokens = INFINITY};
    for (uint32_t i = 0; i < class->limit_count; i++) {
        struct bound_verdict one = bound_judge(bound, list, count, &class->limits[i], error_ns);
        if (one.slack_tokens < worst.slack_tokens || !one.within)
            worst = one;
    }
    return worst;
}

static struct grant *list_create(const struct evidence *evidence, uint32_t class_at) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < evidence->of[class_at].count; i++) {
        if (evidence->of[class_at].keys[i].grant_count > most)
            most = evidence->of[class_at].keys[i].grant_count;
    }
    struct grant *list = malloc((size_t)(most + 2) * sizeof *list);
    assert(list != NULL);
    return list;
}

/* --- losses --------------------------------------------------------------------------------- */

static uint32_t crashes_of(const struct evidence *evidence, const struct key_record *key,
                           uint32_t slot) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < evidence->loss_count; i++)
        count += evidence->losses[i].kind == LOSS_CRASH &&
                 loss_concerns(&evidence->losses[i], slot) &&
                 evidence->losses[i].until_ns >= key->first_ns;
    return count;
}

static void judge_loss(struct evidence *evidence, uint32_t class_at, uint32_t number,
                       const struct judge_options *options, struct judgement *judgement) {
    const struct record_class *class = &evidence->classes[class_at];
    const struct key_record *key = &evidence->of[class_at].keys[number];
    uint64_t burst = class->limits[0].burst_tokens;
    uint64_t known = key->granted_cost + key->unknown_cost + key->level;
    if (!key->looked || class->limit_count != 1 || known >= burst)
        return;
    uint64_t lost = burst - known;
    uint32_t slot = evidence_slot(evidence, record_key(class_at, number));
    uint64_t reserved =
        class->strict ? crashes_of(evidence, key, slot) * (burst / RESERVATION_PART) : 0;
    uint64_t allowed = reserved + key->twice_cost;
    /* A level is told in whole tokens. If the clock went back by more than has passed since the
     * first take, there is a fraction less than there was: a token less is told. */
    allowed += key->looked_sent_ns - key->first_ns < options->clock_error_ns;
    judgement->lost += lost;
    judgement->lost_keys++;
    if (lost > judgement->lost_most)
        judgement->lost_most = lost;
    if (lost > allowed && judgement->lost_too_much++ < options->shown)
        printf("LOST  %s-%" PRIu32 " (slot %" PRIu32 "): %" PRIu64 " tokens of %" PRIu64
               ", at most %" PRIu64 " were allowed: granted %" PRIu64 ", unknown %" PRIu64
               ", left %" PRIu32 "\n",
               class->name, number, slot, lost, burst, allowed, key->granted_cost,
               key->unknown_cost, key->level);
}

/* --- a class -------------------------------------------------------------------------------- */

static void over_print(const struct evidence *evidence, uint32_t class_at, uint32_t number,
                       const struct bound_verdict *verdict, const struct judge_options *options) {
    printf("OVER  %s-%" PRIu32 " (slot %" PRIu32 "): %.3f tokens more than its bound in the window "
           "from %.6f s to %.6f s\n",
           evidence->classes[class_at].name, number,
           evidence_slot(evidence, record_key(class_at, number)), -verdict->slack_tokens,
           ((double)verdict->from_ns - (double)options->origin_ns) / 1e9,
           ((double)verdict->to_ns - (double)options->origin_ns) / 1e9);
}

struct judgement judge_class(struct evidence *evidence, struct bound *bound, uint32_t class_at,
                             const struct judge_options *options) {
    const struct record_class *class = &evidence->classes[class_at];
    struct judgement judgement = {.worst_slack = INFINITY};
    struct grant *list = list_create(evidence, class_at);
    for (uint32_t number = 0; number < evidence->of[class_at].count; number++) {
        struct key_record *key = &evidence->of[class_at].keys[number];
        uint64_t unused = 0, forgiven = 0;
        if ((key->first_ns == 0 && !key->looked) || (options->forgot_only && !key->forgot))
            continue;
        judgement.keys++;
        uint32_t count =
            grants_gather(evidence, class_at, key, options->reach_ns, true, list, &forgiven);
        judgement.forgiven += forgiven;
        struct bound_verdict verdict =
            judge_grants(bound, class, list, count, options->clock_error_ns);
        if (verdict.slack_tokens < judgement.worst_slack)
            judgement.worst_slack = verdict.slack_tokens;
        judgement.sharp += verdict.slack_tokens < 1;
        if (!verdict.within && judgement.over++ < options->shown)
            over_print(evidence, class_at, number, &verdict, options);
        uint64_t lost_before = judgement.lost_too_much;
        judge_loss(evidence, class_at, number, options, &judgement);
        bool broken = !verdict.within || judgement.lost_too_much > lost_before;
        if (broken && judgement.broken_count < BROKEN_MAX)
            judgement.broken[judgement.broken_count++] = number;
        if (forgiven == 0 || options->forgot_only)
            continue;
        count = grants_gather(evidence, class_at, key, 0, false, list, &unused);
        verdict = judge_grants(bound, class, list, count, options->clock_error_ns);
        if (!verdict.within) {
            judgement.forgotten += (uint64_t)ceil(-verdict.slack_tokens);
            judgement.forgotten_keys++;
            key->forgot = true;
        }
    }
    free(list);
    return judgement;
}

uint64_t judge_reach_ns(struct evidence *evidence, struct bound *bound, uint32_t class_at,
                        const struct judge_options *options) {
    struct judge_options tried = *options;
    uint64_t low = 0, high = 0;
    tried.shown = 0;
    tried.forgot_only = true;
    for (uint32_t i = 0; i < evidence->loss_count; i++) {
        if (evidence->losses[i].before_ns > high)
            high = evidence->losses[i].before_ns;
    }
    /* To the millisecond. */
    while (high - low > 1000000) {
        tried.reach_ns = low + (high - low) / 2;
        if (judge_class(evidence, bound, class_at, &tried).over == 0)
            high = tried.reach_ns;
        else
            low = tried.reach_ns;
    }
    return high;
}

/* --- planted grants ------------------------------------------------------------------------- */

static uint64_t random_next(uint64_t *random) {
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t judge_planted(struct evidence *evidence, struct bound *bound, uint32_t class_at,
                       const struct judge_options *options, uint32_t count, uint64_t seed) {
    const struct class_keys *of = &evidence->of[class_at];
    struct grant *list = list_create(evidence, class_at);
    uint32_t found = 0;
    uint64_t random = seed, unused = 0;
    /* Nearly every key has grants; a class of none must not keep us for ever. */
    for (uint32_t i = 0, tries = 0; i < count && of->count > 0 && tries < 100 * count; tries++) {
        const struct key_record *key = &of->keys[random_next(&random) % of->count];
        if (key->grant_count == 0 || !key->looked)
            continue;
        i++;
        uint32_t size =
            grants_gather(evidence, class_at, key, options->reach_ns, true, list, &unused);
        struct grant planted =
            evidence->grants[key->grants_at + random_next(&random) % key->grant_count];
        uint64_t took_ns = planted.answered_ns - planted.sent_ns;
        planted.sent_ns =
            key->first_ns + random_next(&random) % (key->looked_sent_ns - key->first_ns + 1);
        planted.answered_ns = planted.sent_ns + took_ns < key->looked_answered_ns
                                  ? planted.sent_ns + took_ns
                                  : key->looked_answered_ns;
        planted.cost = 1;
        list[size++] = planted;
        found +=
            !judge_grants(bound, &evidence->classes[class_at], list, size, options->clock_error_ns)
                 .within;
    }
    free(list);
    return found;
}
