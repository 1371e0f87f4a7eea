/* sluice-bench compare: options, the ways one after the other, and what came out. */
#include <stdio.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/compare.h"
#include "bench/compare_options.h"

#define NS_PER_S UINT64_C(1000000000)

/* Part of the load's time that one step of the search for the highest rate takes, within bounds
 * that keep it meaningful and short. */
#define PROBE_PART 60
#define PROBE_LEAST_NS (NS_PER_S / 4)
#define PROBE_MOST_NS (5 * NS_PER_S)

static bool output_write(const struct compare_options *given,
                         const struct compare_settings *settings,
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

static int run(const struct compare_options *given) {
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
        if (!compare_options_want(given, ways[i].name)) {
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
    struct compare_options settings = {0};
    switch (options_load(&compare_options_program, argc, argv, &settings)) {
    case OPTIONS_HELP:
        return BENCH_EXIT_DONE;
    case OPTIONS_INVALID:
        return BENCH_EXIT_USAGE;
    case OPTIONS_OK:
        break;
    }
    int code = run(&settings);
    options_free(&compare_options_program, &settings);
    return code;
}
