#include "bench/histogram.h"

#include <math.h>

static uint32_t cell_of(uint64_t value) {
    if (value < HISTOGRAM_STEPS) {
        return (uint32_t)value;
    }
    if (value >> HISTOGRAM_VALUE_BITS != 0) {
        return HISTOGRAM_CELLS - 1;
    }
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return shift * HISTOGRAM_STEPS + (uint32_t)(value >> shift);
}

/* The largest value that counts in the cell. */
static uint64_t cell_top(uint32_t cell) {
    if (cell < HISTOGRAM_STEPS) {
        return cell;
    }
    uint32_t shift = cell / HISTOGRAM_STEPS - 1;
    return ((uint64_t)(cell - shift * HISTOGRAM_STEPS + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value, uint64_t times) {
    histogram->cells[cell_of(value)] += times;
    histogram->count += times;
    histogram->sum += value * times;
    if (value > histogram->max) {
        histogram->max = value;
    }
}

uint64_t histogram_percentile(const struct histogram *histogram, double share) {
    uint64_t wanted = (uint64_t)ceil(share * (double)histogram->count), seen = 0;
    if (wanted == 0) {
        wanted = 1;
    }
    for (uint32_t cell = 0; cell < HISTOGRAM_CELLS; cell++) {
        seen += histogram->cells[cell];
        if (seen >= wanted && seen > 0) {
            uint64_t top = cell_top(cell);
            return top < histogram->max && cell < HISTOGRAM_CELLS - 1 ? top : histogram->max;
        }
    }
    return 0;
}

double histogram_average(const struct histogram *histogram) {
    return histogram->count == 0 ? 0 : (double)histogram->sum / (double)histogram->count;
}
