#include "runtime/redis_access.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/redis_options.h"
#include "runtime/redis_tls.h"

/* Bytes of a reason before its option is named. */
#define REDIS_ACCESS_WHY_BYTES 480

static bool file_read(const char *path, char password[REDIS_PASSWORD_BYTES_MAX + 1], char *why,
                      size_t why_size) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        snprintf(why, why_size, "cannot read the password file %s: %s", path, strerror(errno));
        return false;
    }
    char text[REDIS_PASSWORD_BYTES_MAX + 3];
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    bool good = size > 0 && size <= REDIS_PASSWORD_BYTES_MAX && memchr(text, '\0', size) == NULL;
    if (good) {
        memcpy(password, text, size);
        password[size] = '\0';
    } else {
        snprintf(why, why_size,
                 "the password file %s is empty or longer than %d bytes; it holds the password "
                 "and nothing else",
                 path, REDIS_PASSWORD_BYTES_MAX);
    }
    explicit_bzero(text, sizeof text);
    return good;
}

bool redis_access_password(const struct redis_access *access,
                           char password[REDIS_PASSWORD_BYTES_MAX + 1], char *why,
                           size_t why_size) {
    password[0] = '\0';
    if (access->password_file != NULL)
        return file_read(access->password_file, password, why, why_size);
    if (access->password == NULL)
        return true;
    if (strlen(access->password) > REDIS_PASSWORD_BYTES_MAX) {
        snprintf(why, why_size, "the password is longer than %d bytes", REDIS_PASSWORD_BYTES_MAX);
        return false;
    }
    memcpy(password, access->password, strlen(access->password) + 1);
    return true;
}

bool redis_access_check(struct redis_access *access, const char *url, char *why, size_t why_size) {
    char reason[REDIS_ACCESS_WHY_BYTES], password[REDIS_PASSWORD_BYTES_MAX + 1];
    bool has_files = access->tls.ca != NULL || access->tls.cert != NULL ||
                     access->tls.key != NULL || access->tls.server_name != NULL;
    if (!redis_address_parse(url, &access->address, reason, sizeof reason) ||
        (access->address.tls && !redis_tls_available(reason, sizeof reason))) {
        snprintf(why, why_size, "--redis: %s", reason);
        return false;
    }
    if (has_files && !access->address.tls) {
        snprintf(why, why_size,
                 "--redis-ca, --redis-cert, --redis-key and --redis-server-name are for TLS, and "
                 "--redis does not ask for it: rediss://");
        return false;
    }
    if ((access->tls.cert == NULL) != (access->tls.key == NULL)) {
        snprintf(why, why_size, "--redis-cert and --redis-key go together: give both");
        return false;
    }
    bool known = redis_access_password(access, password, reason, sizeof reason);
    explicit_bzero(password, sizeof password);
    if (!known) {
        snprintf(why, why_size, "--redis-password-file: %s", reason);
    }
    return known;
}

bool redis_url_check(const char *text, char *why, size_t why_size) {
    struct redis_address address;
    return redis_address_parse(text, &address, why, why_size);
}
