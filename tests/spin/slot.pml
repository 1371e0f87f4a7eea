/*
 * One slot with one bucket, its nodes, and the store: ownership, handover, fences, snapshots.
 *
 * docs/testing.md says which name here is which in the code. Every step is one atomic look at the
 * shared state, so a node that is paused is one that is not scheduled, and a late message is one
 * whose step is late. A request to the store is sent, then executed, then answered; between any two
 * the sender may crash, and after a crash the request may be lost or be executed late.
 *
 * A take is one bit. What a node has granted and what it has loaded are its memory; a write replaces
 * the store's record by the memory, as a record is replaced by a bucket's whole state. `granted` is
 * what callers were granted in truth.
 *
 * Faults are bounded by the constants below. `hurt` says that a node crashed or was away for longer
 * than its lease: until then nothing at all may be forgotten, afterwards only what the store had not
 * accepted. A lost answer alone is no excuse.
 */
#ifndef NODES
#define NODES 2
#endif
#ifndef CRASHES
#define CRASHES 1 /* of any node */
#endif
#ifndef EXPIRIES
#define EXPIRIES 1 /* leases of living nodes that run out: pauses, partitions */
#endif
#ifndef LOSSES
#define LOSSES 1 /* requests or answers that are lost while both ends live */
#endif
#ifndef MOVES
#define MOVES 2 /* handovers the operator asks for */
#endif
#ifndef TAKES
#define TAKES 2
#endif

#define RAISES 8 /* FENCE_RAISES */
#define EPOCHS 12
#define NOBODY NODES

mtype:slot = {ABSENT, FENCING, LOADING, SERVING, SEALED, RELEASING};
mtype:handover = {IDLE, REACHING, SEALING, CHANGING, SETTLING};
mtype:request = {NONE, RAISE_FENCE, LOAD, WRITE, CHANGE, TAKE_OVER, BEAT};
mtype:stage = {SENT, ANSWERED};
mtype:status = {OK, REFUSED, UNKNOWN}; /* REFUSED: FENCED, or CONFLICT */

/* --- the store ------------------------------------------------------------------------------- */

byte map_epoch = 1, map_owner = 0;
bool lease[NODES] = 1;
byte fence = 0;
byte record = 0;

/* --- the nodes: what membership, handover and shard remember ----------------------------------- */

bool up[NODES] = 1;
byte view_epoch[NODES] = 1, view_owner[NODES] = 0;

bool beating[NODES], beat_settles[NODES], beat_absent[NODES];
byte beat_epoch[NODES], beat_owner[NODES];

mtype:handover state[NODES] = IDLE;
byte target[NODES];
mtype:request change[NODES] = NONE;
mtype:stage change_stage[NODES] = SENT;
mtype:status change_status[NODES] = OK;
byte change_from[NODES], change_to[NODES];
byte proposed[NODES]; /* epoch of the map that the handover proposed */

mtype:slot slot[NODES] = ABSENT;
bool to_seal[NODES], dirty[NODES], refence[NODES];
byte memory[NODES], held[NODES]; /* held: struct shard_slot's fence */
mtype:request op[NODES] = NONE;
mtype:stage op_stage[NODES] = SENT;
mtype:status op_status[NODES] = OK;
byte op_value[NODES], op_fence[NODES];
bool op_over[NODES]; /* of a life that is over: the answer will be ignored */
#ifdef STRICT
byte waiting[NODES], gated[NODES]; /* takes whose results are held */
#endif

/* --- requests of the dead, or given up, that are still under way -------------------------------- */

bool late_write, late_raise, late_change;
byte late_write_fence, late_write_value, late_raise_epoch, late_change_from, late_change_to;
byte late_raise_node;

/* --- what only the checks know ----------------------------------------------------------------- */

byte granted = 0;
bool hurt = 0;
byte raised_epoch = 0;         /* the newest epoch under which a fence was raised */
byte owner_under[EPOCHS] = 0;  /* the owner of each map that was ever in force */
#ifdef FAULT_RAISE_WITHOUT_EPOCH
byte raised_under[RAISES * EPOCHS] = 0;
#define epoch_of_fence(f) raised_under[f]
#else
#define epoch_of_fence(f) ((f) / RAISES)
#endif
byte crashes = 0, expiries = 0, losses = 0, moves = 0, takes = 0;

#define owns(n) (view_owner[n] == n)
#define clean(n) (!dirty[n] && op[n] == NONE)
#define loading(n) (slot[n] == FENCING || slot[n] == LOADING)

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

/* --- the store's scripts ------------------------------------------------------------------------ */

/* SCRIPT_RAISE_FENCE. `status` and `value` are the answer. */
inline raise_fence(n, epoch, status, value) {
#ifdef FAULT_RAISE_WITHOUT_EPOCH
    fence++;
    raised_under[fence] = epoch;
    raised_epoch = (epoch > raised_epoch -> epoch : raised_epoch);
    status = OK;
    value = fence; /* last: it may be where the epoch came in */
#else
    if
    :: fence >= (epoch + 1) * RAISES -> status = REFUSED; value = 0
    :: else ->
        fence = (fence > epoch * RAISES -> fence : epoch * RAISES) + 1;
        assert(fence < (epoch + 1) * RAISES); /* the model's bound, not the code's */
        assert(owner_under[epoch] == n);      /* only the owner by a map raises under its epoch */
        raised_epoch = epoch;
        status = OK;
        value = fence /* last: it may be where the epoch came in */
    fi
#endif
}

/* (2), (4) What a new owner has to know, and what no write may forget: what was granted. A relaxed
 * plan forgets what the store had not accepted if a node crashed or was away too long. A strict one
 * never; but what it was not told was stored it has given back. */
#ifdef STRICT
#define knows(n) (!accepts(held[n]) || (granted & ~memory[n]) == 0)
#define keeps(value) ((granted & ~(value)) == 0)
#else
#define knows(n) (hurt || memory[n] == granted)
#define keeps(value) ((record & ~(value)) == 0)
#endif

/* SCRIPT_WRITE. */
inline write(f, value, status) {
    if
    :: accepts(f) ->
        assert(epoch_of_fence(f) >= raised_epoch); /* (1) no older owner's write is accepted */
        assert(keeps(value));
        fence = (fence < f -> f : fence);
        record = value;
        status = OK
    :: else -> status = REFUSED
    fi
}

/* SCRIPT_REPLACE of the map. */
inline replace_map(from, to, compared, status) {
    if
    :: !(compared) || map_epoch == from ->
        assert(from + 1 > map_epoch); /* epochs only grow */
        assert(from + 1 < EPOCHS);    /* the model's bound */
        map_epoch = from + 1;
        map_owner = to;
        owner_under[map_epoch] = to;
        status = OK
    :: else -> status = REFUSED
    fi
}

/* --- a slot's life ------------------------------------------------------------------------------ */

/* slot_drop, and the reclaiming that follows: the memory is gone, unwritten. */
inline drop(n) {
    slot[n] = ABSENT;
    memory[n] = 0;
    held[n] = 0;
    dirty[n] = 0;
    refence[n] = 0;
#ifdef STRICT
    waiting[n] = 0;
    gated[n] = 0;
#endif
    if
    :: op[n] != NONE -> op_over[n] = 1
    :: else
    fi
}

/* The end of slot_settle: given away, and everything written; or a write was given up, and its
 * fence is not to be raised any more. */
inline settle_slot(n) {
    if
    :: slot[n] == RELEASING && (clean(n) || refence[n]) -> drop(n)
    :: else
    fi
}

inline unseal(n) {
    to_seal[n] = 0;
    if
    :: slot[n] == SEALED -> slot[n] = SERVING
    :: else
    fi
}

/* shard_loop's state_adopt and slots_own. */
inline adopt(n, epoch, owner) {
    view_epoch[n] = epoch;
#ifdef FAULT_EPOCH_BEFORE_OWN
    /* The step for the plans runs between the new epoch and the new slots. */
    if
    :: owns(n) && (slot[n] == ABSENT || slot[n] == FENCING) && op[n] == NONE ->
        slot[n] = FENCING;
        op[n] = RAISE_FENCE;
        op_stage[n] = SENT;
        op_value[n] = epoch
    :: else
    fi;
#endif
    if
    :: owns(n) && owner != n ->
        to_seal[n] = 0;
        if
        :: loading(n) -> drop(n)
        :: slot[n] == SERVING || slot[n] == SEALED -> slot[n] = RELEASING; settle_slot(n)
        :: else
        fi
    :: else
    fi;
    view_owner[n] = owner;
}

inline op_send(n, kind, value) {
    op[n] = kind;
    op_stage[n] = SENT;
    op_value[n] = value;
    op_fence[n] = held[n];
}

inline op_reset(n) {
    op[n] = NONE;
    op_stage[n] = SENT;
    op_status[n] = OK;
    op_value[n] = 0;
    op_fence[n] = 0;
    op_over[n] = 0;
}

inline op_execute(n) {
    op_stage[n] = ANSWERED;
    if
    :: op[n] == RAISE_FENCE -> raise_fence(n, op_value[n], op_status[n], op_value[n])
    :: op[n] == LOAD -> op_value[n] = record; op_status[n] = OK
    :: op[n] == WRITE -> write(op_fence[n], op_value[n], op_status[n])
    fi
}

inline loaded(n) {
    memory[n] = op_value[n];
    slot[n] = (to_seal[n] -> SEALED : SERVING);
    assert(slot[n] == SEALED || knows(n)) /* (2) */
}

/* fence_raised, and fence_raised_again: of a slot that has its state and lost a write. */
inline fence_raised(n) {
    if
    :: op_status[n] == OK ->
        held[n] = op_value[n];
        refence[n] = 0;
        slot[n] = (loading(n) -> LOADING : slot[n]);
        op_reset(n)
    :: op_status[n] == REFUSED && !loading(n) -> op_reset(n); drop(n)
    :: else -> op_reset(n)
    fi
}

inline written(n) {
    if
    :: op_status[n] == OK ->
        op_reset(n);
#ifdef STRICT
        granted = granted | gated[n]; /* held_grant */
        gated[n] = 0;
        assert(keeps(record))
#endif
    :: op_status[n] == UNKNOWN ->
        op_reset(n);
        dirty[n] = 1;
#ifndef FAULT_NO_REFENCE
        refence[n] = 1;
#endif
#ifdef STRICT
        memory[n] = memory[n] & ~(gated[n] | waiting[n]); /* held_fail */
        gated[n] = 0;
        waiting[n] = 0
#endif
    :: op_status[n] == REFUSED -> op_reset(n); drop(n)
    fi
}

/* slot_stored. An unknown outcome is tried again. */
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
    fi
}

/* Lost on the way to the store, or on the way back: the shard cannot tell. What did not reach the
 * store may do so later, after what the next connection brings. */
inline op_lose(n) {
    losses++;
    if
    :: op[n] == WRITE && op_stage[n] == SENT && !late_write ->
        late_write = 1;
        late_write_fence = op_fence[n];
        late_write_value = op_value[n]
#ifdef LATE_RAISE
    :: op[n] == RAISE_FENCE && op_stage[n] == SENT && !late_raise ->
        late_raise = 1;
        late_raise_node = n;
        late_raise_epoch = op_value[n]
#endif
    :: else
    fi;
    op_stage[n] = ANSWERED;
    op_status[n] = UNKNOWN
}

proctype Shard(byte n) {
end:
    do
    :: atomic { op[n] != NONE && op_stage[n] == SENT -> op_execute(n) }
    :: atomic { op[n] != NONE && op_stage[n] == ANSWERED -> op_answered(n) }
    :: atomic { op[n] != NONE && losses < LOSSES && op_status[n] != UNKNOWN && !op_over[n] ->
                op_lose(n) }
    :: atomic { up[n] && owns(n) && op[n] == NONE && (slot[n] == ABSENT || slot[n] == FENCING) &&
                /* Asking under an epoch that is known to be old changes nothing. */
                fence < (view_epoch[n] + 1) * RAISES ->
                slot[n] = FENCING;
                op_send(n, RAISE_FENCE, view_epoch[n]) }
    :: atomic { up[n] && slot[n] == LOADING && op[n] == NONE ->
                op_send(n, LOAD, 0);
                op_execute(n) } /* it brings nothing along, so sent late is executed late */
    :: atomic { up[n] && !loading(n) && slot[n] != ABSENT && dirty[n] && op[n] == NONE &&
                !refence[n] ->
                dirty[n] = 0;
#ifdef STRICT
                gated[n] = gated[n] | waiting[n];
                waiting[n] = 0;
#endif
                op_send(n, WRITE, memory[n]) }
    :: atomic { up[n] && dirty[n] && op[n] == NONE && refence[n] ->
                assert(slot[n] == SERVING || slot[n] == SEALED);
                op_send(n, RAISE_FENCE, refence_epoch(n)) }
    :: atomic { up[n] && slot[n] == SERVING && takes < TAKES ->
#ifdef STRICT
                waiting[n] = waiting[n] | (1 << takes);
#else
                assert(knows(n)); /* (2) */
                granted = granted | (1 << takes);
#endif
                memory[n] = memory[n] | (1 << takes);
                takes++;
                dirty[n] = 1 }
    /* Callers go on: it is a take's write that tells a shard of an owner it never heard of. */
    :: atomic { up[n] && slot[n] == SERVING && takes == TAKES && clean(n) && held[n] < fence ->
                dirty[n] = 1 }
    od
}

/* --- membership --------------------------------------------------------------------------------- */

/* handover.c's settle. */
inline settle(n) {
    if
    :: owns(n) && view_epoch[n] > proposed[n] &&
       (loading(n) || (slot[n] == SEALED && clean(n))) ->
#ifdef FAULT_UNSEAL_UNSEEN
        unseal(n)
#else
        to_seal[n] = 0;
        drop(n) /* what others did with it between the maps is in the store */
#endif
#ifdef FAULT_LEFT_SEALED
    :: else
#else
    :: else -> unseal(n)
#endif
    fi;
    state[n] = IDLE;
    proposed[n] = 0;
    target[n] = 0
}

/* Heartbeats that can change nothing are left out. */
#define beat_tells(n) (view_epoch[n] != map_epoch || !lease[n] || state[n] == SETTLING || \
                       (map_owner != n && !lease[map_owner] && change[n] == NONE))

proctype Membership(byte n) {
end:
    do
    :: atomic { up[n] && !beating[n] && beat_tells(n) ->
                beating[n] = 1; /* SCRIPT_HEARTBEAT; sent late is executed late */
                beat_settles[n] = state[n] == SETTLING;
                lease[n] = 1;
                beat_epoch[n] = map_epoch;
                beat_owner[n] = map_owner;
                beat_absent[n] = !lease[map_owner] }
    :: atomic { beating[n] -> /* on_beat */
                if
                :: beat_epoch[n] > view_epoch[n] -> adopt(n, beat_epoch[n], beat_owner[n])
                :: else
                fi;
                if
                :: state[n] == SETTLING && beat_settles[n] -> settle(n)
                :: else
                fi;
                if /* takeover_on_beat */
                :: beat_absent[n] && view_epoch[n] == beat_epoch[n] && view_owner[n] != n &&
                   change[n] == NONE ->
                    change[n] = TAKE_OVER;
                    change_stage[n] = SENT;
                    change_from[n] = view_epoch[n];
                    change_to[n] = n
                :: else
                fi;
                beating[n] = 0;
                beat_settles[n] = 0;
                beat_absent[n] = 0;
                beat_epoch[n] = 0;
                beat_owner[n] = 0 }
    od
}

/* --- handover ------------------------------------------------------------------------------------ */

inline change_reset(n) {
    change[n] = NONE;
    change_stage[n] = SENT;
    change_status[n] = OK;
    change_from[n] = 0;
    change_to[n] = 0
}

inline handover_end(n) {
    state[n] = IDLE;
    target[n] = 0;
    unseal(n)
}

inline handover_seal(n) {
    if
    :: !owns(n) -> handover_end(n)
    :: else ->
        state[n] = SEALING;
#ifndef FAULT_NO_SEAL
        to_seal[n] = 1;
        if
        :: slot[n] == SERVING -> slot[n] = SEALED
        :: else
        fi
#endif
    fi
}

#ifdef FAULT_NO_SEAL
#define shard_sealed(n) true
#else
/* A slot that does not serve yet does not hold up the others of its handover. */
#define shard_sealed(n) ((slot[n] == SEALED && clean(n)) || slot[n] == ABSENT || loading(n))
#endif

inline handover_change(n) {
    if
    :: !owns(n) -> handover_end(n)
    :: else ->
        state[n] = CHANGING;
        change[n] = CHANGE;
        change_stage[n] = SENT;
        change_from[n] = view_epoch[n];
        change_to[n] = target[n];
        proposed[n] = view_epoch[n] + 1
    fi
}

inline change_answered(n) {
    if
    :: change[n] == CHANGE ->
#ifdef FAULT_SETTLE_GUESSED
        if
        :: change_status[n] == UNKNOWN -> handover_end(n); proposed[n] = 0
        :: else -> state[n] = SETTLING
        fi
#else
        state[n] = SETTLING
#endif
    :: else
    fi;
    change_reset(n)
}

/* Lost on the way to the store, or on the way back. */
inline change_lose(n) {
    losses++;
#ifdef LATE_CHANGE
    if
    :: change_stage[n] == SENT && !late_change ->
        late_change = 1;
        late_change_from = change_from[n];
        late_change_to = change_to[n]
    :: else
    fi;
#endif
    change_stage[n] = ANSWERED;
    change_status[n] = UNKNOWN
}

#ifdef FAULT_TAKEOVER_WITHOUT_COMPARISON
#define compares(n) (change[n] == CHANGE)
#else
#define compares(n) true
#endif

proctype Handover(byte n) {
end:
    do
    :: atomic { up[n] && state[n] == REACHING && up[target[n]] -> handover_seal(n) }
    :: atomic { up[n] && state[n] == REACHING -> handover_end(n) } /* late */
    :: atomic { up[n] && state[n] == SEALING && change[n] == NONE && shard_sealed(n) ->
                handover_change(n) }
    :: atomic { up[n] && state[n] == SEALING -> handover_end(n) } /* late */
    :: atomic { change[n] != NONE && change_stage[n] == SENT ->
                change_stage[n] = ANSWERED;
                replace_map(change_from[n], change_to[n], compares(n), change_status[n]) }
    :: atomic { change[n] != NONE && change_stage[n] == ANSWERED -> change_answered(n) }
    :: atomic { change[n] == CHANGE && losses < LOSSES && change_status[n] != UNKNOWN ->
                change_lose(n) }
    od
}

/* --- what happens to nodes ------------------------------------------------------------------------ */

/* What was under way is executed late or never. */
inline crash(n) {
    hurt = 1;
    crashes++;
    if
    :: op[n] == WRITE && op_stage[n] == SENT && !late_write ->
        late_write = 1;
        late_write_fence = op_fence[n];
        late_write_value = op_value[n]
    :: op[n] == RAISE_FENCE && op_stage[n] == SENT && !late_raise ->
        late_raise = 1;
        late_raise_node = n;
        late_raise_epoch = op_value[n]
    :: true
    fi;
    if
    :: change[n] != NONE && change_stage[n] == SENT && !late_change && compares(n) ->
        late_change = 1;
        late_change_from = change_from[n];
        late_change_to = change_to[n]
    :: true
    fi;
    up[n] = 0;
    view_epoch[n] = 0;
    view_owner[n] = NOBODY;
    beating[n] = 0;
    beat_settles[n] = 0;
    beat_absent[n] = 0;
    beat_epoch[n] = 0;
    beat_owner[n] = 0;
    state[n] = IDLE;
    target[n] = 0;
    proposed[n] = 0;
    to_seal[n] = 0;
    change_reset(n);
    op_reset(n);
    drop(n)
}

proctype Late() {
    mtype:status ignored_status;
    byte ignored;
end:
    do
    :: atomic { late_write ->
                write(late_write_fence, late_write_value, ignored_status);
                late_write = 0;
                late_write_fence = 0;
                late_write_value = 0;
                ignored_status = OK }
    :: atomic { late_raise ->
                raise_fence(late_raise_node, late_raise_epoch, ignored_status, ignored);
                late_raise = 0;
                late_raise_node = 0;
                late_raise_epoch = 0;
                ignored_status = OK;
                ignored = 0 }
    :: atomic { late_change ->
                replace_map(late_change_from, late_change_to, true, ignored_status);
                late_change = 0;
                late_change_from = 0;
                late_change_to = 0;
                ignored_status = OK }
    od
}

/* Faults, and the operator: as much as the bounds allow, or less. */
proctype World() {
    byte n, to;
    do
    :: crashes < CRASHES -> atomic { select(n : 0 .. NODES - 1); if :: up[n] -> crash(n) :: else fi; n = 0 }
    :: expiries < EXPIRIES ->
        atomic { select(n : 0 .. NODES - 1);
                 if
                 :: up[n] && lease[n] -> lease[n] = 0; hurt = 1; expiries++
                 :: else
                 fi;
                 n = 0 }
    :: moves < MOVES ->
        atomic { select(n : 0 .. NODES - 1); select(to : 0 .. NODES - 1);
                 if
                 :: up[n] && owns(n) && to != n && state[n] == IDLE ->
                     moves++;
                     state[n] = REACHING;
                     target[n] = to
                 :: else
                 fi;
                 n = 0; to = 0 }
    :: break
    od
}

/* What happens by itself: the dead's leases run out, and somebody starts the dead again. */
proctype Time() {
    byte n;
end:
    do
    :: atomic { (!up[0] && lease[0]) -> lease[0] = 0 }
    :: atomic { (!up[1] && lease[1]) -> lease[1] = 0 }
    :: atomic { !up[0] -> up[0] = 1; lease[0] = 1 }
    :: atomic { !up[1] -> up[1] = 1; lease[1] = 1 }
#if NODES > 2
    :: atomic { (!up[2] && lease[2]) -> lease[2] = 0 }
    :: atomic { !up[2] -> up[2] = 1; lease[2] = 1 }
#endif
    od
}

/* --- what must hold ------------------------------------------------------------------------------- */

#define serves(n) (up[n] && slot[n] == SERVING && accepts(held[n]))
#define served(n) (serves(n) && map_owner == n)
#define calm(n) (slot[n] != SEALED && state[n] == IDLE)

#if NODES > 2
#define servers (serves(0) + serves(1) + serves(2))
#define all_well ((served(0) || served(1) || served(2)) && calm(0) && calm(1) && calm(2))
#else
#define servers (serves(0) + serves(1))
#define all_well ((served(0) || served(1)) && calm(0) && calm(1))
#endif

#ifdef LIVENESS
/* (5), (6) When faults stop, the slot is served by its owner for ever, and nothing stays sealed. */
ltl settles { <> [] all_well }

/* Time passes even when nothing is left to do: a run that has ended would not be looked at. */
active proctype Idle() {
    bool tick;
    do
    :: tick = !tick
    od
}
#else
/* (3), at each step; (5), (6) when nothing is left to do. */
active proctype Check() {
end:
    do
    :: atomic { servers > 1 -> assert(false) }
    :: atomic { timeout -> assert(all_well) ; break }
    od
}
#endif

init {
    byte i;
    atomic {
        owner_under[1] = 0;
        i = 0;
        do
        :: i < NODES -> run Shard(i); run Membership(i); run Handover(i); i++
        :: else -> break
        od;
        i = 0;
        run Late();
        run World();
        run Time()
    }
}
