/* The options of `sluice-bench echo`. */
#ifndef SLUICE_BENCH_ECHO_OPTIONS_H
#define SLUICE_BENCH_ECHO_OPTIONS_H

#include "runtime/options.h"
#include "runtime/tcp_address.h"

struct echo_options {
    const char *listen;
};

extern const struct options_program echo_options_program;

/* Where to listen, in both forms. False, with what is wrong in `why`. */
bool echo_options_address(const struct echo_options *given, struct tcp_address *address,
                          struct sockaddr_storage *number, char *why, size_t why_size);

#endif
