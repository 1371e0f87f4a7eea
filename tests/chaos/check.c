/*
 * chaos-check: judges what a load saw (judge.h) and says so in a few lines.
 *
 *     chaos-check RECORDS [--events FILE] [--clock-error-us N] [--origin-ns N] [--plant N] [--seed
 * N]
 *
 * Exit code: 0 if every promise was kept, 1 if not, 2 if it cannot tell.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/chaos/explain.h"

/* Violations printed of a class, each kind. */
#define SHOWN_MAX 10

static void takes_print(const struct evidence *evidence) {
    uint64_t all = 0, by[RECORD_OUTCOMES] = {0};
    for (uint32_t i = 0; i < evidence->header.class_count; i++) {
        for (uint32_t j = 0; j < RECORD_OUTCOMES; j++)
            by[j] += evidence->of[i].takes[j];
    }
    for (uint32_t j = 0; j < RECORD_LOOKED; j++)
        all += by[j];
    double took_s = (double)(evidence->last_ns - evidence->first_ns) / 1e9;
    printf("load: %" PRIu64 " takes in %.1f s (%.0f/s): %" PRIu64 " granted, %" PRIu64
           " refused by owners; by policy %" PRIu64 " granted, %" PRIu64 " refused; %" PRIu64
           " errors, %" PRIu64 " unanswered; owners' answers %.1f ms (median), %.1f ms (p99)\n",
           all, took_s, (double)all / took_s, by[RECORD_GRANTED], by[RECORD_REFUSED],
           by[RECORD_DEGRADED_GRANTED], by[RECORD_DEGRADED_REFUSED], by[RECORD_ERROR],
           by[RECORD_UNANSWERED], evidence_latency_us(evidence, 500) / 1e3,
           evidence_latency_us(evidence, 990) / 1e3);
}

static void class_print(const struct evidence *evidence, uint32_t class_at,
                        const struct judgement *judgement) {
    const struct record_class *class = &evidence->classes[class_at];
    const struct class_keys *of = &evidence->of[class_at];
    printf("%s (%s): %" PRIu64 " keys, %" PRIu64 " tokens granted in %" PRIu64
           " takes; over the bound: %" PRIu64 " keys; nearest to it: %.3f tokens; one more grant "
           "would be found in %.1f%% of the keys\n",
           class->name, class->strict ? "strict" : "relaxed", judgement->keys,
           of->cost[RECORD_GRANTED], of->takes[RECORD_GRANTED], judgement->over,
           judgement->worst_slack,
           judgement->keys == 0 ? 0 : 100.0 * (double)judgement->sharp / (double)judgement->keys);
    if (class->limit_count == 1)
        printf("%s: lost to crashes %" PRIu64 " tokens of %" PRIu64 " keys, at most %" PRIu64
               " of one; beyond what is allowed: %" PRIu64 " keys\n",
               class->name, judgement->lost, judgement->lost_keys, judgement->lost_most,
               judgement->lost_too_much);
}

/* Returns what it found. */
static struct judgement class_check(struct evidence *evidence, struct bound *bound,
                                    uint32_t class_at, const struct judge_options *options) {
    struct judgement judgement = judge_class(evidence, bound, class_at, options);
    class_print(evidence, class_at, &judgement);
    if (!evidence->classes[class_at].strict) {
        uint64_t reach_ns = judgement.over == 0 && judgement.forgotten > 0
                                ? judge_reach_ns(evidence, bound, class_at, options)
                                : 0;
        printf("%s: forgotten and granted again: %" PRIu64 " tokens of %" PRIu64 " keys (%" PRIu64
               " could have been), none granted more than %.0f ms before its "
               "crash\n",
               evidence->classes[class_at].name, judgement.forgotten, judgement.forgotten_keys,
               judgement.forgiven, (double)reach_ns / 1e6);
    }
    return judgement;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"events", required_argument, NULL, 'e'},
                                            {"clock-error-us", required_argument, NULL, 'c'},
                                            {"origin-ns", required_argument, NULL, 'o'},
                                            {"plant", required_argument, NULL, 'p'},
                                            {"seed", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    struct judge_options judge = {.reach_ns = UINT64_MAX, .shown = SHOWN_MAX};
    struct evidence evidence;
    const char *events = NULL;
    uint64_t planted = 0, seed = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'e':
            events = optarg;
            break;
        case 'c':
            judge.clock_error_ns = strtoull(optarg, NULL, 10) * 1000;
            break;
        case 'o':
            judge.origin_ns = strtoull(optarg, NULL, 10);
            break;
        case 'p':
            planted = strtoull(optarg, NULL, 10);
            break;
        case 's':
            seed = strtoull(optarg, NULL, 10);
            break;
        default:
            return 2;
        }
    }
    if (optind + 1 != argc || !evidence_read(&evidence, argv[optind], events))
        return 2;
    if (judge.origin_ns == 0)
        judge.origin_ns = evidence.first_ns;
    struct judgement judgements[CLASSES_MAX];
    struct bound *bound = bound_create();
    bool good = evidence.grant_count > 0;
    takes_print(&evidence);
    for (uint32_t i = 0; i < evidence.header.class_count; i++) {
        judgements[i] = class_check(&evidence, bound, i, &judge);
        good = good && judgements[i].broken_count == 0;
        if (planted > 0)
            printf("%s: of %" PRIu64 " grants planted at random places %" PRIu32 " were found\n",
                   evidence.classes[i].name, planted,
                   judge_planted(&evidence, bound, i, &judge, (uint32_t)planted, seed));
    }
    printf("%s\n", good ? "every promise was kept" : "A PROMISE WAS BROKEN");
    uint32_t explained = 0;
    for (uint32_t i = 0; i < evidence.header.class_count; i++) {
        for (uint32_t j = 0; j < judgements[i].broken_count && explained < BROKEN_MAX; j++) {
            explain_key(stdout, &evidence, i, judgements[i].broken[j], &judge);
            explained++;
        }
    }
    bound_destroy(bound);
    evidence_free(&evidence);
    return good ? 0 : 1;
}
