/*
 * Files of backups: written beside their name and put in its place when they are whole and on disk,
 * read piece by piece. Memory for one piece. One thread.
 */
#ifndef SLUICE_CTL_BACKUP_IO_H
#define SLUICE_CTL_BACKUP_IO_H

#include <stdio.h>

#include "ctl/backup_file.h"

/* Bytes of a reason, zero included: a path and what the system says of it. */
#define BACKUP_WHY_BYTES 512

/* --- writing --- */

struct backup_out {
    const char *path; /* borrowed; "-": standard output */
    char *partial;    /* where it is written until it is whole; NULL: standard output */
    FILE *file;
    uint64_t bytes;
    uint8_t *memory; /* of one piece */
};

/* Creates FILE.partial, for its owner alone: keys are secrets. False with `why`. */
bool backup_out_open(struct backup_out *out, const char *path, char why[BACKUP_WHY_BYTES]);

/* Appends the piece of `size` bytes that stands in out->memory. */
bool backup_out_put(struct backup_out *out, uint32_t size, char why[BACKUP_WHY_BYTES]);

/* On disk, then in its place. Whatever comes of it, backup_out_close follows. */
bool backup_out_finish(struct backup_out *out, char why[BACKUP_WHY_BYTES]);

/* Removes what was not finished. */
void backup_out_close(struct backup_out *out);

/* --- reading --- */

struct backup_in {
    const char *path; /* borrowed */
    FILE *file;
    uint64_t offset; /* of the next piece */
    int32_t slot;    /* of the last piece that was read, -1: none yet */
    uint8_t *memory;
    struct backup_progress progress;
};

bool backup_in_open(struct backup_in *in, const char *path, char why[BACKUP_WHY_BYTES]);

/* From the start again, as after backup_in_open. */
bool backup_in_rewind(struct backup_in *in, char why[BACKUP_WHY_BYTES]);

/* The next piece, which borrows from `in` until the next call. False behind the end with why "", or
 * with what is wrong and where. */
bool backup_in_next(struct backup_in *in, struct backup_piece *piece, char why[BACKUP_WHY_BYTES]);

void backup_in_close(struct backup_in *in);

#endif
