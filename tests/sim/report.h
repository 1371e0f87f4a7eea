/*
 * What a run tells the process that started it: through memory that both share, so that it is told
 * also when the run ends in an assertion.
 */
#ifndef SLUICE_TESTS_SIM_REPORT_H
#define SLUICE_TESTS_SIM_REPORT_H

#include "tests/sim/coverage.h"
#include "tests/sim/sim.h"

#define REPORT_TEXT_BYTES_MAX 512

struct report {
    bool ended;    /* the run came to its end */
    bool violated; /* a checker found something */
    char checker[64];
    char text[REPORT_TEXT_BYTES_MAX];
    char figures[REPORT_TEXT_BYTES_MAX]; /* of a scenario that held */
    uint64_t at_ns;                      /* of the violation, or of the end */
    uint64_t hash, lines;
    uint64_t steps; /* of shards and routers */
    uint64_t requests;
    uint64_t faults;
    uint64_t features; /* that were on */
    uint64_t coverage[COVERAGE_COUNT];
};

/* The report of this run. */
struct report *report_of_run(void);
void report_set(struct report *report);

/* Notes the violation and ends the process. */
void report_violation(const char *checker, const char *text) __attribute__((noreturn));

#endif
