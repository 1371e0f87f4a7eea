/* The grants of record files, in memory: 32 bytes on disk are 40 here. */
#ifndef SLUICE_BENCH_GRANTS_H
#define SLUICE_BENCH_GRANTS_H

#include "bench/record.h"

struct grants {
    struct grant *items;
    uint64_t count;
    struct limit limit; /* rate_tokens 0: not known (yet) */
};

/* Adds those of a file. False, with the reason in `why`, if it is damaged, or under another limit
 * than the files before. */
bool grants_read(struct grants *grants, const char *path, char *why, size_t why_size);
void grants_free(struct grants *grants);

#endif
