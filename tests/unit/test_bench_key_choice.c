#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>

#include "bench/key_choice.h"

#define DRAWS 400000

/* Draws, and compares how often each key came with how often it should have: Pearson's statistic
 * is below the number of keys plus six deviations for one in a billion runs, and the seed is fixed.
 */
static void assert_spread(struct key_choice *choice, const double *weights) {
    uint64_t keys = choice->key_count;
    uint32_t *counts = calloc(keys, sizeof *counts);
    double total = 0, statistic = 0;
    key_choice_start(choice, 42);
    for (uint64_t i = 0; i < DRAWS; i++) {
        uint64_t key = key_choice_next(choice);
        assert_true(key < keys);
        counts[key]++;
    }
    for (uint64_t key = 0; key < keys; key++) {
        total += weights[key];
    }
    for (uint64_t key = 0; key < keys; key++) {
        double expected = DRAWS * weights[key] / total, off = counts[key] - expected;
        statistic += off * off / expected;
    }
    free(counts);
    assert_true(statistic < (double)keys + 6 * sqrt(2 * (double)keys));
}

static void uniform_keys_come_alike(void **state) {
    double weights[100];
    for (int i = 0; i < 100; i++) {
        weights[i] = 1;
    }
    struct key_choice choice = {.spread = KEY_SPREAD_UNIFORM, .key_count = 100};
    assert_spread(&choice, weights);
}

static void zipf_keys_come_by_their_rank(void **state) {
    static const double exponents[] = {0.3, 0.99, 1, 1.1, 2};
    for (size_t at = 0; at < sizeof exponents / sizeof exponents[0]; at++) {
        double weights[50];
        for (int i = 0; i < 50; i++) {
            weights[i] = pow(i + 1, -exponents[at]);
        }
        struct key_choice choice = {
            .spread = KEY_SPREAD_ZIPF, .key_count = 50, .exponent = exponents[at]};
        assert_spread(&choice, weights);
    }
}

static void hot_keys_get_their_share(void **state) {
    double weights[100];
    for (int i = 0; i < 100; i++) {
        weights[i] = i < 4 ? 0.9 / 4 : 0.1 / 96;
    }
    struct key_choice choice = {
        .spread = KEY_SPREAD_HOT, .key_count = 100, .hot_count = 4, .hot_share = 0.9};
    assert_spread(&choice, weights);
    choice.hot_count = 200; /* more than there are: all are hot */
    for (int i = 0; i < 1000; i++) {
        assert_true(key_choice_next(&choice) < 100);
    }
}

static void bounds_and_seeds(void **state) {
    for (enum key_spread spread = KEY_SPREAD_UNIFORM; spread <= KEY_SPREAD_HOT; spread++) {
        struct key_choice one = {
            .spread = spread, .key_count = 1, .exponent = 1.5, .hot_count = 1, .hot_share = 0.5};
        key_choice_start(&one, 1);
        assert_true(key_choice_next(&one) == 0);
        struct key_choice many = one, again;
        many.key_count = KEYS_MAX;
        key_choice_start(&many, 9);
        again = many;
        for (int i = 0; i < 10000; i++) {
            uint64_t key = key_choice_next(&many);
            assert_true(key < KEYS_MAX && key == key_choice_next(&again));
        }
    }
}

static void names_are_a_prefix_and_ten_digits(void **state) {
    char out[KEY_TEXT_BYTES_MAX];
    struct bytes name = key_text(bytes_of_text("bench:"), 1234567, out);
    assert_true(bytes_equal(name, bytes_of_text("bench:0001234567")));
    assert_true(
        bytes_equal(key_text(bytes_of_text(""), KEYS_MAX - 1, out), bytes_of_text("0999999999")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_keys_come_alike),
        cmocka_unit_test(zipf_keys_come_by_their_rank),
        cmocka_unit_test(hot_keys_get_their_share),
        cmocka_unit_test(bounds_and_seeds),
        cmocka_unit_test(names_are_a_prefix_and_ten_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
