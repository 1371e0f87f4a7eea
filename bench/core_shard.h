/*
 * For programs that measure the shard's core: a shard that owns every slot, under virtual time, and
 * a store that acknowledges every write at once.
 */
#ifndef SLUICE_BENCH_CORE_SHARD_H
#define SLUICE_BENCH_CORE_SHARD_H

#include "server/core/shard.h"

#define CORE_SLOTS 1024

/* Virtual nanoseconds that a take takes: a snapshot is due each million takes. */
#define CORE_TAKE_NS 100

/* The longest steps that are printed. */
#define CORE_LONGEST 5

struct core_step {
    float seconds;           /* of processor time, the kernel's for it included */
    uint32_t faults;         /* pages that were touched for the first time */
    uint32_t items, written; /* takes decided, records emitted */
    enum shard_event_kind kind;
    uint64_t buckets; /* that there were */
};

/* The time of each step. Time is virtual, so another shard that is asked the same takes the same
 * steps, and the least time of each over several runs is free of what else the machine did. */
struct core_steps {
    struct core_step *steps;
    uint32_t count, capacity; /* steps that there are, and that there is room for */
    uint32_t next;            /* of this run */
};

struct core_shard {
    struct shard *shard;
    struct memory_huge *huge; /* NULL: pages of the usual size */
    uint64_t now_ns;
    struct shard_update update; /* of the last step */
    struct core_steps *timed;   /* NULL: steps are not timed, which costs more than a take */
};

/* Serves all slots under one plan, "default": one token an hour, a burst of `burst_tokens`; buckets
 * in huge pages if the system has them and they are wanted. Ends the program if it does not. */
void core_shard_open(struct core_shard *core, uint64_t burst_tokens, bool huge_pages);
void core_shard_close(struct core_shard *core);

/* One step with the event, its time filled in, and the store's answers until nothing is asked. */
void core_shard_step(struct core_shard *core, struct shard_event *event);

/* A step with these takes, and the time that they take. */
void core_shard_takes(struct core_shard *core, const struct shard_item *items, uint32_t count);

/* Prints the longest of the steps from `first` to before `end` that emitted records, or of those
 * that did not: what is left then is decisions, and the growing of tables. */
void core_steps_print(const struct core_steps *timed, uint32_t first, uint32_t end, bool written);

/* Seconds of processor time of this process. */
double core_seconds(void);

#endif
