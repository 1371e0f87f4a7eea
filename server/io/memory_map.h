/* The core's memory, straight from the system: large zeroed pieces that cost nothing until they
 * are touched. */
#ifndef SLUICE_SERVER_IO_MEMORY_MAP_H
#define SLUICE_SERVER_IO_MEMORY_MAP_H

#include "server/core/memory.h"

struct memory memory_map(void);

#endif
