#include "tests/sim/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct report *report;

void report_set(struct report *of_run) {
    report = of_run;
}

struct report *report_of_run(void) {
    return report;
}

void report_violation(const char *checker, const char *text) {
    report->violated = true;
    snprintf(report->checker, sizeof report->checker, "%s", checker);
    snprintf(report->text, sizeof report->text, "%s", text);
    report->at_ns = sim_now();
    report->hash = sim_trace_hash();
    report->lines = sim_trace_lines();
    fflush(NULL);
    _exit(1);
}

void sim_cover(int what) {
    report->coverage[what]++;
}

void sim_cover_many(int what, uint64_t count) {
    report->coverage[what] += count;
}
