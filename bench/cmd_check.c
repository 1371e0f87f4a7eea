/* sluice-bench check: reads records of grants, and checks the bound. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bound.h"
#include "bench/check_options.h"
#include "bench/command.h"
#include "bench/grants.h"

/* Files of one check: one a load generator. */
#define FILES_MAX 64

static bool complain(const char *path, const char *why) {
    fprintf(stderr, "sluice-bench check: %s: %s\n", path, why);
    return false;
}

static bool files_read(const char *list, struct grants *grants) {
    char *names = strdup(list), *rest = names;
    bool read = names != NULL;
    uint32_t count = 0;
    for (char *name; read && (name = strsep(&rest, ",")) != NULL; count++) {
        char why[256] = "too many files";
        read = count < FILES_MAX && grants_read(grants, name, why, sizeof why);
        if (!read) {
            complain(name, why);
        }
    }
    free(names);
    return read;
}

static void verdict_print(const struct bound_verdict *verdict, const struct limit *limit) {
    const struct bound_excess *worst = &verdict->worst;
    printf("%llu grants of %llu tokens, %llu keys, under %llu every %.3f s, burst %llu",
           (unsigned long long)verdict->grants, (unsigned long long)verdict->tokens,
           (unsigned long long)verdict->keys, (unsigned long long)limit->rate_tokens,
           (double)limit->period_ns / 1e9, (unsigned long long)limit->burst_tokens);
    if (verdict->degraded > 0) {
        printf("; %llu degraded", (unsigned long long)verdict->degraded);
    }
    if (verdict->keys_over == 0) {
        printf("\nthe bound holds for every key and every interval\n");
        return;
    }
    printf("\nBROKEN: %llu keys, %llu tokens beyond the bound\n",
           (unsigned long long)verdict->keys_over, (unsigned long long)verdict->slip_tokens);
    printf(
        "worst: key %u, %llu tokens in %.6f s (from %llu ns on), %llu too many\n"
        "that many refill in %.6f s: a clock of the deciders that was so far ahead would explain "
        "them\n",
        worst->key, (unsigned long long)worst->granted_tokens,
        (double)(worst->to_ns - worst->from_ns) / 1e9, (unsigned long long)worst->from_ns,
        (unsigned long long)worst->excess_tokens, (double)worst->excess_ns / 1e9);
}

static void verdict_json(const struct bound_verdict *verdict) {
    const struct bound_excess *worst = &verdict->worst;
    json_t *json =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "grants", (json_int_t)verdict->grants, "tokens",
                  (json_int_t)verdict->tokens, "keys", (json_int_t)verdict->keys, "degraded",
                  (json_int_t)verdict->degraded, "keys_over", (json_int_t)verdict->keys_over,
                  "slip_tokens", (json_int_t)verdict->slip_tokens);
    if (verdict->keys_over > 0) {
        json_object_set_new(json, "worst",
                            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "key",
                                      (json_int_t)worst->key, "from_ns", (json_int_t)worst->from_ns,
                                      "to_ns", (json_int_t)worst->to_ns, "granted_tokens",
                                      (json_int_t)worst->granted_tokens, "excess_tokens",
                                      (json_int_t)worst->excess_tokens));
    }
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}

static int check(const struct check_options *settings) {
    struct grants grants = {0};
    struct bound_verdict verdict;
    struct fault fault;
    const char *option = NULL;
    int code = BENCH_EXIT_FILE;
    if (!check_options_limit(settings, &grants.limit, &option, &fault)) {
        complain(option, fault.text);
        return BENCH_EXIT_USAGE;
    }
    if (!files_read(settings->records, &grants)) {
        goto out;
    }
    if (grants.limit.rate_tokens == 0) {
        complain(settings->records, "takes were under a plan: say its limit with --limit-rate, "
                                    "--limit-period and --limit-burst");
        code = BENCH_EXIT_USAGE;
        goto out;
    }
    if (!bound_check(grants.items, grants.count, &grants.limit, settings->clock_error, &verdict)) {
        complain(settings->records, "no memory");
        goto out;
    }
    if (settings->json) {
        verdict_json(&verdict);
    } else {
        verdict_print(&verdict, &grants.limit);
    }
    code = verdict.keys_over == 0 ? BENCH_EXIT_DONE : BENCH_EXIT_BROKEN;
out:
    grants_free(&grants);
    return code;
}

int command_check(int argc, char **argv) {
    struct check_options settings = {0};
    switch (options_load(&check_options_program, argc, argv, &settings)) {
    case OPTIONS_HELP:
        return BENCH_EXIT_DONE;
    case OPTIONS_INVALID:
        return BENCH_EXIT_USAGE;
    case OPTIONS_OK:
        break;
    }
    int code = check(&settings);
    options_free(&check_options_program, &settings);
    return code;
}
