#include "bench/check_options.h"

#include <stdio.h>
#include <string.h>

#define FIELD(field) .offset = offsetof(struct check_options, field)

static const struct option options[] = {
    {.name = "records",
     .kind = OPTION_TEXT,
     FIELD(records),
     .metavar = "FILE,...",
     .help = "What `load --record` wrote: of one load, or of several on one machine."},
    {.name = "limit_rate",
     .kind = OPTION_COUNT,
     FIELD(limit_rate),
     .initial = "0",
     .max = TOKENS_MAX,
     .help = "Tokens a period, where takes were under a plan; 0: as the record says."},
    {.name = "limit_period",
     .kind = OPTION_DURATION,
     FIELD(limit_period),
     .initial = "1s",
     .min = 1000000,
     .max = PERIOD_NS_MAX,
     .help = "The period, with --limit-rate."},
    {.name = "limit_burst",
     .kind = OPTION_COUNT,
     FIELD(limit_burst),
     .initial = "1",
     .min = 1,
     .max = TOKENS_MAX,
     .help = "Tokens that a bucket holds, with --limit-rate."},
    {.name = "clock_error",
     .kind = OPTION_DURATION,
     FIELD(clock_error),
     .initial = "0ms",
     .max = UINT64_C(3600000000000),
     .help = "By how much the deciders' clock may have gone faster than ours within any interval."},
    {.name = "json",
     .kind = OPTION_SWITCH,
     FIELD(json),
     .initial = "false",
     .help = "Print one JSON document."},
};

const struct options_program check_options_program = {
    .name = "sluice-bench check",
    .summary = "For each key and interval d: granted <= burst + rate * d. Exit status 1 if not.",
    .examples = "  sluice-bench load --rate 10000 --keys 100 --record grants\n"
                "  sluice-bench check --records grants\n"
                "  sluice-bench check --records a,b --limit-rate 100 --limit-burst 200 --json\n",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

bool check_options_limit(const struct check_options *given, struct limit *limit,
                         const char **option, struct fault *fault) {
    memset(limit, 0, sizeof *limit);
    if (given->records == NULL) {
        *option = "--records";
        snprintf(fault->text, sizeof fault->text, "name the files to check (see --help)");
        return false;
    }
    if (given->limit_rate == 0) {
        return true;
    }
    *option = "--limit-rate";
    *limit = (struct limit){given->limit_rate, given->limit_period, given->limit_burst};
    return limit_check(limit, "the limit", fault) == CODE_OK;
}
