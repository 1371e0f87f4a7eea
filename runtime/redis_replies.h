/*
 * Where hiredis puts the replies that it reads: pieces of memory that are used again for the next
 * reply, instead of an allocation for each element. A page of records has a thousand.
 *
 * Belongs to one connection at a time, on its loop. A reply is good until the next one begins to
 * arrive; its parts are never freed one by one, and freeReplyObject must not be called on it.
 * Outlives the readers that use it up to their last reply; freeing such a reader touches nothing of
 * it.
 */
#ifndef SLUICE_RUNTIME_REDIS_REPLIES_H
#define SLUICE_RUNTIME_REDIS_REPLIES_H

#include <hiredis/hiredis.h>

/* Bytes of a piece: a page of records with keys of ordinary length fits into one. One is kept; the
 * rest goes back when the next reply begins. */
#define REDIS_REPLIES_PIECE_BYTES (256u * 1024)

struct redis_piece;

/* All zero holds nothing. */
struct redis_replies {
    struct redis_piece *pieces; /* the newest first, the kept one last */
    size_t used;                /* bytes of the newest */
};

/* From now on the reader puts its replies here. Without memory it fails as hiredis's own does, and
 * the connection ends. */
void redis_replies_use(struct redis_replies *replies, redisReader *reader);

void redis_replies_fini(struct redis_replies *replies);

#endif
