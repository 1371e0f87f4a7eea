/*
 * The comparison: one token bucket, one load, and every way to keep its state, one after the other,
 * each with servers of its own. What is told of each: latency under the load, the highest rate it
 * sustains, errors, and slips: tokens granted beyond the bound.
 */
#ifndef SLUICE_BENCH_COMPARE_H
#define SLUICE_BENCH_COMPARE_H

#include <jansson.h>

#include "bench/bound.h"
#include "bench/load.h"
#include "bench/servers.h"

enum way_servers {
    WAY_SERVERS_NONE,
    WAY_SERVERS_REDIS,
    WAY_SERVERS_CELL,
    WAY_SERVERS_KV, /* a primary with its replica, and a Redis beside them */
    WAY_SERVERS_CLUSTER,
};

struct way {
    const char *name;
    const char *about;
    const struct target *target;
    enum way_servers servers;
    const char *plan; /* of the cluster; NULL: an inline limit */
    bool sluice;      /* must neither err nor slip */
};

/* Ended by one without a name. */
extern const struct way ways[];
#define WAYS_MAX 16

struct compare_settings {
    uint64_t duration_ns;
    uint64_t probe_ns; /* of one step of the search for the highest rate; 0: none */
    uint64_t rate;
    const char *ways;        /* names with commas; NULL: all */
    const char *cell_module; /* NULL: where packages put it */
    bool progress;
};

struct way_result {
    bool ran;
    char skipped[LOAD_WHY_BYTES]; /* why it did not */
    struct load_report report;
    struct bound_verdict verdict;
    uint64_t clock_error_ns; /* what the check allowed for */
    double sustained_per_second;
};

/* The load, the same for all. */
#define COMPARE_LANES 64
#define COMPARE_OUTSTANDING 64
#define COMPARE_KEYS 1000
#define COMPARE_ZIPF 1.0
#define COMPARE_LIMIT ((struct limit){100, UINT64_C(1000000000), 200})

/* A rate is sustained if nothing errs, 99 % of it is decided within the time, and p99 stays within
 * what the study took for the sign to scale out. */
#define COMPARE_P99_NS UINT64_C(5000000)
#define COMPARE_DECIDED 0.99

/* Runs one way, servers and all. False if it was interrupted. */
bool compare_way(const struct way *way, const struct compare_settings *settings,
                 struct way_result *result);

/* The caller's to decref; `results` beside `ways`. */
json_t *compare_json(const struct compare_settings *settings, const struct way_result *results);
void compare_table(const struct way_result *results);

/* Writes latency.svg, sustained.svg, errors.svg and slips.svg into the directory, by gnuplot. False
 * with the reason in `why`. */
bool compare_charts(const struct way_result *results, const char *directory, char *why,
                    size_t why_size);

#endif
