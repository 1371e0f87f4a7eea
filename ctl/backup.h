/* Reads a cluster's store into a file (docs/backup.md), and looks whether a file is whole. */
#ifndef SLUICE_CTL_BACKUP_H
#define SLUICE_CTL_BACKUP_H

#include "ctl/command.h"

/* Prints what came of it, or what went wrong. */
enum exit_code backup_take(const struct invocation *invocation);

/* Reads the file to its end; asks no store. */
enum exit_code backup_verify(const struct invocation *invocation);

#endif
