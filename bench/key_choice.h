/*
 * Which key is asked about next: uniform, Zipf, or a few hot keys among many. Pure; a seed replays
 * exactly. Keys are numbers from 0 on; key_text writes their names.
 */
#ifndef SLUICE_BENCH_KEY_CHOICE_H
#define SLUICE_BENCH_KEY_CHOICE_H

#include <stdint.h>

#include "proto/bytes.h"

/* Keys of a load. Arbitrary, but safe: names have ten digits. */
#define KEYS_MAX UINT64_C(1000000000)

/* Bytes of a prefix, and of a whole name. */
#define KEY_PREFIX_BYTES_MAX 32
#define KEY_DIGITS 10
#define KEY_TEXT_BYTES_MAX (KEY_PREFIX_BYTES_MAX + KEY_DIGITS)

enum key_spread {
    KEY_SPREAD_UNIFORM,
    KEY_SPREAD_ZIPF, /* key k with a weight of 1 / (k + 1)^exponent */
    KEY_SPREAD_HOT,  /* hot_share of the takes go to the first hot_count keys, evenly */
};

struct key_choice {
    enum key_spread spread;
    uint64_t key_count;
    double exponent; /* ZIPF, > 0 */
    uint64_t hot_count;
    double hot_share;
    uint64_t random;
    double h_first, h_last, shortcut; /* ZIPF: of the sampler */
};

/* splitmix64; and a number in [0, 1). */
uint64_t random_next(uint64_t *state);
double random_unit(uint64_t *state);

/* The fields up to hot_share are the caller's. */
void key_choice_start(struct key_choice *choice, uint64_t seed);

uint64_t key_choice_next(struct key_choice *choice);

/* The name of a key: the prefix and ten digits, into `out`. Returns it. */
struct bytes key_text(struct bytes prefix, uint64_t key, char out[KEY_TEXT_BYTES_MAX]);

#endif
