/*
 * What the model tests share: a seeded source of randomness, arguments, and how a failure is told.
 *
 *     model_x [--seed N] [--steps N] [--plant FAULT]
 *
 * A run is replayed exactly by its printed seed and steps. SLUICE_TEST_SCALE multiplies the default
 * number of steps. --plant puts a fault into what is tested: the run must then fail.
 */
#ifndef SLUICE_TESTS_MODEL_H
#define SLUICE_TESTS_MODEL_H

#include <stdint.h>

struct model_arguments {
    uint64_t seed, steps;
    int plant; /* index into the names given, -1: none */
};

/* Ends the process at wrong arguments. `plants` ends with NULL. Without --seed one is drawn. */
struct model_arguments model_arguments(int argc, char **argv, uint64_t steps_default,
                                       const char *const plants[]);

/* The step under way, for failures. */
extern uint64_t model_step;

/* Says what failed and how to replay it, and ends the process. */
void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* splitmix64: any seed will do. */
uint64_t model_random(void);
uint64_t model_below(uint64_t bound);                /* 0 to bound - 1 */
uint64_t model_between(uint64_t low, uint64_t high); /* both may come */
int model_chance(uint32_t percent);

#endif
