/*
 * What is granted and what the store has: marks ahead of the buckets. marks.h tells what a mark is.
 *
 * A take within the lead of the acknowledged record is answered at once. One beyond it is held: its
 * bucket's record goes out at once, ahead by a reservation, and the result follows when the record
 * is acknowledged (shard_results.c). All takes of a slot that wait share its next write. A lead
 * that is half used up is renewed in the background, so that a busy bucket does not wait.
 *
 * A lead counts only while the store has said not long ago that the slot's fence is this shard's
 * (mark_lives): so a former owner comes to an end by itself, and who has gained the slot can tell
 * when (shard_former.c).
 *
 * While a record is under way the store has either it or the one before, so a take counts as
 * acknowledged only within both leads. (A record is never written with a smaller lead than the
 * bucket has, except when nothing is decided any more.)
 *
 * How far its record is ahead, a bucket that is hot has in an entry of struct marks. One that is
 * warm has its record rounded up to a grid of times that its limits alone say: as long as its tats
 * round up to the same points they are within the record, and nothing else has to be remembered.
 * One that is cold has its record as it is. (Decision 0031.)
 */
#include <assert.h>

#include "proto/bucket.h"
#include "server/core/shard_parts.h"

static uint32_t less(uint32_t lead, uint32_t moved) {
    return lead > moved ? lead - moved : 0;
}

static struct mark *mark_of(const struct shard *shard, uint32_t ref) {
    const struct resident *resident = resident_at(&shard->arena, ref);
    return resident->has_mark ? marks_find(&shard->marks, key_hash(resident_key(resident)), ref)
                              : NULL;
}

/* --- reservations -------------------------------------------------------------------------- */

static uint32_t reserve_most(const struct terms *terms) {
    uint64_t least = UINT32_MAX;
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        uint64_t part = terms->limits[i].burst_tokens / SHARD_RESERVE_PART;
        least = part < least ? part : least;
    }
    return (uint32_t)least;
}

static uint32_t reserve_of(const struct terms *terms, uint8_t steps) {
    uint32_t most = reserve_most(terms);
    uint64_t wanted = steps == 0 ? 0 : UINT64_C(1) << (steps - 1);
    return wanted < most ? (uint32_t)wanted : most;
}

/* What has used up what was rounded needs as much at least. */
static uint8_t steps_of_grid(const struct terms *terms) {
    uint32_t grid_tokens = reserve_most(terms) / (2 * TERM_GRID_PART / SHARD_RESERVE_PART);
    return grid_tokens > 0 ? (uint8_t)(32 - __builtin_clz(grid_tokens)) : 0;
}

/* --- within the lead ----------------------------------------------------------------------- */

/* Tokens by which a take of that cost brings the bucket nearer to its mark: the cost, and what was
 * refilled beyond full since the last one. At most UINT32_MAX. */
static uint32_t tokens_moved(const struct terms *terms, const struct tat before[],
                             uint64_t cost_tokens, uint64_t now_ns) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        uint64_t idle = bucket_idle_tokens(&terms->limits[i], before[i], now_ns);
        most = idle > most ? idle : most;
    }
    uint64_t moved = most + cost_tokens;
    return moved < most || moved > UINT32_MAX ? UINT32_MAX : (uint32_t)moved;
}

/* Whether the record that is rounded up is ahead of the bucket after the take as well. All of a
 * slot whose records may have been lost are written again before one of them counts. */
static enum cover rounded_cover(const struct shard *shard, const struct shard_slot *slot,
                                const struct resident *resident, const struct change *change) {
    if (!resident->rounded || (resident->state & RESIDENT_DIRTY) != 0 || slot->rewrite) {
        return COVER_NONE;
    }
    const struct term *term = term_set_at(&shard->terms, resident->term);
    for (uint32_t i = 0; i < term->terms.limit_count; i++) {
        uint64_t stored_ns = bucket_rounded(change->before[i], term->grid_ns[i]).ns;
        if (bucket_rounded(change->after[i], 1).ns > stored_ns) {
            return COVER_NONE;
        }
    }
    bool writing = (resident->state & RESIDENT_WRITING) != 0;
    if (!mark_lives(shard, writing ? slot->asked_ns : slot->proved_ns)) {
        return COVER_NONE;
    }
    return writing ? COVER_IN_FLIGHT : COVER_ACKNOWLEDGED;
}

struct covered mark_cover(const struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                          uint32_t ref, const struct wanted *wanted, const struct change *change,
                          uint64_t cost_tokens) {
    struct covered covered = {.cover = COVER_NONE};
    if (ref == 0) {
        return covered;
    }
    const struct resident *resident = resident_at(&shard->arena, ref);
    if (!bucket_is_under(shard, resident, wanted)) {
        return covered;
    }
    if (!resident->has_mark) {
        covered.cover = rounded_cover(shard, slot, resident, change);
        covered.rounded = covered.cover != COVER_NONE;
        return covered;
    }
    struct mark *mark = marks_find(&shard->marks, hash, ref);
    assert(mark != NULL);
    covered.mark = mark;
    covered.moved_tokens = tokens_moved(wanted->terms, change->before, cost_tokens, shard->now_ns);
    bool writing = (resident->state & RESIDENT_WRITING) != 0;
    if (covered.moved_tokens <= mark->lead_tokens && mark_lives(shard, slot->proved_ns) &&
        (!writing || covered.moved_tokens <= mark->pending_tokens)) {
        covered.cover = COVER_ACKNOWLEDGED;
    } else if (writing && covered.moved_tokens <= mark->pending_tokens &&
               mark_lives(shard, slot->asked_ns)) {
        covered.cover = COVER_IN_FLIGHT;
    }
    return covered;
}

/* A mark of the slot was made use of: soon the store has to say again whose it is, by a write of
 * nothing if there is none. */
static void mark_prove(struct shard *shard, struct shard_slot *slot) {
    uint64_t since_ns = shard->now_ns - slot->proved_ns;
    if (since_ns < SHARD_MARK_LIVES_NS / SHARD_MARK_PROVE_PART || slot->watch || slot->op_id != 0 ||
        !shard->store_up) {
        return;
    }
    slot->watch = true;
    slot_ready(shard, slot);
}

/* Lets go of an entry: what its record may be ahead has to be written off. */
static void mark_evict(struct shard *shard, struct mark *mark) {
    bool ahead = mark->ahead;
    uint32_t ref = mark->ref;
    uint64_t hash = mark->hash;
    resident_at(&shard->arena, ref)->has_mark = 0;
    marks_drop(&shard->marks, mark);
    if (ahead) {
        bucket_mark_dirty(shard, shard_slot_of(shard, hash), ref);
    }
}

bool mark_let_go(struct shard *shard, struct shard_slot *slot, uint32_t ref) {
    struct resident *resident = resident_at(&shard->arena, ref);
    if (resident->rounded) {
        resident->rounded = 0;
        bucket_mark_dirty(shard, slot, ref);
        return false;
    }
    struct mark *mark = mark_of(shard, ref);
    bool ahead = mark != NULL && mark->ahead;
    if (mark != NULL) {
        mark_evict(shard, mark);
    }
    return !ahead;
}

static struct mark *mark_add(struct shard *shard, uint64_t hash, uint32_t ref,
                             uint32_t written_ms) {
    uint32_t now_ms = shard_now_ms(shard);
    struct mark *mark = marks_place(&shard->marks, hash, now_ms, now_ms - written_ms);
    if (mark == NULL) {
        return NULL;
    }
    if (mark->ref != 0) {
        mark_evict(shard, mark);
    }
    *mark = (struct mark){.hash = hash, .ref = ref, .written_ms = written_ms};
    resident_at(&shard->arena, ref)->has_mark = 1;
    return mark;
}

/* A bucket that is seen for the first time in a while has nothing to be remembered but that its
 * record is due, which it knows itself: it is written as it is. */
static bool is_cold(const struct shard *shard, const struct shard_slot *slot,
                    const struct resident *resident) {
    if ((resident->state & (RESIDENT_DIRTY | RESIDENT_WRITING)) != 0 || resident->rounded) {
        return false;
    }
    /* One that was read was written at a time that nobody knows. */
    return (resident->state & RESIDENT_STORED) == 0 || resident->written_ms == slot->gained_ms ||
           shard_now_ms(shard) - resident->written_ms > SHARD_RESERVE_SLOW_MS;
}

/* Its record was rounded up, and takes have used that up soon. */
static bool is_hot(const struct shard *shard, const struct resident *resident) {
    return resident->rounded && (resident->state & RESIDENT_DIRTY) == 0 &&
           ((resident->state & RESIDENT_WRITING) != 0 ||
            shard_now_ms(shard) - resident->written_ms <= SHARD_RESERVE_QUICK_MS);
}

/* Of a bucket without an entry, whose record is behind. Keys that are cold come and go without one,
 * for which those in use would have to make room; keys that are warm do with a record that is
 * rounded up; and only what is hot, or has too small a burst to be rounded, needs an entry. */
static struct mark *mark_warm(struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                              uint32_t ref) {
    struct resident *resident = resident_at(&shard->arena, ref);
    if (is_cold(shard, slot, resident)) {
        return NULL;
    }
    const struct term *term = term_set_at(&shard->terms, resident->term);
    bool rounds = term->grid_ns[0] > 0;
    if (rounds && !is_hot(shard, resident)) {
        resident->rounded = 1;
        return NULL;
    }
    bool known = (resident->state & (RESIDENT_DIRTY | RESIDENT_WRITING)) == 0;
    struct mark *mark =
        mark_add(shard, hash, ref, known ? resident->written_ms : shard_now_ms(shard));
    resident->rounded = mark == NULL && rounds;
    if (mark != NULL && rounds) {
        mark->steps = steps_of_grid(&term->terms);
    }
    return mark;
}

/* How large the next reservation is, from how long ago the last one was made. */
static void reserve_adapt(struct mark *mark, const struct terms *terms, uint32_t at_ms) {
    uint32_t since_ms = at_ms - mark->written_ms;
    if (since_ms > SHARD_RESERVE_SLOW_MS) {
        mark->steps = 0;
    } else if (since_ms <= SHARD_RESERVE_QUICK_MS &&
               reserve_of(terms, mark->steps) < reserve_most(terms)) {
        mark->steps++;
    }
    mark->written_ms = at_ms;
}

void mark_taken(struct shard *shard, struct shard_slot *slot, uint64_t hash, uint32_t ref,
                const struct wanted *wanted, const struct covered *covered) {
    if (covered->cover != COVER_NONE) {
        mark_prove(shard, slot);
    }
    if (covered->rounded) {
        return;
    }
    struct mark *mark = covered->mark;
    if (mark == NULL && wanted->strict) {
        mark = mark_of(shard, ref); /* it may have got other terms */
        mark = mark != NULL ? mark : mark_warm(shard, slot, hash, ref);
    }
    if (mark == NULL) {
        (wanted->strict ? bucket_mark_urgent : bucket_mark_dirty)(shard, slot, ref);
        return;
    }
    mark->used_ms = shard_now_ms(shard);
    mark->lead_tokens = less(mark->lead_tokens, covered->moved_tokens);
    mark->pending_tokens = less(mark->pending_tokens, covered->moved_tokens);
    if (covered->cover == COVER_NONE) {
        mark->lead_tokens = 0;
        mark->pending_tokens = 0;
        if (wanted->strict) {
            bucket_mark_urgent(shard, slot, ref);
        } else {
            resident_at(&shard->arena, ref)->mixed = 1;
            bucket_mark_dirty(shard, slot, ref);
        }
        return;
    }
    bool idle = (resident_at(&shard->arena, ref)->state & (RESIDENT_DIRTY | RESIDENT_WRITING)) == 0;
    if (wanted->strict && idle && shard->store_up && mark->steps > 0 &&
        mark->lead_tokens <= reserve_of(wanted->terms, mark->steps) / 2) {
        bucket_mark_urgent(shard, slot, ref);
    }
}

/* --- records ------------------------------------------------------------------------------- */

uint32_t mark_emitted(struct shard *shard, const struct shard_slot *slot, uint32_t ref,
                      bool removing) {
    struct mark *mark = mark_of(shard, ref);
    if (mark == NULL) {
        return 0;
    }
    const struct term *term = term_set_at(&shard->terms, resident_at(&shard->arena, ref)->term);
    mark->writing = true;
    if (removing || !slot_decides(slot) || slot->to_seal || shard->stopping ||
        term->kind == TERM_UNKNOWN) {
        mark->lead_tokens = 0;
        mark->pending_tokens = 0;
        marks_set_ahead(&shard->marks, mark, false);
        return 0;
    }
    reserve_adapt(mark, &term->terms, shard_now_ms(shard));
    uint32_t reserved = reserve_of(&term->terms, mark->steps);
    reserved = reserved > mark->lead_tokens ? reserved : mark->lead_tokens;
    mark->pending_tokens = reserved;
    marks_set_ahead(&shard->marks, mark, reserved > 0);
    return reserved;
}

void mark_round(struct shard *shard, struct shard_slot *slot, uint32_t ref, struct tat tats[]) {
    struct resident *resident = resident_at(&shard->arena, ref);
    const struct term *term = term_set_at(&shard->terms, resident->term);
    resident->rounded = resident->rounded && term->grid_ns[0] > 0 && !resident->has_mark &&
                        slot->state == SLOT_SERVING && !shard->stopping;
    if (!resident->rounded) {
        return;
    }
    for (uint32_t i = 0; i < term->terms.limit_count; i++) {
        tats[i] = bucket_rounded(tats[i], term->grid_ns[i]);
    }
    slot->rounded = true;
}

void mark_stored(struct shard *shard, uint32_t ref, bool ok) {
    struct mark *mark = mark_of(shard, ref);
    if (mark == NULL) {
        return;
    }
    if (ok) {
        mark->lead_tokens = mark->pending_tokens;
    } else {
        marks_set_ahead(&shard->marks, mark, true); /* nobody knows */
    }
    mark->pending_tokens = 0;
    mark->writing = false;
}

void mark_moved(struct shard *shard, uint32_t from, uint32_t to) {
    struct mark *mark = mark_of(shard, from);
    if (mark == NULL) {
        return;
    }
    mark->ref = to;
    mark->writing = mark->writing && to == from;
    mark->lead_tokens = 0;
    mark->pending_tokens = 0;
    marks_set_ahead(&shard->marks, mark, true);
    if (to != from) {
        resident_at(&shard->arena, from)->has_mark = 0;
        resident_at(&shard->arena, to)->has_mark = 1;
    }
}

void mark_gone(struct shard *shard, uint32_t ref) {
    struct mark *mark = mark_of(shard, ref);
    if (mark != NULL) {
        resident_at(&shard->arena, ref)->has_mark = 0;
        marks_drop(&shard->marks, mark);
    }
}

void marks_settle(struct shard *shard, const uint8_t *bits, bool bit) {
    struct marks *marks = &shard->marks;
    for (uint32_t i = 0; i < marks->count && marks->ahead_count > 0; i++) {
        struct mark *mark = &marks->entries[i];
        if (mark->ref == 0 || !mark->ahead) {
            continue;
        }
        struct shard_slot *slot = shard_slot_of(shard, mark->hash);
        uint16_t at = shard_slot_at(shard, slot);
        if (bits == NULL || (bits[at / 8] >> (at % 8) & 1) == bit) {
            bucket_mark_dirty(shard, slot, mark->ref);
        }
    }
    for (uint32_t at = 0; at < shard->options.slot_count; at++) {
        if (shard->slots[at].rounded && (bits == NULL || (bits[at / 8] >> (at % 8) & 1) == bit)) {
            sweep_settle(shard, &shard->slots[at]);
        }
    }
}

void marks_forget(struct shard *shard, const uint8_t *bits) {
    for (uint32_t i = 0; i < shard->marks.count; i++) {
        struct mark *mark = &shard->marks.entries[i];
        uint32_t at = slot_of_hash(mark->hash, shard->options.slot_count).index;
        if (bits == NULL || (bits[at / 8] >> (at % 8) & 1) != 0) {
            mark->lead_tokens = 0;
            mark->pending_tokens = 0;
        }
    }
}
