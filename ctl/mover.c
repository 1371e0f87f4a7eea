#include "ctl/mover.h"

#include <stdio.h>

#include "ctl/interrupt.h"

/* Times that one batch is tried at a node that is busy with another handover, before the map is
 * looked at again. Milliseconds between. */
#define TRIES_MAX 4
#define TRY_PAUSE_MS 250

/* Milliseconds without a moved batch after which we give up: more than a takeover takes, or a store
 * that is started again. Milliseconds before another plan. */
#define IDLE_MS 20000
#define PLAN_PAUSE_MS 250

/* Milliseconds of one wait, after which the record and the flag are looked at. */
#define WAIT_MS 50

/* Milliseconds without being able to write the record after which we give up: somebody else may
 * have taken the job over, and we could not know. */
#define RECORD_AWAY_MS 30000

enum sent { SENT_MOVED, SENT_AGAIN, SENT_PLAN, SENT_STOP };

static void stop(struct mover *mover, enum mover_end end) {
    mover->stop = true;
    mover->end = end;
}

/* --- the record ---------------------------------------------------------------------------- */

static void record_overtaken(struct mover *mover) {
    struct job ours = mover->job;
    if (job_get(mover->link, true) != EXIT_DONE) {
        return; /* looked at again with the next update */
    }
    if (!mover->link->has_job || !job_same(&mover->link->seen, &ours)) {
        stop(mover, MOVER_OVERTAKEN);
    } else if (mover->link->seen.state == JOB_CANCELLING) {
        stop(mover, MOVER_CANCELLED);
    }
    /* Else it is our own write, whose answer was lost. */
}

/* Writes the record if it is due, and looks for Ctrl-C. */
static void tick(struct mover *mover) {
    uint64_t now_ms = time_monotonic_ms();
    if (interrupt_came()) {
        stop(mover, MOVER_INTERRUPTED);
    }
    progress_show(&mover->progress, false);
    if (mover->stop || now_ms - mover->updated_ms < JOB_UPDATE_MS) {
        return;
    }
    mover->job.updated_ms = time_now_ms();
    mover->job.total_slots = mover->progress.total_slots;
    mover->job.done_slots = mover->progress.done_slots;
    enum job_put put = job_put(mover->link, &mover->job);
    if (put == JOB_PUT_OK) {
        mover->updated_ms = now_ms;
    } else if (put == JOB_PUT_CONFLICT) {
        record_overtaken(mover);
    } else if (now_ms - mover->updated_ms > RECORD_AWAY_MS) {
        snprintf(mover->failure, sizeof mover->failure,
                 "the job's record could not be written for %d s", RECORD_AWAY_MS / 1000);
        stop(mover, MOVER_FAILED);
    }
}

static void wait_until(struct mover *mover, uint64_t until_ms) {
    tick(mover);
    for (uint64_t now_ms = time_monotonic_ms(); now_ms < until_ms && !mover->stop;
         now_ms = time_monotonic_ms()) {
        time_sleep_ms(until_ms - now_ms < WAIT_MS ? until_ms - now_ms : WAIT_MS);
        tick(mover);
    }
}

/* --- one batch ----------------------------------------------------------------------------- */

static struct bytes batch_write(const struct mover *mover, const struct batch *batch,
                                struct writer *writer) {
    const struct map *map = &mover->cluster->map;
    const struct map_shard *target = &map->shards[batch->to.index];
    request_write_head(writer, 1, METHOD_SLOTS_MOVE);
    write_array(writer, 3);
    write_array(writer, batch->count);
    for (uint32_t i = 0; i < batch->count; i++) {
        write_uint(writer, mover->moves[batch->first + i].slot.index);
    }
    write_str(writer, name_bytes(&map->nodes[target->node].id));
    write_uint(writer, target->number);
    return writer_bytes(writer);
}

static void batch_moved(struct mover *mover, const struct batch *batch, struct bytes result) {
    struct reader reader = reader_of(result);
    uint64_t epoch = 0, sealed_us = 0, buckets = 0;
    uint32_t members = 0;
    read_map(&reader, &members);
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name, value;
        if (!read_bytes(&reader, &name) || !read_any(&reader, &value)) {
            break;
        }
        struct reader number = reader_of(value);
        if (bytes_equal(name, bytes_of_text("epoch"))) {
            read_uint(&number, &epoch);
        } else if (bytes_equal(name, bytes_of_text("sealed_us"))) {
            read_uint(&number, &sealed_us);
        }
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        buckets += mover->cluster->buckets[mover->moves[batch->first + i].slot.index];
    }
    if (epoch > mover->cluster->least.number) {
        mover->cluster->least.number = epoch;
    }
    progress_batch(&mover->progress, batch->count, buckets, sealed_us);
}

static enum sent batch_refused(struct mover *mover, const struct reply *reply) {
    snprintf(mover->failure, sizeof mover->failure, "%s: %.*s", code_text(reply->code),
             (int)reply->message.size, (const char *)reply->message.data);
    struct moved moved;
    switch (reply->code) {
    case CODE_OVERLOADED:
        return SENT_AGAIN;
    case CODE_MOVED:
        if (moved_read(reply->data, &moved) && moved.epoch.number > mover->cluster->least.number) {
            mover->cluster->least = moved.epoch;
        }
        return SENT_PLAN;
    case CODE_UNAVAILABLE: /* the target or the store does not answer: who is alive? */
    case CODE_CONFLICT:
    case CODE_BAD_REQUEST: /* a node or shard that is new to the source, or gone meanwhile */
        return SENT_PLAN;
    default:
        stop(mover, MOVER_FAILED);
        return SENT_STOP;
    }
}

static enum sent batch_send(struct mover *mover, const struct batch *batch) {
    uint8_t memory[BATCH_SLOTS_MAX * 3 + NAME_BYTES_MAX + 64];
    struct writer writer = writer_of(memory, sizeof memory);
    struct rpc_answer answer;
    enum sent sent = SENT_PLAN;
    const struct cluster *cluster = mover->cluster;
    if (!rpc_call(cluster->map.nodes[batch->node].control.text, batch_write(mover, batch, &writer),
                  cluster->settings->timeout_ms, &answer)) {
        /* Moved or not: the map will tell. */
        snprintf(mover->failure, sizeof mover->failure, "%s", answer.failure);
    } else if (answer.reply.is_error) {
        sent = batch_refused(mover, &answer.reply);
    } else {
        batch_moved(mover, batch, answer.reply.result);
        sent = SENT_MOVED;
    }
    rpc_answer_fini(&answer);
    return sent;
}

static enum sent batch_run(struct mover *mover, const struct batch *batch) {
    for (uint32_t tries = 1; !mover->stop; tries++) {
        enum sent sent = batch_send(mover, batch);
        if (sent != SENT_AGAIN) {
            return sent;
        }
        if (tries == TRIES_MAX) {
            return SENT_PLAN;
        }
        wait_until(mover, time_monotonic_ms() + TRY_PAUSE_MS);
    }
    return SENT_STOP;
}

/* --- one plan ------------------------------------------------------------------------------ */

/* When the next batch may go, so that what has moved since the start keeps to the throttle. */
static uint64_t throttled_until(const struct mover *mover) {
    const struct progress *progress = &mover->progress;
    return mover->throttle_slots == 0 ? 0
                                      : progress->started_ms + (uint64_t)progress->done_slots *
                                                                   1000 / mover->throttle_slots;
}

/* False: to be planned again. */
static bool plan_run(struct mover *mover, uint32_t move_count) {
    uint32_t most = mover->batch_slots;
    if (mover->throttle_slots > 0 && mover->throttle_slots < most) {
        most = mover->throttle_slots; /* a second's worth at once, no more */
    }
    uint32_t count =
        batches_make(&mover->cluster->map, mover->moves, move_count, most, mover->batches);
    for (uint32_t i = 0; i < count && !mover->stop; i++) {
        wait_until(mover, throttled_until(mover));
        if (!mover->stop && batch_run(mover, &mover->batches[i]) == SENT_PLAN) {
            return false;
        }
    }
    return true;
}

/* The newest map; what it says may end the job. */
static void look_again(struct mover *mover) {
    enum exit_code code = cluster_load(mover->cluster);
    if (mover->cluster->foreign) {
        snprintf(mover->failure, sizeof mover->failure,
                 "what answers there now is of another cluster than %s",
                 mover->cluster->map.cluster.text);
        stop(mover, MOVER_FAILED);
    } else if (code != EXIT_DONE) {
        snprintf(mover->failure, sizeof mover->failure, "the map cannot be read");
    } else if (!goal_target_alive(mover->goal, mover->cluster)) {
        snprintf(mover->failure, sizeof mover->failure, "the target is not alive");
        stop(mover, MOVER_FAILED);
    }
}

enum mover_end mover_run(struct mover *mover) {
    uint64_t moved_ms = time_monotonic_ms();
    uint32_t ownerless;
    mover->updated_ms = moved_ms;
    while (!mover->stop) {
        uint32_t before = mover->progress.done_slots;
        uint32_t count = goal_plan(mover->goal, mover->cluster, mover->moves, &ownerless);
        mover->progress.total_slots = before + count;
        /* Loads have moved with their slots, so by load one plan is enough. */
        if (plan_run(mover, count) && (count == 0 || mover->goal->kind == GOAL_LOAD)) {
            break;
        }
        if (mover->progress.done_slots > before) {
            moved_ms = time_monotonic_ms();
        } else if (time_monotonic_ms() - moved_ms > IDLE_MS) {
            stop(mover, MOVER_FAILED);
        } else {
            wait_until(mover, time_monotonic_ms() + PLAN_PAUSE_MS);
        }
        if (!mover->stop) {
            look_again(mover);
        }
    }
    return mover->stop ? mover->end : MOVER_DONE;
}
