/* What operators have assigned: in the end the store has what owners go by, whatever it lost. */
#include <stdlib.h>

#include "proto/store_keys.h"
#include "server/core/shard_parts.h"
#include "tests/sim/check.h"
#include "tests/sim/report.h"
#include "tests/sim/world.h"

void __real_keys_rewrite(struct shard *shard, struct shard_slot *slot, bool all);
void __wrap_keys_rewrite(struct shard *shard, struct shard_slot *slot, bool all);

void __wrap_keys_rewrite(struct shard *shard, struct shard_slot *slot, bool all) {
    if (!check_planted(PLANT_LOST_ASSIGNED)) {
        __real_keys_rewrite(shard, slot, all);
    }
}

/* The plan that the store has assigned to the key; size 0: none. Borrows from `out`. */
static struct bytes stored_plan(struct slot slot, const char *key, struct buffer *out) {
    store_key name;
    int size = store_key_keys("sluice:", slot, name);
    struct bytes words[] = {bytes_of_text("HGET"), bytes_of(name, (size_t)size),
                            bytes_of_text(key)};
    db_call(store_db(), store_clock() / MS, words, 3, out);
    buffer_put(out, "", 1);
    if (out->data[1] == '-') {
        return (struct bytes){0};
    }
    return bytes_of(strstr((const char *)out->data, "\r\n") + 2,
                    strtoul((const char *)out->data + 1, NULL, 10));
}

static struct bytes owner_plan(const struct shard *shard, const struct shard_slot *slot,
                               const char *key) {
    struct bytes name = bytes_of_text(key);
    uint32_t ref = assignment_find(shard, slot, key_hash(name), name);
    uint16_t term = ref == 0 ? TERM_NONE : assignment_at(&shard->arena, ref)->term;
    return term == TERM_NONE ? (struct bytes){0}
                             : name_bytes(&term_set_at(&shard->terms, term)->name);
}

void assigned_look(const struct shard *shard) {
    for (uint32_t i = 0; i < world.config.keys; i++) {
        char key[32];
        key_name(i, key);
        struct slot at = slot_of_hash(key_hash(bytes_of_text(key)), world.config.slots);
        const struct shard_slot *slot = &shard->slots[at.index];
        if (slot->state != SLOT_SERVING) {
            continue;
        }
        struct buffer out = {0};
        struct bytes stored = stored_plan(at, key, &out), owned = owner_plan(shard, slot, key);
        if (!bytes_equal(stored, owned)) {
            sim_fail("assigned", "%s: the store has plan \"%.*s\" assigned, its owner \"%.*s\"",
                     key, (int)stored.size, (const char *)stored.data, (int)owned.size,
                     (const char *)owned.data);
        }
        buffer_free(&out);
    }
}
