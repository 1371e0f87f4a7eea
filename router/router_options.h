/* The options of sluice-router: the table of them, and what it says of the store together. */
#ifndef SLUICE_ROUTER_ROUTER_OPTIONS_H
#define SLUICE_ROUTER_ROUTER_OPTIONS_H

#include "runtime/options.h"
#include "runtime/redis_access.h"

struct router_config {
    const char *listen;
    const char *nodes;
    const char *redis; /* NULL: none */
    struct redis_access redis_access;
    const char *key_prefix;
    uint64_t pending;
    uint64_t loops;
    const char *log_level;
    bool log_json;
};

extern const struct options_program router_options_program;

/* The store of those that name one, for as long as they live. False, and why, if what they say of
 * it does not fit together. It may read a file, as redis_access_check. */
bool router_options_access(const struct router_config *given, struct redis_access *access,
                           char *why, size_t why_size);

#endif
