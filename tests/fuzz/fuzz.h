/*
 * What the fuzz targets share: a cursor over the fuzzer's bytes, and a check that says what failed.
 *
 * A target is one file with one LLVMFuzzerTestOneInput. It runs under libFuzzer, and under
 * replay.c, which only replays files. A cursor that has run out yields zeros, so that every string
 * of bytes is a valid input and a longer one says the same and more.
 */
#ifndef SLUICE_TESTS_FUZZ_H
#define SLUICE_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "proto/bytes.h"

/* The target; `data` is borrowed and never NULL. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct fuzz {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct fuzz fuzz_of(const uint8_t *data, size_t size) {
    return (struct fuzz){.at = data, .end = data + size};
}

static inline bool fuzz_done(const struct fuzz *fuzz) {
    return fuzz->at == fuzz->end;
}

static inline uint8_t fuzz_u8(struct fuzz *fuzz) {
    return fuzz_done(fuzz) ? 0 : *fuzz->at++;
}

static inline uint16_t fuzz_u16(struct fuzz *fuzz) {
    uint16_t high = fuzz_u8(fuzz);
    return (uint16_t)(high << 8 | fuzz_u8(fuzz));
}

static inline uint64_t fuzz_u64(struct fuzz *fuzz) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | fuzz_u8(fuzz);
    }
    return value;
}

/* A number below `count` (1 to 256). */
static inline uint32_t fuzz_below(struct fuzz *fuzz, uint32_t count) {
    return fuzz_u8(fuzz) % count;
}

/* Up to `most` bytes of the input, a view. */
static inline struct bytes fuzz_bytes(struct fuzz *fuzz, uint32_t most) {
    size_t left = (size_t)(fuzz->end - fuzz->at);
    struct bytes view = bytes_of(fuzz->at, left < most ? left : most);
    fuzz->at += view.size;
    return view;
}

/* All that is left, as text of its exact size behind which a zero stands; to be freed. */
static inline char *fuzz_text(struct fuzz *fuzz) {
    struct bytes rest = fuzz_bytes(fuzz, UINT32_MAX);
    char *text = malloc((size_t)rest.size + 1);
    FUZZ_CHECK(text != NULL);
    memcpy(text, rest.data, rest.size);
    text[rest.size] = '\0';
    return text;
}

#endif
