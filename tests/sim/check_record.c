/* The record of a key, as the store holds it. */
#include <assert.h>
#include <stdlib.h>

#include "proto/plan_codec.h"
#include "proto/store_keys.h"
#include "tests/sim/check.h"

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
