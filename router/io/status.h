/*
 * What a router tells of itself: the results of cluster.status and cluster.map.
 */
#ifndef SLUICE_ROUTER_IO_STATUS_H
#define SLUICE_ROUTER_IO_STATUS_H

#include "proto/writer.h"

struct router_shell;

/* {"program", "version", "epoch", "slots", "plans_version", "links", "counters"} */
void status_write(const struct router_shell *shell, struct writer *writer);

/* The view as it was learned; false, and nothing written, if there is none yet. */
bool status_view_write(const struct router_shell *shell, struct writer *writer);

#endif
