/* The options of `sluice-bench check`. */
#ifndef SLUICE_BENCH_CHECK_OPTIONS_H
#define SLUICE_BENCH_CHECK_OPTIONS_H

#include "proto/plan.h"
#include "runtime/options.h"

struct check_options {
    const char *records;
    uint64_t limit_rate, limit_period, limit_burst;
    uint64_t clock_error;
    bool json;
};

extern const struct options_program check_options_program;

/* The limit that they name; all zeros: the records say it. False, with the option that is wrong or
 * missing, and why. */
bool check_options_limit(const struct check_options *given, struct limit *limit,
                         const char **option, struct fault *fault);

#endif
