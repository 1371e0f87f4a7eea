/*
 * Memory that a server needs for its own work, not for a caller's: a message to one of its loops, a
 * question to the store.
 *
 * Any thread. memory_need never returns NULL: without the memory it says so on standard error and
 * ends the process at once, with MEMORY_EXIT. To the cluster that is a crash, which it is built
 * for: what the store has acknowledged is there, and half a change is nowhere
 * (docs/decisions/0018). Memory that a start or a caller asks for is not needed: it may be refused,
 * and is.
 */
#ifndef SLUICE_RUNTIME_MEMORY_H
#define SLUICE_RUNTIME_MEMORY_H

#include <stddef.h>

/* Exit code: "operating system error" of sysexits.h, which nothing else here ends with. */
#define MEMORY_EXIT 71

/* `size` zeroed bytes, the caller's to free. */
void *memory_need(size_t size);

/* Ends the process as above. */
_Noreturn void memory_end(size_t size);

#endif
