/*
 * Replies: [1, msgid, error, result]; an error is [code, message, data], else nil.
 *
 * Pure; what is read borrows from the message.
 */
#ifndef SLUICE_PROTO_REPLY_H
#define SLUICE_PROTO_REPLY_H

#include "proto/error.h"
#include "proto/map.h"
#include "proto/reader.h"
#include "proto/take.h"
#include "proto/writer.h"

/* Bytes that one take's result or its error takes at most, MOVED data included. */
#define RESULT_BYTES_MAX (FAULT_TEXT_BYTES_MAX + ENDPOINT_BYTES_MAX + 96)

/* Bytes that a result takes at most which is no error: an array head, a bool, five integers. */
#define RESULT_OK_BYTES_MAX (1 + 1 + 5 * 9)

/* Bytes of a reply around its results at most: array heads, type, msgid, nil. */
#define REPLY_HEAD_BYTES_MAX 16

/* What a MOVED error carries: [slot, epoch, endpoint]. */
struct moved {
    struct slot slot;
    struct epoch epoch;
    struct bytes endpoint; /* size 0: nobody */
};

struct reply {
    bool has_msgid;
    uint32_t msgid;
    bool is_error;
    enum code code;       /* if is_error; a code that this version does not know is UNAVAILABLE */
    struct bytes message; /* if is_error */
    struct bytes data;    /* if is_error: one encoded value */
    struct bytes result;  /* else: one encoded value */
};

/* [1, msgid, nil, -- the result is to follow. Overflows where REPLY_HEAD_BYTES_MAX are not left. */
void reply_write_head(struct writer *writer, uint32_t msgid);

/* A whole error reply. `moved` may be NULL (data nil, or the fault's retry_ms); msgid nil unless
 * has_msgid. */
void reply_write_error(struct writer *writer, bool has_msgid, uint32_t msgid,
                       const struct fault *fault, const struct moved *moved);

/* An error as it stands within a reply or a list: [code, message, data]. */
void error_write(struct writer *writer, const struct fault *fault, const struct moved *moved);

/* [allowed, remaining, retry_after_us, reset_after_us, limit, flags]; asserts code OK, and
 * overflows where RESULT_OK_BYTES_MAX are not left. */
void result_write(struct writer *writer, const struct take_result *result);

/* Bytes that a result, or an error, of that code takes at most. */
static inline uint32_t result_size_max(enum code code) {
    return code == CODE_OK ? RESULT_OK_BYTES_MAX : RESULT_BYTES_MAX;
}

/* False if the message is no reply. */
bool reply_read(struct bytes message, struct reply *reply);

/* One element of take_many's result, or the result of a take: a result or an error. `error` gets
 * code, message and data when it is an error (may be NULL). Elements beyond those known are
 * skipped: results may grow at the end. */
bool result_read(struct reader *reader, struct take_result *result, struct reply *error);

bool moved_read(struct bytes data, struct moved *moved);

#endif
