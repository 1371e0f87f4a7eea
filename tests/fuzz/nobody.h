/*
 * A cluster, a store and files that are not there, for sluicectl's commands: what would open a
 * socket or a file ends here, once what was to be sent has been checked. No plans are in force.
 *
 * A request must be one that a node or router takes, but for names that they refuse themselves. The
 * linker puts some of these functions before those of sluicectl (fuzz.cmake names them).
 */
#ifndef SLUICE_TESTS_FUZZ_NOBODY_H
#define SLUICE_TESTS_FUZZ_NOBODY_H

#include "ctl/command.h"

/* Before a command runs; borrowed until nobody_asked, which says how many requests and files there
 * were. */
void nobody_expect(const struct invocation *invocation);
uint32_t nobody_asked(void);

#endif
