#include "server/io/move_events.h"

#include <inttypes.h>
#include <stdio.h>

#include "runtime/clock.h"

/* Bytes of what one handover adds: its target, every slot apart, the epoch. */
#define ENTRY_BYTES_MAX (NAME_BYTES_MAX + 16 + 64 * 6 + 24)
_Static_assert(ENTRY_BYTES_MAX < MOVE_EVENT_LIST_BYTES, "one handover always fits");

void move_events_init(struct move_events *events, struct membership *membership,
                      const struct log *log) {
    memset(events, 0, sizeof *events);
    events->membership = membership;
    events->log = *log;
}

/* " 0-3,7@5", behind `head` */
static void entry_write(char entry[ENTRY_BYTES_MAX], const char *head, const struct slot *slots,
                        uint32_t count, struct epoch epoch) {
    size_t size = (size_t)snprintf(entry, ENTRY_BYTES_MAX, "%s", head);
    for (uint32_t i = 0; i < count;) {
        uint32_t end = i + 1;
        while (end < count && slots[end].index == slots[end - 1].index + 1) {
            end++;
        }
        size += (size_t)snprintf(entry + size, ENTRY_BYTES_MAX - size, "%s%u", i == 0 ? " " : ",",
                                 slots[i].index);
        if (end - i > 1) {
            size +=
                (size_t)snprintf(entry + size, ENTRY_BYTES_MAX - size, "-%u", slots[end - 1].index);
        }
        i = end;
    }
    snprintf(entry + size, ENTRY_BYTES_MAX - size, "@%" PRIu64, epoch.number);
}

void move_events_add(struct move_events *events, const struct slot *slots, uint32_t count,
                     const struct name *node, uint32_t number, struct epoch epoch) {
    char entry[ENTRY_BYTES_MAX], head[NAME_BYTES_MAX + 16];
    bool same =
        bytes_equal(name_bytes(&events->node), name_bytes(node)) && events->number == number;
    snprintf(head, sizeof head, " %s/%u:", node->text, number);
    entry_write(entry, head, slots, count, epoch);
    log_info(&events->log, "move: %u slots went to%s", count, entry);
    size_t size = strlen(events->list);
    bool fits = size + strlen(entry) + 1 < sizeof events->list &&
                clock_monotonic_ns() - events->began_ns < MOVE_EVENT_SPAN_NS;
    if (!fits || size == 0) {
        events->slots = 0;
        events->began_ns = clock_monotonic_ns();
        events->turn++;
        size = 0;
    } else if (same) {
        entry_write(entry, "", slots, count, epoch);
    } else {
        events->list[size++] = ';';
    }
    memcpy(events->list + size, entry, strlen(entry) + 1);
    events->node = *node;
    events->number = number;
    events->slots += count;
    char text[MOVE_EVENT_LIST_BYTES + 64];
    snprintf(text, sizeof text, "%u slots went to%s", events->slots, events->list);
    membership_event_grow(events->membership, events->turn, "move", text);
}
