/*
 * One bucket of a strict plan, its marks, the shards that own it one after another, and the store.
 *
 * docs/testing.md says which name here is which in the code. slot.pml is about who owns a slot and
 * when. This model is about what a caller may be told, and assumes nothing of that: the map changes
 * at any moment, and a node learns of it at any later one, so a pause, a lease that ran out too
 * early and a change that was executed late are all the same here. Every step is one atomic look at
 * the shared state; a request is sent, then executed, then answered.
 *
 * Tokens are counted. `memory` is what the bucket has spent (A), `record` what the store says it
 * has (its mark, P), `granted` what callers were told in truth. Nothing refills, so the bound is
 * BURST.
 *
 * `hurt` says that a node crashed or lost its slot without having been sealed: until then nothing
 * at all may be lost, afterwards tokens may be, but never be granted twice.
 */
#ifndef NODES
#define NODES 2
#endif
#ifndef BURST
#define BURST 3
#endif
#ifndef RESERVE
#define RESERVE 2 /* a mark is ahead by so many tokens at most */
#endif
#ifndef COST
#define COST 1 /* a take costs so many tokens at most */
#endif
#ifndef CRASHES
#define CRASHES 1 /* of any node */
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 1 /* changes of the map while the owner serves: pauses, partitions */
#endif
#ifndef LOSSES
#define LOSSES 1 /* requests or answers that are lost while both ends live */
#endif
#ifndef SEALS
#define SEALS 1 /* handovers: sealed, then given away or unsealed */
#endif

#define RAISES 8 /* FENCE_RAISES */
#define EPOCHS 6

mtype:slot = {ABSENT, FENCING, LOADING, SERVING, SEALED, RELEASING};
mtype:request = {NONE, RAISE_FENCE, LOAD, WRITE};
mtype:stage = {SENT, ANSWERED};
mtype:status = {OK, REFUSED, UNKNOWN}; /* REFUSED: FENCED */

/* --- the store ------------------------------------------------------------------------------- */

byte map_epoch = 1, map_owner = 0;
byte fence = 0;
byte record = 0;

/* --- the shards -------------------------------------------------------------------------------- */

byte view_epoch[NODES];
bool owned[NODES];

mtype:slot slot[NODES] = ABSENT;
byte held[NODES]; /* struct shard_slot's fence */
bool refence[NODES];
bool dirty[NODES]; /* in the slot's list of marks, or of changed buckets */
mtype:request op[NODES] = NONE;
mtype:stage op_stage[NODES] = SENT;
mtype:status op_status[NODES] = OK;
byte op_value[NODES], op_fence[NODES];
bool op_over[NODES]; /* of a life that is over: the answer will be ignored */

byte memory[NODES];
byte lead[NODES], pending[NODES]; /* struct mark */
bool ahead[NODES];
byte waiting[NODES], gated[NODES]; /* tokens of held results: of the next write, of this one */

/* --- requests that were given up and are still under way ----------------------------------------- */

bool late_write, late_raise;
byte late_write_fence, late_write_value, late_raise_epoch;

/* --- what only the checks know ----------------------------------------------------------------- */

byte granted = 0;
bool hurt = 0;
byte owner_under[EPOCHS];
byte crashes = 0, takeovers = 0, losses = 0, seals = 0;

#define clean(n) (!dirty[n] && op[n] == NONE)
#define loading(n) (slot[n] == FENCING || slot[n] == LOADING)
#define less(a, b) ((a) > (b) -> (a) - (b) : 0)

#ifdef FAULT_NO_FENCE_COMPARISON
#define accepts(f) true
#else
#define accepts(f) (fence <= (f))
#endif

/* A fence is raised again under its own epoch only: if somebody raised it under a later one, what
 * this shard remembers is old, even if the slot is its own once more. */
#ifdef FAULT_REFENCE_NEWEST
#define refence_epoch(n) view_epoch[n]
#else
#define refence_epoch(n) (held[n] / RAISES)
#endif

/* (1) The mark is never behind what was granted. (2) The bound. (3) The owner that the store
 * accepts writes of counts everything that anybody granted, and what it holds itself. */
#define counts(n) (slot[n] != SERVING || held[n] != fence || \
                   granted + waiting[n] + gated[n] <= memory[n])
inline must_hold() {
    assert(granted <= record);
    assert(granted <= BURST);
    assert(counts(0) && counts(1));
#if NODES > 2
    assert(counts(2));
#endif
}

/* --- the store's scripts ------------------------------------------------------------------------ */

/* SCRIPT_RAISE_FENCE. */
inline raise_fence(epoch, status, value) {
    if
    :: fence >= (epoch + 1) * RAISES -> status = REFUSED; value = 0
    :: else ->
        fence = (fence > epoch * RAISES -> fence : epoch * RAISES) + 1;
        assert(fence < (epoch + 1) * RAISES); /* the model's bound, not the code's */
        status = OK;
        value = fence /* last: it may be where the epoch came in */
    fi
}

/* SCRIPT_WRITE. */
inline write(f, value, status) {
    if
    :: accepts(f) ->
        fence = (fence < f -> f : fence);
        record = value;
        status = OK
    :: else -> status = REFUSED
    fi
}

/* --- held results ------------------------------------------------------------------------------ */

inline held_grant(n) {
    granted = granted + gated[n];
    gated[n] = 0
}

/* held_fail, with give_back. */
inline held_fail(n) {
#ifndef FAULT_NOT_GIVEN_BACK
    memory[n] = memory[n] - gated[n] - waiting[n];
#endif
    gated[n] = 0;
    waiting[n] = 0
}

/* --- a slot's life ------------------------------------------------------------------------------ */

inline op_reset(n) {
    op[n] = NONE;
    op_stage[n] = SENT;
    op_status[n] = OK;
    op_value[n] = 0;
    op_fence[n] = 0;
    op_over[n] = 0
}

inline op_send(n, kind, value) {
    op[n] = kind;
    op_stage[n] = SENT;
    op_value[n] = value;
    op_fence[n] = held[n]
}

/* slot_drop: callers hear a refusal, the memory is gone, unwritten. */
inline drop(n) {
    slot[n] = ABSENT;
    held[n] = 0;
    refence[n] = 0;
    dirty[n] = 0;
    memory[n] = 0;
    lead[n] = 0;
    pending[n] = 0;
    ahead[n] = 0;
    waiting[n] = 0;
    gated[n] = 0;
    if
    :: op[n] != NONE -> op_over[n] = 1
    :: else
    fi
}

/* What is given away after a write that was given up stays unwritten. */
inline settle_slot(n) {
    if
    :: slot[n] == RELEASING && (clean(n) || refence[n]) -> drop(n)
    :: else
    fi
}

/* What a mark is ahead has to be written off when nothing is decided any more. */
inline marks_settle(n) {
#ifdef FAULT_NOT_SETTLED
    skip
#else
    if
    :: ahead[n] -> dirty[n] = 1
    :: else
    fi
#endif
}

/* slots_own: of any map since the one that the node knows. */
inline adopt(n, epoch) {
    view_epoch[n] = epoch;
    owned[n] = owner_under[epoch] == n;
    if
    :: !owned[n] && loading(n) -> drop(n)
    :: !owned[n] && (slot[n] == SERVING || slot[n] == SEALED) ->
        slot[n] = RELEASING;
        marks_settle(n);
        settle_slot(n)
    :: else
    fi
}

inline loaded(n) {
    memory[n] = op_value[n];
#ifdef FAULT_FENCE_AFTER_READING
    slot[n] = FENCING
#else
    slot[n] = SERVING;
    /* (4) Whatever was sealed and given away, whatever writes failed: nothing was lost. */
    assert(hurt || memory[n] == granted)
#endif
}

inline op_execute(n) {
    op_stage[n] = ANSWERED;
    if
    :: op[n] == RAISE_FENCE -> raise_fence(op_value[n], op_status[n], op_value[n])
    :: op[n] == LOAD -> op_value[n] = record
    :: op[n] == WRITE -> write(op_fence[n], op_value[n], op_status[n]); must_hold()
    fi
}

/* fence_raised, fence_raised_again. */
inline fence_raised(n) {
    if
    :: op_status[n] == OK ->
        held[n] = op_value[n];
        refence[n] = 0;
#ifdef FAULT_FENCE_AFTER_READING
        slot[n] = (slot[n] == FENCING -> SERVING : slot[n]);
#else
        slot[n] = (slot[n] == FENCING -> LOADING : slot[n]);
#endif
        op_reset(n)
    :: op_status[n] == REFUSED && !loading(n) -> op_reset(n); drop(n)
    :: else -> op_reset(n)
    fi
}

/* snapshot_stored, mark_stored. */
inline written(n) {
    if
    :: op_status[n] == OK ->
        op_reset(n);
        lead[n] = pending[n];
        pending[n] = 0;
        held_grant(n)
    :: op_status[n] == REFUSED -> op_reset(n); drop(n)
    :: op_status[n] == UNKNOWN ->
        op_reset(n);
        pending[n] = 0;
        ahead[n] = 1;
        dirty[n] = 1;
#ifndef FAULT_NO_REFENCE
        refence[n] = 1;
#endif
        held_fail(n)
    fi
}

/* slot_stored. */
inline op_answered(n) {
    if
    :: op_over[n] -> op_reset(n)
    :: else ->
        if
        :: op[n] == RAISE_FENCE -> fence_raised(n)
        :: op[n] == LOAD ->
            if
            :: op_status[n] == OK -> loaded(n); op_reset(n)
            :: else -> op_reset(n); drop(n)
            fi
        :: op[n] == WRITE -> written(n)
        fi;
        settle_slot(n)
    fi;
    must_hold()
}

/* What was sent and not executed: lost, or late. (What is late may be late for ever.) */
inline op_late(n) {
    if
    :: op[n] == WRITE && op_stage[n] == SENT && !late_write ->
        late_write = 1;
        late_write_fence = op_fence[n];
        late_write_value = op_value[n]
    :: op[n] == RAISE_FENCE && op_stage[n] == SENT && !late_raise ->
        late_raise = 1;
        late_raise_epoch = op_value[n]
    :: else
    fi
}

/* mark_emitted, held_gate. */
inline write_emit(n, reserved) {
    dirty[n] = 0;
    if
    :: slot[n] == SERVING ->
        select(reserved : 0 .. RESERVE);
#ifndef FAULT_LEAD_SHRINKS
        reserved = (reserved > lead[n] -> reserved : lead[n]);
#endif
        pending[n] = reserved
    :: else ->
#ifdef FAULT_LEAD_KEPT
        pending[n] = lead[n];
#else
        lead[n] = 0;
        pending[n] = 0;
#endif
        reserved = 0
    fi;
    ahead[n] = reserved > 0;
    op_send(n, WRITE, memory[n] + reserved);
    gated[n] = gated[n] + waiting[n];
    waiting[n] = 0;
    reserved = 0
}

#if defined(FAULT_LEAD_ALONE)
#define acknowledged(n, cost) (cost <= lead[n])
#elif defined(FAULT_PENDING_ALONE)
#define acknowledged(n, cost) (cost <= (op[n] == WRITE -> pending[n] : lead[n]))
#else
#define acknowledged(n, cost) (cost <= lead[n] && (op[n] != WRITE || cost <= pending[n]))
#endif
#define in_flight(n, cost) (op[n] == WRITE && cost <= pending[n])

/* take_commit: mark_cover, mark_taken, held_add. */
inline take(n, cost) {
    select(cost : 1 .. COST);
    if
    :: memory[n] + cost > BURST -> skip
    :: else ->
        memory[n] = memory[n] + cost;
        if
        :: acknowledged(n, cost) ->
            granted = granted + cost;
            lead[n] = lead[n] - cost;
            pending[n] = less(pending[n], cost);
            if /* renewed in the background */
            :: clean(n) -> dirty[n] = 1
            :: true
            fi
        :: !acknowledged(n, cost) && in_flight(n, cost) ->
            lead[n] = less(lead[n], cost);
            pending[n] = pending[n] - cost;
            gated[n] = gated[n] + cost
        :: !acknowledged(n, cost) && !in_flight(n, cost) ->
            lead[n] = 0;
            pending[n] = 0;
            dirty[n] = 1;
#ifdef FAULT_NO_GATE
            granted = granted + cost
#else
            waiting[n] = waiting[n] + cost
#endif
        fi
    fi;
    cost = 0;
    must_hold()
}

proctype Shard(byte n) {
    byte some;
end:
    do
    :: atomic { view_epoch[n] < map_epoch ->
                select(some : view_epoch[n] + 1 .. map_epoch);
                adopt(n, some);
                some = 0 }
    :: atomic { op[n] != NONE && op_stage[n] == SENT -> op_execute(n) }
    :: atomic { op[n] != NONE && op_stage[n] == ANSWERED -> op_answered(n) }
    :: atomic { op[n] != NONE && losses < LOSSES && op_status[n] != UNKNOWN && !op_over[n] ->
                losses++;
                op_late(n);
                op_stage[n] = ANSWERED;
                op_status[n] = UNKNOWN }
#ifdef FAULT_FENCE_AFTER_READING
    :: atomic { owned[n] && slot[n] == ABSENT && op[n] == NONE ->
                slot[n] = LOADING }
    :: atomic { slot[n] == FENCING && op[n] == NONE &&
#else
    :: atomic { owned[n] && op[n] == NONE && (slot[n] == ABSENT || slot[n] == FENCING) &&
#endif
                /* Asking under an epoch that is known to be old changes nothing. */
                fence < (view_epoch[n] + 1) * RAISES ->
                slot[n] = FENCING;
                op_send(n, RAISE_FENCE, view_epoch[n]) }
    :: atomic { slot[n] == LOADING && op[n] == NONE ->
                op_send(n, LOAD, 0);
                op_execute(n) } /* it brings nothing along, so sent late is executed late */
    :: atomic { dirty[n] && op[n] == NONE && !refence[n] -> write_emit(n, some) }
    :: atomic { dirty[n] && op[n] == NONE && refence[n] -> op_send(n, RAISE_FENCE, refence_epoch(n)) }
    :: atomic { slot[n] == SERVING && memory[n] < BURST -> take(n, some) }
    /* slots_seal. To stop is to seal, and then to crash. */
    :: atomic { slot[n] == SERVING && seals < SEALS ->
                seals++;
                slot[n] = SEALED;
                marks_settle(n) }
    :: atomic { slot[n] == SEALED ->
                hurt = hurt || view_epoch[n] < map_epoch; /* slot.pml: it never happens */
                slot[n] = SERVING }
    od
}

/* The slot has an owner by the map who sealed it, and everything is written. */
#define handed_over(n) (map_owner == n && view_epoch[n] == map_epoch && slot[n] == SEALED && \
                        clean(n))

inline replace_map() {
    map_epoch++;
    assert(map_epoch < EPOCHS); /* the model's bound */
    map_owner = (map_owner + 1) % NODES;
    owner_under[map_epoch] = map_owner
}

/* Memory is gone; what was under way is executed late or never. The node comes back with no older
 * map than the one in force now. */
inline crash(n) {
    hurt = 1;
    crashes++;
    op_late(n);
    op_reset(n);
    drop(n);
    owned[n] = 0;
    view_epoch[n] = map_epoch - 1
}

proctype World() {
    byte n;
    mtype:status ignored_status;
    byte ignored;
end:
    do
    :: atomic { handed_over(map_owner) -> replace_map() }
    :: atomic { takeovers < TAKEOVERS ->
                takeovers++;
                hurt = 1;
                replace_map() }
    :: atomic { crashes < CRASHES ->
                select(n : 0 .. NODES - 1);
                crash(n);
                n = 0 }
    :: atomic { late_write ->
                write(late_write_fence, late_write_value, ignored_status);
                late_write = 0;
                late_write_fence = 0;
                late_write_value = 0;
                ignored_status = OK;
                must_hold() }
    :: atomic { late_raise ->
                raise_fence(late_raise_epoch, ignored_status, ignored);
                hurt = hurt || ignored_status == OK; /* it fences its own sender's successors */
                late_raise = 0;
                late_raise_epoch = 0;
                ignored_status = OK;
                ignored = 0 }
    od
}

/* --- what must hold in the end ------------------------------------------------------------------- */

#define served (slot[map_owner] == SERVING)
#if NODES > 2
#define nobody_waits (waiting[0] + gated[0] + waiting[1] + gated[1] + waiting[2] + gated[2] == 0)
#else
#define nobody_waits (waiting[0] + gated[0] + waiting[1] + gated[1] == 0)
#endif

#ifdef LIVENESS
/* (5) When faults stop, the owner serves for ever, and nobody waits. */
ltl settles { <> [] (served && nobody_waits) }

/* Time passes even when nothing is left to do: a run that has ended would not be looked at. */
active proctype Idle() {
    bool tick;
    do
    :: tick = !tick
    od
}
#else
/* (5) when nothing is left to do; and every token was granted that no fault has cost. */
active proctype Check() {
end:
    do
    :: atomic { timeout ->
                assert(served && nobody_waits);
                assert(hurt || granted == BURST);
                break }
    od
}
#endif

init {
    byte i;
    atomic {
        i = 0;
        do
        :: i < NODES -> run Shard(i); i++
        :: else -> break
        od;
        i = 0;
        run World()
    }
}
