/*
 * The options by which a program is told how to get into Redis, the same words for all of them.
 * They fill in a struct redis_access of the program's settings; redis_access_check finishes it.
 */
#ifndef SLUICE_RUNTIME_REDIS_OPTIONS_H
#define SLUICE_RUNTIME_REDIS_OPTIONS_H

#include "runtime/options.h"
#include "runtime/redis_access.h"

/* `at`: the offset of the struct redis_access in the settings. */
#define REDIS_ACCESS_OPTIONS(at)                                                                   \
    {.name = "redis_password",                                                                     \
     .kind = OPTION_TEXT,                                                                          \
     .offset = (at) + offsetof(struct redis_access, password),                                     \
     .secret = true,                                                                               \
     .help = "Redis's password."},                                                                 \
        {.name = "redis_password_file",                                                            \
         .kind = OPTION_TEXT,                                                                      \
         .offset = (at) + offsetof(struct redis_access, password_file),                            \
         .metavar = "FILE",                                                                        \
         .help = "A file that holds Redis's password and nothing else; read again at each "        \
                 "login."},                                                                        \
        {.name = "redis_sentinel_password",                                                        \
         .kind = OPTION_TEXT,                                                                      \
         .offset = (at) + offsetof(struct redis_access, sentinel_password),                        \
         .secret = true,                                                                           \
         .help = "The sentinels' password, if they want one."},                                    \
        {.name = "redis_ca",                                                                       \
         .kind = OPTION_TEXT,                                                                      \
         .offset = (at) + offsetof(struct redis_access, tls.ca),                                   \
         .metavar = "FILE",                                                                        \
         .help = "Whose certificates to believe, for rediss:// (default: the system's "            \
                 "authorities)."},                                                                 \
        {.name = "redis_cert",                                                                     \
         .kind = OPTION_TEXT,                                                                      \
         .offset = (at) + offsetof(struct redis_access, tls.cert),                                 \
         .metavar = "FILE",                                                                        \
         .help = "The certificate to show to Redis, with its chain."},                             \
        {.name = "redis_key",                                                                      \
         .kind = OPTION_TEXT,                                                                      \
         .offset = (at) + offsetof(struct redis_access, tls.key),                                  \
         .metavar = "FILE",                                                                        \
         .help = "The key of that certificate."},                                                  \
    {                                                                                              \
        .name = "redis_server_name", .kind = OPTION_TEXT,                                          \
        .offset = (at) + offsetof(struct redis_access, tls.server_name), .metavar = "NAME",        \
        .help = "Whom Redis's certificate must name, if not the host of --redis."                  \
    }

/* A check of --redis. */
bool redis_url_check(const char *text, char *why, size_t why_size);

#endif
