#include "ctl/slot_argument.h"

#include <stdio.h>

#include "ctl/text.h"

/* Bytes of the longest run with what may follow it: "16383-16383, ...". */
#define RUN_BYTES_MAX 20

static bool slot_parse(struct bytes text, uint32_t *slot) {
    uint64_t value;
    if (!text_uint(text, &value) || value >= SLOTS_MAX) {
        return false;
    }
    *slot = (uint32_t)value;
    return true;
}

bool slot_range_parse(const char *text, struct slot_range *range) {
    const char *dash = strchr(text, '-');
    if (dash == NULL) {
        bool good = slot_parse(bytes_of_text(text), &range->first);
        range->last = range->first;
        return good;
    }
    return slot_parse(bytes_of(text, (uint32_t)(dash - text)), &range->first) &&
           slot_parse(bytes_of_text(dash + 1), &range->last) && range->first <= range->last;
}

bool shard_name_parse(const char *text, struct shard_name *name) {
    const char *slash = strchr(text, '/');
    *name = (struct shard_name){.node = bytes_of_text(text)};
    if (slash != NULL) {
        uint64_t number;
        if (!text_uint(bytes_of_text(slash + 1), &number) || number >= SHARDS_MAX) {
            return false;
        }
        name->node = bytes_of(text, (uint32_t)(slash - text));
        name->has_number = true;
        name->number = (uint32_t)number;
    }
    return name_valid(name->node);
}

void slot_runs_write(const struct slot *slots, uint32_t count, char *out, uint32_t capacity) {
    uint32_t used = 0;
    out[0] = '\0';
    for (uint32_t at = 0; at < count; at++) {
        uint32_t end = at;
        while (end + 1 < count && slots[end + 1].index == slots[end].index + 1) {
            end++;
        }
        if (used + RUN_BYTES_MAX > capacity) {
            snprintf(out + used, capacity - used, "...");
            return;
        }
        const char *comma = used > 0 ? ", " : "";
        int written = end == at
                          ? snprintf(out + used, capacity - used, "%s%u", comma, slots[at].index)
                          : snprintf(out + used, capacity - used, "%s%u-%u", comma, slots[at].index,
                                     slots[end].index);
        used += (uint32_t)written;
        at = end;
    }
}
