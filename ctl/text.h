/*
 * Text that people type and read: numbers, durations, keys, and the word they probably meant.
 *
 * Pure; results go into memory of the caller.
 */
#ifndef SLUICE_CTL_TEXT_H
#define SLUICE_CTL_TEXT_H

#include "proto/bytes.h"

/* Bytes of an escaped key at most, zero included: each byte may become \xNN. */
#define TEXT_ESCAPED_BYTES_MAX(size) (4 * (size) + 1)

/* Bytes of a duration such as "400d" or "1500ms", zero included. */
#define TEXT_DURATION_BYTES_MAX 24

/* A whole number of decimal digits; single underscores may stand between digits (1_000_000).
 * False if it is anything else or does not fit 64 bits. */
bool text_uint(struct bytes text, uint64_t *value);

/* "250ms", "1s", "15m", "1h", "30d" (also second, minute, hour, day and their plurals), in
 * milliseconds. With `count_optional` the bare unit means one of it: "s", "day". */
bool text_duration_ms(struct bytes text, bool count_optional, uint64_t *value_ms);

/* Milliseconds in the largest unit that says them exactly: 86400000 -> "1d". */
void text_duration_write(uint64_t value_ms, char out[TEXT_DURATION_BYTES_MAX]);

/* A rate as people say it: "100/s", "5/15m". */
#define TEXT_RATE_BYTES_MAX (TEXT_DURATION_BYTES_MAX + 24)
void text_rate_write(uint64_t rate, uint64_t period_ms, char out[TEXT_RATE_BYTES_MAX]);

/* Printable ASCII as it is, backslash doubled, everything else as \xNN. `out` has room for
 * TEXT_ESCAPED_BYTES_MAX(bytes.size). */
void text_escape(struct bytes bytes, char *out);

/* Pairs of hexadecimal digits into at most `capacity` bytes. */
bool text_unhex(const char *text, uint8_t *out, uint32_t capacity, uint32_t *size);

/* The candidate that `text` was most likely meant to be, or NULL if none is near. */
const char *text_nearest(struct bytes text, const char *const *candidates, uint32_t count);

#endif
