/* The options of every command that moves slots. */
#ifndef SLUICE_CTL_REBALANCE_OPTIONS_H
#define SLUICE_CTL_REBALANCE_OPTIONS_H

#include "ctl/command.h"

#define REBALANCE_OPTION_ROWS                                                                      \
    {"dry-run", OPTION_DRY_RUN, 0, 0, "only show the plan", 0},                                    \
        {"yes", OPTION_YES, 0, 0, "do not ask", 0},                                                \
        {"throttle", OPTION_THROTTLE, "N", 0, "move at most N slots a second", 0},                 \
        {"batch", OPTION_BATCH, "N", 0, "slots of one handover, 1 to 64 (64)", 0}, {               \
        "resume", OPTION_RESUME, 0, 0, "take over what another operator broke off", 0              \
    }

#endif
