/*
 * Why a key breaks a promise: all that the evidence says of it, in a few lines, so that the end of
 * a log suffices to tell whether the product is wrong or what it was allowed was too little.
 */
#ifndef SLUICE_CHAOS_EXPLAIN_H
#define SLUICE_CHAOS_EXPLAIN_H

#include "tests/chaos/judge.h"

/* Prints "why KEY (slot N): .." and what befell the slot: its losses, then the key's grants, those
 * marked that need not count. Times are seconds since `origin_ns`. */
void explain_key(FILE *out, const struct evidence *evidence, uint32_t class_at, uint32_t number,
                 const struct judge_options *options);

#endif
