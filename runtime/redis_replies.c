#include "runtime/redis_replies.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT sizeof(max_align_t)

struct redis_piece {
    struct redis_piece *next;
    size_t size; /* of the bytes */
    max_align_t bytes[];
};

/* Of which hiredis 0.14 and 1.x have different ideas. */
#if HIREDIS_MAJOR > 0
typedef size_t element_count;
#else
typedef int element_count;
#endif

/* --- memory -------------------------------------------------------------------------------- */

static void pieces_free(struct redis_replies *replies, const struct redis_piece *until) {
    while (replies->pieces != until) {
        struct redis_piece *piece = replies->pieces;
        replies->pieces = piece->next;
        free(piece);
    }
}

/* Everything is free again. */
static void replies_reset(struct redis_replies *replies) {
    struct redis_piece *kept = replies->pieces;
    while (kept != NULL && kept->next != NULL) {
        kept = kept->next;
    }
    if (kept != NULL && kept->size > REDIS_REPLIES_PIECE_BYTES) {
        kept = NULL;
    }
    pieces_free(replies, kept);
    replies->used = 0;
}

static void *replies_get(struct redis_replies *replies, size_t size) {
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    struct redis_piece *piece = replies->pieces;
    if (piece == NULL || size > piece->size - replies->used) {
        size_t bytes = size > REDIS_REPLIES_PIECE_BYTES ? size : REDIS_REPLIES_PIECE_BYTES;
        piece = malloc(sizeof *piece + bytes);
        if (piece == NULL) {
            return NULL;
        }
        *piece = (struct redis_piece){.next = replies->pieces, .size = bytes};
        replies->pieces = piece;
        replies->used = 0;
    }
    void *got = (char *)piece->bytes + replies->used;
    replies->used += size;
    return got;
}

/* --- what the reader calls ----------------------------------------------------------------- */

/* `extra` bytes follow the reply. One without a parent begins anew: the reply before it has been
 * dealt with, for hiredis calls back before it reads on. */
static redisReply *reply_get(const redisReadTask *task, size_t extra) {
    struct redis_replies *replies = task->privdata;
    if (task->parent == NULL) {
        replies_reset(replies);
    }
    redisReply *reply = extra < SIZE_MAX / 2 ? replies_get(replies, sizeof *reply + extra) : NULL;
    if (reply == NULL) {
        return NULL;
    }
    memset(reply, 0, sizeof *reply);
    reply->type = task->type;
    if (task->parent != NULL) {
        redisReply *parent = task->parent->obj;
        parent->element[task->idx] = reply;
    }
    return reply;
}

static void *string_create(const redisReadTask *task, char *text, size_t size) {
    redisReply *reply = reply_get(task, size + 1);
    if (reply != NULL) {
        reply->str = (char *)(reply + 1);
        reply->len = size;
        memcpy(reply->str, text, size);
        reply->str[size] = '\0';
    }
    return reply;
}

static void *array_create(const redisReadTask *task, element_count count) {
    if ((size_t)count > SIZE_MAX / 4 / sizeof(redisReply *)) {
        return NULL;
    }
    redisReply *reply = reply_get(task, (size_t)count * sizeof(redisReply *));
    if (reply != NULL) {
        reply->elements = (size_t)count;
        reply->element = (redisReply **)(void *)(reply + 1);
    }
    return reply;
}

static void *integer_create(const redisReadTask *task, long long number) {
    redisReply *reply = reply_get(task, 0);
    if (reply != NULL) {
        reply->integer = number;
    }
    return reply;
}

static void *nil_create(const redisReadTask *task) {
    redisReply *reply = reply_get(task, 0);
    if (reply != NULL) {
        reply->type = REDIS_REPLY_NIL; /* the task's is that of what is missing */
    }
    return reply;
}

static void reply_free(void *reply) {
    (void)reply; /* goes when the next one begins */
}

void redis_replies_use(struct redis_replies *replies, redisReader *reader) {
    /* Doubles and booleans are of a protocol that we do not ask for. */
    static const redisReplyObjectFunctions functions = {.createString = string_create,
                                                        .createArray = array_create,
                                                        .createInteger = integer_create,
                                                        .createNil = nil_create,
                                                        .freeObject = reply_free};
    reader->fn = (redisReplyObjectFunctions *)&functions; /* it only reads them */
    reader->privdata = replies;
}

void redis_replies_fini(struct redis_replies *replies) {
    pieces_free(replies, NULL);
    replies->used = 0;
}
