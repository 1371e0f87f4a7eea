#include "bench/http_reply.h"

#include <strings.h>

static const char version[] = "HTTP/1.";
static const char length_name[] = "content-length:";

/* Bytes of the head with its empty line; 0: it has not all come. */
static uint32_t head_size(struct bytes input) {
    for (uint32_t at = 3; at < input.size && at < HTTP_HEAD_BYTES_MAX; at++) {
        if (input.data[at] == '\n' && memcmp(input.data + at - 3, "\r\n\r\n", 4) == 0) {
            return at + 1;
        }
    }
    return 0;
}

/* Digits from `at` on; false if there are none or more than six. */
static bool digits_read(const uint8_t *at, const uint8_t *end, uint32_t *value) {
    uint32_t count = 0;
    *value = 0;
    while (at < end && *at >= '0' && *at <= '9' && count < 7) {
        *value = *value * 10 + (uint32_t)(*at++ - '0');
        count++;
    }
    return count > 0 && count < 7;
}

/* The number of the line `name`, in a head that ends with an empty line. */
static bool length_find(const uint8_t *at, const uint8_t *end, uint32_t *length) {
    const size_t name_size = sizeof length_name - 1;
    for (; at < end; at++) {
        if (*at != '\n' || (size_t)(end - at) <= name_size ||
            strncasecmp((const char *)at + 1, length_name, name_size) != 0) {
            continue;
        }
        at += 1 + name_size;
        while (at < end && *at == ' ') {
            at++;
        }
        return digits_read(at, end, length);
    }
    return false;
}

enum http_found http_reply_find(struct bytes input, struct http_reply *reply) {
    uint32_t head = head_size(input), length;
    if (input.size >= sizeof version - 1 && memcmp(input.data, version, sizeof version - 1) != 0) {
        return HTTP_FOUND_BAD;
    }
    if (head == 0) {
        return input.size >= HTTP_HEAD_BYTES_MAX ? HTTP_FOUND_BAD : HTTP_FOUND_NONE;
    }
    const uint8_t *end = input.data + head;
    if (head < 13 || !digits_read(input.data + 9, input.data + 12, &reply->status) ||
        reply->status < 100 || !length_find(input.data, end, &length) ||
        length > HTTP_REPLY_BYTES_MAX - head) {
        return HTTP_FOUND_BAD;
    }
    if (input.size < head + length) {
        return HTTP_FOUND_NONE;
    }
    reply->body = bytes_of(input.data + head, length);
    reply->size = head + length;
    return HTTP_FOUND_REPLY;
}
