/* The record of a rebalance: written, read, and when its operator is taken for dead. */
#include "cmocka_all.h"
#include "ctl/job.h"

static struct job sample(void) {
    struct job job = {.operator_id = "ann@box:17",
                      .by = "drain n2",
                      .state = JOB_CANCELLING,
                      .started_ms = 1000,
                      .updated_ms = 2000,
                      .total_slots = 341,
                      .done_slots = 64};
    return job;
}

static void test_there_and_back(void **state) {
    uint8_t memory[JOB_BYTES_MAX];
    struct writer writer = writer_of(memory, sizeof memory);
    struct job job = sample(), copy;
    job_write(&writer, &job);
    assert_false(writer.overflow);
    assert_true(job_read(writer_bytes(&writer), &copy));
    assert_memory_equal(&job, &copy, sizeof job);
    for (uint32_t size = 0; size < writer.size; size++) {
        assert_false(job_read(bytes_of(memory, size), &copy));
    }
}

static void test_longest_fits(void **state) {
    uint8_t memory[JOB_BYTES_MAX];
    struct writer writer = writer_of(memory, sizeof memory);
    struct job job = sample();
    memset(job.operator_id, 'o', sizeof job.operator_id - 1);
    memset(job.by, 'b', sizeof job.by - 1);
    job.started_ms = job.updated_ms = job.total_slots = job.done_slots = UINT64_MAX;
    job_write(&writer, &job);
    assert_false(writer.overflow);
}

static void test_what_is_unknown(void **state) {
    uint8_t memory[128];
    struct writer writer = writer_of(memory, sizeof memory);
    struct job job;
    write_map(&writer, 2);
    write_text_uint(&writer, "colour", 3); /* of a newer version */
    write_text_text(&writer, "operator", "ann");
    assert_true(job_read(writer_bytes(&writer), &job));
    writer = writer_of(memory, sizeof memory);
    write_map(&writer, 2);
    write_text_text(&writer, "operator", "ann");
    write_text_text(&writer, "state", "dancing");
    assert_false(job_read(writer_bytes(&writer), &job));
}

static void test_staleness(void **state) {
    struct job job = sample();
    assert_false(job_stale(&job, 2000 + JOB_STALE_MS));
    assert_true(job_stale(&job, 2001 + JOB_STALE_MS));
    assert_false(job_stale(&job, 0)); /* clocks differ: fresh */
    job.state = JOB_DONE;
    assert_false(job_stale(&job, UINT64_MAX));
    assert_false(job_open(&job));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_longest_fits),
        cmocka_unit_test(test_what_is_unknown),
        cmocka_unit_test(test_staleness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
