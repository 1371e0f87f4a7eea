/* Writes a backup back into the store (docs/backup.md, decision 0026). */
#ifndef SLUICE_CTL_RESTORE_H
#define SLUICE_CTL_RESTORE_H

#include "ctl/command.h"

/* Map epochs that a restore goes ahead of every map that it knows of: more changes of the map than
 * there can have been between the backup and the loss, so that no process of that time may write
 * any more. Fences hold 4,096 restores (proto/store_keys.h). */
#define RESTORE_EPOCHS (1u << 20)

/* Prints what came of it, or what went wrong. */
enum exit_code restore_run(const struct invocation *invocation);

#endif
