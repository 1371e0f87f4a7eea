#include "proto/slot.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t key_hash(struct bytes key) {
    return XXH3_64bits(key.data, key.size);
}
