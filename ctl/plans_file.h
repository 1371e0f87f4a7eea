/*
 * The operator's plans file: YAML in, a plan set and every mistake in the file out.
 *
 *     default: free
 *     plans:
 *       free:
 *         limits: [{rate: 10, period: 1s, burst: 20}]
 *       premium:
 *         limits:
 *           - {rate: 100/s, burst: 200}
 *           - {rate: 1000000, period: 1d}     burst is the rate unless said
 *         on_unavailable: allow               deny unless said
 *         durability: relaxed
 *
 * Each mistake carries its line and column (from 1) and says which field, what was expected and
 * what was found. A file with any mistake yields no plan set. Allocates; called by one thread.
 */
#ifndef SLUICE_CTL_PLANS_FILE_H
#define SLUICE_CTL_PLANS_FILE_H

#include "proto/plan.h"

/* Bytes of a plans file: 256 plans of four limits with generous comments take about 200 KB. */
#define PLANS_FILE_BYTES_MAX (1u << 20)

/* Mistakes reported of one file. Arbitrary, but safe: nobody reads further. */
#define PLANS_MISTAKES_MAX 100

struct plans_mistake {
    uint32_t line;   /* from 1; 0: the file as a whole */
    uint32_t column; /* from 1, in characters */
    char text[320];
};

struct plans_mistakes {
    uint32_t count; /* of `items` */
    bool more;      /* there were more than fit */
    struct plans_mistake items[PLANS_MISTAKES_MAX];
};

/* Parses `text` (borrowed). True: no mistakes, and `set` (out, version 0) holds the plans. */
bool plans_text_parse(struct bytes text, struct plan_set *set, struct plans_mistakes *mistakes);

/* The same with a file; "-" reads the standard input. */
bool plans_file_parse(const char *path, struct plan_set *set, struct plans_mistakes *mistakes);

#endif
