#include "tests/sim/process.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/sim/check.h"
#include "tests/sim/loop.h"
#include "tests/sim/net.h"

#if defined(__SANITIZE_ADDRESS__)
#define FIBERS_TELL_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBERS_TELL_SANITIZER 1
#endif
#endif
#ifdef FIBERS_TELL_SANITIZER
#include <sanitizer/common_interface_defs.h>
#endif

/* Bytes of a fiber's stack: the deepest of the programs' functions hold arrays of 128 KiB. Pages
 * are touched only as they are used. */
#define STACK_BYTES (1u << 20)

#define MACHINES_MAX 32

struct allocation {
    struct allocation *next, *previous;
    struct process *process;
    size_t size;
};

struct fiber {
    struct fiber *next;
    struct process *process;
    ucontext_t context;
    void *stack;
    void (*entry)(void *argument);
    void *argument;
    void *fake_stack;
    bool ended;
    bool owed; /* was to be resumed while its process was paused */
};

static struct machine machines[MACHINES_MAX];
static uint32_t machine_count, lives;
static ucontext_t scheduler;
static struct fiber *running;

/* --- machines ------------------------------------------------------------------------------ */

struct machine *machine_create(const char *name) {
    assert(machine_count < MACHINES_MAX);
    struct machine *machine = &machines[machine_count];
    machine_count++;
    machine->name = name;
    machine->address = (10u << 24) + machine_count;
    /* A clock that has run for a while: monotonic time never starts at zero. */
    machine->clock_offset_ns = (int64_t)(1000 * SECOND);
    return machine;
}

struct machine *machine_at(uint32_t address) {
    uint32_t at = address - (10u << 24);
    return at >= 1 && at <= machine_count ? &machines[at - 1] : NULL;
}

uint64_t machine_clock(const struct machine *machine) {
    int64_t now_ns = (int64_t)sim_now();
    return (uint64_t)(now_ns + now_ns / 1000000 * machine->drift_ppm + machine->clock_offset_ns);
}

uint64_t machine_when(const struct machine *machine, uint64_t local_ns) {
    uint64_t clock_ns = machine_clock(machine);
    if (local_ns <= clock_ns) {
        return sim_now();
    }
    int64_t left_ns = (int64_t)(local_ns - clock_ns);
    return sim_now() + (uint64_t)(left_ns - left_ns / 1000000 * machine->drift_ppm);
}

/* --- memory -------------------------------------------------------------------------------- */

void *process_malloc(size_t size) {
    return process_calloc(1, size);
}

void *process_calloc(size_t count, size_t size) {
    struct process *process = process_current();
    struct allocation *made = calloc(1, sizeof *made + count * size);
    assert(made != NULL && process != NULL);
    made->process = process;
    made->size = count * size;
    made->next = process->heap;
    if (made->next != NULL) {
        made->next->previous = made;
    }
    process->heap = made;
    process->heap_bytes += made->size;
    return made + 1;
}

void process_free(void *memory) {
    if (memory == NULL) {
        return;
    }
    struct allocation *gone = (struct allocation *)memory - 1;
    struct process *process = gone->process;
    assert(process == process_current());
    if (gone->previous != NULL) {
        gone->previous->next = gone->next;
    } else {
        process->heap = gone->next;
    }
    if (gone->next != NULL) {
        gone->next->previous = gone->previous;
    }
    process->heap_bytes -= gone->size;
    free(gone);
}

void *process_realloc(void *memory, size_t size) {
    void *moved = process_calloc(1, size);
    if (memory != NULL) {
        size_t before = ((struct allocation *)memory - 1)->size;
        memcpy(moved, memory, before < size ? before : size);
        process_free(memory);
    }
    return moved;
}

char *process_strdup(const char *text) {
    size_t size = strlen(text) + 1;
    return memcpy(process_malloc(size), text, size);
}

/* --- fibers -------------------------------------------------------------------------------- */

#ifdef FIBERS_TELL_SANITIZER
static const void *scheduler_stack;
static size_t scheduler_stack_bytes;
#endif

static void fiber_run(void) {
    struct fiber *fiber = running;
#ifdef FIBERS_TELL_SANITIZER
    __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_stack_bytes);
#endif
    fiber->entry(fiber->argument);
    fiber->ended = true;
#ifdef FIBERS_TELL_SANITIZER
    __sanitizer_start_switch_fiber(NULL, scheduler_stack, scheduler_stack_bytes);
#endif
    swapcontext(&fiber->context, &scheduler);
}

static struct fiber *fiber_create(struct process *process, void (*entry)(void *), void *argument) {
    struct fiber *fiber = sim_keep(sizeof *fiber);
    fiber->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert(fiber->stack != MAP_FAILED);
    fiber->process = process;
    fiber->entry = entry;
    fiber->argument = argument;
    fiber->next = process->fibers;
    process->fibers = fiber;
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&fiber->context, fiber_run, 0);
    return fiber;
}

static void on_start(void *ctx, uint64_t argument) {
    fiber_resume(ctx);
}

struct fiber *fiber_start(void (*entry)(void *argument), void *argument) {
    struct fiber *fiber = fiber_create(process_current(), entry, argument);
    sim_at(sim_now(), on_start, fiber, 0);
    return fiber;
}

void fiber_resume(struct fiber *fiber) {
    assert(running == NULL);
    if (!fiber->process->alive || fiber->ended) {
        return;
    }
    if (fiber->process->paused) {
        fiber->owed = true;
        return;
    }
    running = fiber;
#ifdef FIBERS_TELL_SANITIZER
    void *fake_stack = NULL;
    __sanitizer_start_switch_fiber(&fake_stack, fiber->stack, STACK_BYTES);
#endif
    swapcontext(&scheduler, &fiber->context);
#ifdef FIBERS_TELL_SANITIZER
    __sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
#endif
    running = NULL;
}

void fiber_wait(void) {
    struct fiber *fiber = running;
#ifdef FIBERS_TELL_SANITIZER
    __sanitizer_start_switch_fiber(&fiber->fake_stack, scheduler_stack, scheduler_stack_bytes);
#endif
    swapcontext(&fiber->context, &scheduler);
#ifdef FIBERS_TELL_SANITIZER
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

struct fiber *fiber_current(void) {
    return running;
}

struct process *fiber_process(const struct fiber *fiber) {
    return fiber->process;
}

bool fiber_ended(const struct fiber *fiber) {
    return fiber->ended;
}

void fiber_sleep(uint64_t ns) {
    uint64_t until_ns = machine_clock(running->process->machine) + ns;
    while (machine_clock(running->process->machine) < until_ns) {
        sim_at(machine_when(running->process->machine, until_ns) + US, on_start, running, 0);
        fiber_wait();
    }
}

struct process *process_current(void) {
    return running == NULL ? NULL : running->process;
}

/* --- processes ----------------------------------------------------------------------------- */

struct first_thread {
    int (*entry)(void *ctx);
    void *ctx;
    int status;
    struct process *process;
};

static void process_end(struct process *process) {
    process->alive = false;
    process->ended_ns = sim_now();
    checks_process_gone(process);
    loops_drop(process);
    net_process_gone(process);
    while (process->heap != NULL) {
        struct allocation *next = process->heap->next;
        free(process->heap);
        process->heap = next;
    }
    for (struct fiber *fiber = process->fibers; fiber != NULL; fiber = fiber->next) {
        munmap(fiber->stack, STACK_BYTES);
    }
}

static void on_returned(void *ctx, uint64_t argument) {
    struct first_thread *first = ctx;
    if (!first->process->alive) {
        return; /* killed at the same moment */
    }
    sim_trace("%s exits with %d", first->process->name, first->status);
    process_end(first->process);
    first->process->on_exit(first->process->ctx, first->status);
}

static void first_run(void *argument) {
    struct first_thread *first = argument;
    first->status = first->entry(first->ctx);
    sim_at(sim_now(), on_returned, first, 0);
}

struct process *process_start(struct machine *machine, const char *name, int (*entry)(void *ctx),
                              void *ctx, void (*on_exit)(void *ctx, int status)) {
    struct process *process = sim_keep(sizeof *process);
    struct first_thread *first = sim_keep(sizeof *first);
    net_machine_back(machine);
    process->machine = machine;
    lives++;
    process->life = lives;
    snprintf(process->name, sizeof process->name, "%.24s#%u", name, process->life);
    process->alive = true;
    process->on_exit = on_exit;
    process->ctx = ctx;
    *first = (struct first_thread){entry, ctx, 0, process};
    sim_at(sim_now(), on_start, fiber_create(process, first_run, first), 0);
    sim_trace("%s starts", process->name);
    return process;
}

void process_kill(struct process *process, bool silent) {
    assert(running == NULL);
    if (!process->alive) {
        return;
    }
    sim_trace("%s is killed%s", process->name, silent ? ", its machine too" : "");
    process->silent = silent;
    process->machine->off = silent;
    process_end(process);
}

void process_pause(struct process *process, bool paused) {
    if (!process->alive || process->paused == paused) {
        return;
    }
    sim_trace("%s %s", process->name, paused ? "is paused" : "goes on");
    process->paused = paused;
    if (paused) {
        return;
    }
    for (struct fiber *fiber = process->fibers; fiber != NULL; fiber = fiber->next) {
        if (fiber->owed) {
            fiber->owed = false;
            sim_at(sim_now(), on_start, fiber, 0);
        }
    }
}
