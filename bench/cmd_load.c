/* sluice-bench load: options to settings, one load, its report. */
#include <stdio.h>

#include "bench/command.h"
#include "bench/load_options.h"
#include "bench/load_report.h"

static int report(const struct load_options *given, const struct load_report *result) {
    if (given->json) {
        json_t *json = load_report_json(result);
        json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(json);
    } else {
        load_report_print(result);
    }
    if (fflush(stdout) != 0 || result->record_failed) {
        fprintf(stderr, "sluice-bench load: not everything could be written\n");
        return BENCH_EXIT_FILE;
    }
    return result->interrupted ? BENCH_EXIT_INTERRUPTED : BENCH_EXIT_DONE;
}

static int run(const struct load_options *given) {
    static struct load_report result;
    struct load_settings load;
    struct record_file record;
    char why[LOAD_WHY_BYTES];
    load_options_set(given, &load);
    if (!load_options_fit(given, &load, why, sizeof why)) {
        fprintf(stderr, "sluice-bench load: %s\n", why);
        return BENCH_EXIT_USAGE;
    }
    if (given->record != NULL) {
        if (!record_create(&record, given->record, given->plan == NULL ? &load.limit : NULL, why,
                           sizeof why)) {
            fprintf(stderr, "sluice-bench load: %s\n", why);
            return BENCH_EXIT_FILE;
        }
        load.record = &record;
    }
    bool done = load_run(&load, &result, why, sizeof why);
    if (load.record != NULL && !record_close(load.record)) {
        result.record_failed = true;
    }
    if (!done) {
        fprintf(stderr, "sluice-bench load: %s\n", why);
        return BENCH_EXIT_UNREACHABLE;
    }
    return report(given, &result);
}

int command_load(int argc, char **argv) {
    struct load_options settings = {0};
    switch (options_load(&load_options_program, argc, argv, &settings)) {
    case OPTIONS_HELP:
        return BENCH_EXIT_DONE;
    case OPTIONS_INVALID:
        return BENCH_EXIT_USAGE;
    case OPTIONS_OK:
        break;
    }
    int code = run(&settings);
    options_free(&load_options_program, &settings);
    return code;
}
