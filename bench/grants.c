#include "bench/grants.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool refuse(char *why, size_t why_size, const char *reason) {
    snprintf(why, why_size, "%s", reason);
    return false;
}

static bool grants_reserve(struct grants *grants, uint64_t more) {
    if (grants->count + more > RECORD_GRANTS_MAX) {
        return false;
    }
    struct grant *items = realloc(grants->items, (grants->count + more + 1) * sizeof *items);
    if (items == NULL) {
        return false;
    }
    grants->items = items;
    return true;
}

static bool head_read(struct grants *grants, FILE *file, char *why, size_t why_size) {
    uint8_t bytes[RECORD_HEAD_SIZE];
    struct limit limit;
    size_t size = fread(bytes, 1, RECORD_HEAD_SIZE, file);
    if (!record_head_read(bytes_of(bytes, size), &limit, why, why_size)) {
        return false;
    }
    if (grants->limit.rate_tokens == 0) {
        grants->limit = limit;
    } else if (limit.rate_tokens != 0 && !limit_equal(&limit, &grants->limit)) {
        return refuse(why, why_size, "its limit is not that of the files before, or the one given");
    }
    return true;
}

static bool file_read(struct grants *grants, FILE *file, char *why, size_t why_size) {
    uint8_t bytes[RECORD_GRANT_SIZE];
    struct stat info;
    if (!head_read(grants, file, why, why_size)) {
        return false;
    }
    if (fstat(fileno(file), &info) != 0 ||
        (info.st_size - RECORD_HEAD_SIZE) % RECORD_GRANT_SIZE != 0) {
        return refuse(why, why_size, "it is cut short: its writer did not end well");
    }
    uint64_t count = (uint64_t)(info.st_size - RECORD_HEAD_SIZE) / RECORD_GRANT_SIZE;
    if (!grants_reserve(grants, count)) {
        return refuse(why, why_size, "too many grants for this machine's memory");
    }
    for (; count > 0; count--) {
        if (fread(bytes, RECORD_GRANT_SIZE, 1, file) != 1) {
            return refuse(why, why_size, "it ended while it was read");
        }
        if (!record_grant_read(bytes, &grants->items[grants->count++], why, why_size)) {
            return false;
        }
    }
    return true;
}

bool grants_read(struct grants *grants, const char *path, char *why, size_t why_size) {
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        return refuse(why, why_size, strerror(errno));
    }
    bool read = file_read(grants, file, why, why_size);
    fclose(file);
    return read;
}

void grants_free(struct grants *grants) {
    free(grants->items);
    *grants = (struct grants){0};
}
