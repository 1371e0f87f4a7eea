#include "tests/model/model.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t model_step;

/* Times as many steps for a planted fault as for the model itself. The rarest (crash-at-stop) shows
 * itself in seven of twelve runs of a tenth of those steps: once in 5 times all of them, but for a
 * chance of 10^-18. */
#define PLANTED_STEPS 5

/* Bytes that the heap keeps instead of giving them back to the system. A model frees its shard
 * thousands of times and makes another: without it four fifths of its time are page faults. */
#define HEAP_KEPT_BYTES (256 << 20)
/* The largest piece that the heap may be asked for without going to the system: as large as glibc
 * allows. */
#define HEAP_PIECE_BYTES (32 << 20)

static struct model_arguments arguments;
static const char *program;
static uint64_t random_state;

static void usage(void) {
    fprintf(stderr, "usage: %s [--seed N] [--steps N] [--plant FAULT]\n", program);
    exit(2);
}

static uint64_t number_of(const char *text) {
    char *end;
    uint64_t number = strtoull(text, &end, 0);
    if (*text == '\0' || *end != '\0') {
        usage();
    }
    return number;
}

static int plant_of(const char *text, const char *const plants[]) {
    for (int i = 0; plants[i] != NULL; i++) {
        if (strcmp(plants[i], text) == 0) {
            return i;
        }
    }
    fprintf(stderr, "%s: no fault \"%s\"; there are:", program, text);
    for (int i = 0; plants[i] != NULL; i++) {
        fprintf(stderr, " %s", plants[i]);
    }
    fprintf(stderr, "\n");
    exit(2);
}

struct model_arguments model_arguments(int argc, char **argv, uint64_t steps_default,
                                       const char *const plants[]) {
    const char *scale = getenv("SLUICE_TEST_SCALE");
    bool steps_given = false;
    program = argv[0];
    mallopt(M_MMAP_THRESHOLD, HEAP_PIECE_BYTES);
    mallopt(M_TRIM_THRESHOLD, HEAP_KEPT_BYTES);
    arguments.plant = -1;
    arguments.steps = steps_default;
    if (scale != NULL && atof(scale) > 0) {
        arguments.steps = (uint64_t)((double)steps_default * atof(scale)) + 1;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    arguments.seed = (uint64_t)now.tv_sec * 1000003 + (uint64_t)now.tv_nsec;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) {
            usage();
        } else if (strcmp(argv[i], "--seed") == 0) {
            arguments.seed = number_of(argv[i + 1]);
        } else if (strcmp(argv[i], "--steps") == 0) {
            arguments.steps = number_of(argv[i + 1]);
            steps_given = true;
        } else if (strcmp(argv[i], "--plant") == 0) {
            arguments.plant = plant_of(argv[i + 1], plants);
        } else {
            usage();
        }
    }
    if (arguments.plant >= 0 && !steps_given) {
        arguments.steps =
            PLANTED_STEPS * steps_default; /* whatever the scale: it ends when found */
    }
    random_state = arguments.seed;
    printf("seed %" PRIu64 ", %" PRIu64 " steps%s%s\n", arguments.seed, arguments.steps,
           arguments.plant >= 0 ? ", planted: " : "",
           arguments.plant >= 0 ? plants[arguments.plant] : "");
    fflush(stdout);
    return arguments;
}

void model_fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    fprintf(stderr, "step %" PRIu64 ": ", model_step);
    vfprintf(stderr, format, values);
    va_end(values);
    fprintf(stderr, "\nreplay: %s --seed %" PRIu64 " --steps %" PRIu64 "\n", program,
            arguments.seed, arguments.steps);
    exit(1);
}

uint64_t model_random(void) {
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = random_state;
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

uint64_t model_below(uint64_t bound) {
    return model_random() % bound;
}

uint64_t model_between(uint64_t low, uint64_t high) {
    return low + model_random() % (high - low + 1);
}

int model_chance(uint32_t percent) {
    return model_random() % 100 < percent;
}
