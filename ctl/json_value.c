/* Any msgpack value as JSON. The recursion is as deep as messages may nest. */
#include <inttypes.h>
#include <stdlib.h>

#include "ctl/out.h"
#include "ctl/text.h"
#include "proto/reader.h"

static json_t *value_read(struct reader *reader, uint32_t depth);

json_t *json_of_text(struct bytes text) {
    json_t *json = json_stringn((const char *)text.data, text.size);
    if (json != NULL) {
        return json;
    }
    char *escaped = malloc(TEXT_ESCAPED_BYTES_MAX((size_t)text.size));
    if (escaped != NULL) {
        text_escape(text, escaped);
        json = json_string(escaped);
    }
    free(escaped);
    return json;
}

static json_t *array_read(struct reader *reader, uint32_t count, uint32_t depth) {
    json_t *array = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_t *item = value_read(reader, depth + 1);
        if (item == NULL || json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* Members are named by text: other keys do not stand in this protocol. */
static json_t *map_read_json(struct reader *reader, uint32_t count, uint32_t depth) {
    json_t *object = json_object();
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        json_t *key = read_bytes(reader, &name) ? json_of_text(name) : NULL;
        json_t *value = key != NULL ? value_read(reader, depth + 1) : NULL;
        bool good =
            value != NULL && json_object_set_new(object, json_string_value(key), value) == 0;
        json_decref(key);
        if (!good) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *scalar_read(struct reader *reader) {
    bool truth;
    int64_t integer;
    uint64_t large;
    struct bytes text;
    if (read_nil(reader)) {
        return json_null();
    }
    if (read_bool(reader, &truth)) {
        return json_boolean(truth);
    }
    if (read_int(reader, &integer)) {
        return json_integer(integer);
    }
    if (read_uint(reader, &large)) {
        char digits[24];
        snprintf(digits, sizeof digits, "%" PRIu64, large);
        return json_string(digits);
    }
    if (read_bytes(reader, &text)) {
        return json_of_text(text);
    }
    return read_any(reader, &text) ? json_null() : NULL; /* floats and extensions: none of ours */
}

static json_t *value_read(struct reader *reader, uint32_t depth) {
    uint32_t count;
    if (depth > NESTING_MAX) {
        return NULL;
    }
    if (read_array(reader, &count)) {
        return array_read(reader, count, depth);
    }
    if (read_map(reader, &count)) {
        return map_read_json(reader, count, depth);
    }
    return scalar_read(reader);
}

json_t *json_of_value(struct bytes value) {
    struct reader reader = reader_of(value);
    return value_read(&reader, 0);
}
