/*
 * What the parts of a shard (shard_*.c) offer each other, file by file. Private to server/core.
 *
 * All of them work on one shard within one step, and end with its update in order: none calls a
 * clock, an allocator or the store, they put what is wanted of those into the update.
 */
#ifndef SLUICE_SERVER_CORE_SHARD_PARTS_H
#define SLUICE_SERVER_CORE_SHARD_PARTS_H

#include "server/core/shard_state.h"

/* --- shard.c: the update ------------------------------------------------------------------- */

/* A store operation of the slot, to be filled further; asserts room (shard_op_room). ASSIGNs are
 * not noted as the slot's outstanding one. */
struct shard_op *shard_op_add(struct shard *shard, struct shard_slot *slot,
                              enum shard_op_kind kind);
static inline bool shard_op_room(const struct shard *shard) {
    return shard->op_count < SHARD_UPDATE_OPS_MAX;
}

struct shard_admin_reply *shard_reply_add(struct shard *shard, uint64_t token, enum reason reason);

struct shard_release *shard_release_add(struct shard *shard, uint64_t token,
                                        enum shard_release_kind kind);

/* NULL if there are SHARD_NOTICES_MAX already. Text is copied, cut to fit. */
void shard_notice_add(struct shard *shard, enum shard_notice_kind kind, uint16_t slot_at,
                      struct bytes key, const char *text);

/* --- shard_plans.c: which terms apply ------------------------------------------------------ */

/* Terms that a request is to be decided under. */
struct wanted {
    const struct terms *terms;
    bool strict;
    uint16_t term;   /* TERM_NONE: inline, perhaps not interned */
    int32_t plan_at; /* -1: inline */
    struct terms inline_terms;
};

void plans_replace(struct shard *shard, const struct plan_set *set);

/* Fills in what the plan set in force says about an interned term. */
void plans_bind(struct shard *shard, uint16_t term);

enum reason plans_resolve(struct shard *shard, struct shard_slot *slot, const struct take *take,
                          uint64_t hash, struct wanted *wanted);

/* The terms in force of a plan of the set. */
enum reason plans_resolve_at(struct shard *shard, int32_t plan_at, struct wanted *wanted);

/* The key's assignment, or 0. */
uint32_t assignment_find(const struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                         struct bytes key);
/* An assignment without a plan yet, or 0: no memory. */
uint32_t assignment_add(struct shard *shard, struct shard_slot *slot, struct bytes key);
/* Sets or (TERM_NONE) clears the plan; takes over the term's user. */
void assignment_set(struct shard *shard, uint32_t ref, uint16_t term);
void assignment_remove(struct shard *shard, struct shard_slot *slot, uint32_t ref);

/* --- shard_bucket.c: buckets in memory ----------------------------------------------------- */

uint32_t bucket_find(const struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                     struct bytes key);

/* What a look at the slot's table found before it is certain whose bucket that is: good for as long
 * as the table does not change. */
struct candidate {
    uint32_t ref;     /* 0: none of that tag */
    uint32_t changes; /* of the table, when it was looked at */
};

static inline struct candidate bucket_candidate(const struct shard_slot *slot, uint64_t hash) {
    return (struct candidate){table_candidate(&slot->buckets, table_tag(hash)),
                              slot->buckets.changes};
}

/* As bucket_find, but for a second look at the table if the candidate says it all. */
uint32_t bucket_find_after(const struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                           struct bytes key, const struct candidate *candidate);

/* The bucket's times as they are (true) or would be under the terms wanted. */
bool bucket_is_under(const struct shard *shard, const struct resident *resident,
                     const struct wanted *wanted);
bool bucket_tats_under(const struct shard *shard, const struct resident *resident,
                       const struct wanted *wanted, struct tat tats[LIMITS_PER_PLAN_MAX]);

/* A new bucket, or 0: no memory. Takes over the term's user (if it was added). */
uint32_t bucket_add(struct shard *shard, struct shard_slot *slot, uint64_t hash, struct bytes key,
                    uint16_t term, uint32_t limit_count, const struct tat tats[], uint8_t flags);

/* Makes these times and terms the bucket's (*ref 0: a new one; it may be another afterwards).
 * Whether and when the record has to follow is the caller's to say. */
enum reason bucket_commit(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                          struct bytes key, uint32_t *ref, const struct wanted *wanted,
                          const struct tat tats[]);

/* Puts the bucket under other terms. Returns its reference from now on, which the caller has to
 * put into the table, or 0: no memory, nothing changed. Takes over the term's user. */
uint32_t bucket_rewrite(struct shard *shard, uint32_t ref, uint16_t term, uint32_t limit_count,
                        const struct tat tats[]);

bool bucket_resident_full(const struct shard *shard, const struct resident *resident);

/* Its record has to be written, with the slot's next snapshot. */
void bucket_mark_dirty(struct shard *shard, struct shard_slot *slot, uint32_t ref);

/* At once. */
void bucket_mark_urgent(struct shard *shard, struct shard_slot *slot, uint32_t ref);

/* Frees a bucket that stands in no list: out of the table and memory, or (after the table has let
 * it go) of memory only. */
void bucket_remove(struct shard *shard, struct shard_slot *slot, uint32_t ref);
void bucket_free(struct shard *shard, uint32_t ref);

/* --- shard_former.c: what a former owner may still grant ------------------------------------ */

/* Puts the terms wanted back to those of the bucket, if it may not go over to them yet.
 * FORMER_OWNER if nobody knows what those say. */
enum reason former_keep(const struct shard *shard, const struct shard_slot *slot,
                        const struct resident *resident, struct wanted *wanted);

/* Milliseconds until the bucket may be made fuller than it is; 0: now. */
uint32_t former_wait_ms(const struct shard *shard, const struct shard_slot *slot,
                        const struct resident *resident);

/* A refusal under the bucket's own terms says when others may count at the latest. */
void former_hint(const struct shard *shard, const struct shard_slot *slot,
                 struct take_result *result);

/* --- shard_mark.c: what is granted and what the store has ---------------------------------- */

/* A mark that was acknowledged counts for a time: while the store has said, not long ago, that the
 * fence of the slot is this shard's. */
static inline bool mark_lives(const struct shard *shard, uint64_t proved_ns) {
    return shard->now_ns - proved_ns < SHARD_MARK_LIVES_NS;
}

/* When a take may be answered. */
enum cover {
    COVER_NONE,      /* when a record that is still to be sent is acknowledged */
    COVER_IN_FLIGHT, /* when the one under way is */
    COVER_ACKNOWLEDGED,
};

struct covered {
    enum cover cover;
    uint32_t moved_tokens; /* that the bucket comes nearer to its mark */
    struct mark *mark;     /* or NULL */
    bool rounded;          /* it is within the record that is rounded up */
};

/* What a take changes. */
struct change {
    bool of_terms; /* the bucket is under others */
    struct tat before[LIMITS_PER_PLAN_MAX], after[LIMITS_PER_PLAN_MAX];
};

/* Of a granted take that would change the bucket (ref 0: new). */
struct covered mark_cover(const struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                          uint32_t ref, const struct wanted *wanted, const struct change *change,
                          uint64_t cost_tokens);

/* The take was committed. */
void mark_taken(struct shard *shard, struct shard_slot *slot, uint64_t hash, uint32_t ref,
                const struct wanted *wanted, const struct covered *covered);

/* Tokens that the bucket's record is to be ahead, now that it is being written. */
uint32_t mark_emitted(struct shard *shard, const struct shard_slot *slot, uint32_t ref,
                      bool removing);
void mark_stored(struct shard *shard, uint32_t ref, bool ok);

/* Rounds up the tats of the bucket's record, now that it is being written, if they are to be. */
void mark_round(struct shard *shard, struct shard_slot *slot, uint32_t ref, struct tat tats[]);

/* The bucket got other terms, or another place, or is no more. */
void mark_moved(struct shard *shard, uint32_t from, uint32_t to);
void mark_gone(struct shard *shard, uint32_t ref);

/* Buckets whose records are ahead of them, of slots whose bit is `bit` (bits NULL: of all), are to
 * be written as they are. */
void marks_settle(struct shard *shard, const uint8_t *bits, bool bit);

/* Lets go of the bucket's lead. False: its record may be ahead, and is to be written first. */
bool mark_let_go(struct shard *shard, struct shard_slot *slot, uint32_t ref);

/* The store may have lost records of slots whose bit is set (bits NULL: of all): no lead of theirs
 * counts any more. */
void marks_forget(struct shard *shard, const uint8_t *bits);

/* --- shard_results.c: results that are held ------------------------------------------------- */

bool held_room(const struct shard *shard);
/* Keeps a take's result back; asserts room. */
void held_add(struct shard *shard, struct shard_slot *slot, enum cover cover,
              const struct shard_item *item, uint32_t ref);

/* The write that has just been made up covers those whose buckets are in it. */
void held_gate(struct shard *shard, struct shard_slot *slot);
/* It was acknowledged. */
void held_grant(struct shard *shard, struct shard_slot *slot);
/* Nothing that the slot holds back will be granted. `refund`: the buckets get it back. */
void held_fail(struct shard *shard, struct shard_slot *slot, enum reason reason, bool refund);

void held_bucket_moved(struct shard *shard, uint32_t from, uint32_t to);

/* --- shard_take.c, shard_load.c ------------------------------------------------------------ */

/* Decides one take of a key that is in memory, or is known to be nowhere. True: the result is held
 * until its mark is acknowledged. */
bool take_answer(struct shard *shard, struct shard_slot *slot, const struct shard_item *item,
                 uint64_t hash, struct take_result *result);

void takes_decide(struct shard *shard, const struct shard_item *items, uint32_t count);

/* Takes a page in. False: memory is full; the page has to be read again. */
bool load_keys(struct shard *shard, struct shard_slot *slot, const struct shard_stored_pair *pairs,
               uint32_t count);
bool load_buckets(struct shard *shard, struct shard_slot *slot,
                  const struct shard_stored_pair *pairs, uint32_t count);
/* A page of a slot that is complete in memory: what only the store has is taken away there. */
void load_leftovers(struct shard *shard, struct shard_slot *slot,
                    const struct shard_stored_pair *pairs, uint32_t count);

/* --- shard_hibernate.c: more buckets than memory may hold ---------------------------------- */

/* Whether cold buckets are to leave memory now. */
void hibernate_look(struct shard *shard);

/* No more of the slot's records are to be read in. */
bool hibernate_enough(const struct shard *shard);

/* The slot sleeps from now on, or no longer. */
void hibernate_sleep(struct shard *shard, struct shard_slot *slot, bool asleep);

/* The sweep has come to this clean bucket. True: it was freed, and is to leave the table. */
bool hibernate_visit(struct shard *shard, struct shard_slot *slot, uint32_t ref);

/* A key was read on demand. */
void hibernate_fetched(struct shard *shard, struct shard_slot *slot, bool found);

/* The survey: asks for a page when it is time, and takes it in. */
void survey_step(struct shard *shard);

/* While room is to be made the store has to be heard of, even if nobody takes anything. */
static inline bool survey_wanted(const struct shard *shard) {
    return (shard->counters.slots_asleep > 0 || shard->shedding) && shard->store_up &&
           !shard->stopping;
}
void survey_page(struct shard *shard, struct shard_slot *slot, const struct shard_event *event);

/* --- shard_fetch.c: keys on demand --------------------------------------------------------- */

void fetches_init(struct shard *shard);

/* The take waits for its key to be read. */
enum reason fetch_ask(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                      const struct shard_item *item);
/* So does an operator's request. */
enum reason fetch_ask_admin(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                            const struct shard_event *event);
void fetches_emit(struct shard *shard);
void fetch_stored(struct shard *shard, const struct shard_event *event);
/* Nothing that the slot asks for will come. */
void fetches_fail(struct shard *shard, struct shard_slot *slot, enum reason reason);

/* --- shard_slot.c: a slot's life ----------------------------------------------------------- */

/* Takes of the slot are decided, of a LOADING one as far as its keys are in memory. */
static inline bool slot_decides(const struct shard_slot *slot) {
    return slot->state == SLOT_SERVING || slot->state == SLOT_LOADING;
}

/* Every key of the slot is in memory or nowhere. */
static inline bool slot_complete(const struct shard_slot *slot) {
    return slot->state != SLOT_LOADING && !slot->asleep;
}

/* Why the slot does not decide; NONE if it does. */
enum reason slot_refusal(const struct shard_slot *slot);

void slots_own(struct shard *shard, const uint8_t *bits);
/* The store has been restored: a slot whose fence others have raised is dropped and read anew, also
 * if nothing is to be written of it. */
void slots_look(struct shard *shard);
void slots_seal(struct shard *shard, const uint8_t *bits, bool reload);
/* True if slots are to be handed over, and nothing that they have granted is still to be written:
 * those that are SEALED, and those that are still being read. */
bool slots_sealed(const struct shard *shard);
void slots_stop(struct shard *shard);

/* Drops what the slot has, unwritten, and starts it again if it is still wanted. */
void slot_drop(struct shard *shard, struct shard_slot *slot);

/* The slot wants a turn: at once, or a snapshot interval from now (unless it has one sooner). */
void slot_ready(struct shard *shard, struct shard_slot *slot);
void slot_later(struct shard *shard, struct shard_slot *slot);

/* What the store may have of it and memory has not is to be read, when its turn comes. */
void slot_reread(struct shard *shard, struct shard_slot *slot);

/* A RELEASING slot with nothing left to write is let go. */
void slot_settle(struct shard *shard, struct shard_slot *slot);

/* To another state, if the table allows that. */
void slot_move(struct shard *shard, struct shard_slot *slot, enum slot_state to);
/* None of its pages is being read any longer. */
void slot_unstream(struct shard *shard, struct shard_slot *slot);

/* The queues, within a step's bounds. */
void slots_work(struct shard *shard);

/* --- shard_ops.c: what slots ask of the store ------------------------------------------------ */

void slot_stored(struct shard *shard, const struct shard_event *event);
void slots_written(struct shard *shard, const struct shard_written writes[], uint32_t count);
void slots_store_lost(struct shard *shard);
/* Store operations; last of all in a step: what they refer to must not change any more. */
void slots_emit(struct shard *shard);

/* --- shard_snapshot.c ---------------------------------------------------------------------- */

void snapshot_emit(struct shard *shard, struct shard_slot *slot);
void snapshot_stored(struct shard *shard, struct shard_slot *slot, uint32_t op_id,
                     enum shard_stored_status status);

/* While the store is away: looks at up to `bound` buckets of the dirty list and lets go of those
 * that have refilled and were never written. Less than `bound` looked at: that was all. */
uint32_t snapshot_thin(struct shard *shard, struct shard_slot *slot, uint32_t bound);

/* The store does not take the slot's writes for now: nothing is held back any longer, and what was
 * to be written at once is written with the next snapshot. */
void snapshot_failed(struct shard *shard, struct shard_slot *slot);

/* Everything dirty goes out as soon as the store answers. */
void snapshot_hurry(struct shard *shard, struct shard_slot *slot);

/* --- shard_sweep.c ------------------------------------------------------------------------- */

void sweep_step(struct shard *shard);
/* The server has come back as another process, which may have lost what it had acknowledged last:
 * everything is written again, and read again for records that had been taken away; of slots whose
 * bit is set (bits NULL: of all). */
void sweep_rewrite_start(struct shard *shard, const uint8_t *bits);
/* Buckets of the slot whose records are rounded up are to be written as they are. */
void sweep_settle(struct shard *shard, struct shard_slot *slot);
void sweep_rewrite(struct shard *shard);
void sweep_reread(struct shard *shard);

/* Frees up to `budget` of a dropped slot's pieces; returns what is left of it. The slot is empty
 * if any is. */
uint32_t sweep_reclaim(struct shard *shard, struct shard_slot *slot, uint32_t budget);

/* --- shard_keys.c: assignments written again ------------------------------------------------ */

/* The slot's assignments are to be written again: all, or only those that are to be taken away. */
void keys_rewrite(struct shard *shard, struct shard_slot *slot, bool all);
/* False: it is not their turn. Else a write of them is outstanding, or the slot is ready again. */
bool keys_emit(struct shard *shard, struct shard_slot *slot);
void keys_stored(struct shard *shard, struct shard_slot *slot, bool ok);
/* A page of assignments of a slot that has all of them in memory: what only the store has is to be
 * taken away there. */
void keys_reread(struct shard *shard, struct shard_slot *slot, const struct shard_event *event);
/* The slot is dropped. */
void keys_forget(struct shard_slot *slot);

/* Pages of assignments are to be read at once, for the slot is to be given away, or all stops. */
static inline bool keys_pressing(const struct shard *shard, const struct shard_slot *slot) {
    return slot->keys_unread &&
           (slot->state == SLOT_SEALED || (shard->stopping && slot->state == SLOT_SERVING));
}
/* The slot has no writes or pages of assignments to wait for. */
bool keys_settled(const struct shard *shard);

/* --- shard_admin.c ------------------------------------------------------------------------- */

void admin_request(struct shard *shard, const struct shard_event *event);
/* Of a key that has been read. */
void admin_answer(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                  const struct shard_event *event);
void admin_emit(struct shard *shard);
void admin_assign_stored(struct shard *shard, uint32_t op_id, enum shard_stored_status status);
void admin_store_lost(struct shard *shard);
/* The oldest request for this assignment that waits, or NULL. */
struct admin_pending *admin_assign_of(struct shard *shard, uint32_t ref);

/* What became of a bucket that a RESET waits for. Cheap if nothing waits. */
void admin_bucket_emitted(struct shard *shard, uint32_t ref, uint32_t op_id);
void admin_bucket_moved(struct shard *shard, uint32_t from, uint32_t to);
void admin_bucket_gone(struct shard *shard, uint32_t ref);
void admin_write_stored(struct shard *shard, uint32_t op_id, bool written);
void admin_slot_dropped(struct shard *shard, struct shard_slot *slot);

#endif
