#include "ctl/slot_list.h"

#include <stdio.h>

#include "ctl/slot_argument.h"

/* Bytes of one range, zero included: "16383-16383". */
#define RANGE_BYTES 16

bool slot_list_parse(const char *text, uint32_t slot_count, struct slot_set *slots, char *why,
                     size_t why_size) {
    memset(slots, 0, sizeof *slots);
    if (text == NULL) {
        for (uint32_t slot = 0; slot < slot_count; slot++) {
            slot_set_add(slots, slot);
        }
        return true;
    }
    for (const char *at = text;; at++) {
        char part[RANGE_BYTES];
        struct slot_range range;
        size_t size = strcspn(at, ",");
        snprintf(part, sizeof part, "%.*s", (int)size, at);
        if (size >= sizeof part || !slot_range_parse(part, &range)) {
            snprintf(why, why_size, "--slots: expected slots and ranges as in 0-99,200, got \"%s\"",
                     text);
            return false;
        }
        if (range.last >= slot_count) {
            snprintf(why, why_size, "--slots: slot %u: this cluster has slots 0 to %u", range.last,
                     slot_count - 1);
            return false;
        }
        for (uint32_t slot = range.first; slot <= range.last; slot++) {
            slot_set_add(slots, slot);
        }
        at += size;
        if (*at == '\0') {
            return true;
        }
    }
}

uint32_t slot_set_count(const struct slot_set *slots) {
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < SLOTS_MAX; slot++) {
        count += slot_set_has(slots, slot);
    }
    return count;
}
