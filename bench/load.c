#include "bench/load.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "runtime/clock.h"

/* Milliseconds between two looks for shots whose time is over. */
#define SWEEP_MS 50

/* Bits of a shot's id that name the shot; the rest are its generation. */
#define SHOT_BITS 12
#define GENERATION_MASK ((1u << (31 - SHOT_BITS)) - 1)

#define NS_PER_S UINT64_C(1000000000)

const char *outcome_error_text(uint32_t error) {
    static const char *const texts[] = {
#define X(name, meaning) #name,
        FAILURES(X)
#undef X
    };
    return error < CODE_COUNT ? code_text((enum code)error)
                              : texts[error - OUTCOME_ERROR_FIRST_FAILURE - 1];
}

struct bytes load_key(const struct load *load, uint64_t key, char out[KEY_TEXT_BYTES_MAX]) {
    return key_text(bytes_of_text(load->settings.key_prefix), key, out);
}

/* --- shots ---------------------------------------------------------------------------------- */

uint32_t load_shot_id(const struct shot *shot) {
    return (shot->generation & GENERATION_MASK) << SHOT_BITS | shot->index;
}

struct shot *load_shot_of(struct lane *lane, uint32_t id) {
    uint32_t index = id & ((1u << SHOT_BITS) - 1);
    if (index >= lane->load->settings.outstanding) {
        return NULL;
    }
    struct shot *shot = &lane->shots[index];
    return shot->busy && load_shot_id(shot) == id ? shot : NULL;
}

static void lane_ready(struct lane *lane) {
    struct load *load = lane->load;
    if (lane->ready || !lane->up || lane->free_count == 0) {
        return;
    }
    lane->ready = true;
    load->ready[(load->ready_first + load->ready_count++) % load->settings.lanes] = lane->index;
}

void load_take_done(struct shot *shot, uint32_t at, struct outcome outcome) {
    struct load *load = shot->lane->load;
    struct load_report *report = load->report;
    struct record_file *record = load->settings.record;
    uint64_t cost = load->settings.cost_tokens;
    load->answered_takes++;
    if (record != NULL && outcome.decided && outcome.allowed) {
        struct grant grant = {.sent_ns = shot->sent_ns,
                              .received_ns = clock_monotonic_ns(),
                              .cost_tokens = cost,
                              .key = (uint32_t)shot->keys[at],
                              .flags = outcome.degraded ? RECORD_FLAG_DEGRADED : 0};
        report->record_failed |= !record_add(record, &grant);
    }
    if (!shot->counted) {
        return;
    }
    report->takes++;
    if (!outcome.decided) {
        report->errors++;
        report->errors_by[outcome.error]++;
        return;
    }
    report->granted += outcome.allowed;
    report->granted_tokens += outcome.allowed ? cost : 0;
    report->refused += !outcome.allowed;
    report->degraded += outcome.degraded;
}

static void shot_free(struct shot *shot) {
    struct lane *lane = shot->lane;
    shot->busy = false;
    shot->generation++;
    lane->load->busy_count--;
    lane->free_shots[lane->free_count++] = shot->index;
    lane_ready(lane);
}

void load_shot_done(struct shot *shot) {
    struct load *load = shot->lane->load;
    if (shot->counted) {
        uint64_t from_ns = load->settings.rate > 0 ? shot->due_ns : shot->sent_ns;
        histogram_add(&load->report->latency, clock_monotonic_ns() - from_ns, 1);
    }
    shot_free(shot);
}

void load_shot_failed(struct shot *shot, uint32_t error) {
    for (uint32_t at = 0; at < shot->take_count; at++) {
        load_take_done(shot, at, outcome_of_error(error));
    }
    shot_free(shot);
}

static void lane_fire(struct lane *lane, uint64_t due_ns, uint64_t now_ns) {
    struct load *load = lane->load;
    struct shot *shot = &lane->shots[lane->free_shots[--lane->free_count]];
    shot->busy = true;
    shot->due_ns = due_ns;
    shot->sent_ns = now_ns;
    shot->counted = due_ns >= load->measure_ns;
    shot->take_count = load->settings.batch;
    load->busy_count++;
    for (uint32_t at = 0; at < shot->take_count; at++) {
        shot->keys[at] = key_choice_next(&load->settings.keys);
    }
    if (shot->counted && load->settings.rate > 0) {
        histogram_add(&load->report->late, now_ns - due_ns, 1);
    }
    if (!load->settings.target->lane_send(lane, shot)) {
        load_shot_failed(shot, OUTCOME_LOST);
    }
}

void load_lane_up(struct lane *lane) {
    lane->up = true;
    lane->load->up_count++;
    lane_ready(lane);
}

void load_lane_down(struct lane *lane, const char *why) {
    struct load *load = lane->load;
    snprintf(load->down_why, sizeof load->down_why, "%s", why);
    load->up_count -= lane->up;
    lane->up = false;
    for (uint32_t i = 0; i < load->settings.outstanding; i++) {
        if (lane->shots[i].busy) {
            load_shot_failed(&lane->shots[i], OUTCOME_LOST);
        }
    }
}

/* --- the pump: what sends ------------------------------------------------------------------- */

/* The next lane with a free shot, or NULL. */
static struct lane *ready_take(struct load *load) {
    while (load->ready_count > 0) {
        struct lane *lane = &load->lanes[load->ready[load->ready_first]];
        load->ready_first = (load->ready_first + 1) % load->settings.lanes;
        load->ready_count--;
        lane->ready = false;
        if (lane->up && lane->free_count > 0) {
            return lane;
        }
    }
    return NULL;
}

static void pump_closed(struct load *load, uint64_t now_ns) {
    for (uint32_t turns = load->ready_count; turns > 0; turns--) {
        struct lane *lane = ready_take(load);
        if (lane == NULL) {
            return;
        }
        /* As many as were free at first: a target may answer at once, and then there is no end. */
        for (uint32_t left = lane->free_count; left > 0 && lane->up; left--) {
            lane_fire(lane, now_ns,
                      load->settings.target->inline_answers ? clock_monotonic_ns() : now_ns);
        }
        load->settings.target->lane_flush(lane);
        lane_ready(lane);
    }
}

static void due_advance(struct load *load) {
    load->due_ns = load->started_ns + schedule_next(&load->schedule);
}

static void flush_all(struct load *load) {
    while (load->dirty_count > 0) {
        struct lane *lane = &load->lanes[load->dirty[--load->dirty_count]];
        lane->dirty = false;
        load->settings.target->lane_flush(lane);
    }
}

/* Sends what is due, lanes in turn. */
static void pump_open(struct load *load, uint64_t now_ns) {
    while (load->due_ns <= now_ns && load->due_ns < load->end_ns) {
        struct lane *lane = ready_take(load);
        if (lane == NULL) {
            break; /* an answer will wake us */
        }
        lane_fire(lane, load->due_ns, now_ns);
        if (!lane->dirty) {
            lane->dirty = true;
            load->dirty[load->dirty_count++] = lane->index;
        }
        lane_ready(lane);
        due_advance(load);
    }
    flush_all(load);
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(load->due_ns / NS_PER_S),
                                         .tv_nsec = (long)(load->due_ns % NS_PER_S)}};
    if (load->due_ns > now_ns && load->due_ns < load->end_ns && load->due_ns != load->armed_ns) {
        load->armed_ns = load->due_ns;
        timerfd_settime(load->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    }
}

/* What was due but never sent, since every shot was under way. */
static void count_unsent(struct load *load, uint64_t now_ns) {
    while (load->settings.rate > 0 && load->due_ns < load->end_ns) {
        if (load->due_ns >= load->measure_ns) {
            histogram_add(&load->report->latency, now_ns - load->due_ns, 1);
            load->report->takes += load->settings.batch;
            load->report->errors += load->settings.batch;
            load->report->errors_by[OUTCOME_UNSENT] += load->settings.batch;
        }
        due_advance(load);
    }
}

/* In an open loop what was due before the end is sent even if that is late. */
static bool sending_over(const struct load *load, uint64_t now_ns) {
    return load->settings.rate == 0 || load->due_ns >= load->end_ns ||
           now_ns - load->end_ns > load->settings.timeout_ns;
}

static void pump(struct load *load) {
    uint64_t now_ns = clock_monotonic_ns();
    if (!load->running) {
        return;
    }
    if (!load->ended && now_ns >= load->end_ns && sending_over(load, now_ns)) {
        load->ended = true;
        uv_idle_stop(&load->idle);
        count_unsent(load, now_ns);
    }
    if (load->ended) {
        if (load->busy_count == 0) {
            uv_stop(&load->loop);
        }
    } else if (load->settings.rate > 0) {
        pump_open(load, now_ns);
    } else {
        pump_closed(load, now_ns);
    }
}

static void on_prepare(uv_prepare_t *handle) {
    pump(handle->data);
}

static void on_check(uv_check_t *handle) {
    pump(handle->data);
}

static void on_idle(uv_idle_t *handle) {}

static void on_due(uv_poll_t *handle, int status, int events) {
    struct load *load = handle->data;
    uint64_t expirations;
    if (read(load->timer_fd, &expirations, sizeof expirations) < 0) {
        return; /* the check sends what is due */
    }
}

static void on_sweep(uv_timer_t *timer) {
    struct load *load = timer->data;
    uint64_t now_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < load->settings.lanes * load->settings.outstanding; i++) {
        struct shot *shot = &load->slab_shots[i];
        if (shot->busy && now_ns - shot->sent_ns > load->settings.timeout_ns) {
            if (shot->counted) { /* left out, it would make the percentiles look better */
                histogram_add(&load->report->latency, now_ns - shot->due_ns, 1);
            }
            load_shot_failed(shot, OUTCOME_TIMEOUT);
        }
    }
}

static void on_second(uv_timer_t *timer) {
    struct load *load = timer->data;
    const struct load_report *report = load->report;
    double seconds = (double)(clock_monotonic_ns() - load->started_ns) / 1e9;
    fprintf(stderr, "\r\033[K%5.0f s  %9.0f takes/s  p50 %.3f ms  p99 %.3f ms  %llu errors%s",
            seconds, (double)load->answered_takes,
            (double)histogram_percentile(&report->latency, 0.50) / 1e6,
            (double)histogram_percentile(&report->latency, 0.99) / 1e6,
            (unsigned long long)report->errors,
            clock_monotonic_ns() < load->measure_ns ? "  (warm-up)" : "");
    load->answered_takes = 0;
}

static void on_signal(uv_signal_t *handle, int number) {
    struct load *load = handle->data;
    uint64_t now_ns = clock_monotonic_ns();
    load->report->interrupted = true;
    if (!load->running) {
        uv_stop(&load->loop);
    } else if (now_ns < load->end_ns) {
        load->end_ns = now_ns;
    }
}

/* --- life ----------------------------------------------------------------------------------- */

static bool memory_get(struct load *load) {
    const struct load_settings *settings = &load->settings;
    size_t lanes = settings->lanes, shots = lanes * settings->outstanding;
    load->lanes = calloc(lanes, sizeof *load->lanes);
    load->ready = calloc(lanes, sizeof *load->ready);
    load->dirty = calloc(lanes, sizeof *load->dirty);
    load->slab_shots = calloc(shots, sizeof *load->slab_shots);
    load->slab_free = calloc(shots, sizeof *load->slab_free);
    load->slab_keys = calloc(shots * settings->batch, sizeof(uint64_t));
    load->slab_parts = calloc(shots * settings->batch, sizeof(uint16_t));
    if (load->lanes == NULL || load->ready == NULL || load->dirty == NULL ||
        load->slab_shots == NULL || load->slab_free == NULL || load->slab_keys == NULL ||
        load->slab_parts == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < lanes; i++) {
        struct lane *lane = &load->lanes[i];
        lane->load = load;
        lane->index = i;
        lane->shots = &load->slab_shots[(size_t)i * settings->outstanding];
        lane->free_shots = &load->slab_free[(size_t)i * settings->outstanding];
        lane->free_count = settings->outstanding;
        for (uint32_t j = 0; j < settings->outstanding; j++) {
            size_t at = ((size_t)i * settings->outstanding + j) * settings->batch;
            lane->free_shots[j] = settings->outstanding - 1 - j;
            lane->shots[j] = (struct shot){.lane = lane,
                                           .index = j,
                                           .keys = (uint64_t *)load->slab_keys + at,
                                           .parts_of = (uint16_t *)load->slab_parts + at};
        }
    }
    return true;
}

static void memory_put(struct load *load) {
    free(load->lanes);
    free(load->ready);
    free(load->dirty);
    free(load->slab_shots);
    free(load->slab_free);
    free(load->slab_keys);
    free(load->slab_parts);
}

static void handles_start(struct load *load) {
    static const int numbers[2] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&load->loop, &load->signals[i]);
        load->signals[i].data = load;
        uv_signal_start(&load->signals[i], on_signal, numbers[i]);
    }
    uv_poll_init(&load->loop, &load->timer_poll, load->timer_fd);
    uv_prepare_init(&load->loop, &load->prepare);
    uv_check_init(&load->loop, &load->check);
    uv_idle_init(&load->loop, &load->idle);
    uv_timer_init(&load->loop, &load->second);
    uv_timer_init(&load->loop, &load->sweep);
    load->timer_poll.data = load->prepare.data = load->check.data = load->idle.data = load;
    load->second.data = load->sweep.data = load;
    uv_poll_start(&load->timer_poll, UV_READABLE, on_due);
}

static void on_connect_tick(uv_timer_t *timer) {
    struct load *load = timer->data;
    if (load->up_count == load->settings.lanes ||
        clock_monotonic_ns() - load->started_ns > LOAD_CONNECT_MS * UINT64_C(1000000)) {
        uv_stop(&load->loop);
    }
}

static bool lanes_connect(struct load *load, char *why, size_t why_size) {
    const struct load_settings *settings = &load->settings;
    load->started_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < settings->lanes; i++) {
        if (!settings->target->lane_open(&load->lanes[i], why, why_size)) {
            return false;
        }
    }
    uv_timer_start(&load->sweep, on_connect_tick, 1, 1);
    if (load->up_count < settings->lanes) {
        uv_run(&load->loop, UV_RUN_DEFAULT);
    }
    uv_timer_stop(&load->sweep);
    if (load->up_count < settings->lanes && !load->report->interrupted) {
        snprintf(why, why_size, "%u of %u connections came about in %d s: %s", load->up_count,
                 settings->lanes, LOAD_CONNECT_MS / 1000, load->down_why);
        return false;
    }
    return true;
}

static void measure(struct load *load) {
    const struct load_settings *settings = &load->settings;
    uv_prepare_start(&load->prepare, on_prepare);
    uv_check_start(&load->check, on_check);
    uv_timer_start(&load->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    if (settings->target->inline_answers && settings->rate == 0) {
        uv_idle_start(&load->idle, on_idle);
    }
    if (settings->progress) {
        uv_timer_start(&load->second, on_second, 1000, 1000);
    }
    load->started_ns = clock_monotonic_ns();
    load->measure_ns = load->started_ns + settings->warmup_ns;
    load->end_ns = load->measure_ns + settings->duration_ns;
    load->schedule = (struct schedule){.per_ns = settings->rate / settings->batch / 1e9,
                                       .even = settings->even,
                                       .factor = settings->burst_factor,
                                       .every_ns = settings->burst_every_ns,
                                       .length_ns = settings->burst_length_ns,
                                       .random = settings->seed + 1};
    if (settings->rate > 0) {
        due_advance(load);
    }
    load->running = true;
    uv_run(&load->loop, UV_RUN_DEFAULT);
    load->running = false;
    if (settings->progress) {
        fputs("\r\033[K", stderr);
    }
}

static void report_finish(struct load *load) {
    struct load_report *report = load->report;
    const struct load_settings *settings = &load->settings;
    uint64_t spent_ns = load->end_ns > load->measure_ns ? load->end_ns - load->measure_ns : 0;
    report->seconds = (double)spent_ns / 1e9;
    if (spent_ns == 0) {
        return;
    }
    report->takes_per_second = (double)(report->granted + report->refused) / report->seconds;
    if (settings->rate > 0) {
        uint64_t from = load->measure_ns - load->started_ns, to = load->end_ns - load->started_ns;
        report->asked_per_second =
            settings->batch *
            (schedule_expected(&load->schedule, to) - schedule_expected(&load->schedule, from)) /
            report->seconds;
    }
}

static void close_handle(uv_handle_t *handle, void *argument) {
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

bool load_run(const struct load_settings *settings, struct load_report *report, char *why,
              size_t why_size) {
    struct load *load = calloc(1, sizeof *load);
    memset(report, 0, sizeof *report);
    if (load == NULL || uv_loop_init(&load->loop) != 0) {
        free(load);
        snprintf(why, why_size, "no memory");
        return false;
    }
    load->settings = *settings;
    load->report = report;
    key_choice_start(&load->settings.keys, settings->seed);
    prctl(PR_SET_TIMERSLACK, 1UL); /* ns: else the kernel may be 50 us late */
    load->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    snprintf(why, why_size, "no memory, or no file descriptor");
    bool opened = load->timer_fd >= 0 && memory_get(load);
    bool done = false;
    if (opened) {
        handles_start(load);
        done = settings->target->open(load, why, why_size);
        if (done) {
            done = lanes_connect(load, why, why_size);
            if (done && !report->interrupted) {
                measure(load);
                report_finish(load);
            }
            for (uint32_t i = 0; i < settings->lanes; i++) {
                settings->target->lane_close(&load->lanes[i]);
            }
        }
        settings->target->close(load);
    }
    uv_stop(&load->loop);
    uv_run(&load->loop, UV_RUN_NOWAIT);
    uv_walk(&load->loop, close_handle, NULL);
    uv_run(&load->loop, UV_RUN_DEFAULT);
    assert(uv_loop_close(&load->loop) == 0);
    if (load->timer_fd >= 0) {
        close(load->timer_fd);
    }
    memory_put(load);
    free(load);
    return done;
}
