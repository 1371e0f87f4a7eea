/*
 * The shard's core alone: takes a second through shard_step, and bytes of memory a bucket.
 *
 *     core-bench [--keys N] [--takes N] [--fill TAKES_A_STEP] [--runs N] [--huge-pages 1]
 *
 * One thread, no network; seconds are of processor time, so that a busy machine does not count.
 * Keys have 16 bytes, buckets one limit, and stay (they refill in days). Takes are of keys drawn at
 * random. The store acknowledges every write at once, so emitting snapshots is part of the figure,
 * encoding and sending them are not. Time is virtual: 100 ns a take, so a snapshot is due each
 * million takes. The time of each step is the least of all runs (--runs) so far, in which the same
 * steps are taken.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/core_shard.h"

#define KEY_SIZE 16
#define KEY_TEXT (KEY_SIZE + 1)

/* Items drawn beforehand, so that drawing is not measured. Enough that caches do not hold them. */
#define DRAWN (64 * TAKES_PER_REQUEST_MAX)

static struct core_shard core;
static bool huge_pages;
static uint64_t random_state = 1;
static char (*key_texts)[KEY_TEXT];
static struct shard_item *items;

static uint64_t random_next(void) {
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return random_state >> 24;
}

static uint64_t resident_bytes(void) {
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu", &total, &resident) != 2) {
        resident = 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void item_set(uint32_t at, uint64_t key) {
    snprintf(key_texts[at], KEY_TEXT, "key-%012" PRIu64, key % UINT64_C(1000000000000));
    items[at] = (struct shard_item){
        .verb = VERB_TAKE,
        .take = {.key = bytes_of(key_texts[at], KEY_SIZE), .cost_tokens = 1, .deadline_ms = 250}};
}

/* Makes the buckets. Steps of few takes show what a single one may have to wait for. */
static void fill(uint64_t keys, uint32_t batch, struct core_steps *timed) {
    uint64_t before = resident_bytes();
    core_shard_open(&core, 1000, huge_pages);
    timed->next = 0;
    core.timed = timed;
    double start = core_seconds();
    for (uint64_t key = 0; key < keys;) {
        uint32_t count = 0;
        while (count < batch && key < keys) {
            item_set(count++, key++);
        }
        core_shard_takes(&core, items, count);
    }
    double taken = core_seconds() - start;
    const struct shard_counters *counters = shard_counters(core.shard);
    printf("%" PRIu64 " buckets made in %.2f s, %u a step, %" PRIu64 " written\n",
           counters->buckets, taken, batch, counters->records_written);
    uint32_t filled = timed->next;
    /* A minute, in which the sweep comes by. */
    for (int i = 0; i < 6000; i++) {
        struct shard_event tick = {.kind = SHARD_EVENT_TICK};
        core.now_ns += 10000000;
        core_shard_step(&core, &tick);
    }
    core.timed = NULL;
    double grown = (double)(resident_bytes() - before);
    printf("memory: %.1f bytes a bucket (RSS), of which the key %d; %.1f of it asked for\n",
           grown / (double)keys, KEY_SIZE, (double)counters->memory_bytes / (double)keys);
    printf("longest steps that emitted records, and others, while it filled\n");
    core_steps_print(timed, 0, filled, true);
    core_steps_print(timed, 0, filled, false);
    printf("and in a minute without takes\n");
    core_steps_print(timed, filled, timed->next, true);
    core_steps_print(timed, filled, timed->next, false);
}

static void measure(uint64_t keys, uint64_t count, uint32_t batch) {
    for (uint32_t i = 0; i < DRAWN; i++) {
        item_set(i, random_next() % keys);
    }
    const struct shard_counters *counters = shard_counters(core.shard);
    uint64_t written = counters->records_written;
    double start = core_seconds();
    for (uint64_t done = 0; done < count; done += batch) {
        core_shard_takes(&core, &items[done % DRAWN], batch);
    }
    double taken = core_seconds() - start;
    printf("batches of %4u: %9.0f takes/s, %4.0f ns each, %.2f records written a take\n", batch,
           (double)count / taken, taken * 1e9 / (double)count,
           (double)(counters->records_written - written) / (double)count);
}

int main(int argc, char **argv) {
    uint64_t keys = 1000000, count = 10000000, fill_batch = TAKES_PER_REQUEST_MAX, runs = 1;
    for (int i = 1; i < argc; i += 2) {
        uint64_t number = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;
        if (number > 0 && strcmp(argv[i], "--keys") == 0) {
            keys = number;
        } else if (number > 0 && strcmp(argv[i], "--takes") == 0) {
            count = number;
        } else if (number > 0 && number <= TAKES_PER_REQUEST_MAX &&
                   strcmp(argv[i], "--fill") == 0) {
            fill_batch = number;
        } else if (number > 0 && strcmp(argv[i], "--runs") == 0) {
            runs = number;
        } else if (number > 0 && strcmp(argv[i], "--huge-pages") == 0) {
            huge_pages = true;
        } else {
            fprintf(stderr,
                    "usage: core-bench [--keys N] [--takes N] [--fill TAKES_A_STEP] [--runs N] "
                    "[--huge-pages 1]\n");
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* it takes minutes: what is known is shown */
    key_texts = calloc(DRAWN, sizeof key_texts[0]);
    items = calloc(DRAWN, sizeof items[0]);
    for (uint32_t i = 0; i < DRAWN; i++) {
        item_set(i, 0); /* touched before anything is measured */
    }
    printf("%" PRIu64 " keys of %d bytes, one limit, %d slots\n", keys, KEY_SIZE, CORE_SLOTS);
    struct core_steps timed = {0};
    for (uint64_t run = 0; run < runs; run++) {
        if (run > 0) {
            core_shard_close(&core);
        }
        fill(keys, (uint32_t)fill_batch, &timed);
    }
    free(timed.steps);
    const uint32_t batches[] = {1, 64, TAKES_PER_REQUEST_MAX};
    for (int i = 0; i < 3; i++) {
        measure(keys, count, batches[i]);
    }
    core_shard_close(&core);
    return 0;
}
