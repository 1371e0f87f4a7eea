/*
 * The command line of sluicectl: words in, a command and what it is to work on out.
 *
 * Ends no program, keeps nothing from one call to the next, and opens nothing. What is read borrows
 * from the words, which are put in another order; they must outlive the invocation. One thread.
 */
#ifndef SLUICE_CTL_COMMAND_LINE_H
#define SLUICE_CTL_COMMAND_LINE_H

#include "ctl/command.h"

/* Options of one command with the global ones, at most, and commands of all families. */
#define OPTION_ROWS_MAX 24
#define COMMANDS_MAX 32

/* The defaults, and what the environment says instead: borrowed from it. */
struct invocation invocation_of_environment(void);

/* Finds the command by its words, and fills in what its options and arguments say; `invocation`
 * holds what counts unless they do. NULL if there is nothing to run: help, the version or what is
 * wrong has been printed, and *code is what the shell gets. */
const struct command *command_line_read(int argc, char **argv, struct invocation *invocation,
                                        enum exit_code *code);

/* Every command there is; how many. */
uint32_t commands_all(const struct command *out[COMMANDS_MAX]);

/* "slot move": the words that name it. `out` has room for any command's. */
#define COMMAND_WORDS_BYTES 64
void command_words(const struct command *command, char out[COMMAND_WORDS_BYTES]);

#endif
