/* Writes a backup back into the store (docs/backup.md, decision 0026). */
#ifndef SLUICE_CTL_RESTORE_H
#define SLUICE_CTL_RESTORE_H

#include "ctl/command.h"

/* Prints what came of it, or what went wrong. */
enum exit_code restore_run(const struct invocation *invocation);

#endif
