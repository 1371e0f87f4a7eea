/* The test vectors of proto/vectors, and what tests of them share. */
#ifndef SLUICE_TESTS_VECTORS_H
#define SLUICE_TESTS_VECTORS_H

#include <jansson.h>

#include "cmocka_all.h"
#include "proto/bytes.h"

/* Calls `check` with each vector of the file, its message in memory of its exact size (so that a
 * read beyond it is seen), and whether it names what failed. */
void vectors_check(const char *file, void (*check)(const json_t *vector, struct bytes message));

/* Bytes of a member in hexadecimal; `out` has room for `capacity`. */
struct bytes vector_hex(const json_t *vector, const char *member, uint8_t *out, size_t capacity);

const char *vector_text(const json_t *vector, const char *member);
uint64_t vector_uint(const json_t *vector, const char *member);
bool vector_true(const json_t *vector, const char *member);

/* Fails with both in hexadecimal unless they are the same. */
void bytes_expect(struct bytes got, struct bytes expected);

#endif
