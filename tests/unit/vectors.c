#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>

/* Bytes of the longest vector: a take_many that is too long. */
#define MESSAGE_BYTES 65536

static int hex_digit(char c) {
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

struct bytes vector_hex(const json_t *vector, const char *member, uint8_t *out, size_t capacity) {
    const char *text = vector_text(vector, member);
    size_t size = strlen(text) / 2;
    assert_true(size <= capacity);
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    }
    return bytes_of(out, size);
}

const char *vector_text(const json_t *vector, const char *member) {
    const char *text = json_string_value(json_object_get(vector, member));
    assert_non_null(text);
    return text;
}

uint64_t vector_uint(const json_t *vector, const char *member) {
    const json_t *value = json_object_get(vector, member);
    assert_true(json_is_integer(value));
    return (uint64_t)json_integer_value(value);
}

bool vector_true(const json_t *vector, const char *member) {
    return json_is_true(json_object_get(vector, member));
}

void vectors_check(const char *file, void (*check)(const json_t *vector, struct bytes message)) {
    static uint8_t memory[MESSAGE_BYTES];
    char path[128];
    json_error_t error;
    snprintf(path, sizeof path, "proto/vectors/%s", file);
    json_t *root = json_load_file(path, 0, &error);
    if (root == NULL) {
        fail_msg("%s:%d: %s", path, error.line, error.text);
    }
    size_t i;
    json_t *vector;
    const json_t *vectors = json_object_get(root, "vectors");
    assert_true(json_array_size(vectors) > 0);
    json_array_foreach(vectors, i, vector) {
        struct bytes message = {0};
        uint8_t *exact = NULL;
        if (json_object_get(vector, "hex") != NULL) {
            message = vector_hex(vector, "hex", memory, sizeof memory);
            exact = malloc(message.size + (message.size == 0));
            assert_non_null(exact);
            memcpy(exact, message.data, message.size);
            message.data = exact;
        }
        check(vector, message);
        free(exact);
    }
    json_decref(root);
}

static void hex_print(const char *what, struct bytes bytes) {
    fprintf(stderr, "%s ", what);
    for (uint32_t i = 0; i < bytes.size; i++) {
        fprintf(stderr, "%02x", bytes.data[i]);
    }
    fprintf(stderr, "\n");
}

void bytes_expect(struct bytes got, struct bytes expected) {
    if (!bytes_equal(got, expected)) {
        hex_print("got     ", got);
        hex_print("expected", expected);
        fail();
    }
}
