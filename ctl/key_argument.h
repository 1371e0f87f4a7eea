/* A key as it stands on the command line: text, or hexadecimal digits with --hex. */
#ifndef SLUICE_CTL_KEY_ARGUMENT_H
#define SLUICE_CTL_KEY_ARGUMENT_H

#include "ctl/command.h"
#include "ctl/text.h"
#include "proto/bounds.h"

struct key_argument {
    struct bytes bytes; /* into `memory` or the command line */
    char escaped[TEXT_ESCAPED_BYTES_MAX(KEY_BYTES_MAX)];
    uint8_t memory[KEY_BYTES_MAX];
};

/* False, with the mistake printed, if `text` is no key. */
bool key_argument_read(const struct invocation *invocation, const char *text,
                       struct key_argument *key);

#endif
