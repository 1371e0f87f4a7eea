/*
 * What became of a take, as a load counts it: decided (granted or refused), or an error by name.
 * Each error is named once, here. The codes of the wire protocol come first, by their own names.
 */
#ifndef SLUICE_BENCH_OUTCOME_H
#define SLUICE_BENCH_OUTCOME_H

#include "proto/error.h"

/* X(name, meaning): errors that no cluster answers. */
#define FAILURES(X)                                                                                \
    X(TIMEOUT, "no answer within --timeout")                                                       \
    X(LOST, "the connection broke before the answer")                                              \
    X(UNSENT, "due in an open loop, but no connection was free until the end")                     \
    X(PROTOCOL, "an answer that makes no sense")                                                   \
    X(SERVER, "a peer's own error")

enum outcome_error {
    OUTCOME_ERROR_FIRST_FAILURE = CODE_COUNT,
#define X(name, meaning) OUTCOME_##name,
    FAILURES(X)
#undef X
        OUTCOME_ERROR_COUNT
};

struct outcome {
    bool decided;
    bool allowed, degraded; /* if decided */
    uint32_t error;         /* else: an enum code, or an OUTCOME_ of the above */
};

const char *outcome_error_text(uint32_t error);

static inline struct outcome outcome_of_error(uint32_t error) {
    return (struct outcome){.error = error};
}
static inline struct outcome outcome_of_answer(bool allowed) {
    return (struct outcome){.decided = true, .allowed = allowed};
}

#endif
