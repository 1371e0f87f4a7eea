/*
 * Where a node listens, and what it tells others to dial. Pure; failures are explained in `why`,
 * which has BOOT_WHY_BYTES.
 */
#ifndef SLUICE_SERVER_IO_NODE_ADDRESS_H
#define SLUICE_SERVER_IO_NODE_ADDRESS_H

#include "proto/map.h"
#include "server/io/settings.h"

/* The URL of a shard: "tcp://host:port" with its number added to the port; port 0 stays 0. */
bool node_listen_url(const char *base, uint32_t number, char *url, size_t size, char *why);

/* The URL to be dialled by others: the bound one, with the advertised host if there is one. */
bool node_advertised_url(const struct node_settings *settings, const char *bound,
                         struct endpoint_name *name, char *why);

#endif
