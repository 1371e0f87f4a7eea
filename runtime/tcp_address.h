/*
 * "tcp://host:port" taken apart and put together, for endpoints and links alike.
 * Pure text, but for the resolver, which may block: only at start.
 */
#ifndef SLUICE_RUNTIME_TCP_ADDRESS_H
#define SLUICE_RUNTIME_TCP_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Bytes of a host name, and of an address of the form "tcp://[host]:port", zeros included. */
#define TCP_HOST_BYTES_MAX 254
#define TCP_URL_BYTES_MAX (TCP_HOST_BYTES_MAX + 16)

struct tcp_address {
    char host[TCP_HOST_BYTES_MAX]; /* IPv4, IPv6 without its brackets, a name, or "*" */
    uint16_t port;
};

/* False with the reason and an example in `why`. */
bool tcp_address_parse(const char *url, struct tcp_address *address, char *why, size_t why_size);

void tcp_address_format(const struct tcp_address *address, char url[TCP_URL_BYTES_MAX]);

/* True if the host is a number ("*" is every IPv4 address): nothing needs resolving. */
bool tcp_address_numeric(const struct tcp_address *address, struct sockaddr_storage *out);

uint16_t tcp_port_of(const struct sockaddr *address);

/* 127.0.0.0/8, ::1, or the former written as IPv6; and the raw forms, in network order. */
bool tcp_is_loopback(const struct sockaddr *address);
bool tcp_is_loopback_v4(const uint8_t address[4]);
bool tcp_is_loopback_v6(const uint8_t address[16]);

#endif
