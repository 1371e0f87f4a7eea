/*
 * A load: questions to a target, one libuv loop, one thread.
 *
 * A lane is a connection of its own; a shot is a request under way on it, with one or more takes.
 * Open loop (rate > 0): requests are due by the schedule whatever was answered, and latency counts
 * from when a request was due, so a target that stalls pays for all that waited meanwhile (no
 * coordinated omission). Closed loop: each lane keeps `outstanding` shots under way.
 *
 * Guarantees: each take is counted once, as granted, refused, or an error by name; memory depends
 * on lanes, outstanding and batch only, never on the duration; load_run returns at most warm-up +
 * duration + 2 * timeout + LOAD_CONNECT_MS after it was called.
 *
 * Targets implement struct target; they call load_* from the loop only. lane_send and lane_flush
 * may answer at once.
 */
#ifndef SLUICE_BENCH_LOAD_H
#define SLUICE_BENCH_LOAD_H

#include <uv.h>

#include "bench/histogram.h"
#include "bench/key_choice.h"
#include "bench/outcome.h"
#include "bench/record.h"
#include "bench/schedule.h"

/* Connections, and shots under way on one. Arbitrary, but safe: 20 bits name a shot. */
#define LANES_MAX 10000
#define OUTSTANDING_MAX 4096
#define SHOTS_MAX 262144

/* Milliseconds in which every lane must be up. */
#define LOAD_CONNECT_MS 10000

/* Bytes of a URL list, and of a reason. */
#define LOAD_WHY_BYTES 512

struct load;
struct lane;

struct shot {
    struct lane *lane;
    uint32_t index; /* within its lane */
    uint32_t generation;
    bool busy, counted; /* counted: due after the warm-up */
    uint32_t parts;     /* the target's: answers still to come */
    uint64_t due_ns, sent_ns;
    uint32_t take_count;
    uint64_t *keys;     /* numbers, take_count of them */
    uint16_t *parts_of; /* the target's: which part holds a take */
    void *memory;       /* the target's */
};

struct lane {
    struct load *load;
    uint32_t index;
    bool up, ready; /* ready: in the ring of lanes with free shots */
    bool dirty;     /* has shots that are not yet flushed */
    uint32_t free_count;
    uint32_t *free_shots;
    struct shot *shots;
    void *connection; /* the target's */
};

struct target {
    const char *name;
    bool inline_answers; /* lane_send answers at once: nothing would wake the loop */
    /* Once, before the lanes; may run the loop. Both return false with the reason in `why`. */
    bool (*open)(struct load *load, char *why, size_t why_size);
    bool (*lane_open)(struct lane *lane, char *why, size_t why_size);
    /* False: the connection is down or full; the shot counts as LOST. */
    bool (*lane_send)(struct lane *lane, struct shot *shot);
    void (*lane_flush)(struct lane *lane);
    void (*lane_close)(struct lane *lane);
    void (*close)(struct load *load);
};

struct load_settings {
    const struct target *target;
    const char *url, *replica_url, *second_url; /* of the target; the latter two may be NULL */
    const char *http_path;
    uint32_t lanes, outstanding, batch;
    const char *key_prefix;
    struct key_choice keys;
    uint64_t cost_tokens;
    struct limit limit;
    const char *plan; /* NULL: the limit, inline */
    double rate;      /* takes a second; 0: closed loop */
    bool even;
    double burst_factor;
    uint64_t burst_every_ns, burst_length_ns;
    uint64_t warmup_ns, duration_ns, timeout_ns;
    uint64_t seed;
    struct record_file *record; /* NULL: none */
    bool progress;
};

struct load_report {
    double seconds;
    double asked_per_second; /* open loop: what the schedule said */
    double takes_per_second; /* answered with a decision */
    uint64_t takes, granted, refused, degraded, granted_tokens, errors;
    uint64_t errors_by[OUTCOME_ERROR_COUNT];
    bool interrupted;
    bool record_failed;
    struct histogram latency; /* of requests, ns; from the due time in an open loop */
    struct histogram late;    /* open loop: from due to sent */
};

struct load {
    struct load_settings settings;
    uv_loop_t loop;
    struct lane *lanes;
    struct load_report *report;
    void *memory; /* the target's */

    uint32_t up_count, busy_count;
    uint32_t *ready; /* ring of lanes */
    uint32_t ready_first, ready_count;
    uint32_t *dirty; /* lanes */
    uint32_t dirty_count;
    bool running, ended;
    uint64_t started_ns, measure_ns, end_ns; /* monotonic */
    struct schedule schedule;
    uint64_t due_ns, armed_ns; /* of the next request, and for which the timer is set */
    uint64_t answered_takes;   /* all, for the progress line */
    char down_why[LOAD_WHY_BYTES];

    uint8_t *slab_keys, *slab_parts; /* what shots point into */
    struct shot *slab_shots;
    uint32_t *slab_free;
    int timer_fd;
    uv_poll_t timer_poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t second;
    uv_timer_t sweep;
    uv_signal_t signals[2];
};

/* Runs one load from its first connection to its last answer. False, with the reason, if the
 * target cannot be reached. */
bool load_run(const struct load_settings *settings, struct load_report *report, char *why,
              size_t why_size);

/* --- for targets ---------------------------------------------------------------------------- */

void load_lane_up(struct lane *lane);
/* All its shots are lost. Comes up again by load_lane_up. */
void load_lane_down(struct lane *lane, const char *why);

/* The take at `at` of a busy shot is decided, or failed. */
void load_take_done(struct shot *shot, uint32_t at, struct outcome outcome);
/* The shot's last take is done; it may be used again at once. */
void load_shot_done(struct shot *shot);
/* All takes of the shot failed alike. */
void load_shot_failed(struct shot *shot, uint32_t error);

/* An id of 31 bits for a shot under way, and back: NULL if that shot is no longer under way. */
uint32_t load_shot_id(const struct shot *shot);
struct shot *load_shot_of(struct lane *lane, uint32_t id);

/* Bytes of a key's name for this load. */
struct bytes load_key(const struct load *load, uint64_t key, char out[KEY_TEXT_BYTES_MAX]);

#endif
