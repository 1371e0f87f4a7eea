/*
 * Ctrl-C as a flag that a long command looks at between its steps.
 *
 * The first SIGINT or SIGTERM sets the flag; a second one ends the program as if nothing had been
 * installed. The flag is the one global of this program: a signal handler has no other.
 */
#ifndef SLUICE_CTL_INTERRUPT_H
#define SLUICE_CTL_INTERRUPT_H

#include <stdbool.h>

void interrupt_install(void);
bool interrupt_came(void);

#endif
