#include "bench/key_choice.h"

#include <math.h>

uint64_t random_next(uint64_t *state) {
    uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

double random_unit(uint64_t *state) {
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

/*
 * Zipf by rejection-inversion (Hoermann and Derflinger, 1996): constant time and memory whatever
 * the number of keys. h_integral is the integral of the weight x^-s, made to pass through 0 at
 * x = 1; the two helpers stay exact where s is near 1.
 */
static double log1p_over(double x) {
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x * (0.5 - x * (1.0 / 3 - 0.25 * x));
}

static double expm1_over(double x) {
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x * 0.5 * (1 + x * (1.0 / 3) * (1 + 0.25 * x));
}

static double h_integral(double x, double s) {
    double log_x = log(x);
    return expm1_over((1 - s) * log_x) * log_x;
}

static double h_inverse(double x, double s) {
    double t = x * (1 - s);
    return exp(log1p_over(t < -1 ? -1 : t) * x);
}

static double h_weight(double x, double s) {
    return exp(-s * log(x));
}

void key_choice_start(struct key_choice *choice, uint64_t seed) {
    choice->random = seed;
    if (choice->spread == KEY_SPREAD_ZIPF) {
        double s = choice->exponent;
        choice->h_first = h_integral(1.5, s) - 1;
        choice->h_last = h_integral((double)choice->key_count + 0.5, s);
        choice->shortcut = 2 - h_inverse(h_integral(2.5, s) - h_weight(2, s), s);
    }
}

static uint64_t zipf_next(struct key_choice *choice) {
    double s = choice->exponent;
    for (;;) {
        double u =
            choice->h_last + random_unit(&choice->random) * (choice->h_first - choice->h_last);
        double x = h_inverse(u, s);
        double k = floor(x + 0.5);
        k = k < 1 ? 1 : k > (double)choice->key_count ? (double)choice->key_count : k;
        if (k - x <= choice->shortcut || u >= h_integral(k + 0.5, s) - h_weight(k, s)) {
            return (uint64_t)k - 1;
        }
    }
}

/* Below `count`; the bias of the multiplication is below count / 2^64. */
static uint64_t uniform_next(struct key_choice *choice, uint64_t count) {
    return (uint64_t)((unsigned __int128)random_next(&choice->random) * count >> 64);
}

uint64_t key_choice_next(struct key_choice *choice) {
    switch (choice->spread) {
    case KEY_SPREAD_ZIPF:
        return zipf_next(choice);
    case KEY_SPREAD_HOT:
        if (choice->hot_count >= choice->key_count ||
            random_unit(&choice->random) < choice->hot_share) {
            return uniform_next(choice, choice->hot_count < choice->key_count ? choice->hot_count
                                                                              : choice->key_count);
        }
        return choice->hot_count + uniform_next(choice, choice->key_count - choice->hot_count);
    case KEY_SPREAD_UNIFORM:
        break;
    }
    return uniform_next(choice, choice->key_count);
}

struct bytes key_text(struct bytes prefix, uint64_t key, char out[KEY_TEXT_BYTES_MAX]) {
    memcpy(out, prefix.data, prefix.size);
    for (uint32_t at = prefix.size + KEY_DIGITS; at-- > prefix.size; key /= 10) {
        out[at] = (char)('0' + key % 10);
    }
    return bytes_of(out, prefix.size + KEY_DIGITS);
}
