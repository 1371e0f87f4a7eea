#include "bench/echo_options.h"

#include <stdio.h>

static const struct option options[] = {
    {.name = "listen",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct echo_options, listen),
     .initial = "tcp://127.0.0.1:7599",
     .metavar = "URL",
     .help = "Where callers come in. Port 0: a free one, which is printed."},
};

const struct options_program echo_options_program = {
    .name = "sluice-bench echo",
    .summary = "Answers every request with itself, until interrupted.",
    .examples = "  sluice-bench echo &\n"
                "  sluice-bench load --protocol echo --target tcp://127.0.0.1:7599\n",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

bool echo_options_address(const struct echo_options *given, struct tcp_address *address,
                          struct sockaddr_storage *number, char *why, size_t why_size) {
    if (!tcp_address_parse(given->listen, address, why, why_size)) {
        return false;
    }
    if (!tcp_address_numeric(address, number)) {
        snprintf(why, why_size, "%s: give the host as a number", given->listen);
        return false;
    }
    return true;
}
