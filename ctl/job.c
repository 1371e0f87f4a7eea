#include "ctl/job.h"

static const char *const state_texts[] = {
#define X(name, text) [JOB_##name] = text,
    JOB_STATES(X)
#undef X
};
#define STATE_COUNT (sizeof state_texts / sizeof state_texts[0])

const char *job_state_text(enum job_state state) {
    return state_texts[state];
}

void job_write(struct writer *writer, const struct job *job) {
    write_map(writer, 7);
    write_text_text(writer, "operator", job->operator_id);
    write_text_text(writer, "by", job->by);
    write_text_text(writer, "state", job_state_text(job->state));
    write_text_uint(writer, "started_ms", job->started_ms);
    write_text_uint(writer, "updated_ms", job->updated_ms);
    write_text_uint(writer, "total", job->total_slots);
    write_text_uint(writer, "done", job->done_slots);
}

static bool text_member(struct reader *reader, char *out, uint32_t capacity) {
    struct bytes text;
    if (!read_bytes(reader, &text) || text.size >= capacity) {
        return false;
    }
    memcpy(out, text.data, text.size);
    out[text.size] = '\0';
    return true;
}

static bool state_member(struct reader *reader, enum job_state *state) {
    struct bytes text;
    if (!read_bytes(reader, &text)) {
        return false;
    }
    for (uint32_t i = 0; i < STATE_COUNT; i++) {
        if (bytes_equal(text, bytes_of_text(state_texts[i]))) {
            *state = (enum job_state)i;
            return true;
        }
    }
    return false;
}

static bool member_read(struct reader *reader, struct bytes name, struct job *job) {
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {{"started_ms", &job->started_ms},
                   {"updated_ms", &job->updated_ms},
                   {"total", &job->total_slots},
                   {"done", &job->done_slots}};
    struct bytes skipped;
    for (uint32_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (bytes_equal(name, bytes_of_text(numbers[i].name))) {
            return read_uint(reader, numbers[i].value);
        }
    }
    if (bytes_equal(name, bytes_of_text("operator"))) {
        return text_member(reader, job->operator_id, sizeof job->operator_id);
    }
    if (bytes_equal(name, bytes_of_text("by"))) {
        return text_member(reader, job->by, sizeof job->by);
    }
    if (bytes_equal(name, bytes_of_text("state"))) {
        return state_member(reader, &job->state);
    }
    return read_any(reader, &skipped);
}

bool job_read(struct bytes value, struct job *job) {
    struct reader reader = reader_of(value);
    uint32_t count;
    memset(job, 0, sizeof *job);
    if (!read_map(&reader, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        if (!read_bytes(&reader, &name) || !member_read(&reader, name, job)) {
            return false;
        }
    }
    return job->operator_id[0] != '\0';
}

bool job_open(const struct job *job) {
    return job->state == JOB_RUNNING || job->state == JOB_CANCELLING;
}

bool job_stale(const struct job *job, uint64_t now_ms) {
    return job_open(job) && now_ms > job->updated_ms && now_ms - job->updated_ms > JOB_STALE_MS;
}

bool job_same(const struct job *a, const struct job *b) {
    return a->started_ms == b->started_ms && strcmp(a->operator_id, b->operator_id) == 0;
}
