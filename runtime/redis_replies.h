/*
 * Where hiredis puts the replies that it reads: pieces of memory that are used again for the next
 * reply, instead of an allocation for each element. A page of records has a thousand.
 *
 * Belongs to one connection at a time, on its loop. A reply is good until the next one begins to
 * arrive; its parts are never freed one by one, and freeReplyObject must not be called on it.
 * Outlives the readers that use it up to their last reply; freeing such a reader touches nothing of
 * it.
 *
 * What a server sends is not believed: a reply takes at most REDIS_REPLY_BYTES_MAX, and one that
 * nobody asked for ends the connection. (hiredis would take the memory for whatever the head of an
 * array says, and ends the process for an answer without a question.)
 */
#ifndef SLUICE_RUNTIME_REDIS_REPLIES_H
#define SLUICE_RUNTIME_REDIS_REPLIES_H

#include <hiredis/hiredis.h>

/* Bytes of a piece: a page of records with keys of ordinary length fits into one. One is kept; the
 * rest goes back when the next reply begins. */
#define REDIS_REPLIES_PIECE_BYTES (256u * 1024)

/* Bytes of memory of one reply, and of what has arrived of a text that is not complete (redis_uv.c
 * looks after that): far above the largest that we ask for, what all nodes of a cluster say of
 * themselves (20 MB). */
#define REDIS_REPLY_BYTES_MAX ((size_t)256 << 20)

struct redis_piece;

/* All zero holds nothing. */
struct redis_replies {
    struct redis_piece *pieces; /* the newest first, the kept one last */
    size_t used;                /* bytes of the newest */
    size_t bytes;               /* of all pieces */
    size_t *wanted;             /* replies that were asked for and have not begun; NULL: any */
    const char *refused;        /* why a reply was not taken in; NULL: none was refused */
};

/* From now on the reader puts its replies here, and each that begins counts `wanted` (borrowed, may
 * be NULL) down. Without memory, and where a reply is refused, the reader fails, and the connection
 * ends. */
void redis_replies_use(struct redis_replies *replies, redisReader *reader, size_t *wanted);

void redis_replies_fini(struct redis_replies *replies);

#endif
