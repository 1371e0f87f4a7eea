#include "bench/record.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static void u64_write(uint8_t *out, uint64_t value) {
    value = htole64(value);
    memcpy(out, &value, sizeof value);
}

static uint64_t u64_read(const uint8_t *in) {
    uint64_t value;
    memcpy(&value, in, sizeof value);
    return le64toh(value);
}

void record_head_write(uint8_t out[RECORD_HEAD_SIZE], const struct limit *limit) {
    memset(out, 0, RECORD_HEAD_SIZE);
    memcpy(out, RECORD_MAGIC, sizeof RECORD_MAGIC - 1);
    if (limit != NULL) {
        u64_write(out + 8, limit->rate_tokens);
        u64_write(out + 16, limit->period_ns);
        u64_write(out + 24, limit->burst_tokens);
    }
}

void record_grant_write(uint8_t out[RECORD_GRANT_SIZE], const struct grant *grant) {
    uint32_t key = htole32(grant->key);
    memset(out, 0, RECORD_GRANT_SIZE);
    u64_write(out, grant->sent_ns);
    u64_write(out + 8, grant->received_ns);
    u64_write(out + 16, grant->cost_tokens);
    memcpy(out + 24, &key, sizeof key);
    out[28] = grant->flags;
}

bool record_head_read(struct bytes file, struct limit *limit, char *why, size_t why_size) {
    struct fault fault;
    if (file.size < RECORD_HEAD_SIZE ||
        memcmp(file.data, RECORD_MAGIC, sizeof RECORD_MAGIC - 1) != 0) {
        snprintf(why, why_size, "this is no record of grants (it must begin with %s)",
                 RECORD_MAGIC);
        return false;
    }
    *limit = (struct limit){.rate_tokens = u64_read(file.data + 8),
                            .period_ns = u64_read(file.data + 16),
                            .burst_tokens = u64_read(file.data + 24)};
    if (limit->rate_tokens != 0 && limit_check(limit, "the limit", &fault) != CODE_OK) {
        snprintf(why, why_size, "its head is damaged: %s", fault.text);
        return false;
    }
    return true;
}

bool record_grant_read(const uint8_t in[RECORD_GRANT_SIZE], struct grant *grant, char *why,
                       size_t why_size) {
    uint32_t key;
    memcpy(&key, in + 24, sizeof key);
    *grant = (struct grant){.sent_ns = u64_read(in),
                            .received_ns = u64_read(in + 8),
                            .cost_tokens = u64_read(in + 16),
                            .key = le32toh(key),
                            .flags = in[28]};
    if (grant->sent_ns > grant->received_ns || grant->received_ns > INT64_MAX ||
        grant->cost_tokens > TOKENS_MAX) {
        snprintf(why, why_size,
                 "a grant is damaged: answered before it was sent, or beyond bounds");
        return false;
    }
    return true;
}

bool record_create(struct record_file *record, const char *path, const struct limit *limit,
                   char *why, size_t why_size) {
    uint8_t head[RECORD_HEAD_SIZE];
    record->count = 0;
    record->file = fopen(path, "wbe");
    if (record->file == NULL) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return false;
    }
    record_head_write(head, limit);
    if (fwrite(head, sizeof head, 1, record->file) != 1) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        fclose(record->file);
        record->file = NULL;
        return false;
    }
    return true;
}

bool record_add(struct record_file *record, const struct grant *grant) {
    uint8_t bytes[RECORD_GRANT_SIZE];
    if (record->count == RECORD_GRANTS_MAX) {
        return false;
    }
    record->count++;
    record_grant_write(bytes, grant);
    return fwrite(bytes, sizeof bytes, 1, record->file) == 1;
}

bool record_close(struct record_file *record) {
    bool written = ferror(record->file) == 0;
    written = fclose(record->file) == 0 && written;
    record->file = NULL;
    return written;
}
