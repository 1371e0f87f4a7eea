/*
 * A borrowed view of bytes: keys, names, encoded messages.
 *
 * The memory belongs to somebody else (a receive buffer, a table) and is valid only as long as the
 * function that handed out the view says. Binary safe; never zero-terminated.
 */
#ifndef SLUICE_PROTO_BYTES_H
#define SLUICE_PROTO_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    uint32_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size) {
    return (struct bytes){.data = data, .size = (uint32_t)size};
}

static inline struct bytes bytes_of_text(const char *text) {
    return bytes_of(text, strlen(text));
}

static inline bool bytes_equal(struct bytes a, struct bytes b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

#endif
