/* The engine of loads, against targets of the test's own, and against the shard's core. */
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <unistd.h>

#include "bench/bound.h"
#include "bench/target.h"
#include "runtime/clock.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

/* --- a target that answers in its own time --------------------------------------------------- */

enum mood { MOOD_STALLS, MOOD_SILENT, MOOD_BREAKS };

static struct {
    enum mood mood;
    struct load *load;
    uv_timer_t timer;
    uint64_t silent_until_ns; /* MOOD_STALLS */
    uint32_t sent;
} fake;

static void on_fake_tick(uv_timer_t *timer) {
    const struct load_settings *settings = &fake.load->settings;
    if (fake.mood == MOOD_SILENT || clock_monotonic_ns() < fake.silent_until_ns) {
        return;
    }
    for (uint32_t i = 0; i < settings->lanes * settings->outstanding; i++) {
        struct shot *shot = &fake.load->slab_shots[i];
        if (shot->busy) {
            for (uint32_t at = 0; at < shot->take_count; at++) {
                load_take_done(shot, at, outcome_of_answer(at % 2 == 0));
            }
            load_shot_done(shot);
        }
    }
}

static bool fake_open(struct load *load, char *why, size_t why_size) {
    fake.load = load;
    fake.sent = 0;
    uv_timer_init(&load->loop, &fake.timer);
    uv_timer_start(&fake.timer, on_fake_tick, 1, 1);
    return true;
}

static bool fake_lane_open(struct lane *lane, char *why, size_t why_size) {
    if (fake.mood != MOOD_BREAKS || lane->index == 0) {
        load_lane_up(lane);
        return true;
    }
    snprintf(why, why_size, "refused by the test");
    return false;
}

static bool fake_send(struct lane *lane, struct shot *shot) {
    if (fake.sent++ == 0 && fake.mood == MOOD_STALLS) {
        fake.silent_until_ns = clock_monotonic_ns() + 300 * MS;
    }
    return true;
}

static void fake_lane(struct lane *lane) {}

static void fake_close(struct load *load) {
    uv_close((uv_handle_t *)&fake.timer, NULL);
}

static const struct target fake_target = {.name = "fake",
                                          .open = fake_open,
                                          .lane_open = fake_lane_open,
                                          .lane_send = fake_send,
                                          .lane_flush = fake_lane,
                                          .lane_close = fake_lane,
                                          .close = fake_close};

static struct load_settings settings_of(const struct target *target) {
    return (struct load_settings){
        .target = target,
        .url = "tcp://127.0.0.1:1",
        .lanes = 1,
        .outstanding = 1,
        .batch = 1,
        .key_prefix = "t:",
        .keys = {.spread = KEY_SPREAD_UNIFORM, .key_count = 20},
        .cost_tokens = 1,
        .limit = {50, S, 10},
        .burst_factor = 1,
        .burst_every_ns = S,
        .burst_length_ns = 1,
        .even = true,
        .duration_ns = 600 * MS,
        .timeout_ns = 20 * S,
        .seed = 3,
    };
}

static struct load_report report;
static char why[LOAD_WHY_BYTES];

/* One connection, one request at a time, 1,000 due a second, and a stall of 300 ms: 300 requests
 * were due meanwhile, and each has waited for it. Who counts from the sending sees one. */
static void a_stall_counts_for_all_that_were_due(void **state) {
    struct load_settings settings = settings_of(&fake_target);
    settings.rate = 1000;
    fake.mood = MOOD_STALLS;
    assert_true(load_run(&settings, &report, why, sizeof why));
    assert_true(report.takes >= 599 && report.takes <= 600);
    assert_true(report.errors == 0 && report.latency.count == report.takes);
    assert_true(histogram_percentile(&report.latency, 0.70) > 90 * MS);
    assert_true(histogram_percentile(&report.latency, 1) >= 290 * MS);
}

static void silence_is_a_timeout_and_not_for_ever(void **state) {
    struct load_settings settings = settings_of(&fake_target);
    fake.mood = MOOD_SILENT;
    fake.silent_until_ns = 0;
    settings.outstanding = 4;
    settings.duration_ns = 100 * MS;
    settings.timeout_ns = 200 * MS;
    assert_true(load_run(&settings, &report, why, sizeof why));
    assert_true(report.takes == 4 && report.errors_by[OUTCOME_TIMEOUT] == 4);
    settings.rate = 1000; /* 100 are due, four are sent, the others never get a place */
    assert_true(load_run(&settings, &report, why, sizeof why));
    assert_true(report.takes >= 99 && report.errors == report.takes);
    assert_true(report.errors_by[OUTCOME_UNSENT] > 0);
    assert_true(histogram_percentile(&report.latency, 0.5) >= 100 * MS);
}

static void a_target_that_is_away_is_named(void **state) {
    struct load_settings settings = settings_of(&fake_target);
    fake.mood = MOOD_BREAKS;
    settings.lanes = 2;
    assert_false(load_run(&settings, &report, why, sizeof why));
    assert_string_equal(why, "refused by the test");
}

static void each_take_of_a_batch_counts(void **state) {
    struct load_settings settings = settings_of(&fake_target);
    fake.mood = MOOD_STALLS;
    settings.batch = 3;
    settings.lanes = 2;
    settings.warmup_ns = 350 * MS; /* the stall does not count */
    settings.duration_ns = 100 * MS;
    assert_true(load_run(&settings, &report, why, sizeof why));
    assert_true(report.takes > 0 && report.takes % 3 == 0);
    assert_true(report.granted == 2 * report.refused && report.errors == 0);
    assert_true(report.latency.count * 3 == report.takes);
}

/* --- the shard's core ------------------------------------------------------------------------ */

/* What the core grants keeps the bound; with more put to it than a full bucket and the time that
 * this process may have stood still could explain, it no longer does. */
static void the_core_keeps_the_bound(void **state) {
    char path[] = "/tmp/sluice-test-grants-XXXXXX";
    int fd = mkstemp(path);
    struct record_file record;
    struct load_settings settings = settings_of(&target_core);
    settings.batch = 16;
    settings.record = &record;
    assert_true(record_create(&record, path, &settings.limit, why, sizeof why));
    assert_true(load_run(&settings, &report, why, sizeof why));
    uint64_t count = record.count;
    assert_true(record_close(&record) && report.granted > 0 && report.refused > 0);
    assert_true(report.errors == 0 && count >= report.granted);

    struct grant *grants = malloc((count + 1) * sizeof *grants);
    uint8_t bytes[RECORD_HEAD_SIZE];
    assert_int_equal(read(fd, bytes, RECORD_HEAD_SIZE), RECORD_HEAD_SIZE);
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(read(fd, bytes, RECORD_GRANT_SIZE), RECORD_GRANT_SIZE);
        assert_true(record_grant_read(bytes, &grants[i], why, sizeof why));
    }
    grants[count] = grants[count - 1];
    grants[count].cost_tokens = 1000;
    struct bound_verdict verdict;
    uint32_t planted = grants[count].key;
    assert_true(bound_check(grants, count, &settings.limit, 0, &verdict));
    assert_true(verdict.keys_over == 0);
    assert_true(bound_check(grants, count + 1, &settings.limit, 0, &verdict));
    assert_true(verdict.keys_over == 1 && verdict.worst.key == planted);
    free(grants);
    close(fd);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stall_counts_for_all_that_were_due),
        cmocka_unit_test(silence_is_a_timeout_and_not_for_ever),
        cmocka_unit_test(a_target_that_is_away_is_named),
        cmocka_unit_test(each_take_of_a_batch_counts),
        cmocka_unit_test(the_core_keeps_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
