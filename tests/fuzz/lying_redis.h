/*
 * A Redis that answers what the fuzzer says: for programs' own code, hiredis and libuv as they are.
 *
 * Whatever place is connected to, the other end is here, on a pair of sockets; no name is looked
 * up, and nothing leaves the process. Commands are read and answered in order, each by what a Redis
 * would say or by a lie: the fuzzer's bytes as they are, or a reply of any shape with words in it
 * that mean something somewhere. An input that has run out is honest: everything comes to an end.
 *
 * Time passes when lying_time_pass says so: all timers fire. The linker puts the functions of this
 * file before those of hiredis and libuv (fuzz.cmake names them).
 */
#ifndef SLUICE_TESTS_FUZZ_LYING_REDIS_H
#define SLUICE_TESTS_FUZZ_LYING_REDIS_H

#include <hiredis/hiredis.h>
#include <uv.h>

#include "tests/fuzz/fuzz.h"

/* RESP under construction. */
struct lying_text {
    char data[1 << 16];
    size_t size;
};

void lying_print(struct lying_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void lying_string(struct lying_text *text, const void *data, size_t size);

/* What a Redis would answer to these words, where that is not the same for everybody. False: that
 * is up to this file. */
typedef bool (*lying_usual_fn)(struct fuzz *fuzz, const redisReply *words, struct lying_text *out);

/* Before and after each input; `fuzz` is borrowed meanwhile. At the end nobody is connected. */
void lying_open(struct fuzz *fuzz, lying_usual_fn usual);
void lying_close(void);

/* Takes commands, answers some, and lets the loop turn once. False: nothing was left to do. */
bool lying_turn(uv_loop_t *loop);

/* All timers of the loop fire in its next turn; uv_now is some seconds later. */
void lying_time_pass(uv_loop_t *loop);

/* Turns until every handle of the loop is closed; then it is. */
void lying_end(uv_loop_t *loop);

#endif
