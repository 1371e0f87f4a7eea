/*
 * A list of URLs as it stands in an option: "tcp://127.0.0.1:7590,tcp://127.0.0.1:7690".
 */
#ifndef SLUICE_ROUTER_IO_URL_LIST_H
#define SLUICE_ROUTER_IO_URL_LIST_H

#include "proto/map.h"

/* URLs of one option. Arbitrary, but safe: three seeds are plenty. */
#define URL_LIST_MAX 16

struct url_list {
    uint32_t count;
    struct endpoint_name urls[URL_LIST_MAX];
};

/* False with the reason in `why`: an empty list or part, too many, no scheme. */
bool url_list_parse(const char *text, struct url_list *list, char *why, size_t why_size);

#endif
