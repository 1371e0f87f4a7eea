/*
 * The ground of the simulator: virtual time, seeded randomness, the trace, and how a failure is
 * told. One thread, one run a process; nothing here knows what is simulated.
 *
 * Everything that happens is an event at a time; events of one time happen in the order in which
 * they were asked for. All randomness comes from streams that are drawn from the seed, one a
 * subject, so that a fault that is turned off does not change what clients do.
 *
 * Guarantee: the same seed and the same configuration give the same trace, byte for byte.
 */
#ifndef SLUICE_TESTS_SIM_H
#define SLUICE_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

/* --- time ---------------------------------------------------------------------------------- */

/* Virtual nanoseconds since the run began: true time, which no simulated machine knows. */
uint64_t sim_now(void);

typedef void (*sim_event_fn)(void *ctx, uint64_t argument);

/* `ctx` must stay valid until then: what events point to lives until the run ends (sim_keep). */
void sim_at(uint64_t at_ns, sim_event_fn fn, void *ctx, uint64_t argument);

/* Makes everything happen up to and including that time. */
void sim_run_until(uint64_t end_ns);

/* Zeroed memory that lives until the run ends. */
void *sim_keep(size_t size);

/* --- randomness ---------------------------------------------------------------------------- */

enum sim_stream {
    STREAM_CONFIG,
    STREAM_NET,
    STREAM_LOOP,
    STREAM_STORE,
    STREAM_CLIENTS,
    STREAM_FAULTS,
    STREAM_OPERATORS,
    STREAM_SYSTEM, /* what programs ask their system for */
    STREAM_COUNT,
};

void sim_seed(uint64_t seed);
uint64_t sim_seed_of_run(void);
uint64_t sim_random(enum sim_stream stream);
uint64_t sim_below(enum sim_stream stream, uint64_t bound);
uint64_t sim_between(enum sim_stream stream, uint64_t low, uint64_t high); /* both may come */
bool sim_chance(enum sim_stream stream, uint32_t per_mille);

/* --- the trace ----------------------------------------------------------------------------- */

/* Where the trace is written, NULL: nowhere (its hash is kept all the same). */
void sim_trace_to(void *file);
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t sim_trace_hash(void);
uint64_t sim_trace_lines(void);

/* A checker found something. The first of a run is kept, and the run goes on to its end only if it
 * is being traced; else it ends here. */
void sim_fail(const char *checker, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* --- coverage ------------------------------------------------------------------------------ */

/* Counts that something was exercised. Names are listed in coverage.h. */
void sim_cover(int what);
void sim_cover_many(int what, uint64_t count);

#endif
