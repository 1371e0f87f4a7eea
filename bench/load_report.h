/* A load's report as JSON and for people. Times of the JSON are microseconds. */
#ifndef SLUICE_BENCH_LOAD_REPORT_H
#define SLUICE_BENCH_LOAD_REPORT_H

#include <jansson.h>

#include "bench/load.h"

/* The caller's to decref. */
json_t *load_report_json(const struct load_report *report);
void load_report_print(const struct load_report *report);

#endif
