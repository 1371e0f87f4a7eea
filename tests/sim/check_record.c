/* Records of keys, as the store holds them. */
#include <assert.h>
#include <stdlib.h>

#include "proto/plan_codec.h"
#include "proto/store_keys.h"
#include "tests/sim/check.h"
#include "tests/sim/world.h"

/* What a write may take beyond the snapshot interval, on a day when nothing goes wrong: turns of
 * loops, the way to the store and back, the write before it. */
#define WRITE_SLACK_NS (60 * MS)

bool stored_terms(const struct record *record, struct terms *terms) {
    if (record->is_inline) {
        *terms = (struct terms){.limit_count = 1, .limits = {record->limit}};
        return true;
    }
    store_key name;
    int size = store_key_plans("sluice:", name);
    struct bytes words[] = {bytes_of_text("HGET"), bytes_of(name, (size_t)size),
                            bytes_of_text("value")};
    struct buffer out = {0};
    struct fault fault;
    struct plan_set *set = malloc(sizeof *set);
    assert(set != NULL);
    db_call(store_db(), store_clock() / MS, words, 3, &out);
    buffer_put(&out, "", 1);
    const uint8_t *body = (const uint8_t *)strstr((const char *)out.data, "\r\n") + 2;
    struct reader reader = reader_of(
        bytes_of(body, out.data[1] == '-' ? 0 : strtoul((const char *)out.data + 1, NULL, 10)));
    bool known =
        plan_set_read(&reader, set, &fault) == CODE_OK && plan_set_find(set, record->plan) >= 0;
    if (known) {
        *terms = *plan_terms_at(&set->plans[plan_set_find(set, record->plan)], record->generation);
    }
    free(set);
    buffer_free(&out);
    return known;
}

bool stored_under(const struct record *record, const struct terms *terms) {
    struct terms written;
    if (record->tat_count != terms->limit_count) {
        return false;
    }
    if (!record->is_inline && !config_has(&world.config, FEATURE_PLANS) &&
        !config_has(&world.config, FEATURE_ASSIGNS)) {
        return true;
    }
    return stored_terms(record, &written) && terms_equal(&written, terms);
}

bool stored_record(const char *key, uint32_t slot, struct record *record, struct buffer *out) {
    store_key name;
    int size = store_key_buckets("sluice:", (struct slot){.index = (uint16_t)slot}, name);
    struct bytes words[] = {bytes_of_text("HGET"), bytes_of(name, (size_t)size),
                            bytes_of_text(key)};
    struct fault fault;
    db_call(store_db(), store_clock() / MS, words, 3, out);
    buffer_put(out, "", 1);
    const uint8_t *body = (const uint8_t *)strstr((const char *)out->data, "\r\n") + 2;
    return out->data[1] != '-' &&
           record_read(bytes_of(body, strtoul((const char *)out->data + 1, NULL, 10)), record,
                       &fault) == CODE_OK;
}

bool store_is_behind(void) {
    uint64_t kept_ns;
    return check_disturbed_since() != 0 && store_lost_at(&kept_ns) >= check_disturbed_since();
}

void checks_node_exit(struct process *process, int status) {
    process->orderly = status == 0;
}

uint64_t stored_until(const struct process *granter, uint32_t slot, bool whole) {
    uint64_t window_ns = world.config.snapshot_interval_ns + WRITE_SLACK_NS, kept_ns;
    uint64_t until_ns = sim_now(), disturbed_ns = check_disturbed_since();
    /* All was acknowledged, however slow the store is. */
    bool handed_over = whole && fence_handed_over(slot);
    if (granter != NULL && !granter->alive) {
        until_ns = granter->ended_ns;
        whole = whole || granter->orderly;
    }
    uint64_t lost_at_ns = store_lost_at(&kept_ns), fenced_ns = fence_taken_at(slot);
    if (fenced_ns != 0 && fenced_ns < until_ns) {
        until_ns = fenced_ns;
        whole = handed_over = false;
    }
    if (disturbed_ns != 0 && !(handed_over && lost_at_ns < disturbed_ns)) {
        until_ns = disturbed_ns < until_ns ? disturbed_ns : until_ns;
        if (lost_at_ns >= disturbed_ns && kept_ns < until_ns) {
            until_ns = kept_ns;
        }
        whole = false;
    }
    if (whole) {
        return until_ns;
    }
    return until_ns > window_ns ? until_ns - window_ns : 0;
}

struct left_over {
    uint64_t full_ns; /* a bucket that was full then is to be gone */
    uint32_t owing;
};

static void left_over(void *ctx, const char *key, struct bytes field, struct bytes value) {
    struct left_over *left = ctx;
    struct record record;
    struct fault fault;
    bool owes = false;
    if (record_read(value, &record, &fault) == CODE_OK) {
        for (uint32_t i = 0; i < record.tat_count; i++) {
            owes = owes || record.tats[i].ns > left->full_ns;
        }
    }
    if (!owes) {
        sim_fail("absent", "%.*s is full, and still has a record in %s", (int)field.size,
                 (const char *)field.data, key);
    }
    left->owing++;
}

uint32_t keys_end(uint64_t behind_ns) {
    struct left_over left = {.full_ns = store_clock() - behind_ns - CHECK_ABSENT_NS};
    db_visit(store_db(), ":buckets", left_over, &left);
    return left.owing;
}
