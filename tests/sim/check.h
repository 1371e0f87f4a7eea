/*
 * The checkers: what must hold at every step, whatever goes wrong.
 *
 *   bound     for every key and limit: granted <= burst + rate * time, over all owners that the key
 *             has had. What a crash may forget is counted as forgotten only if it is as little as
 *             promised (check "forgotten").
 *   mark      under a strict plan the store has counted whatever a caller is told
 *   refusal   a take that fits what was granted at most is not refused by the owner
 *   answers   each request is answered once, in time, with a result a take
 *   writer    a write is accepted from one process per slot and fence, and from none older
 *   zombie    an owner that is none any more grants no longer than its next write takes
 *   liveness  once nothing goes wrong any more every slot is served, and every take decided
 *   calm      nobody takes over before a store that was away has been back for three leases
 *   bounds    what waits anywhere is within its bound
 *   absent    a full bucket is in no memory and in no store
 *   assigned  in the end the store has the assignments that owners go by
 *   clock     cluster time never runs backward in a shard, and is as exact as it says
 *
 * They look at what the store executes, at each shard's events and updates (production's own step,
 * wrapped), and at the clients' answers.
 */
#ifndef SLUICE_TESTS_SIM_CHECK_H
#define SLUICE_TESTS_SIM_CHECK_H

#include "proto/take.h"
#include "server/core/shard.h"
#include "tests/sim/process.h"
#include "tests/sim/store.h"

/* How long after the last fault everything must be as if there had been none: a connection that
 * leads nowhere is noticed after 5 s, a dead owner after four leases (1 s at most), and what knocks
 * at a dead door tries again within a second. */
#define CHECK_SETTLE_NS (UINT64_C(9500) * MS)

/* Clients are silent for the end of a run, so that every bucket can become full: of usual bursts,
 * and of wide ones. */
#define CHECK_REFILL_NS (12 * SECOND)
#define CHECK_REFILL_WIDE_NS (26 * SECOND)

/* How long a bucket may be full before it is gone from memory and store: a round of the sweep and a
 * write. */
#define CHECK_ABSENT_NS (3 * SECOND)

void checks_begin(void);
void checks_end(void);

/* A verb as the trace names it. */
static inline const char *verb_text(enum verb verb) {
    static const char *const texts[] = {
        [VERB_TAKE] = "take", [VERB_PEEK] = "peek", [VERB_REFUND] = "refund"};
    return texts[verb];
}

/* --- what clients tell --------------------------------------------------------------------- */

struct check_answer {
    uint32_t key;
    enum verb verb;
    uint64_t cost;
    uint64_t sent_ns;
    const struct take_result *result;
};
void check_answer(const struct check_answer *answer);

/* A request that has no answer yet. */
void check_waiting(uint32_t client, uint32_t router, uint32_t id, uint64_t sent_ns,
                   uint64_t deadline_ms);

void checks_node_exit(struct process *process, int status);
void checks_process_gone(const struct process *process);
void checks_store_lost(void);
void check_store(const struct store_seen *seen);

/* --- what the fault plan tells ------------------------------------------------------------- */

/* Something other than a crash goes wrong from now on, or did until now. */
void check_disturbed(bool disturbed);
/* Since when; 0: all is calm. */
uint64_t check_disturbed_since(void);
uint64_t check_calm_since(void);
/* Clocks may be wrong by so much more from now on: by the weather of the run; by a jump of that
 * machine's clock, which no node can know of. */
void check_clock_slack(uint64_t ns);
void check_clock_jump(const struct machine *machine, uint64_t ns);
/* All jumps so far, of any clock and in either direction. */
uint64_t check_clock_jumps(void);
/* Those of that machine's clock since then (true time) that were of `most_ns` at most. */
uint64_t check_clock_jumps_of(const struct machine *machine, uint64_t since_ns, uint64_t most_ns);
/* A node reads its clock: it is as exact as the node itself says. */
struct cluster_clock;
void check_clock_read(const struct cluster_clock *clock, uint64_t monotonic_ns, uint64_t now_ns);
/* What two nodes may be wrong by: it widens their promises. */
uint64_t check_clock_bound(void);

/* --- between the checkers ------------------------------------------------------------------ */

struct check_decision {
    struct bytes key;
    enum verb verb;
    uint64_t cost;
    bool allowed;
    uint64_t now_ns;     /* cluster time */
    uint64_t decided_ns; /* true time */
    const struct terms *terms;
    struct process *process;
    bool zombie;
    bool
        strict; /* nothing may be forgotten; the caller may be told later (keys_granted_strictly) */
};

/* What a strict key's former owners may grant beyond what a store counts that has lost its tail. */
struct lost {
    const struct process *of; /* the owner until then, whose mark may be among it */
    uint64_t reserved_tokens; /* what that process had reserved at most */
    uint64_t granted_tokens;  /* granted by it, and not written again */
};
void lost_grants(struct lost *lost, unsigned __int128 tokens);
/* How much of a grant the key's account is to count; the rest is what was lost. */
uint64_t lost_counted(struct lost *lost, const struct check_decision *decision);

void keys_begin(void);
void keys_decided(const struct check_decision *decision);
/* The caller is told now of a take that was decided before, or just now. */
void keys_granted_strictly(const struct check_decision *decision);
void keys_given_back(const struct check_decision *decision);
void keys_reset(struct bytes key);
/* A shard is about to hear of other limits: until now it had those of before. */
void keys_plans_change(void);
/* A router has decided a take in the store, and its record is there; the refill of what it took. */
void keys_granted_in_store(struct bytes key, struct process *router, struct tat increment);
/* The slot is read anew by an owner; `whole`: nothing may have been forgotten. */
void keys_reloaded(uint32_t slot, bool whole);
/* Nothing full is left in the store, where owners are so far behind its clock (they slew after a
 * jump, for minutes); how many records there are of what is not full. */
uint32_t keys_end(uint64_t behind_ns);

/* A shard has heard of plans. */
void plans_seen(const struct shard *shard, const struct process *process);
/* Both are, or were, those of one plan, with as many limits. */
bool plans_same(const struct terms *a, const struct terms *b);
/* Tokens of a period that a bucket of that plan can have got under that limit since then (true
 * time), by all that any shard had in force. */
struct plans_refill {
    uint64_t slowest_tokens, fastest_tokens;
};
struct plans_refill plans_refill(const struct terms *terms, uint32_t limit_at, uint64_t since_ns);

/* The key's record in the store; false: none that can be read. Borrows from `out`, which is to be
 * freed, and begins with "$-1" if there is none. */
struct record;
bool stored_record(const char *key, uint32_t slot, struct record *record, struct buffer *out);
/* The terms that it was written under, by the plans that the store has; false: nobody can say. */
bool stored_terms(const struct record *record, struct terms *terms);
/* Whether it was written under those. */
bool stored_under(const struct record *record, const struct terms *terms);

/* It has lost what it had acknowledged, and who lives may not have written it again yet. */
bool store_is_behind(void);

/* Until when that process's grants on the slot must have reached the store; `whole`: nothing may
 * have been forgotten. */
uint64_t stored_until(const struct process *granter, uint32_t slot, bool whole);

/* Results that a shard holds back. What a dead process held was never granted. */
void held_keep(const void *shard, uint64_t token, const struct check_decision *decision);
void held_released(const void *shard, const struct process *process,
                   const struct shard_release *release);
void held_drop(const struct process *process);
uint32_t held_now(void);

/* Takes that wait for their key to be read: they are decided only then. */
struct check_asked {
    struct bytes key;
    enum verb verb;
    uint64_t cost;
};
void asked_keep(const void *shard, const struct process *process, uint64_t token,
                const struct check_asked *asked);
/* Takes it off the list; borrowed until the next call. NULL: nobody waits under that token. */
const struct check_asked *asked_take(const void *shard, const struct process *process,
                                     uint64_t token);
uint32_t asked_now(void);

/* Decisions of the step under way. */
extern uint32_t decided_count;

/* The process has had that event, a reset of a key that was in memory; `fences` are those that it
 * knows to be its own. */
void reset_look(const struct shard_event *event, const struct shard_update *update,
                const struct process *process, const uint64_t fences[]);

/* Resets that were made in this step, of keys that had to be read first, count from here on: those
 * that came before decision `at` of it. */
void reset_keys_look(uint32_t at);

/* After a step: which buckets have left memory, and which slots have got theirs back. */
void sleep_look(const struct shard *shard, const struct process *process,
                const struct shard_update *update);

/* At the end: the assignments of keys that this shard serves. */
void assigned_look(const struct shard *shard);

/* The highest fence of a slot that was ever raised, when, and by whom. */
uint64_t fence_newest(uint32_t slot, uint64_t *raised_at_ns, const struct process **by);

/* Some shard of the process decides takes of the slot. */
bool shards_decide(const struct process *process, uint32_t slot);

/* Its owner has given the slot away, and decided nothing of it when the map was changed (a change
 * may be executed late, when the slot has been unsealed). */
bool fence_handed_over(uint32_t slot);

/* When the owner under that fence was told that a router had raised it, and dropped what it had not
 * written; 0: it was not. */
uint64_t fence_taken_at(uint32_t slot);

/* --- planted faults ------------------------------------------------------------------------ */

/* X(NAME, "name"): a rule that is broken on purpose; the checker that must find it is said beside.
 */
#define PLANTS(X)                                                                                  \
    X(HALF_CHARGED, "half-charged")   /* bound: takes cost half */                                 \
    X(REFUSED, "refused-at-random")   /* refusal */                                                \
    X(LOST_ANSWER, "lost-answer")     /* answers: a router forgets one */                          \
    X(SECOND_ANSWER, "second-answer") /* answers: a router gives one twice */                      \
    X(NO_FENCE, "no-fence")           /* writer: writes do not compare fences */                   \
    X(DEAF, "deaf-to-change")         /* zombie: nobody hears that a slot has moved */             \
    X(SLOW_SNAPSHOT, "slow-snapshot") /* forgotten: written a second late */                       \
    X(UNSEALED, "unsealed-move")      /* forgotten: given away without sealing */                  \
    X(NO_TAKEOVER, "no-takeover")     /* liveness: nobody takes over from the dead */              \
    X(RESTLESS, "restless")           /* calm: a store that is back is calm at once */             \
    X(WAITING, "more-waiting")        /* bounds: a router takes in more than it may */             \
    X(EARLY, "early-release")         /* mark: held results go out at once */                      \
    X(KEPT, "kept-when-full")         /* absent: full buckets stay */                              \
    X(CLOCK_BACK, "clock-back")       /* clock: time steps back */                                 \
    X(UNFENCED, "unfenced-fallback")  /* mark: routers decide without a fence */                   \
    X(REPLAYED, "replayed-later")     /* refusal: what is read counts from when it is read */      \
    X(LOST_ASSIGNED, "lost-assigned") /* assigned: lost assignments are not written again */       \
    X(LOST_ASLEEP, "lost-asleep")     /* bound: what has left memory is not found again */         \
    X(FORGIVEN, "forgiven")           /* bound: other limits, and nothing was spent */             \
    X(ENDLESS, "endless-mark")        /* bound: a former owner's marks never end */                \
    X(NO_WAIT, "no-wait")             /* bound: and who has its slot does not wait for that */     \
    X(FRESH, "fresh-on-start")        /* figure: who takes a slot on reads nothing */              \
    X(LATE_SYNC, "late-sync")         /* figure: what others have granted is heard of late */      \
    X(TWO_LISTS, "two-lists")         /* figure: a former owner goes by the list that it had */    \
    X(WAITS, "waits-for-store")       /* figure: no answer without the store */

enum plant {
#define X(name, text) PLANT_##name,
    PLANTS(X)
#undef X
};

/* Plants a fault by its name; false: there is none of that name. */
bool check_plant(const char *name);
bool check_planted(enum plant plant);
bool check_planted_any(void);
const char *const *check_plants(void);

/* What a planted fault makes of a shard before its step. */
void plant_shard(struct shard *shard);

/* What a planted fault makes of an event; `owned`: every slot that the shard ever had. */
void plant_event(struct shard_event *event, uint8_t owned[SLOTS_MAX / 8]);

#endif
