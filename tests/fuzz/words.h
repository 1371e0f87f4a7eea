/*
 * Command lines made of a fuzzer's bytes, and what a program says to them: for the targets that
 * read words. Nobody reads the two streams meanwhile but the target.
 */
#ifndef SLUICE_TESTS_FUZZ_WORDS_H
#define SLUICE_TESTS_FUZZ_WORDS_H

#include "tests/fuzz/fuzz.h"

/* Words of one line. Arbitrary: more than any command has options. */
#define WORDS_MAX 32

/* Words behind each other, each a piece of memory of its exact size. */
struct words {
    int count;
    char *at[WORDS_MAX + 1];   /* ended by NULL; programs put them in another order */
    char *made[WORDS_MAX + 1]; /* the same, in the order in which they were added */
};

/* False, and nothing added, if there is no room. */
bool words_add(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
void words_free(struct words *words);

/* A text of up to `most` bytes, which ends at the first zero among them; to be freed. */
char *words_raw(struct fuzz *fuzz, uint32_t most);

/* What a password on a command line would be. No value holds it. */
#define WORDS_SECRET "geheim-9f2c"

/* A value as people write them, or what the bytes say; to be freed. */
char *words_value(struct fuzz *fuzz);

/* The same, a number at the bounds of some option. */
char *words_number(struct fuzz *fuzz);

/* Whether `text` holds a word that was added, up to its '=': what was wrong has been named. */
bool words_named(const struct words *words, const char *text);

/* What was printed between the two; valid until the next words_listen. */
struct words_told {
    const char *out, *err;
};
void words_listen(void);
struct words_told words_heard(void);

/* Nothing of this machine's environment counts. */
void words_environment_clear(void);

#endif
