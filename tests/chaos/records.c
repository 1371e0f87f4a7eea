#include "tests/chaos/records.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

uint32_t key_text(const struct record_class *class, uint32_t key, char text[KEY_TEXT_BYTES]) {
    return (uint32_t)snprintf(text, KEY_TEXT_BYTES, "%s-%" PRIu32, class->name, key_number(key));
}

static bool limits_parse(char *text, struct record_class *class) {
    char *save = NULL;
    for (char *word = strtok_r(text, "+", &save); word != NULL; word = strtok_r(NULL, "+", &save)) {
        struct record_limit limit;
        uint64_t period_ms;
        if (class->limit_count == LIMITS_PER_PLAN_MAX ||
            sscanf(word, "%" SCNu64 "/%" SCNu64 "/%" SCNu64, &limit.rate_tokens, &period_ms,
                   &limit.burst_tokens) != 3 ||
            limit.rate_tokens == 0 || period_ms == 0)
            return false;
        limit.period_ns = period_ms * 1000000;
        class->limits[class->limit_count++] = limit;
    }
    return class->limit_count > 0;
}

static bool field_parse(const char *name, char *value, struct record_class *class) {
    if (strcmp(name, "name") == 0)
        return (size_t)snprintf(class->name, sizeof class->name, "%s", value) < sizeof class->name;
    if (strcmp(name, "plan") == 0)
        return (size_t)snprintf(class->plan, sizeof class->plan, "%s", value) < sizeof class->plan;
    if (strcmp(name, "limits") == 0)
        return limits_parse(value, class);
    char *end;
    uint32_t number = (uint32_t)strtoul(value, &end, 10);
    if (*end != '\0' || end == value)
        return false;
    if (strcmp(name, "keys") == 0)
        class->keys = number;
    else if (strcmp(name, "advance") == 0)
        class->advance_takes = number;
    else if (strcmp(name, "weight") == 0)
        class->weight = number;
    else if (strcmp(name, "strict") == 0)
        class->strict = number != 0;
    else
        return false;
    return true;
}

bool class_parse(const char *text, struct record_class *class) {
    char copy[512], *save = NULL;
    memset(class, 0, sizeof *class);
    class->weight = 1;
    bool good = (size_t)snprintf(copy, sizeof copy, "%s", text) < sizeof copy;
    for (char *word = strtok_r(copy, ",", &save); good && word != NULL;
         word = strtok_r(NULL, ",", &save)) {
        char *value = strchr(word, '=');
        if (value != NULL)
            *value++ = '\0';
        good = value != NULL && field_parse(word, value, class);
    }
    good = good && class->name[0] != '\0' && class->plan[0] != '\0' && class->limit_count > 0 &&
           class->keys > 0 && class->keys < CLASS_KEYS_MAX;
    if (!good)
        fprintf(stderr, "not a class of keys: %s\n", text);
    return good;
}

bool records_read_head(FILE *file, const char *path, struct record_header *header,
                       struct record_class classes[CLASSES_MAX]) {
    if (fread(header, sizeof *header, 1, file) == 1 &&
        memcmp(header->magic, RECORDS_MAGIC, sizeof header->magic) == 0 &&
        header->version == RECORDS_VERSION && header->class_count <= CLASSES_MAX &&
        fread(classes, sizeof classes[0], header->class_count, file) == header->class_count)
        return true;
    fprintf(stderr, "%s: no records\n", path);
    return false;
}

bool records_read_batch(FILE *file, struct record_batch *batch, struct record_take *takes) {
    return fread(batch, sizeof *batch, 1, file) == 1 &&
           batch->take_count <= TAKES_PER_REQUEST_MAX &&
           fread(takes, sizeof takes[0], batch->take_count, file) == batch->take_count;
}
