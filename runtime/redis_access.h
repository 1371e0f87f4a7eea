/*
 * How to get into Redis: where it is, who we are, and what TLS needs. Read-only once made, so all
 * links of a process share one, whatever threads they belong to.
 *
 * What is in files is read again before each attempt: a password or a certificate that is renewed
 * while the program runs counts from the next connection on.
 */
#ifndef SLUICE_RUNTIME_REDIS_ACCESS_H
#define SLUICE_RUNTIME_REDIS_ACCESS_H

#include "runtime/redis_address.h"

/* Bytes of a password, zero not included: no password manager makes longer ones. */
#define REDIS_PASSWORD_BYTES_MAX 1024

/* Files in PEM; NULL: none. */
struct redis_tls_files {
    const char *ca;   /* NULL: the authorities that the system trusts */
    const char *cert; /* ours, with its chain */
    const char *key;
    const char *server_name; /* that the server's certificate is for; NULL: the host of the URL */
};

/* Everything is borrowed from who fills it in, for the life of all that use it. */
struct redis_access {
    struct redis_address address;
    const char *password;          /* NULL or empty: none */
    const char *password_file;     /* NULL: none. Wins over `password` */
    const char *sentinel_password; /* what sentinels want, if they want any */
    struct redis_tls_files tls;    /* used if address.tls */
    bool any_role;                 /* a server that is no master will do: it is only asked */
    uint16_t slot;                 /* of a cluster: a link leads to the master that serves it */
};

/* Fills `password` with what to log in with now, perhaps the empty text; the caller wipes it. False
 * with the reason, which holds no secret. Reads a file, if it is in one: for that long it blocks.
 */
bool redis_access_password(const struct redis_access *access,
                           char password[REDIS_PASSWORD_BYTES_MAX + 1], char *why, size_t why_size);

/* Fills in the address that a program's --redis names, and checks what its other --redis-...
 * options have filled in. False with the reason, which names the option. As above, it may read a
 * file. */
bool redis_access_check(struct redis_access *access, const char *url, char *why, size_t why_size);

#endif
