#include "bench/compare_options.h"

#include <stdio.h>
#include <string.h>

#include "bench/compare.h"

static bool way_known(const char *name, size_t size) {
    for (uint32_t i = 0; ways[i].name != NULL; i++) {
        if (strlen(ways[i].name) == size && memcmp(ways[i].name, name, size) == 0) {
            return true;
        }
    }
    return false;
}

static bool ways_check(const char *text, char *why, size_t why_size) {
    for (const char *at = text;; at += strcspn(at, ",") + 1) {
        if (!way_known(at, strcspn(at, ","))) {
            int size = snprintf(why, why_size, "expected names with commas, of:");
            for (uint32_t i = 0; ways[i].name != NULL && (size_t)size < why_size; i++) {
                size += snprintf(why + size, why_size - (size_t)size, " %s", ways[i].name);
            }
            return false;
        }
        if (strchr(at, ',') == NULL) {
            return true;
        }
    }
}

#define FIELD(field) .offset = offsetof(struct compare_options, field)

static const struct option options[] = {
    {.name = "seconds",
     .kind = OPTION_COUNT,
     FIELD(seconds),
     .initial = "300",
     .min = 1,
     .max = 3600,
     .help =
         "For how long each way is under the load; the search for its highest rate adds to it."},
    {.name = "rate",
     .kind = OPTION_COUNT,
     FIELD(rate),
     .initial = "10000",
     .min = 100,
     .max = 1000000,
     .help = "Takes a second outside of bursts; within them, a fifth of the time, twice that."},
    {.name = "ways",
     .kind = OPTION_TEXT,
     FIELD(ways),
     .metavar = "NAME,...",
     .help = "Only these; unless given, all.",
     .check = ways_check},
    {.name = "sustained",
     .kind = OPTION_SWITCH,
     FIELD(sustained),
     .initial = "true",
     .help = "Search for the highest rate that each way sustains: 99 % decided, no error, p99 "
             "within 5 ms."},
    {.name = "cell_module",
     .kind = OPTION_TEXT,
     FIELD(cell_module),
     .metavar = "FILE",
     .help = "redis-cell's module, if it is not where packages put it."},
    {.name = "output",
     .kind = OPTION_TEXT,
     FIELD(output),
     .metavar = "FILE",
     .help = "Write what --json prints here as well."},
    {.name = "charts",
     .kind = OPTION_TEXT,
     FIELD(charts),
     .metavar = "DIRECTORY",
     .help = "Draw latency.svg, sustained.svg, errors.svg and slips.svg there, by gnuplot."},
    {.name = "json",
     .kind = OPTION_SWITCH,
     FIELD(json),
     .initial = "false",
     .help = "Print one JSON document instead of the table."},
    {.name = "progress",
     .kind = OPTION_SWITCH,
     FIELD(progress),
     .initial = "true",
     .help = "A line a second on standard error, if that is a terminal."},
};

const struct options_program compare_options_program = {
    .name = "sluice-bench compare",
    .summary = "One token bucket, one load, and every way to keep its state, one after the other.",
    .examples = "  sluice-bench compare                       the whole of it, about an hour\n"
                "  sluice-bench compare --seconds 20 --charts charts --output compare.json\n"
                "  sluice-bench compare --seconds 2 --ways redis,sluice-strict --no-sustained\n",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

bool compare_options_want(const struct compare_options *given, const char *name) {
    if (given->ways == NULL) {
        return true;
    }
    for (const char *at = given->ways;; at += strcspn(at, ",") + 1) {
        size_t size = strcspn(at, ",");
        if (size == strlen(name) && memcmp(at, name, size) == 0) {
            return true;
        }
        if (at[size] == '\0') {
            return false;
        }
    }
}
