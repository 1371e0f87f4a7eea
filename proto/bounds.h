/*
 * Every bound that two programs must agree on, with its unit and where the number came from.
 * A bound that concerns one program only stands beside the code that keeps it.
 */
#ifndef SLUICE_PROTO_BOUNDS_H
#define SLUICE_PROTO_BOUNDS_H

/* Bytes of a key. Longer than any API key, UUID pair or JWT id seen in the field; small enough
 * that a key's size fits one byte (size - 1) in a bucket. */
#define KEY_BYTES_MAX 256

/* Bytes of a plan's name, a limit's name and a node's id: a DNS label, with room to spare. */
#define NAME_BYTES_MAX 63

/* Bytes of an endpoint URL: the longest host name (253) with scheme and port. */
#define ENDPOINT_BYTES_MAX 280

/* Limits of a plan: second, minute, day and month cover every published API plan we know of. */
#define LIMITS_PER_PLAN_MAX 4

/* Plans of a cluster. Arbitrary, but safe: the whole set is sent to each shard at a change. */
#define PLANS_MAX 256

/* Older versions of a plan's limits that are kept, so that a bucket written under one of them can
 * be converted exactly. Residents are converted within one sweep, so this many changes may be made
 * while a cluster is down before the oldest records are converted as if written under the oldest.
 */
#define PLAN_HISTORY_MAX 8

/* Tokens of a cost, a burst, or a rate: 2^48. With PERIOD_NS_MAX every product fits 128 bits. */
#define TOKENS_MAX (UINT64_C(1) << 48)

/* Nanoseconds of a period: 400 days, so that a year's quota can be said. */
#define PERIOD_NS_MAX (UINT64_C(400) * 86400 * 1000000000)

/* Nanoseconds that a full bucket's worth of tokens may span (burst * period / rate): about 73
 * years, so that `now + tolerance + increment` never nears the end of 64 bits. */
#define TOLERANCE_NS_MAX (UINT64_C(1) << 61)

/* Takes in one request. Larger ones are refused: a batch must not hold a shard for more than about
 * a millisecond. */
#define TAKES_PER_REQUEST_MAX 4096

/* Bytes of one message: a full take_many with the longest keys and inline limits is 1.4 MB. */
#define MESSAGE_BYTES_MAX (2u << 20)

/* Bytes of a message that is too large but still read (and thrown away) so that its sender gets
 * TOO_LARGE on a connection that stays usable. Above it the connection is closed. */
#define MESSAGE_DRAIN_BYTES_MAX (64u << 20)

/* Levels that arrays and maps may be nested in any message; the deepest of ours has 6. */
#define NESTING_MAX 8

/* Slots of a cluster: at least one, a power of two. Redis Cluster has 16,384 as well. */
#define SLOTS_MAX 16384
#define SLOTS_DEFAULT 1024

/* Shards and nodes of a cluster: a shard serves at least 16 of the most slots. */
#define SHARDS_MAX 1024
#define NODES_MAX 256

/* Milliseconds a caller waits for its answer unless the request says otherwise, and at most. */
#define DEADLINE_MS_DEFAULT 250
#define DEADLINE_MS_MAX 60000

/* Bytes of an error's message, zero included. Fits a key's name shortened and a position. */
#define FAULT_TEXT_BYTES_MAX 192

/* SP hops (nng devices) that a request may have passed on its way: nng's own default is 8. */
#define SP_HOPS_MAX 8

#endif
