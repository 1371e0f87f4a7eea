#include "server/core/marks.h"

#include <assert.h>
#include <stddef.h>

bool marks_init(struct marks *marks, uint32_t count, struct memory *memory) {
    assert(count >= MARKS_WAYS && (count & (count - 1)) == 0);
    marks->count = count;
    marks->entries = memory->get(memory->ctx, count * sizeof marks->entries[0]);
    return marks->entries != NULL;
}

void marks_fini(struct marks *marks, struct memory *memory) {
    if (marks->entries != NULL) {
        memory->put(memory->ctx, marks->entries, marks->count * sizeof marks->entries[0]);
    }
}

/* The slot is the hash's low bits, and the table within it goes by others: here the middle. */
static struct mark *set_of(const struct marks *marks, uint64_t hash) {
    return &marks->entries[(hash >> 24 & (marks->count / MARKS_WAYS - 1)) * MARKS_WAYS];
}

struct mark *marks_find(const struct marks *marks, uint64_t hash, uint32_t ref) {
    struct mark *set = set_of(marks, hash);
    for (uint32_t i = 0; i < MARKS_WAYS; i++) {
        if (set[i].ref == ref && set[i].hash == hash) {
            return &set[i];
        }
    }
    return NULL;
}

void marks_prefetch(const struct marks *marks, uint64_t hash) {
    __builtin_prefetch(set_of(marks, hash));
}

struct mark *marks_place(const struct marks *marks, uint64_t hash, uint32_t now_ms,
                         uint32_t idle_ms) {
    struct mark *set = set_of(marks, hash), *place = NULL;
    for (uint32_t i = 0; i < MARKS_WAYS; i++) {
        if (set[i].ref == 0) {
            return &set[i];
        }
        if (set[i].writing) {
            continue;
        }
        /* Differences are right also when 32 bits have wrapped. */
        uint32_t unused_ms = now_ms - set[i].used_ms;
        if (unused_ms >= idle_ms && (place == NULL || unused_ms > now_ms - place->used_ms)) {
            place = &set[i];
        }
    }
    return place;
}

void marks_set_ahead(struct marks *marks, struct mark *mark, bool ahead) {
    marks->ahead_count += ahead;
    marks->ahead_count -= mark->ahead;
    mark->ahead = ahead;
}

void marks_drop(struct marks *marks, struct mark *mark) {
    marks->ahead_count -= mark->ahead;
    *mark = (struct mark){.ref = 0};
}
