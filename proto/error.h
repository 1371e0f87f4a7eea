/*
 * Errors that travel: the codes of the wire protocol, the reasons that a shard gives with one, and
 * the fault that a decoder fills in. Each is named once, in a table.
 */
#ifndef SLUICE_PROTO_ERROR_H
#define SLUICE_PROTO_ERROR_H

#include "proto/bounds.h"
#include "proto/bytes.h"

/* X(name, text on the wire). CODE_OK is not sent: it means "no error". */
#define CODES(X)                                                                                   \
    X(OK, "OK")                                                                                    \
    X(BAD_REQUEST, "BAD_REQUEST") /* the message itself is wrong; sending it again is no use */    \
    X(UNKNOWN_METHOD, "UNKNOWN_METHOD") /* no such method */                                       \
    X(UNKNOWN_PLAN, "UNKNOWN_PLAN")     /* the plan named (or the default) does not exist */       \
    X(TOO_LARGE, "TOO_LARGE")           /* message, batch, key or cost beyond its bound */         \
    X(MOVED, "MOVED")                   /* the slot has another owner: data says which */          \
    X(UNAVAILABLE, "UNAVAILABLE")       /* nobody could decide in time; may be tried again */      \
    X(OVERLOADED, "OVERLOADED")         /* a bounded queue is full; not to be tried at once */     \
    X(FORBIDDEN, "FORBIDDEN")           /* an operator's verb, from where none may be said */      \
    X(CONFLICT, "CONFLICT")             /* an operator's change that another one overtook */

enum code {
#define X(name, text) CODE_##name,
    CODES(X)
#undef X
};
#define CODE_COUNT (CODE_CONFLICT + 1)

/* The code's text on the wire. */
const char *code_text(enum code code);

/* False if the text is no code of this version. */
bool code_of_text(struct bytes text, enum code *code);

/* Why a shard refused to decide. X(name, code, message). */
#define REASONS(X)                                                                                 \
    X(NONE, CODE_OK, "")                                                                           \
    X(NO_DEFAULT_PLAN, CODE_UNKNOWN_PLAN,                                                          \
      "the request names no plan and the cluster has no default plan (sluicectl plans apply "      \
      "FILE)")                                                                                     \
    X(PLAN_NOT_FOUND, CODE_UNKNOWN_PLAN, "no plan of that name")                                   \
    X(ASSIGNED_PLAN_GONE, CODE_UNKNOWN_PLAN,                                                       \
      "the plan assigned to this key no longer exists (sluicectl key assign)")                     \
    X(NOT_OWNER, CODE_MOVED, "the slot of this key has another owner")                             \
    X(NO_MAP, CODE_UNAVAILABLE, "this cluster has no map yet (sluicectl init)")                    \
    X(NO_OWNER, CODE_UNAVAILABLE, "no shard owns the slot of this key")                            \
    X(LOADING, CODE_UNAVAILABLE, "the slot of this key is being loaded from the store")            \
    X(ASLEEP, CODE_UNAVAILABLE,                                                                    \
      "the bucket of this key is in the store, which cannot be asked now")                         \
    X(MOVING, CODE_UNAVAILABLE, "the slot of this key is on its way to another owner")             \
    X(STOPPING, CODE_UNAVAILABLE, "this node is stopping")                                         \
    X(RECORD_UNREADABLE, CODE_UNAVAILABLE,                                                         \
      "the stored record of this key cannot be read (sluicectl key reset mends it)")               \
    X(RECORD_NEWER, CODE_UNAVAILABLE,                                                              \
      "the stored record of this key is of a later version of Sluice (upgrade this node)")         \
    X(FORMER_OWNER, CODE_UNAVAILABLE,                                                              \
      "a former owner of this key's slot may still grant what it had reserved")                    \
    X(MEMORY_FULL, CODE_OVERLOADED, "this shard may hold no more buckets in memory")               \
    X(TERMS_FULL, CODE_OVERLOADED, "this shard holds too many different inline limits")            \
    X(QUEUE_FULL, CODE_OVERLOADED, "too many requests are waiting here")                           \
    X(STORE_AWAY, CODE_UNAVAILABLE, "the store cannot be reached")                                 \
    X(STORE_REFUSED, CODE_UNAVAILABLE, "the store refused the write")                              \
    X(DEADLINE, CODE_UNAVAILABLE, "no owner answered before the deadline")

enum reason {
#define X(name, code, message) REASON_##name,
    REASONS(X)
#undef X
};

enum code reason_code(enum reason reason);
const char *reason_text(enum reason reason);

/* What was wrong with a message: filled by decoders, sent as [code, message, data]. */
struct fault {
    enum code code;
    uint32_t retry_ms; /* when it is worth while to ask again; 0: nobody knows */
    char text[FAULT_TEXT_BYTES_MAX];
};

/* Sets the fault and returns its code, so that a decoder can `return` it. The text is cut to fit;
 * what is not printable ASCII in it becomes a question mark. */
enum code fault_set(struct fault *fault, enum code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
