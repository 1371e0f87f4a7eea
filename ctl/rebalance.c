#include "ctl/rebalance.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ctl/interrupt.h"
#include "ctl/mover.h"
#include "ctl/out.h"
#include "ctl/rebalance_plan.h"

/* Tries to write the final state: others see it sooner than that the record is stale. */
#define FINAL_TRIES_MAX 3

/* --- before -------------------------------------------------------------------------------- */

/* False, with the refusal printed, if another operator is at it, or broke off and this one did not
 * say --resume. */
static bool nobody_else(const struct invocation *invocation, const struct job_link *link) {
    const struct settings *settings = &invocation->settings;
    const struct job *job = &link->seen;
    uint64_t now_ms = time_now_ms();
    if (!link->has_job || !job_open(job)) {
        return true;
    }
    char since[32];
    time_t started = (time_t)(job->started_ms / 1000);
    struct tm local;
    localtime_r(&started, &local);
    strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &local);
    /* Who says --resume need not wait for the record to grow old if its operator is known to be
     * gone; were he not, in some other container of this name, he would find it taken over. */
    bool gone = invocation->options.resume && job_operator_gone(job->operator_id);
    if (!job_stale(job, now_ms) && !gone) {
        out_failure(settings,
                    "%s is rebalancing (by %s) since %s: %" PRIu64 " of %" PRIu64
                    " slots are moved (`sluicectl rebalance status`, `sluicectl rebalance cancel`)",
                    job->operator_id, job->by, since, job->done_slots, job->total_slots);
        return false;
    }
    if (!invocation->options.resume) {
        out_failure(settings,
                    "the rebalance (by %s) that %s began at %s broke off, after %" PRIu64
                    " of %" PRIu64 " slots: --resume takes it over",
                    job->by, job->operator_id, since, job->done_slots, job->total_slots);
        return false;
    }
    return true;
}

/* y: go on. Without a terminal to ask at, that must have been said with --yes. */
static enum exit_code ask(const struct invocation *invocation, bool asks) {
    const struct settings *settings = &invocation->settings;
    if (!asks || invocation->options.yes) {
        return EXIT_DONE;
    }
    if (settings->json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        out_failure(settings, "there is no terminal to ask at: say --yes to go on, or --dry-run to "
                              "only see the plan");
        return EXIT_USAGE;
    }
    char answer[16] = "";
    printf("Go on? (y/N) ");
    fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) == NULL || (answer[0] != 'y' && answer[0] != 'Y')) {
        printf("nothing was moved\n");
        return EXIT_REFUSED;
    }
    return EXIT_DONE;
}

static enum exit_code job_begin(const struct invocation *invocation, struct mover *mover) {
    struct job *job = &mover->job;
    job_operator_write(job->operator_id);
    goal_write(mover->goal, job->by, sizeof job->by);
    job->state = JOB_RUNNING;
    job->started_ms = job->updated_ms = time_now_ms();
    job->total_slots = mover->progress.total_slots;
    switch (job_put(mover->link, job)) {
    case JOB_PUT_OK:
        return EXIT_DONE;
    case JOB_PUT_CONFLICT:
        if (job_get(mover->link, false) == EXIT_DONE && nobody_else(invocation, mover->link)) {
            out_failure(mover->cluster->settings,
                        "another operator was a moment faster; look at `sluicectl rebalance "
                        "status`, then try again");
        }
        return EXIT_ANSWERED_ERROR;
    default:
        out_failure(mover->cluster->settings,
                    "the job could not be recorded: nobody answered, or the store is away");
        return EXIT_UNREACHABLE;
    }
}

/* --- after --------------------------------------------------------------------------------- */

static void job_end(struct mover *mover, enum mover_end end) {
    static const enum job_state states[] = {[MOVER_DONE] = JOB_DONE,
                                            [MOVER_INTERRUPTED] = JOB_CANCELLED,
                                            [MOVER_CANCELLED] = JOB_CANCELLED,
                                            [MOVER_FAILED] = JOB_FAILED};
    if (end == MOVER_OVERTAKEN) {
        return; /* the record is another's */
    }
    mover->job.state = states[end];
    mover->job.total_slots = mover->progress.total_slots;
    mover->job.done_slots = mover->progress.done_slots;
    for (uint32_t i = 0; i < FINAL_TRIES_MAX; i++) {
        struct job ours = mover->job;
        ours.updated_ms = time_now_ms();
        if (job_put(mover->link, &ours) == JOB_PUT_OK || job_get(mover->link, true) != EXIT_DONE ||
            !mover->link->has_job || !job_same(&mover->link->seen, &ours)) {
            return;
        }
    }
}

static const struct {
    const char *name;
    enum exit_code code;
} ends[] = {[MOVER_DONE] = {"done", EXIT_DONE},
            [MOVER_INTERRUPTED] = {"interrupted", EXIT_INTERRUPTED},
            [MOVER_CANCELLED] = {"cancelled", EXIT_CANCELLED},
            [MOVER_OVERTAKEN] = {"overtaken", EXIT_CANCELLED},
            [MOVER_FAILED] = {"failed", EXIT_ANSWERED_ERROR}};

static void end_say(const struct mover *mover, enum mover_end end) {
    const char *resume = mover->goal->kind == GOAL_DRAIN  ? "sluicectl node drain"
                         : mover->goal->kind == GOAL_MOVE ? "sluicectl slot move"
                                                          : "sluicectl rebalance --resume";
    switch (end) {
    case MOVER_INTERRUPTED:
        fprintf(stderr, "sluicectl: interrupted; what has moved stays moved. To go on: `%s%s%s`\n",
                resume, mover->goal->kind == GOAL_DRAIN ? " " : "",
                mover->goal->kind == GOAL_DRAIN ? mover->goal->node : "");
        break;
    case MOVER_CANCELLED:
        fprintf(stderr, "sluicectl: cancelled by `sluicectl rebalance cancel`\n");
        break;
    case MOVER_OVERTAKEN:
        fprintf(stderr, "sluicectl: %s has taken the job over\n",
                mover->link->has_job ? mover->link->seen.operator_id : "another operator");
        break;
    case MOVER_FAILED:
        fprintf(stderr, "sluicectl: gave up: %s (`sluicectl status`; then %s)\n", mover->failure,
                resume);
        break;
    default:
        break;
    }
}

static void summary_json(const struct mover *mover, enum mover_end end, json_t *plan) {
    const struct progress *progress = &mover->progress;
    json_t *document =
        json_pack("{s:s, s:i, s:i, s:I, s:f, s:I, s:I, s:I, s:o}", "state", ends[end].name, "moved",
                  (int)progress->done_slots, "total", (int)progress->total_slots, "buckets",
                  (json_int_t)progress->done_buckets, "seconds", progress_seconds(progress),
                  "median_pause_us", (json_int_t)progress_median_us(progress), "longest_pause_us",
                  (json_int_t)progress->longest_us, "epoch",
                  (json_int_t)mover->cluster->least.number, "plan", plan);
    if (document != NULL && progress->parked.known) {
        const struct parked *parked = &progress->parked;
        json_object_set_new(document, "parked",
                            json_pack("{s:I, s:I, s:I}", "takes", (json_int_t)parked->takes,
                                      "median_us", (json_int_t)parked->median_us, "longest_us",
                                      (json_int_t)parked->longest_us));
    }
    if (document != NULL && end == MOVER_FAILED) {
        json_object_set_new(document, "failure", json_string(mover->failure));
    }
    out_json(document);
}

static void summary_print(const struct mover *mover, enum mover_end end) {
    const struct settings *settings = mover->cluster->settings;
    const struct progress *progress = &mover->progress;
    progress_clear(progress);
    printf("%s%s%s  ", color_on(settings, end == MOVER_DONE ? COLOR_GREEN : COLOR_YELLOW),
           end == MOVER_DONE ? "moved" : ends[end].name, color_off(settings));
    if (end != MOVER_DONE) {
        printf("%u of ", progress->done_slots);
    }
    printf("%u slots, %" PRIu64 " buckets in %.1f s; pause %.1f ms median, %.1f ms longest; map "
           "epoch %" PRIu64 "\n",
           progress->total_slots, progress->done_buckets, progress_seconds(progress),
           (double)progress_median_us(progress) / 1e3, (double)progress->longest_us / 1e3,
           mover->cluster->least.number);
    if (progress->parked.known && progress->parked.takes == 0) {
        printf("parked  no takes at the router\n");
    } else if (progress->parked.known) {
        printf("parked  %" PRIu64 " takes at the router; %.1f ms median, %.1f ms longest\n",
               progress->parked.takes, (double)progress->parked.median_us / 1e3,
               (double)progress->parked.longest_us / 1e3);
    }
    fflush(stdout);
}

/* --- the whole ----------------------------------------------------------------------------- */

static enum exit_code run(struct mover *mover, json_t *plan) {
    const struct settings *settings = mover->cluster->settings;
    enum mover_end end;
    interrupt_install();
    mover->cluster->quiet = true;
    progress_start(&mover->progress, settings, &mover->cluster->map.cluster);
    end = mover_run(mover);
    job_end(mover, end);
    progress_end(&mover->progress);
    mover->cluster->quiet = false;
    if (settings->json) {
        summary_json(mover, end, json_incref(plan));
    } else {
        summary_print(mover, end);
    }
    end_say(mover, end);
    return ends[end].code;
}

/* The node that is to be drained is due nothing from now on; the map that says so is read. */
static enum exit_code weight_take(struct mover *mover) {
    struct cluster *cluster = mover->cluster;
    int32_t node = map_find_node(&cluster->map, bytes_of_text(mover->goal->node));
    if (cluster->map.nodes[node].weight == 0) {
        return EXIT_DONE;
    }
    enum exit_code code = cluster_weigh(cluster, mover->goal->node, 0);
    return code == EXIT_DONE ? cluster_load(cluster) : code;
}

static enum exit_code job_run(const struct invocation *invocation, struct mover *mover, bool asks,
                              json_t *plan) {
    bool drains = mover->goal->kind == GOAL_DRAIN;
    enum exit_code code = job_get(mover->link, false);
    if (code == EXIT_DONE && !nobody_else(invocation, mover->link)) {
        code = EXIT_ANSWERED_ERROR;
    }
    code = code == EXIT_DONE ? ask(invocation, asks) : code;
    code = code == EXIT_DONE ? job_begin(invocation, mover) : code;
    if (code != EXIT_DONE) {
        return code;
    }
    if (drains && (code = weight_take(mover)) != EXIT_DONE) {
        job_end(mover, MOVER_FAILED);
        return code;
    }
    return run(mover, plan);
}

enum exit_code rebalance_run(const struct invocation *invocation, struct cluster *cluster,
                             struct goal *goal, bool asks) {
    const struct settings *settings = &invocation->settings;
    const struct command_options *options = &invocation->options;
    struct job_link link = {.cluster = cluster};
    struct mover *mover = calloc(1, sizeof *mover);
    if (mover == NULL) {
        out_failure(settings, "no memory");
        return EXIT_UNREACHABLE;
    }
    uint32_t ownerless;
    mover->cluster = cluster;
    mover->goal = goal;
    mover->link = &link;
    mover->throttle_slots = options->throttle_slots;
    mover->batch_slots = options->batch_slots > 0 ? options->batch_slots : BATCH_SLOTS_MAX;
    cluster_load_slots(cluster);
    uint32_t count = goal_plan(goal, cluster, mover->moves, &ownerless);
    struct plan_view view = {.cluster = cluster,
                             .moves = mover->moves,
                             .count = count,
                             .ownerless = ownerless,
                             .batch_slots = mover->batch_slots,
                             .throttle_slots = mover->throttle_slots};
    mover->progress.total_slots = count;
    mover->progress.total_buckets = plan_view_buckets(&view);
    json_t *plan = plan_view_json(&view);
    bool nothing = count == 0 && !options->resume && goal->kind != GOAL_DRAIN;
    enum exit_code code = EXIT_DONE;
    if (!settings->json) {
        plan_view_print(&view);
    }
    if (!nothing && !options->dry_run) {
        code = job_run(invocation, mover, asks && count > 0, plan);
    } else if (settings->json) {
        out_json(json_pack("{s:s, s:i, s:O}", "state", nothing ? "done" : "planned", "moved", 0,
                           "plan", plan));
    }
    json_decref(plan);
    free(mover);
    return code;
}
