/*
 * What a share of seeds must have exercised: faults, states that slots and handovers went through,
 * outcomes that clients saw. Counted over all seeds and printed; none may stay at zero.
 */
#ifndef SLUICE_TESTS_SIM_COVERAGE_H
#define SLUICE_TESTS_SIM_COVERAGE_H

/* X(name, text) */
#define COVERAGE(X)                                                                                \
    X(CRASH, "process killed")                                                                     \
    X(CRASH_SILENT, "machine lost without a word")                                                 \
    X(RESTART_SAME_ID, "restart under the same id")                                                \
    X(RESTART_OTHER_ID, "restart under another id")                                                \
    X(RESTART_REFUSED, "start refused")                                                            \
    X(STOP_PLANNED, "planned stop")                                                                \
    X(PAUSE, "process paused")                                                                     \
    X(ROUTER_CRASH, "router killed")                                                               \
    X(CLOCK_JUMP, "machine's clock jumped")                                                        \
    X(STORE_CLOCK_JUMP, "store's clock jumped")                                                    \
    X(PARTITION, "partition, both ways")                                                           \
    X(PARTITION_ONE_WAY, "partition, one way")                                                     \
    X(CONNECTION_BROKEN, "connection broken")                                                      \
    X(BYTES_LOST, "bytes lost with their connection")                                              \
    X(LATE_BYTES, "bytes of a given-up connection executed")                                       \
    X(STORE_STALL, "store stalled")                                                                \
    X(STORE_SLOW, "store slow")                                                                    \
    X(STORE_CRASH, "store restarted")                                                              \
    X(STORE_TAIL_LOST, "store lost its unsynced tail")                                             \
    X(STORE_FAILOVER, "store failed over to a lagging replica")                                    \
    X(MAP_LOST, "store lost a map or plans")                                                       \
    X(STORE_ERROR, "store refused commands")                                                       \
    X(MOVE, "operator moved slots")                                                                \
    X(MOVE_FAILED, "a move failed")                                                                \
    X(WEIGHT, "operator changed a weight")                                                         \
    X(PLANS, "operator changed the plans")                                                         \
    X(RESET, "operator reset a key")                                                               \
    X(RESET_WAITS, "reset refused: a former owner may still grant")                                \
    X(KEPT, "take under limits of before, for the same reason")                                    \
    X(ASSIGN, "operator assigned a plan")                                                          \
    X(WRITE_ACCEPTED, "write accepted")                                                            \
    X(WRITE_FENCED, "write fenced")                                                                \
    X(WRITES_TOGETHER, "writes of several slots in one call")                                      \
    X(WRITES_UNLIKE, "of which some were stored and some not")                                     \
    X(FENCE_RAISED, "fence raised")                                                                \
    X(FENCE_REFUSED, "fence not raised: a later epoch")                                            \
    X(MAP_CHANGED, "map changed")                                                                  \
    X(MAP_CONFLICT, "change of the map lost")                                                      \
    X(LEASE_EXPIRED, "lease ran out")                                                              \
    X(FAILOVER, "dead node's slots given away")                                                    \
    X(SLOT_ABSENT, "slot absent")                                                                  \
    X(SLOT_FENCING, "slot fencing")                                                                \
    X(SLOT_LOADING, "slot loading")                                                                \
    X(SLOT_SERVING, "slot serving")                                                                \
    X(SLOT_SEALED, "slot sealed")                                                                  \
    X(SLOT_RELEASING, "slot releasing")                                                            \
    X(SLOT_DROPPED, "slot dropped: a newer owner")                                                 \
    X(HANDOVER_REACHING, "handover reaching")                                                      \
    X(HANDOVER_SEALING, "handover sealing")                                                        \
    X(HANDOVER_CHANGING, "handover changing")                                                      \
    X(HANDOVER_SETTLING, "handover settling")                                                      \
    X(REREAD, "slot read again for what a store had lost")                                         \
    X(ASSIGNED_AGAIN, "assignments written again")                                                 \
    X(STORED_FAILED, "shard told of a failed operation")                                           \
    X(ZOMBIE_GRANT, "grant by an owner that is none any more")                                     \
    X(GRANTS_FORGOTTEN, "grants forgotten by a crash")                                             \
    X(TAKE_GRANTED, "take granted")                                                                \
    X(HELD, "result held until its mark is written")                                               \
    X(ROUNDED, "take within a record that is rounded up")                                          \
    X(ASKED, "take waited for its key to be read")                                                 \
    X(HIBERNATED, "bucket left memory")                                                            \
    X(ASKED_ASLEEP, "take waited for a bucket that had left memory")                               \
    X(SURVEYED, "page read of a slot that sleeps")                                                 \
    X(WOKE, "slot that slept has all in memory again")                                             \
    X(RELEASED, "held result released")                                                            \
    X(GIVEN_BACK, "held result given back")                                                        \
    X(FENCE_AGAIN, "own fence raised again")                                                       \
    X(TAKE_REFUSED, "take refused")                                                                \
    X(TAKE_DEGRADED, "take answered by policy")                                                    \
    X(TAKE_ERROR, "take answered by an error")                                                     \
    X(TAKE_MOVED, "shard answered moved")                                                          \
    X(PEEK, "peek")                                                                                \
    X(REFUND, "refund")                                                                            \
    X(MANY, "take_many")                                                                           \
    X(ROUTER_FULL, "router refused: too many pending")                                             \
    X(FALLBACK_GRANTED, "router granted a take in the store")                                      \
    X(FALLBACK_OTHER, "router asked the store, and nothing was written")                           \
    X(RETRY, "router sent again")

enum coverage {
#define X(name, text) COVER_##name,
    COVERAGE(X)
#undef X
};
#define COVERAGE_COUNT (COVER_RETRY + 1)

#endif
