#include "runtime/tcp_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TCP_SCHEME "tcp://"

static bool port_parse(const char *text, uint16_t *port) {
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    unsigned long value = strtoul(text, NULL, 10);
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

bool tcp_address_parse(const char *url, struct tcp_address *address, char *why, size_t why_size) {
    const char *wrong = NULL;
    const char *host = url + strlen(TCP_SCHEME);
    const char *host_end = NULL, *port = NULL;
    memset(address, 0, sizeof *address);
    if (strncmp(url, TCP_SCHEME, strlen(TCP_SCHEME)) != 0) {
        wrong = "the scheme is not tcp://";
    } else if (host[0] == '[') {
        host++;
        host_end = strchr(host, ']');
        port = host_end != NULL && host_end[1] == ':' ? host_end + 2 : NULL;
    } else {
        host_end = strchr(host, ':');
        port = host_end != NULL ? host_end + 1 : NULL;
    }
    if (wrong == NULL && port == NULL)
        wrong = "the port is missing";
    else if (wrong == NULL && host_end == host)
        wrong = "the host is missing (* listens on every address)";
    else if (wrong == NULL && (size_t)(host_end - host) >= sizeof address->host)
        wrong = "the host is too long";
    else if (wrong == NULL && strcspn(host, "[]") < (size_t)(host_end - host))
        wrong = "the host has a bracket in it";
    else if (wrong == NULL && !port_parse(port, &address->port))
        wrong = "the port is not a number from 0 to 65535 (an IPv6 address needs brackets)";
    if (wrong != NULL) {
        snprintf(why, why_size, "\"%.300s\": %s; expected for example tcp://127.0.0.1:7500", url,
                 wrong);
        return false;
    }
    memcpy(address->host, host, (size_t)(host_end - host));
    return true;
}

void tcp_address_format(const struct tcp_address *address, char url[TCP_URL_BYTES_MAX]) {
    bool brackets = strchr(address->host, ':') != NULL;
    snprintf(url, TCP_URL_BYTES_MAX, TCP_SCHEME "%s%s%s:%u", brackets ? "[" : "", address->host,
             brackets ? "]" : "", (unsigned)address->port);
}

bool tcp_address_numeric(const struct tcp_address *address, struct sockaddr_storage *out) {
    memset(out, 0, sizeof *out);
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    if (strcmp(address->host, "*") == 0 || inet_pton(AF_INET, address->host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(address->port);
        return true;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    if (inet_pton(AF_INET6, address->host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(address->port);
        return true;
    }
    return false;
}

uint16_t tcp_port_of(const struct sockaddr *address) {
    if (address->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

bool tcp_is_loopback_v4(const uint8_t address[4]) {
    return address[0] == 127;
}

bool tcp_is_loopback_v6(const uint8_t address[16]) {
    static const uint8_t own[16] = {[15] = 1};
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(address, mapped, sizeof mapped) == 0)
        return tcp_is_loopback_v4(address + sizeof mapped);
    return memcmp(address, own, sizeof own) == 0;
}

bool tcp_is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        return tcp_is_loopback_v4((const uint8_t *)&v4->sin_addr);
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        return tcp_is_loopback_v6(v6->sin6_addr.s6_addr);
    }
    return false;
}
