/* rebalance, rebalance status, rebalance cancel. */
#include <inttypes.h>
#include <stdlib.h>

#include "ctl/job_link.h"
#include "ctl/out.h"
#include "ctl/rebalance.h"
#include "ctl/rebalance_options.h"

/* Milliseconds that takes are counted for with --by load. */
#define MEASURE_MS 3000

static enum exit_code rebalance_all_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    struct cluster *cluster = cluster_create(settings);
    struct goal *goal = out_needed(calloc(1, sizeof *goal));
    enum exit_code code = EXIT_UNREACHABLE;
    if (cluster != NULL && goal != NULL) {
        goal->kind = invocation->options.by_load ? GOAL_LOAD : GOAL_SLOTS;
        code = cluster_load(cluster);
        if (code == EXIT_DONE && !goal_check(goal, cluster)) {
            code = EXIT_ANSWERED_ERROR;
        }
        if (code == EXIT_DONE && goal->kind == GOAL_LOAD) {
            if (!settings->json) {
                printf("counting takes for %d s\n", MEASURE_MS / 1000);
                fflush(stdout);
            }
            goal_measure(goal, cluster, MEASURE_MS);
        }
        code = code == EXIT_DONE ? rebalance_run(invocation, cluster, goal, true) : code;
    }
    free(goal);
    free(cluster);
    return code;
}

static json_t *job_json(const struct job *job, bool stale) {
    return json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I}", "state",
                     job_state_text(job->state), "operator", job->operator_id, "by", job->by,
                     "stale", (int)stale, "started_ms", (json_int_t)job->started_ms, "updated_ms",
                     (json_int_t)job->updated_ms, "done", (json_int_t)job->done_slots, "total",
                     (json_int_t)job->total_slots);
}

static double seconds_ago(uint64_t then_ms, uint64_t now_ms) {
    return now_ms > then_ms ? (double)(now_ms - then_ms) / 1e3 : 0;
}

static void job_print(const struct settings *settings, const struct job *job, bool stale) {
    uint64_t now_ms = time_now_ms();
    printf("state     %s%s%s%s\n", color_on(settings, stale ? COLOR_RED : COLOR_BOLD),
           job_state_text(job->state), color_off(settings),
           stale ? ", but broken off: `sluicectl rebalance --resume` takes it over" : "");
    printf("operator  %s\n", job->operator_id);
    printf("by        %s\n", job->by);
    printf("slots     %" PRIu64 " of %" PRIu64 " moved\n", job->done_slots, job->total_slots);
    printf("started   %.1f s ago\n", seconds_ago(job->started_ms, now_ms));
    printf("last said %.1f s ago\n", seconds_ago(job->updated_ms, now_ms));
}

static enum exit_code status_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    struct cluster *cluster = cluster_create(settings);
    struct job_link link = {.cluster = cluster};
    enum exit_code code = cluster != NULL ? job_get(&link, false) : EXIT_UNREACHABLE;
    bool stale = code == EXIT_DONE && link.has_job && job_stale(&link.seen, time_now_ms());
    if (code == EXIT_DONE && settings->json) {
        out_json(link.has_job ? job_json(&link.seen, stale) : json_null());
    } else if (code == EXIT_DONE && link.has_job) {
        job_print(settings, &link.seen, stale);
    } else if (code == EXIT_DONE) {
        printf("nobody has rebalanced this cluster yet\n");
    }
    free(cluster);
    return code;
}

/* CANCELLING, for its operator to see; CANCELLED if that one is gone. */
static enum exit_code job_cancel(struct job_link *link, struct job *job) {
    const struct settings *settings = link->cluster->settings;
    /* The running one writes once a second: a few tries meet a moment between. */
    for (uint32_t tries = 0; tries < 10; tries++) {
        enum exit_code code = job_get(link, false);
        if (code != EXIT_DONE) {
            return code;
        }
        if (!link->has_job || !job_open(&link->seen)) {
            out_failure(settings, "no rebalance is under way");
            return EXIT_ANSWERED_ERROR;
        }
        *job = link->seen;
        job->state = job_stale(job, time_now_ms()) ? JOB_CANCELLED : JOB_CANCELLING;
        switch (job_put(link, job)) {
        case JOB_PUT_OK:
            return EXIT_DONE;
        case JOB_PUT_CONFLICT:
            break;
        default:
            out_failure(settings, "nobody answered, or the store is away");
            return EXIT_UNREACHABLE;
        }
    }
    out_failure(settings, "the record changes faster than it can be cancelled: try again");
    return EXIT_ANSWERED_ERROR;
}

static enum exit_code cancel_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    struct cluster *cluster = cluster_create(settings);
    struct job_link link = {.cluster = cluster};
    struct job job;
    enum exit_code code = cluster != NULL ? job_cancel(&link, &job) : EXIT_UNREACHABLE;
    if (code == EXIT_DONE && settings->json) {
        out_json(job_json(&job, false));
    } else if (code == EXIT_DONE) {
        printf("%s%s%s  the rebalance of %s, after %" PRIu64 " of %" PRIu64 " slots\n",
               color_on(settings, COLOR_YELLOW), job_state_text(job.state), color_off(settings),
               job.operator_id, job.done_slots, job.total_slots);
    }
    free(cluster);
    return code;
}

static const struct argp_option rebalance_options[] = {
    {"by", OPTION_BY, "slots|load", 0,
     "even out how many slots shards have (slots), or how many takes are asked of them (load)", 0},
    REBALANCE_OPTION_ROWS,
    {0},
};

const struct command rebalance_commands[] = {
    {NULL, "rebalance", "move slots until every node has its share", NULL, 0, 0, rebalance_options,
     "Shows which slots would move, asks, and moves them while the cluster serves. A node's share "
     "is by its weight. Ctrl-C ends it after the batch under way; what has moved stays moved, and "
     "a later rebalance goes on from there.\v"
     "Examples:\n"
     "  sluicectl rebalance --dry-run\n"
     "  sluicectl rebalance --yes --throttle 50\n"
     "  sluicectl rebalance --by load\n"
     "  sluicectl rebalance --resume",
     rebalance_all_run},
    {"rebalance", "status", "the rebalance under way, or the last one", NULL, 0, 0, NULL,
     "Shows who moves slots, since when, and how far.\v"
     "Example:\n"
     "  sluicectl rebalance status",
     status_run},
    {"rebalance", "cancel", "stop the rebalance under way", NULL, 0, 0, NULL,
     "Makes the rebalance under way stop within about a second, whoever runs it. What has moved "
     "stays moved.\v"
     "Example:\n"
     "  sluicectl rebalance cancel",
     cancel_run},
    {0},
};
