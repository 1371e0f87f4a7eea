#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#include "bench/histogram.h"
#include "bench/key_choice.h"

static int by_value(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Beside a sorted list of all values, for every percentile and values of every size. */
static void percentiles_are_right_within_a_cell(void **state) {
    static const double shares[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
    enum { COUNT = 20000 };
    uint64_t *values = malloc(COUNT * sizeof *values), random = 7;
    for (uint32_t bits = 1; bits <= HISTOGRAM_VALUE_BITS; bits++) {
        static struct histogram histogram;
        memset(&histogram, 0, sizeof histogram);
        for (int i = 0; i < COUNT; i++) {
            values[i] = random_next(&random) >> (64 - bits) >> random_next(&random) % bits;
            histogram_add(&histogram, values[i], 1);
        }
        qsort(values, COUNT, sizeof *values, by_value);
        for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
            uint64_t rank = (uint64_t)(shares[i] * COUNT);
            uint64_t exact = values[rank == 0 ? 0 : rank - 1];
            uint64_t told = histogram_percentile(&histogram, shares[i]);
            assert_true(told >= exact);
            assert_true(told <= exact + exact / HISTOGRAM_STEPS + 1);
        }
        assert_true(histogram_percentile(&histogram, 1) == values[COUNT - 1]);
    }
    free(values);
}

static void the_average_and_the_maximum_are_exact(void **state) {
    static struct histogram histogram;
    memset(&histogram, 0, sizeof histogram);
    assert_true(histogram_percentile(&histogram, 0.5) == 0);
    assert_true(histogram_average(&histogram) == 0);
    histogram_add(&histogram, 1000, 3);
    histogram_add(&histogram, UINT64_C(1) << 50, 1); /* above every cell */
    assert_true(histogram.count == 4 && histogram.max == UINT64_C(1) << 50);
    assert_true(histogram_average(&histogram) == (3000 + 0x1p50) / 4);
    assert_true(histogram_percentile(&histogram, 0.99) == UINT64_C(1) << 50);
    assert_true(histogram_percentile(&histogram, 0.5) >= 1000);
    assert_true(histogram_percentile(&histogram, 0.5) < 1009);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_right_within_a_cell),
        cmocka_unit_test(the_average_and_the_maximum_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
