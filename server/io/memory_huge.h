/*
 * Memory for a shard in huge pages, as far as the system gives them (madvise): a random take
 * touches two or three places in memory that nothing has cached, and with pages of 2 MiB the
 * processor knows where they are.
 *
 * One stretch of address space is reserved at the start and used in chunks of 2 MiB, which the
 * kernel backs by one huge page each when first touched. A chunk is cut into blocks of powers of
 * two, MEMORY_HUGE_BLOCK_MIN to half a chunk; a chunk whose last block comes back is returned to
 * the system. What is smaller or larger than that comes from the system by itself.
 *
 * Used on one thread. Guarantee: memory in use is at most twice what was asked for and given in
 * blocks; blocks are zeroed, aligned to their size, and never overlap.
 */
#ifndef SLUICE_SERVER_IO_MEMORY_HUGE_H
#define SLUICE_SERVER_IO_MEMORY_HUGE_H

#include <stdint.h>

#include "server/core/memory.h"

/* Bytes of a chunk: a huge page of x86-64, and of arm64 with pages of 4 KiB. */
#define MEMORY_HUGE_CHUNK (UINT64_C(2) << 20)

/* Bytes of the smallest block: the smallest table that does not live in a page of the arena. */
#define MEMORY_HUGE_BLOCK_MIN (UINT64_C(128) << 10)

struct memory_huge;

/* For up to `bytes_max` in use at once; reserves twice that as addresses. NULL: the system gives no
 * such stretch. */
struct memory_huge *memory_huge_create(uint64_t bytes_max);

/* All blocks must have come back. */
void memory_huge_destroy(struct memory_huge *huge);

/* Borrows `huge`. */
struct memory memory_huge(struct memory_huge *huge);

/* Bytes of the chunks that are in use. */
uint64_t memory_huge_bytes(const struct memory_huge *huge);

#endif
