#include "router/core/wheel.h"

#include <assert.h>
#include <string.h>

#define STEP_MASK (WHEEL_STEPS - 1)
#define WORDS (WHEEL_STEPS / 64)

void wheel_init(struct wheel *wheel, struct wheel_node *nodes, uint32_t *first, uint64_t *filled) {
    wheel->nodes = nodes;
    wheel->first = first;
    wheel->filled = filled;
    wheel->tick = 0;
    memset(first, 0xff, WHEEL_STEPS * sizeof *first);
}

void wheel_clear(struct wheel *wheel, uint32_t owner) {
    struct wheel_node *node = &wheel->nodes[owner];
    if (!node->set) {
        return;
    }
    node->set = false;
    if (node->next != WHEEL_NONE) {
        wheel->nodes[node->next].previous = node->previous;
    }
    if (node->previous != WHEEL_NONE) {
        wheel->nodes[node->previous].next = node->next;
        return;
    }
    wheel->first[node->step] = node->next;
    if (node->next == WHEEL_NONE) {
        wheel->filled[node->step / 64] &= ~(UINT64_C(1) << (node->step % 64));
    }
}

void wheel_set(struct wheel *wheel, uint32_t owner, uint64_t at_ns) {
    wheel_clear(wheel, owner);
    uint64_t tick = at_ns / WHEEL_STEP_NS + (at_ns % WHEEL_STEP_NS != 0);
    if (tick < wheel->tick) {
        tick = wheel->tick;
    }
    if (tick - wheel->tick > STEP_MASK) {
        tick = wheel->tick + STEP_MASK;
    }
    uint32_t step = (uint32_t)(tick & STEP_MASK);
    uint32_t next = wheel->first[step];
    wheel->nodes[owner] =
        (struct wheel_node){.next = next, .previous = WHEEL_NONE, .step = step, .set = true};
    if (next != WHEEL_NONE) {
        wheel->nodes[next].previous = owner;
    }
    wheel->first[step] = owner;
    wheel->filled[step / 64] |= UINT64_C(1) << (step % 64);
}

/* Steps from the wheel's tick to the next one that holds a timer; WHEEL_STEPS: none does. */
static uint32_t steps_ahead(const struct wheel *wheel) {
    uint32_t start = (uint32_t)(wheel->tick & STEP_MASK);
    uint32_t word = start / 64;
    uint64_t bits = wheel->filled[word] & (UINT64_MAX << (start % 64));
    /* The first word is looked at twice: last time for the bits before the start. */
    for (uint32_t i = 0; i <= WORDS; i++) {
        if (bits != 0) {
            uint32_t step = word * 64 + (uint32_t)__builtin_ctzll(bits);
            return (step - start) & STEP_MASK;
        }
        word = (word + 1) % WORDS;
        bits = wheel->filled[word];
    }
    return WHEEL_STEPS;
}

uint32_t wheel_pop(struct wheel *wheel, uint64_t now_ns) {
    uint64_t now = now_ns / WHEEL_STEP_NS;
    if (now < wheel->tick) {
        return WHEEL_NONE;
    }
    uint32_t ahead = steps_ahead(wheel);
    if (ahead == WHEEL_STEPS || ahead > now - wheel->tick) {
        wheel->tick = now;
        return WHEEL_NONE;
    }
    wheel->tick += ahead;
    uint32_t owner = wheel->first[wheel->tick & STEP_MASK];
    assert(owner != WHEEL_NONE);
    wheel_clear(wheel, owner);
    return owner;
}

uint64_t wheel_next_ns(const struct wheel *wheel) {
    uint32_t ahead = steps_ahead(wheel);
    return ahead == WHEEL_STEPS ? UINT64_MAX : (wheel->tick + ahead) * WHEEL_STEP_NS;
}
