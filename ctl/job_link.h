/*
 * The rebalance's record, read from and written to the cluster: compare-and-set on its number, so
 * of two operators one wins and the other is told.
 */
#ifndef SLUICE_CTL_JOB_LINK_H
#define SLUICE_CTL_JOB_LINK_H

#include "ctl/cluster.h"
#include "ctl/job.h"

struct job_link {
    const struct cluster *cluster; /* borrowed */
    uint64_t number;               /* of the record that was seen last */
    bool has_job;                  /* there is one, in `seen` */
    struct job seen;
};

enum job_put { JOB_PUT_OK, JOB_PUT_CONFLICT, JOB_PUT_AWAY };

/* Fills number, has_job and seen. Prints what went wrong unless `quiet`. */
enum exit_code job_get(struct job_link *link, bool quiet);

/* Replaces the record that was seen last. AWAY: nobody answered, or not the store; it may or may
 * not have been written. */
enum job_put job_put(struct job_link *link, const struct job *job);

/* user@host:pid of this process. */
void job_operator_write(char out[JOB_OPERATOR_BYTES_MAX]);

/* Whether that operator was a process of this machine, and is no more. */
bool job_operator_gone(const char *operator_id);

#endif
