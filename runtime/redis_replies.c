#include "runtime/redis_replies.h"

#include <stdbool.h>
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

static const char too_long[] = "a reply takes more than 256 MiB";
_Static_assert(REDIS_REPLY_BYTES_MAX == (size_t)256 << 20, "the text above says so");

/* --- memory -------------------------------------------------------------------------------- */

static void pieces_free(struct redis_replies *replies, const struct redis_piece *until) {
    while (replies->pieces != until) {
        struct redis_piece *piece = replies->pieces;
        replies->pieces = piece->next;
        replies->bytes -= piece->size;
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
    if (size > REDIS_REPLY_BYTES_MAX) {
        replies->refused = too_long;
        return NULL;
    }
    size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    struct redis_piece *piece = replies->pieces;
    if (piece == NULL || size > piece->size - replies->used) {
        size_t bytes = size > REDIS_REPLIES_PIECE_BYTES ? size : REDIS_REPLIES_PIECE_BYTES;
        if (replies->bytes > REDIS_REPLY_BYTES_MAX - bytes) {
            replies->refused = too_long;
            return NULL;
        }
        piece = malloc(sizeof *piece + bytes);
        if (piece == NULL) {
            return NULL;
        }
        *piece = (struct redis_piece){.next = replies->pieces, .size = bytes};
        replies->pieces = piece;
        replies->bytes += bytes;
        replies->used = 0;
    }
    void *got = (char *)piece->bytes + replies->used;
    replies->used += size;
    return got;
}

/* --- what the reader calls ----------------------------------------------------------------- */

/* Errors are hiredis's business: a server that has no room for another client says so unasked. */
static bool is_wanted(struct redis_replies *replies, int type) {
    if (replies->wanted == NULL || (*replies->wanted == 0 && type == REDIS_REPLY_ERROR)) {
        return true;
    }
    if (*replies->wanted == 0) {
        replies->refused = "a reply came that nobody asked for";
        return false;
    }
    --*replies->wanted;
    return true;
}

/* `extra` bytes follow the reply. One without a parent begins anew: the reply before it has been
 * dealt with, for hiredis calls back before it reads on. */
static redisReply *reply_get(const redisReadTask *task, size_t extra) {
    struct redis_replies *replies = task->privdata;
    if (task->parent == NULL) {
        replies_reset(replies);
        if (!is_wanted(replies, task->type)) {
            return NULL;
        }
    }
    redisReply *reply =
        replies_get(replies, extra < SIZE_MAX / 2 ? sizeof *reply + extra : SIZE_MAX);
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
    bool fits = (size_t)count <= REDIS_REPLY_BYTES_MAX / sizeof(redisReply *);
    redisReply *reply = reply_get(task, fits ? (size_t)count * sizeof(redisReply *) : SIZE_MAX);
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

/* Of a protocol that we do not ask for, and a server may speak all the same: without these hiredis
 * would hand us a number for a pointer. */
#if HIREDIS_MAJOR > 0
static void *double_create(const redisReadTask *task, double value, char *text, size_t size) {
    return string_create(task, text, size);
}

static void *bool_create(const redisReadTask *task, int value) {
    return integer_create(task, value);
}
#endif

static void reply_free(void *reply) {
    (void)reply; /* goes when the next one begins */
}

void redis_replies_use(struct redis_replies *replies, redisReader *reader, size_t *wanted) {
    static const redisReplyObjectFunctions functions = {
        .createString = string_create,
        .createArray = array_create,
        .createInteger = integer_create,
        .createNil = nil_create,
#if HIREDIS_MAJOR > 0
        .createDouble = double_create,
        .createBool = bool_create,
#endif
        .freeObject = reply_free,
    };
    reader->fn = (redisReplyObjectFunctions *)&functions; /* it only reads them */
    reader->privdata = replies;
    replies->wanted = wanted;
    replies->refused = NULL;
}

void redis_replies_fini(struct redis_replies *replies) {
    pieces_free(replies, NULL);
    replies->used = 0;
}
