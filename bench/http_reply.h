/*
 * The heads of HTTP/1.1 replies, as far as a load needs them: status and length of the body. Pure:
 * bytes in, numbers out. Replies without Content-Length (chunked, or to the end of the connection)
 * are not understood and say so: none of the peers sends them.
 */
#ifndef SLUICE_BENCH_HTTP_REPLY_H
#define SLUICE_BENCH_HTTP_REPLY_H

#include "proto/bytes.h"

/* Bytes of a head, and of a whole reply. Arbitrary, but safe: the peers send below 1 KB. */
#define HTTP_HEAD_BYTES_MAX 8192u
#define HTTP_REPLY_BYTES_MAX 65536u

enum http_found {
    HTTP_FOUND_NONE,  /* more bytes are needed */
    HTTP_FOUND_REPLY, /* a whole reply */
    HTTP_FOUND_BAD,   /* no HTTP/1.1 reply, one without a length, or one beyond the bounds */
};

struct http_reply {
    uint32_t status;
    struct bytes body; /* borrowed */
    uint32_t size;     /* bytes of the whole reply */
};

enum http_found http_reply_find(struct bytes input, struct http_reply *reply);

#endif
