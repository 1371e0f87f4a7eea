/*
 * sluice-sim: runs seeds, each in a process of its own, and says what they showed.
 *
 * See tests/sim/run --help.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/check.h"
#include "tests/sim/report.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

#define JOBS_MAX 64

/* Seconds that one seed may take: some hundred times what it needs. */
#define SEED_SECONDS_MAX 300

struct arguments {
    uint64_t first, count, seconds;
    uint32_t jobs;
    bool trace, twice, quiet;
    uint64_t without; /* features */
    uint64_t only;    /* features, UINT64_MAX: as drawn */
    uint32_t clients, nodes, shards, routers, slots, keys;
    uint64_t end_ms, fault_ms, request_ms, outage_ms;
    bool steady;
    const struct scenario *scenario;
    const char *plant;
    const char *expect; /* the checker that must find something */
    bool cover;         /* everything must have been exercised */
};

struct job {
    pid_t pid;
    uint64_t seed;
    struct report *report;
    int turn; /* --twice: which time this is */
};

struct totals {
    uint64_t seeds, failed, virtual_ns, steps, requests, faults, lines;
    uint64_t coverage[COVERAGE_COUNT];
};

/* --- one run ------------------------------------------------------------------------------- */

static void config_apply(const struct arguments *arguments, struct config *config) {
    if (arguments->scenario != NULL) {
        scenario_configure(arguments->scenario, config);
        config->features |= arguments->only != UINT64_MAX ? arguments->only : 0;
        config->features &= ~arguments->without;
        return;
    }
    if (arguments->only != UINT64_MAX) {
        config->features = arguments->only;
    }
    config->features &= ~arguments->without;
    const struct {
        uint32_t given, *to;
    } counts[] = {
        {arguments->clients, &config->clients}, {arguments->nodes, &config->nodes},
        {arguments->shards, &config->shards},   {arguments->routers, &config->routers},
        {arguments->slots, &config->slots},     {arguments->keys, &config->keys},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        *counts[i].to = counts[i].given > 0 ? counts[i].given : *counts[i].to;
    }
    if (config->slots < config->nodes * config->shards) {
        config->slots = 16;
    }
    if (arguments->fault_ms > 0) {
        config->fault_every_ns = arguments->fault_ms * MS;
    }
    if (arguments->request_ms > 0) {
        config->request_every_ns = arguments->request_ms * MS;
    }
    config->steady = arguments->steady;
    config->outage_ns = arguments->outage_ms * MS;
    config->faults_end_ns += config->outage_ns;
    if (arguments->end_ms > 0 && arguments->end_ms * MS < config->faults_end_ns) {
        config->faults_end_ns = arguments->end_ms * MS;
    }
    config->end_ns =
        config->faults_end_ns + CHECK_SETTLE_NS + 4 * SECOND + config_refill_ns(config);
}

static void run(const struct arguments *arguments, uint64_t seed, struct report *report) {
    struct config config;
    alarm(SEED_SECONDS_MAX);
    sim_seed(seed);
    report_set(report);
    sim_trace_to(arguments->trace ? stdout : NULL);
    config_draw(&config);
    config_apply(arguments, &config);
    report->features = config.features;
    sim_trace("seed %" PRIu64 ": %u nodes of %u shards, %u routers, %u clients, %u slots, %u keys",
              seed, config.nodes, config.shards, config.routers, config.clients, config.slots,
              config.keys);
    for (int i = 0; i < FEATURE_COUNT; i++) {
        if (config_has(&config, (enum feature)i)) {
            sim_trace("with %s", feature_names[i]);
        }
    }
    if (arguments->plant != NULL) {
        check_plant(arguments->plant);
    }
    world.config = config;
    checks_begin();
    world_build(&config);
    clients_begin();
    operators_begin();
    faults_begin();
    scenario_begin();
    sim_run_until(config.end_ns);
    checks_end();
    scenario_end();
    report->ended = true;
    report->at_ns = sim_now();
    report->hash = sim_trace_hash();
    report->lines = sim_trace_lines();
    fflush(NULL);
    _exit(0);
}

/* --- many ---------------------------------------------------------------------------------- */

static void features_print(uint64_t features) {
    for (int i = 0; i < FEATURE_COUNT; i++) {
        if ((features >> i & 1) != 0) {
            printf(" %s", feature_names[i]);
        }
    }
    printf("\n");
}

static void failure_print(const struct job *job, int status) {
    const struct report *report = job->report;
    if (report->violated) {
        printf("seed %" PRIu64 ": %s, at %" PRIu64 ".%03" PRIu64 " s: %s\n", job->seed,
               report->checker, report->at_ns / SECOND, report->at_ns % SECOND / MS, report->text);
    } else if (WIFSIGNALED(status)) {
        printf("seed %" PRIu64 ": ended by signal %d (%s)\n", job->seed, WTERMSIG(status),
               WTERMSIG(status) == SIGALRM ? "took too long" : "see its output");
    } else {
        printf("seed %" PRIu64 ": ended with %d\n", job->seed, WEXITSTATUS(status));
    }
    printf("  features:");
    features_print(report->features);
    fflush(stdout);
}

static void totals_add(struct totals *totals, const struct report *report) {
    totals->seeds++;
    totals->virtual_ns += report->at_ns;
    totals->steps += report->steps;
    totals->requests += report->requests;
    totals->faults += report->faults;
    totals->lines += report->lines;
    for (int i = 0; i < COVERAGE_COUNT; i++) {
        totals->coverage[i] += report->coverage[i];
    }
}

/* True if nothing is at zero. */
static bool totals_print(const struct totals *totals, uint64_t elapsed_ms) {
    static const char *const names[] = {
#define X(name, text) text,
        COVERAGE(X)
#undef X
    };
    bool whole = true;
    for (int i = 0; i < COVERAGE_COUNT; i++) {
        whole = whole && totals->coverage[i] > 0;
        printf("%12" PRIu64 "  %s%s\n", totals->coverage[i], names[i],
               totals->coverage[i] == 0 ? "   <- never" : "");
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " failed; %.2f virtual hours in %.1f s; %" PRIu64
           " requests, %" PRIu64 " steps, %" PRIu64 " faults\n",
           totals->seeds, totals->failed, (double)totals->virtual_ns / 3.6e12,
           (double)elapsed_ms / 1000, totals->requests, totals->steps, totals->faults);
    return whole;
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void job_start(const struct arguments *arguments, struct job *job, uint64_t seed) {
    job->seed = seed;
    memset(job->report, 0, sizeof *job->report);
    fflush(NULL);
    job->pid = fork();
    if (job->pid == 0) {
        run(arguments, seed, job->report);
    }
    if (job->pid < 0) {
        perror("sluice-sim: fork");
        exit(2);
    }
}

static struct job *job_wait(struct job *jobs, uint32_t count, int *status) {
    pid_t pid;
    do {
        pid = waitpid(-1, status, 0);
    } while (pid < 0 && errno == EINTR);
    for (uint32_t i = 0; i < count; i++) {
        if (jobs[i].pid == pid) {
            jobs[i].pid = 0;
            return &jobs[i];
        }
    }
    return NULL;
}

/* True if the run was good, and (--twice) the same as the first. */
static bool job_good(const struct arguments *arguments, struct job *job, int status) {
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && job->report->ended;
    if (!good) {
        failure_print(job, status);
        return false;
    }
    if (arguments->scenario != NULL) {
        printf("seed %" PRIu64 ": %s\n", job->seed, job->report->figures);
    } else if (!arguments->quiet && arguments->count == 1) {
        printf("seed %" PRIu64 ": ended at %" PRIu64 " s, trace %016" PRIx64 " of %" PRIu64
               " lines\n",
               job->seed, job->report->at_ns / SECOND, job->report->hash, job->report->lines);
    }
    return true;
}

static bool same_again(const struct arguments *arguments, struct job *job) {
    uint64_t hash = job->report->hash, lines = job->report->lines;
    int status;
    job_start(arguments, job, job->seed);
    waitpid(job->pid, &status, 0);
    job->pid = 0;
    if (job->report->hash == hash && job->report->lines == lines) {
        return true;
    }
    printf("seed %" PRIu64 ": two runs, two traces: %016" PRIx64 " of %" PRIu64
           " lines and %016" PRIx64 " of %" PRIu64 "\n",
           job->seed, hash, lines, job->report->hash, job->report->lines);
    return false;
}

static int seeds_run(const struct arguments *arguments) {
    static struct job jobs[JOBS_MAX];
    struct totals totals = {0};
    uint64_t begun_ms = now_ms(), next = arguments->first, left = arguments->count;
    uint32_t running = 0;
    bool found = false;
    char told[REPORT_TEXT_BYTES_MAX] = "";
    for (uint32_t i = 0; i < arguments->jobs; i++) {
        jobs[i].report = mmap(NULL, sizeof *jobs[i].report, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    }
    for (;;) {
        bool time_left = arguments->seconds == 0 || now_ms() - begun_ms < arguments->seconds * 1000;
        for (uint32_t i = 0; i < arguments->jobs && left > 0 && time_left; i++) {
            if (jobs[i].pid == 0) {
                job_start(arguments, &jobs[i], next++);
                left--;
                running++;
            }
        }
        if (running == 0) {
            break;
        }
        int status;
        struct job *job = job_wait(jobs, arguments->jobs, &status);
        if (job == NULL) {
            continue;
        }
        running--;
        totals_add(&totals, job->report);
        if (arguments->expect != NULL) {
            bool this_one =
                job->report->violated && strcmp(job->report->checker, arguments->expect) == 0;
            if (this_one && !found) {
                memcpy(told, job->report->text, sizeof told);
            }
            found = found || this_one;
            left = found ? 0 : left;
            continue;
        }
        bool good = job_good(arguments, job, status);
        if (good && arguments->twice) {
            good = same_again(arguments, job);
        }
        totals.failed += !good;
    }
    if (arguments->expect != NULL) {
        printf("%s: %s %s%s%s\n", arguments->plant == NULL ? "nothing planted" : arguments->plant,
               found ? "found by" : "NOT found by", arguments->expect,
               found && arguments->scenario != NULL ? ": " : "",
               found && arguments->scenario != NULL ? told : "");
        return found ? 0 : 1;
    }
    bool covered = true;
    if (!arguments->quiet && arguments->count > 1 && arguments->scenario == NULL) {
        covered = totals_print(&totals, now_ms() - begun_ms) || !arguments->cover;
    }
    return totals.failed == 0 && totals.seeds > 0 && covered ? 0 : 1;
}

/* --- arguments ----------------------------------------------------------------------------- */

static void usage(void) {
    fprintf(stderr,
            "usage: sluice-sim [--seed S | --first S --seeds N] [--minutes M | --seconds S]\n"
            "                  [--jobs N]\n"
            "                  [--trace] [--twice] [--quiet] [--cover]\n"
            "                  [--plant FAULT] [--expect CHECKER] [--scenario NAME]\n"
            "                  [--only FEATURE,...] [--without FEATURE,...]\n"
            "                  [--clients N] [--nodes N] [--shards N] [--routers N] [--slots N]\n"
            "                  [--keys N] [--end-ms MS] [--fault-ms MS] [--request-ms MS]\n"
            "                  [--outage-ms MS] [--steady]\n"
            "features:");
    for (int i = 0; i < FEATURE_COUNT; i++) {
        fprintf(stderr, " %s", feature_names[i]);
    }
    fprintf(stderr, "\nfaults to plant:");
    for (const char *const *at = check_plants(); *at != NULL; at++) {
        fprintf(stderr, " %s", *at);
    }
    fprintf(stderr, "\nscenarios:");
    scenarios_print(stderr);
    fprintf(stderr, "\n");
    exit(2);
}

static uint64_t features_of(const char *text) {
    uint64_t features = 0;
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok(copy, ","); word != NULL; word = strtok(NULL, ",")) {
        int at = 0;
        while (at < FEATURE_COUNT && strcmp(feature_names[at], word) != 0) {
            at++;
        }
        if (at == FEATURE_COUNT && strcmp(word, "none") != 0) {
            fprintf(stderr, "sluice-sim: there is no feature \"%s\"\n", word);
            usage();
        }
        features |= at == FEATURE_COUNT ? 0 : UINT64_C(1) << at;
    }
    return features;
}

static uint64_t number_of(const char *text) {
    char *end;
    uint64_t number = strtoull(text, &end, 0);
    if (*text == '\0' || *end != '\0') {
        usage();
    }
    return number;
}

/* Options that are counts. False: there is none of that name. */
static bool count_read(struct arguments *arguments, const char *name, const char *value) {
    const struct {
        const char *name;
        uint32_t *to;
        uint32_t most;
    } counts[] = {
        {"--jobs", &arguments->jobs, JOBS_MAX},
        {"--clients", &arguments->clients, CLIENTS_OF_RUN_MAX},
        {"--nodes", &arguments->nodes, NODES_OF_RUN_MAX},
        {"--shards", &arguments->shards, SHARDS_OF_NODE_MAX},
        {"--routers", &arguments->routers, ROUTERS_OF_RUN_MAX},
        {"--slots", &arguments->slots, SLOTS_OF_RUN_MAX},
        {"--keys", &arguments->keys, KEYS_OF_RUN_MAX},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (strcmp(name, counts[i].name) == 0) {
            uint64_t number = number_of(value);
            if (number < 1 || number > counts[i].most) {
                usage();
            }
            *counts[i].to = (uint32_t)number;
            return true;
        }
    }
    return false;
}

static void argument_read(struct arguments *arguments, const char *name, const char *value) {
    if (count_read(arguments, name, value)) {
        return;
    }
    if (strcmp(name, "--seed") == 0) {
        arguments->first = number_of(value);
        arguments->count = 1;
    } else if (strcmp(name, "--first") == 0) {
        arguments->first = number_of(value);
    } else if (strcmp(name, "--seeds") == 0) {
        arguments->count = number_of(value);
    } else if (strcmp(name, "--minutes") == 0) {
        arguments->seconds = number_of(value) * 60;
    } else if (strcmp(name, "--seconds") == 0) {
        arguments->seconds = number_of(value);
    } else if (strcmp(name, "--plant") == 0) {
        arguments->plant = value;
    } else if (strcmp(name, "--scenario") == 0) {
        arguments->scenario = scenario_find(value);
        if (arguments->scenario == NULL) {
            usage();
        }
    } else if (strcmp(name, "--expect") == 0) {
        arguments->expect = value;
    } else if (strcmp(name, "--without") == 0) {
        arguments->without |= features_of(value);
    } else if (strcmp(name, "--only") == 0) {
        arguments->only = features_of(value);
    } else if (strcmp(name, "--fault-ms") == 0) {
        arguments->fault_ms = number_of(value);
    } else if (strcmp(name, "--request-ms") == 0) {
        arguments->request_ms = number_of(value);
    } else if (strcmp(name, "--outage-ms") == 0) {
        arguments->outage_ms = number_of(value);
    } else if (strcmp(name, "--end-ms") == 0) {
        arguments->end_ms = number_of(value);
    } else {
        usage();
    }
}

int main(int argc, char **argv) {
    struct arguments arguments = {.first = 1, .count = 1, .jobs = 1, .only = UINT64_MAX};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0) {
            arguments.trace = true;
        } else if (strcmp(argv[i], "--twice") == 0) {
            arguments.twice = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            arguments.quiet = true;
        } else if (strcmp(argv[i], "--steady") == 0) {
            arguments.steady = true;
        } else if (strcmp(argv[i], "--cover") == 0) {
            arguments.cover = true;
        } else if (i + 1 < argc) {
            argument_read(&arguments, argv[i], argv[i + 1]);
            i++;
        } else {
            usage();
        }
    }
    if (arguments.plant != NULL && !check_plant(arguments.plant)) {
        usage();
    }
    return seeds_run(&arguments);
}
