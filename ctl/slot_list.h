/* Slots as they stand on the command line: "0-99,200". Pure. */
#ifndef SLUICE_CTL_SLOT_LIST_H
#define SLUICE_CTL_SLOT_LIST_H

#include "ctl/backup_file.h"

/* False with what is wrong in `why`. NULL: all of them. */
bool slot_list_parse(const char *text, uint32_t slot_count, struct slot_set *slots, char *why,
                     size_t why_size);

uint32_t slot_set_count(const struct slot_set *slots);

#endif
