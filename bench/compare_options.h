/* The options of `sluice-bench compare`. */
#ifndef SLUICE_BENCH_COMPARE_OPTIONS_H
#define SLUICE_BENCH_COMPARE_OPTIONS_H

#include "runtime/options.h"

struct compare_options {
    uint64_t seconds, rate;
    const char *ways, *cell_module, *output, *charts;
    bool sustained, json, progress;
};

extern const struct options_program compare_options_program;

/* Whether that way is among those that they name; all are if they name none. */
bool compare_options_want(const struct compare_options *given, const char *name);

#endif
