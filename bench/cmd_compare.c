/* sluice-bench compare: options, the ways one after the other, and what came out. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/compare.h"
#include "runtime/options.h"

#define NS_PER_S UINT64_C(1000000000)

/* Part of the load's time that one step of the search for the highest rate takes, within bounds
 * that keep it meaningful and short. */
#define PROBE_PART 60
#define PROBE_LEAST_NS (NS_PER_S / 4)
#define PROBE_MOST_NS (5 * NS_PER_S)

struct settings {
    uint64_t seconds, rate;
    const char *ways, *cell_module, *output, *charts;
    bool sustained, json, progress;
};

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

#define FIELD(field) .offset = offsetof(struct settings, field)

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

static const struct options_program program = {
    .name = "sluice-bench compare",
    .summary = "One token bucket, one load, and every way to keep its state, one after the other.",
    .examples = "  sluice-bench compare                       the whole of it, about an hour\n"
                "  sluice-bench compare --seconds 20 --charts charts --output compare.json\n"
                "  sluice-bench compare --seconds 2 --ways redis,sluice-strict --no-sustained\n",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

static bool wanted(const struct settings *given, const char *name) {
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

static bool output_write(const struct settings *given, const struct compare_settings *settings,
                         const struct way_result *results) {
    json_t *json = compare_json(settings, results);
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9);
    bool written = true;
    if (given->output != NULL && json_dump_file(json, given->output, flags) != 0) {
        fprintf(stderr, "sluice-bench compare: %s cannot be written\n", given->output);
        written = false;
    }
    if (given->json) {
        json_dumpf(json, stdout, flags);
        putchar('\n');
    } else {
        compare_table(results);
    }
    json_decref(json);
    return written && fflush(stdout) == 0;
}

/* Sluice must neither err nor grant beyond the bound. */
static bool sluice_holds(const struct way_result *results) {
    bool holds = true;
    for (uint32_t i = 0; ways[i].name != NULL; i++) {
        holds = holds && (!ways[i].sluice || !results[i].ran ||
                          (results[i].report.errors == 0 && results[i].verdict.keys_over == 0));
    }
    return holds;
}

static int run(const struct settings *given) {
    static struct way_result results[WAYS_MAX];
    struct compare_settings settings = {.duration_ns = given->seconds * NS_PER_S,
                                        .rate = given->rate,
                                        .ways = given->ways,
                                        .cell_module = given->cell_module,
                                        .progress = given->progress && isatty(STDERR_FILENO)};
    char why[LOAD_WHY_BYTES];
    bool finished = true, started = true;
    if (given->sustained) {
        uint64_t probe_ns = settings.duration_ns / PROBE_PART;
        settings.probe_ns = probe_ns < PROBE_LEAST_NS  ? PROBE_LEAST_NS
                            : probe_ns > PROBE_MOST_NS ? PROBE_MOST_NS
                                                       : probe_ns;
    }
    for (uint32_t i = 0; ways[i].name != NULL && finished; i++) {
        if (!wanted(given, ways[i].name)) {
            continue;
        }
        fprintf(stderr, "%s: %s\n", ways[i].name, ways[i].about);
        finished = compare_way(&ways[i], &settings, &results[i]);
        if (!results[i].ran) {
            fprintf(stderr, "%s: skipped: %s\n", ways[i].name, results[i].skipped);
            started = started && ways[i].servers == WAY_SERVERS_CELL;
        }
    }
    bool written = output_write(given, &settings, results);
    if (given->charts != NULL && !compare_charts(results, given->charts, why, sizeof why)) {
        fprintf(stderr, "sluice-bench compare: no charts: %s\n", why);
    }
    return !finished               ? BENCH_EXIT_INTERRUPTED
           : !written              ? BENCH_EXIT_FILE
           : !started              ? BENCH_EXIT_UNREACHABLE
           : sluice_holds(results) ? BENCH_EXIT_DONE
                                   : BENCH_EXIT_BROKEN;
}

int command_compare(int argc, char **argv) {
    struct settings settings = {0};
    switch (options_load(&program, argc, argv, &settings)) {
    case OPTIONS_HELP:
        return BENCH_EXIT_DONE;
    case OPTIONS_INVALID:
        return BENCH_EXIT_USAGE;
    case OPTIONS_OK:
        break;
    }
    int code = run(&settings);
    options_free(&program, &settings);
    return code;
}
