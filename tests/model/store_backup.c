#include "tests/model/store_backup.h"

#include <stdlib.h>

void store_backup_make(struct store_backup *backup, const struct fixture *fixture) {
    free(backup->records);
    backup->count = fixture->record_count;
    backup->made_ns = fixture->now_ns;
    backup->records = malloc((backup->count + 1) * sizeof backup->records[0]);
    if (backup->count > 0) {
        memcpy(backup->records, fixture->records, backup->count * sizeof backup->records[0]);
    }
}

void store_backup_free(struct store_backup *backup) {
    free(backup->records);
}

static const struct stored *before(const struct store_backup *backup, const struct stored *now) {
    for (uint32_t i = 0; i < backup->count; i++) {
        const struct stored *record = &backup->records[i];
        if (record->is_assignment == now->is_assignment &&
            bytes_equal(bytes_of(record->key, record->key_size),
                        bytes_of(now->key, now->key_size))) {
            return record;
        }
    }
    return NULL;
}

void store_backup_return(const struct store_backup *backup, struct fixture *fixture,
                         void (*gone)(struct bytes key)) {
    for (uint32_t i = fixture->record_count; i > 0 && backup->records != NULL; i--) {
        struct stored *stored = &fixture->records[i - 1];
        const struct stored *was = before(backup, stored);
        if (!stored->is_assignment) {
            gone(bytes_of(stored->key, stored->key_size));
        }
        if (was != NULL) {
            *stored = *was;
        } else {
            fixture->record_count--;
            *stored = fixture->records[fixture->record_count];
        }
    }
    for (uint32_t i = 0; i < backup->count && backup->records != NULL; i++) {
        const struct stored *was = &backup->records[i];
        if (was->is_assignment) { /* also those that were taken back since */
            fixture_put(fixture, bytes_of(was->key, was->key_size),
                        bytes_of(was->value, was->value_size), true);
        }
    }
}
