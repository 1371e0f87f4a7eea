/*
 * TLS on a connection to Redis: TLS 1.2 or newer, the server's certificate checked against the
 * authorities and against the server's name, our own shown if there is one.
 *
 * Needs hiredis 1.0 or newer with hiredis_ssl. A build without it says so.
 */
#ifndef SLUICE_RUNTIME_REDIS_TLS_H
#define SLUICE_RUNTIME_REDIS_TLS_H

#include <hiredis/hiredis.h>

#include "runtime/redis_access.h"

struct redis_tls;

/* Whether this build can do it; if not, `why` says what it lacks. */
bool redis_tls_available(char *why, size_t why_size);

/* Begins on a connection that is being established, before anything is sent. The files are read:
 * for that long it blocks. `host` is whom the certificate must name, unless `files` says otherwise.
 * NULL with `why`. */
struct redis_tls *redis_tls_begin(redisContext *connection, const struct redis_tls_files *files,
                                  const char *host, char *why, size_t why_size);

/* When the connection is about to end, and still readable; `answered`: Redis has said something on
 * it. `why` gets what TLS has to say of it;
 * empty if TLS was not the matter. */
void redis_tls_end(struct redis_tls *tls, bool answered, char *why, size_t why_size);

#endif
