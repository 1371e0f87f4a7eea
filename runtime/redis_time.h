/* The answer to TIME: [seconds, microseconds], both as text. Pure. */
#ifndef SLUICE_RUNTIME_REDIS_TIME_H
#define SLUICE_RUNTIME_REDIS_TIME_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* Seconds that a store's clock may show, less than: the year 2116. A full bucket's time lies up to
 * 73 years beyond (TOLERANCE_NS_MAX), and both together are still far from the end of 63 bits. */
#define REDIS_TIME_SECONDS_MAX (INT64_C(1) << 32)

/* Nanoseconds since 1970. False: that is no time. */
static inline bool redis_time_read(const redisReply *reply, uint64_t *ns) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING) {
        return false;
    }
    char *ends[2];
    unsigned long long seconds = strtoull(reply->element[0]->str, &ends[0], 10);
    unsigned long long micros = strtoull(reply->element[1]->str, &ends[1], 10);
    *ns = (uint64_t)seconds * UINT64_C(1000000000) + (uint64_t)micros * UINT64_C(1000);
    return ends[0] != reply->element[0]->str && *ends[0] == '\0' && *ends[1] == '\0' &&
           seconds < REDIS_TIME_SECONDS_MAX && micros < 1000000;
}

#endif
