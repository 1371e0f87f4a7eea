#include "server/io/node_address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/io/boot.h"

bool node_listen_url(const char *base, uint32_t number, char *url, size_t size, char *why) {
    const char *colon = strrchr(base, ':');
    char *end = NULL;
    long port = colon != NULL ? strtol(colon + 1, &end, 10) : -1;
    if (strncmp(base, "tcp://", 6) != 0 || end == colon + 1 || end == NULL || *end != '\0' ||
        port < 0 || (port > 0 && port + number > 65535)) {
        snprintf(why, BOOT_WHY_BYTES,
                 "--listen: expected tcp://HOST:PORT with room for all shards above PORT, got %s",
                 base);
        return false;
    }
    snprintf(url, size, "%.*s:%ld", (int)(colon - base), base, port == 0 ? 0 : port + number);
    return true;
}

bool node_advertised_url(const struct node_settings *settings, const char *bound,
                         struct endpoint_name *name, char *why) {
    const char *port = strrchr(bound, ':');
    char url[ENDPOINT_BYTES_MAX + 64];
    snprintf(url, sizeof url, "%s", bound);
    if (settings->advertise_host != NULL) {
        snprintf(url, sizeof url, "tcp://%s%s", settings->advertise_host, port);
    } else if (strstr(bound, "//0.0.0.0:") != NULL || strstr(bound, "//[::]:") != NULL) {
        snprintf(why, BOOT_WHY_BYTES,
                 "%s cannot be dialled by others: say under which host they reach this node with "
                 "--advertise-host HOST",
                 bound);
        return false;
    }
    if (!endpoint_name_set(name, bytes_of_text(url))) {
        snprintf(why, BOOT_WHY_BYTES, "--advertise-host: %s is too long", url);
        return false;
    }
    return true;
}
