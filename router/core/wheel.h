/*
 * A timer wheel: at most one timer for each of a fixed number of owners, in steps of 1 ms.
 *
 * Pure. Setting, moving and clearing a timer are O(1); finding the next one looks at a bitmap.
 * Owners are named by index. A timer fires at the first whole millisecond at or after its time:
 *
 *     time <= fired at < time + 1 ms        (plus how late wheel_pop is called)
 *
 * Times further away than the wheel is long fire at its end; the owner looks at its own time and
 * sets the timer again.
 */
#ifndef SLUICE_ROUTER_CORE_WHEEL_H
#define SLUICE_ROUTER_CORE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

/* Milliseconds of one turn: a power of two above DEADLINE_MS_MAX. */
#define WHEEL_STEPS 65536
#define WHEEL_STEP_NS UINT64_C(1000000)
#define WHEEL_NONE UINT32_MAX

struct wheel_node {
    uint32_t next, previous; /* owners; previous of a list's first is WHEEL_NONE */
    uint32_t step;           /* its place in the wheel */
    bool set;
};

struct wheel {
    struct wheel_node *nodes; /* one an owner, zeroed memory */
    uint32_t *first;          /* WHEEL_STEPS: the first owner at each step */
    uint64_t *filled;         /* WHEEL_STEPS bits */
    uint64_t tick;            /* ms: everything before it has fired */
};

/* `nodes`, `first` and `filled` are borrowed for the wheel's life. */
void wheel_init(struct wheel *wheel, struct wheel_node *nodes, uint32_t *first, uint64_t *filled);

/* Sets or moves the owner's timer. */
void wheel_set(struct wheel *wheel, uint32_t owner, uint64_t at_ns);
void wheel_clear(struct wheel *wheel, uint32_t owner);

/* Clears and returns one owner whose timer fires at or before now_ns; WHEEL_NONE: there is none. */
uint32_t wheel_pop(struct wheel *wheel, uint64_t now_ns);

/* When the next timer fires; UINT64_MAX: there is none. */
uint64_t wheel_next_ns(const struct wheel *wheel);

#endif
