#include "tests/chaos/explain.h"

#include <inttypes.h>

static double since_s(const struct judge_options *options, uint64_t at_ns) {
    return ((double)at_ns - (double)options->origin_ns) / 1e9;
}

static void losses_print(FILE *out, const struct evidence *evidence, uint32_t slot,
                         const struct key_record *key, const struct judge_options *options) {
    static const char *const kinds[] = {"crash", "stale", "links"};
    for (uint32_t i = 0; i < evidence->loss_count; i++) {
        const struct loss *loss = &evidence->losses[i];
        if (loss_concerns(loss, slot) && loss->until_ns >= key->first_ns)
            fprintf(out, "    %s %s at %.3f: %s from %.3f to %.3f\n", kinds[loss->kind], loss->what,
                    since_s(options, loss->at_ns),
                    loss->kind == LOSS_LINKS ? "sent twice, perhaps," : "may be forgotten",
                    since_s(options, loss->at_ns - loss->before_ns),
                    since_s(options, loss->until_ns));
    }
}

void explain_key(FILE *out, const struct evidence *evidence, uint32_t class_at, uint32_t number,
                 const struct judge_options *options) {
    const struct record_class *class = &evidence->classes[class_at];
    const struct key_record *key = &evidence->of[class_at].keys[number];
    uint32_t slot = evidence_slot(evidence, record_key(class_at, number));
    fprintf(out, "why %s-%" PRIu32 " (slot %" PRIu32 "): plan %s", class->name, number, slot,
            class->plan);
    for (uint32_t i = 0; i < class->limit_count; i++)
        fprintf(out, "%s %" PRIu64 " in %" PRIu64 " ms, burst %" PRIu64, i == 0 ? "," : " and",
                class->limits[i].rate_tokens, class->limits[i].period_ns / 1000000,
                class->limits[i].burst_tokens);
    fprintf(
        out,
        "; granted %" PRIu64 ", by policy or unanswered %" PRIu64 "; left %" PRIu32 " at %.3f\n",
        key->granted_cost, key->unknown_cost, key->level, since_s(options, key->looked_sent_ns));
    losses_print(out, evidence, slot, key, options);
    fprintf(out, "    granted (sent +ms until answered, xcost, * need not count):");
    for (uint32_t i = 0; i < key->grant_count; i++) {
        const struct grant *grant = &evidence->grants[key->grants_at + i];
        bool forgiven =
            !class->strict && judge_forgivable(evidence, grant, slot, options->reach_ns);
        fprintf(out, " %.3f+%.0fx%" PRIu32 "%s", since_s(options, grant->sent_ns),
                (double)(grant->answered_ns - grant->sent_ns) / 1e6, grant->cost,
                forgiven ? "*" : "");
    }
    fprintf(out, "\n");
}
