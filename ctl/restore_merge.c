#include "ctl/restore_merge.h"

#include "proto/bucket.h"

static bool same_terms(const struct record *a, const struct record *b) {
    if (a->is_inline != b->is_inline || a->tat_count != b->tat_count) {
        return false;
    }
    return a->is_inline ? limit_equal(&a->limit, &b->limit)
                        : bytes_equal(a->plan, b->plan) && a->generation == b->generation;
}

/* False if nobody knows them any more, or not yet. */
static bool terms_of(const struct plan_set *plans, const struct record *record,
                     struct terms *terms) {
    if (record->is_inline) {
        *terms = (struct terms){.limit_count = 1, .limits = {record->limit}};
        return true;
    }
    int32_t at = plan_set_find(plans, record->plan);
    if (at < 0 || record->generation > plans->plans[at].generations[0].generation) {
        return false;
    }
    *terms = *plan_terms_at(&plans->plans[at], record->generation);
    return terms->limit_count == record->tat_count;
}

static bool tat_less(struct tat a, struct tat b) {
    return a.ns != b.ns ? a.ns < b.ns : a.part < b.part;
}

enum merge restore_merge(const struct plan_set *plans, uint64_t now_ns, struct bytes kept,
                         struct bytes held, uint8_t out[RECORD_BYTES_MAX], uint32_t *size) {
    struct record from_file, in_store;
    struct fault fault;
    if (held.data == NULL) {
        return MERGE_NEW;
    }
    if (bytes_equal(kept, held)) {
        return MERGE_SAME;
    }
    if (record_read(kept, &from_file, &fault) != CODE_OK ||
        record_read(held, &in_store, &fault) != CODE_OK) {
        return MERGE_KEPT;
    }
    if (!same_terms(&from_file, &in_store)) {
        struct terms before, after;
        if (!terms_of(plans, &from_file, &before) || !terms_of(plans, &in_store, &after)) {
            return MERGE_KEPT;
        }
        bucket_convert(&before, &after, from_file.tats, now_ns);
    }
    bool raised = false;
    for (uint32_t i = 0; i < in_store.tat_count; i++) {
        if (tat_less(in_store.tats[i], from_file.tats[i])) {
            in_store.tats[i] = from_file.tats[i];
            raised = true;
        }
    }
    if (raised) {
        *size = record_write(&in_store, out);
    }
    return raised ? MERGE_RAISED : MERGE_SAME;
}
