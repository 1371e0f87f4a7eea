/* What a shard's store held a while ago, for a store that loses the end of its log. */
#ifndef SLUICE_TESTS_STORE_BACKUP_H
#define SLUICE_TESTS_STORE_BACKUP_H

#include "tests/unit/shard_fixture.h"

/* All zero: none was made. */
struct store_backup {
    struct stored *records;
    uint32_t count;
    uint64_t made_ns;
};

void store_backup_make(struct store_backup *backup, const struct fixture *fixture);
void store_backup_free(struct store_backup *backup);

/* Records and assignments become what they were, or go; `gone` is told of each record. Those that
 * were deleted meanwhile stay so, but assignments are back. */
void store_backup_return(const struct store_backup *backup, struct fixture *fixture,
                         void (*gone)(struct bytes key));

#endif
