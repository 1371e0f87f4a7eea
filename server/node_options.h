/* The options of sluice-node: the table of them, and what it must be told. */
#ifndef SLUICE_SERVER_NODE_OPTIONS_H
#define SLUICE_SERVER_NODE_OPTIONS_H

#include "runtime/options.h"
#include "server/io/settings.h"

extern const struct options_program node_options_program;

/* options_load into `settings` (zeroed by the caller), and what no default can say. */
enum options_outcome node_options_load(int argc, char **argv, struct node_settings *settings);

/* Frees the texts in `settings`. */
void node_options_free(struct node_settings *settings);

#endif
