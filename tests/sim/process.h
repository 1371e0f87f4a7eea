/*
 * Machines and the processes on them.
 *
 * A machine has an address and a clock of its own; it outlives its processes. A process is one life
 * of a program: its threads are fibers, its memory is a heap that goes at once when it is killed.
 * Programs run unchanged: shim.h gives them this memory, this clock and these threads.
 */
#ifndef SLUICE_TESTS_SIM_PROCESS_H
#define SLUICE_TESTS_SIM_PROCESS_H

#include "tests/sim/sim.h"

struct machine {
    const char *name;
    uint32_t address;        /* IPv4, host order; machine i has 10.0.0.i + 1 */
    int64_t clock_offset_ns; /* of its monotonic clock */
    int32_t drift_ppm;
    bool off; /* without power */
};

struct fiber;
struct loop;

struct process {
    struct machine *machine;
    char name[32];
    uint32_t life; /* unique in a run */
    bool alive;
    bool paused;
    bool silent;  /* its machine is gone too: nobody tells its peers */
    bool orderly; /* it has ended with everything written */
    uint64_t ended_ns;
    struct fiber *fibers;
    struct loop *loops;
    struct allocation *heap;
    size_t heap_bytes;
    void (*on_exit)(void *ctx, int status);
    void *ctx;
};

struct machine *machine_create(const char *name);
struct machine *machine_at(uint32_t address);

/* Monotonic time as that machine has it, and the true time at which it will have that time (about:
 * ask again then). */
uint64_t machine_clock(const struct machine *machine);
uint64_t machine_when(const struct machine *machine, uint64_t local_ns);

/* Starts `entry(ctx)` as the process's first thread. When it returns the process is gone, and
 * on_exit is called with what it returned. */
struct process *process_start(struct machine *machine, const char *name, int (*entry)(void *ctx),
                              void *ctx, void (*on_exit)(void *ctx, int status));

/* kill -9; silent: as when the machine loses its power. */
void process_kill(struct process *process, bool silent);
void process_pause(struct process *process, bool paused);

/* Whose code runs now; NULL: the simulator's own. */
struct process *process_current(void);

/* --- fibers -------------------------------------------------------------------------------- */

/* A further thread of the process under way. */
struct fiber *fiber_start(void (*entry)(void *argument), void *argument);

/* Lets a waiting fiber go on, from an event. Nothing if its process is dead. */
void fiber_resume(struct fiber *fiber);

/* Back to the simulator until resumed. */
void fiber_wait(void);
struct fiber *fiber_current(void);
struct process *fiber_process(const struct fiber *fiber);
bool fiber_ended(const struct fiber *fiber);

/* Waits that long by the machine's clock. */
void fiber_sleep(uint64_t ns);

/* --- what shim.h puts in the place of the system's ------------------------------------------ */

void *process_malloc(size_t size);
void *process_calloc(size_t count, size_t size);
void *process_realloc(void *memory, size_t size);
char *process_strdup(const char *text);
void process_free(void *memory);

#endif
