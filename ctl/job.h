/*
 * The record of the rebalance under way, kept by the cluster for all operators.
 *
 *     RUNNING --> CANCELLING --> CANCELLED
 *        |             `-------> DONE, FAILED
 *        `--> DONE, FAILED, CANCELLED
 *
 * Whoever runs it writes at least every second; one that has not been written for JOB_STALE_MS has
 * lost its operator. Pure: the bytes travel elsewhere (job_link.h). Unknown members are skipped.
 */
#ifndef SLUICE_CTL_JOB_H
#define SLUICE_CTL_JOB_H

#include "proto/reader.h"
#include "proto/writer.h"

/* Milliseconds without a word after which a job's operator is taken for dead: longer than one
 * request may take by default (5 s) and the second between updates. */
#define JOB_STALE_MS 10000

/* Milliseconds between updates. */
#define JOB_UPDATE_MS 1000

/* Bytes of an operator's id (user@host:pid), and of what a job does, zero included. */
#define JOB_OPERATOR_BYTES_MAX 160
#define JOB_BY_BYTES_MAX 96

/* Bytes of a written record: every member at its longest. */
#define JOB_BYTES_MAX 512

/* X(name, text) */
#define JOB_STATES(X)                                                                              \
    X(RUNNING, "running")                                                                          \
    X(CANCELLING, "cancelling")                                                                    \
    X(DONE, "done")                                                                                \
    X(CANCELLED, "cancelled")                                                                      \
    X(FAILED, "failed")

enum job_state {
#define X(name, text) JOB_##name,
    JOB_STATES(X)
#undef X
};

struct job {
    char operator_id[JOB_OPERATOR_BYTES_MAX];
    char by[JOB_BY_BYTES_MAX]; /* "slots", "load", "drain n2", ... */
    enum job_state state;
    uint64_t started_ms; /* since 1970 */
    uint64_t updated_ms;
    uint64_t total_slots;
    uint64_t done_slots;
};

const char *job_state_text(enum job_state state);

void job_write(struct writer *writer, const struct job *job);

/* False if the value is no job. */
bool job_read(struct bytes value, struct job *job);

/* Somebody is at it, or was when the operator was lost. */
bool job_open(const struct job *job);

/* Open, but not written for JOB_STALE_MS. */
bool job_stale(const struct job *job, uint64_t now_ms);

/* The same run of the same operator. */
bool job_same(const struct job *a, const struct job *b);

#endif
