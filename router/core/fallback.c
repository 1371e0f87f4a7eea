#include "router/core/fallback.h"

#include <assert.h>

#include "proto/bucket.h"

/* --- what is asked -------------------------------------------------------------------------- */

/* A record under the call's terms begins with this, whatever its times are. The script writes
 * schema 1, which every version reads. */
static void head_fill(struct fallback_call *call) {
    struct writer writer = writer_of(call->head, sizeof call->head);
    struct record record = {.is_inline = call->plan.size == 0,
                            .plan = name_bytes(&call->plan),
                            .generation = call->generation,
                            .tat_count = call->terms.limit_count};
    if (record.is_inline) {
        record.limit = call->terms.limits[0];
    }
    record_write_1(&writer, &record);
    assert(!writer.overflow);
    call->head_size = writer.size - record.tat_count; /* each of these times is a single zero */
    call->expected_size = 0;
    call->limit_count = call->terms.limit_count;
}

void fallback_call_plan(struct fallback_call *call, const struct plan *plan) {
    call->plan = plan->name;
    call->generation = plan->generations[0].generation;
    call->terms = plan->generations[0].terms;
    head_fill(call);
}

void fallback_call_inline(struct fallback_call *call, const struct limit *limit) {
    call->plan = (struct name){0};
    call->generation = 0;
    call->terms = (struct terms){.limit_count = 1, .limits = {*limit}};
    head_fill(call);
}

void fallback_call_cost(struct fallback_call *call, enum verb verb, uint64_t cost_tokens) {
    call->verb = verb;
    call->cost_tokens = cost_tokens;
    call->writes = verb == VERB_TAKE && cost_tokens > 0;
    for (uint32_t i = 0; i < call->limit_count; i++) {
        const struct limit *limit = &call->terms.limits[i];
        struct fallback_limit *asked = &call->limits[i];
        *asked = (struct fallback_limit){.rate_tokens = limit->rate_tokens};
        if (cost_tokens > limit->burst_tokens) {
            call->writes = false;
            continue;
        }
        /* The room is burst - cost tokens' worth of time, since a span is the exact fraction
         * tokens * period / rate. */
        asked->increment = bucket_ahead(limit, (struct tat){0}, cost_tokens);
        asked->room = bucket_ahead(limit, (struct tat){0}, limit->burst_tokens - cost_tokens);
    }
}

/* --- records under other terms -------------------------------------------------------------- */

/* Times that nobody of us wrote are rounded up, as their owner does. */
static struct tat tat_valid(struct tat tat, uint64_t rate_tokens) {
    return tat.part >= rate_tokens ? (struct tat){.ns = tat.ns + 1} : tat;
}

/* The terms that the record was written under; false: these plans are too old to say, or remember
 * no more. */
static bool terms_of_record(const struct plan_set *plans, const struct record *record,
                            struct terms *terms) {
    if (record->is_inline) {
        *terms = (struct terms){.limit_count = 1, .limits = {record->limit}};
        return true;
    }
    int32_t at = plan_set_find(plans, record->plan);
    if (at < 0 || record->generation > plans->plans[at].generations[0].generation) {
        return false;
    }
    const struct plan *plan = &plans->plans[at];
    *terms = *plan_terms_at(plan, record->generation);
    return terms->limit_count > 0 &&
           record->generation >= plan->generations[plan->generation_count - 1].generation;
}

/* The call is decided under the record's own terms. */
static void terms_keep(struct fallback_call *call, const struct record *record,
                       const struct terms *terms) {
    call->plan = record->is_inline ? (struct name){0} : name_of(record->plan);
    call->generation = record->is_inline ? 0 : record->generation;
    call->terms = *terms;
    head_fill(call);
    fallback_call_cost(call, call->verb, call->cost_tokens);
}

enum reason fallback_call_convert(struct fallback_call *call, const struct plan_set *plans,
                                  struct bytes record, uint64_t now_ns) {
    struct record read = {.schema = 0};
    struct fault fault;
    struct terms from;
    struct tat tats[LIMITS_PER_PLAN_MAX] = {0};
    if (record.size > RECORD_BYTES_MAX || record_read(record, &read, &fault) != CODE_OK) {
        return record_is_newer(&read) ? REASON_RECORD_NEWER : REASON_RECORD_UNREADABLE;
    }
    struct terms counted = {.limit_count = read.tat_count};
    if (bucket_full(&counted, read.tats, now_ns)) {
        from = call->terms; /* as if there were none: whatever its limits were */
    } else if (!terms_of_record(plans, &read, &from)) {
        return REASON_STORE_REFUSED;
    } else {
        for (uint32_t i = 0; i < from.limit_count && i < read.tat_count; i++) {
            tats[i] = tat_valid(read.tats[i], from.limits[i].rate_tokens);
        }
    }
    if (bucket_refills_sooner(&from, &call->terms)) {
        terms_keep(call, &read, &from);
    } else {
        bucket_convert(&from, &call->terms, tats, now_ns);
    }
    for (uint32_t i = 0; i < call->limit_count; i++) {
        call->limits[i].tat = tats[i];
    }
    memcpy(call->expected, record.data, record.size);
    call->expected_size = record.size;
    return REASON_NONE;
}

/* --- what was answered ---------------------------------------------------------------------- */

/* The bucket as the store saw it. */
static bool tats_seen(const struct fallback_call *call, struct bytes record, struct tat tats[]) {
    struct record read;
    struct fault fault;
    if (record.size == 0) {
        return true;
    }
    if (bytes_equal(record, bytes_of(call->expected, call->expected_size))) {
        for (uint32_t i = 0; i < call->limit_count; i++) {
            tats[i] = call->limits[i].tat;
        }
        return true;
    }
    if (record.size < call->head_size || memcmp(record.data, call->head, call->head_size) != 0 ||
        record_read(record, &read, &fault) != CODE_OK) {
        return false;
    }
    memcpy(tats, read.tats, call->limit_count * sizeof tats[0]);
    return true;
}

bool fallback_call_judge(const struct fallback_call *call, const struct fallback_answer *answer,
                         enum verb verb, uint64_t cost_tokens, struct take_result *result) {
    struct tat tats[LIMITS_PER_PLAN_MAX] = {0};
    assert(call->limit_count == call->terms.limit_count);
    if (!tats_seen(call, answer->record, tats)) {
        return false;
    }
    bucket_decide(&call->terms, tats, verb, cost_tokens, answer->now_ns, result);
    result->flags |= TAKE_FLAG_DEGRADED;
    return call->writes ? result->allowed == (answer->status == FALLBACK_GRANTED)
                        : answer->status == FALLBACK_LOOKED;
}
