/* The options of `sluice-bench load`, and the load that they ask for. */
#ifndef SLUICE_BENCH_LOAD_OPTIONS_H
#define SLUICE_BENCH_LOAD_OPTIONS_H

#include "bench/load.h"
#include "runtime/options.h"

struct load_options {
    const char *protocol, *target, *replica, *second, *http_path;
    uint64_t connections, outstanding, batch;
    const char *keys_spread, *zipf, *key_prefix;
    uint64_t keys, hot_keys, hot_percent;
    const char *plan;
    uint64_t cost, limit_rate, limit_period, limit_burst;
    uint64_t rate;
    const char *arrivals, *burst_factor;
    uint64_t burst_every, burst_length;
    uint64_t warmup, duration, timeout, seed;
    const char *record;
    bool json, progress;
};

extern const struct options_program load_options_program;

/* The load, without its record. It borrows from the options. */
void load_options_set(const struct load_options *given, struct load_settings *load);

/* False, with what does not fit together in `why`. */
bool load_options_fit(const struct load_options *given, const struct load_settings *load, char *why,
                      size_t why_size);

#endif
