/*
 * The shard's core alone: takes a second through shard_step, and bytes of memory a bucket.
 *
 *     core-bench [--keys N] [--takes N]
 *
 * One thread, no network; seconds are of processor time, so that a busy machine does not count.
 * Keys have 16 bytes, buckets one limit, and stay (they refill in days). Takes are of keys drawn at
 * random. The store acknowledges every write at once, so emitting snapshots is part of the figure,
 * encoding and sending them are not. Time is virtual: 100 ns a take, so a snapshot is due each
 * million takes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "server/core/shard.h"

#define KEY_SIZE 16
#define KEY_TEXT (KEY_SIZE + 1)
#define SLOTS 1024
#define TAKE_NS 100

/* Items drawn beforehand, so that drawing is not measured. Enough that caches do not hold them. */
#define DRAWN (64 * TAKES_PER_REQUEST_MAX)

static struct shard *shard;
static struct shard_update update;
static uint64_t now_ns = UINT64_C(1700000000000000000);
static uint64_t random_state = 1;
static char (*key_texts)[KEY_TEXT];
static struct shard_item *items;

static void *map_get(void *ctx, size_t size) {
    void *piece = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return piece == MAP_FAILED ? NULL : piece;
}

static void map_put(void *ctx, void *piece, size_t size) {
    munmap(piece, size);
}

static uint64_t random_next(void) {
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return random_state >> 24;
}

/* Longest single step since it was set to 0. */
static double longest;
static bool steps_timed = true;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
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

static void timed_step(struct shard_event *event) {
    double start = steps_timed ? seconds() : 0;
    shard_step(shard, event, &update);
    double taken = steps_timed ? seconds() - start : 0;
    longest = taken > longest ? taken : longest;
}

/* The step, and the store's answers to it until nothing is asked any more. */
static void step(struct shard_event *event) {
    static struct shard_op ops[SHARD_UPDATE_OPS_MAX * 64];
    uint32_t count = 0;
    event->now_ns = now_ns;
    timed_step(event);
    for (uint32_t done = 0;; done++) {
        for (uint32_t i = 0; i < update.op_count && count < SHARD_UPDATE_OPS_MAX * 64; i++) {
            ops[count++] = update.ops[i];
        }
        struct shard_event answer = {.kind = SHARD_EVENT_TICK, .now_ns = now_ns};
        if (done < count) {
            answer.kind = SHARD_EVENT_STORED;
            answer.stored.op_kind = (uint8_t)ops[done].kind;
            answer.stored.slot = ops[done].slot;
            answer.stored.op_id = ops[done].op_id;
            answer.stored.fence = 1;
        } else if (update.wake_at_ns > now_ns) {
            return;
        }
        timed_step(&answer);
    }
}

static void shard_open(void) {
    struct shard_options options = {.slot_count = SLOTS,
                                    .snapshot_interval_ns = 100000000,
                                    .memory_bytes_max = UINT64_C(32) << 30,
                                    .memory = {map_get, map_put, NULL}};
    struct plan_set *plans = malloc(sizeof *plans);
    struct plan plan = {.name = name_of(bytes_of_text("default")), .generation_count = 1};
    plan.generations[0].generation = 1;
    plan.generations[0].terms =
        (struct terms){1, {{1, UINT64_C(3600000000000), 1000}}}; /* 1 an hour, burst 1,000 */
    plan_set_init(plans);
    plan_set_add(plans, &plan);
    plans->version = 1;
    plans->default_at = 0;
    shard = shard_create(&options);
    uint8_t all[SLOTS / 8];
    memset(all, 0xff, sizeof all);
    struct shard_event tell = {.kind = SHARD_EVENT_PLANS};
    tell.plans.set = plans;
    step(&tell);
    struct shard_event up = {.kind = SHARD_EVENT_STORE};
    up.store.up = true;
    step(&up);
    struct shard_event own = {.kind = SHARD_EVENT_OWN};
    own.own.slots = all;
    step(&own);
    if (shard_counters(shard)->slots_serving != SLOTS) {
        fprintf(stderr, "core-bench: the shard does not serve\n");
        exit(1);
    }
}

static void item_set(uint32_t at, uint64_t key) {
    snprintf(key_texts[at], KEY_TEXT, "key-%012" PRIu64, key % UINT64_C(1000000000000));
    items[at] = (struct shard_item){
        .verb = VERB_TAKE,
        .take = {.key = bytes_of(key_texts[at], KEY_SIZE), .cost_tokens = 1, .deadline_ms = 250}};
}

static void takes(uint32_t first, uint32_t count) {
    struct shard_event event = {.kind = SHARD_EVENT_TAKES};
    event.takes.items = &items[first];
    event.takes.count = count;
    now_ns += (uint64_t)count * TAKE_NS;
    step(&event);
}

static void fill(uint64_t keys) {
    uint64_t before = resident_bytes();
    double start = seconds();
    for (uint64_t key = 0; key < keys;) {
        uint32_t count = 0;
        while (count < TAKES_PER_REQUEST_MAX && key < keys) {
            item_set(count++, key++);
        }
        takes(0, count);
    }
    double taken = seconds() - start;
    /* A minute, in which the sweep comes by. */
    for (int i = 0; i < 6000; i++) {
        struct shard_event tick = {.kind = SHARD_EVENT_TICK};
        now_ns += 10000000;
        step(&tick);
    }
    const struct shard_counters *counters = shard_counters(shard);
    double grown = (double)(resident_bytes() - before);
    printf("%" PRIu64 " buckets made in %.2f s, %" PRIu64 " written; longest step %.2f ms\n",
           counters->buckets, taken, counters->records_written, longest * 1e3);
    printf("memory: %.1f bytes a bucket (RSS), of which the key %d; %.1f of it asked for\n",
           grown / (double)keys, KEY_SIZE, (double)counters->memory_bytes / (double)keys);
}

static void measure(uint64_t keys, uint64_t count, uint32_t batch) {
    for (uint32_t i = 0; i < DRAWN; i++) {
        item_set(i, random_next() % keys);
    }
    uint64_t written = shard_counters(shard)->records_written;
    double start = seconds();
    longest = 0;
    steps_timed = batch > 1; /* reading the clock costs as much as a take */
    for (uint64_t done = 0; done < count; done += batch) {
        takes((uint32_t)(done % DRAWN), batch);
    }
    double taken = seconds() - start;
    printf("batches of %4u: %9.0f takes/s, %4.0f ns each, %.2f records written a take", batch,
           (double)count / taken, taken * 1e9 / (double)count,
           (double)(shard_counters(shard)->records_written - written) / (double)count);
    if (steps_timed) {
        printf(", longest step %.2f ms", longest * 1e3);
    }
    printf("\n");
}

int main(int argc, char **argv) {
    uint64_t keys = 1000000, count = 10000000;
    for (int i = 1; i < argc; i += 2) {
        uint64_t number = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;
        if (number > 0 && strcmp(argv[i], "--keys") == 0) {
            keys = number;
        } else if (number > 0 && strcmp(argv[i], "--takes") == 0) {
            count = number;
        } else {
            fprintf(stderr, "usage: core-bench [--keys N] [--takes N]\n");
            return 2;
        }
    }
    key_texts = malloc(DRAWN * sizeof key_texts[0]);
    items = malloc(DRAWN * sizeof items[0]);
    memset(key_texts, 0, DRAWN * sizeof key_texts[0]);
    memset(items, 0, DRAWN * sizeof items[0]);
    shard_open();
    printf("%" PRIu64 " keys of %d bytes, one limit, %d slots\n", keys, KEY_SIZE, SLOTS);
    fill(keys);
    const uint32_t batches[] = {1, 64, TAKES_PER_REQUEST_MAX};
    for (int i = 0; i < 3; i++) {
        measure(keys, count, batches[i]);
    }
    shard_destroy(shard);
    return 0;
}
