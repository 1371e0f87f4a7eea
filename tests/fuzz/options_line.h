/*
 * A program's own table of options (runtime/options.h), loaded from words and an environment that
 * are made of a fuzzer's bytes: options of the table by their names, whole, cut or negated, values
 * at their bounds, secrets, raw words.
 *
 * Checked of every line: settings within the table's bounds, or mistakes that were told; all memory
 * returns. Of a line of whole options only: exactly what each option takes is taken, the nearest
 * saying counts, each mistake is told by its place, and no secret is.
 */
#ifndef SLUICE_TESTS_FUZZ_OPTIONS_LINE_H
#define SLUICE_TESTS_FUZZ_OPTIONS_LINE_H

#include "runtime/options.h"
#include "tests/fuzz/fuzz.h"

struct options_subject {
    const struct options_program *program;
    size_t settings_size;
    /* NULL: options_load. */
    enum options_outcome (*load)(int argc, char **argv, void *settings);
    /* What the program's code relies on, of settings that were taken. */
    void (*check)(const void *settings);
    const char *required; /* an option without a default that must be given; NULL: none */
};

void options_line_try(const struct options_subject *subject, struct fuzz *fuzz);

#endif
