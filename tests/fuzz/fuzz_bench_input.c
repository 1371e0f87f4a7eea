/* What sluice-bench reads: the replies of HTTP peers, and records of grants. The first byte
 * chooses.
 */
#include "bench/bound.h"
#include "bench/http_reply.h"
#include "tests/fuzz/fuzz.h"

#define GRANTS_MAX 64

static void http_try(struct bytes input) {
    struct http_reply reply, again;
    if (http_reply_find(input, &reply) != HTTP_FOUND_REPLY) {
        return;
    }
    FUZZ_CHECK(reply.size <= input.size && reply.size <= HTTP_REPLY_BYTES_MAX);
    FUZZ_CHECK(reply.status >= 100 && reply.status <= 999);
    FUZZ_CHECK(reply.body.data + reply.body.size == input.data + reply.size);
    /* The same without what follows, and not yet whole without its last byte. */
    FUZZ_CHECK(http_reply_find(bytes_of(input.data, reply.size), &again) == HTTP_FOUND_REPLY);
    FUZZ_CHECK(again.size == reply.size && again.status == reply.status);
    FUZZ_CHECK(http_reply_find(bytes_of(input.data, reply.size - 1), &again) == HTTP_FOUND_NONE);
}

static void record_try(struct bytes input) {
    struct limit limit;
    struct grant grants[GRANTS_MAX];
    char why[256] = "";
    uint32_t count = 0;
    if (!record_head_read(input, &limit, why, sizeof why)) {
        FUZZ_CHECK(why[0] != '\0');
        return;
    }
    for (uint32_t at = RECORD_HEAD_SIZE; at + RECORD_GRANT_SIZE <= input.size && count < GRANTS_MAX;
         at += RECORD_GRANT_SIZE) {
        uint8_t again[RECORD_GRANT_SIZE];
        if (!record_grant_read(input.data + at, &grants[count], why, sizeof why)) {
            FUZZ_CHECK(why[0] != '\0');
            return;
        }
        record_grant_write(again, &grants[count++]);
        FUZZ_CHECK(memcmp(again, input.data + at, 29) == 0); /* but for what must be zeros */
    }
    struct bound_verdict verdict;
    if (limit.rate_tokens > 0) {
        FUZZ_CHECK(bound_check(grants, count, &limit, 0, &verdict));
        FUZZ_CHECK(verdict.grants == count && verdict.keys <= count);
        FUZZ_CHECK(verdict.slip_tokens <= verdict.tokens);
        FUZZ_CHECK((verdict.keys_over > 0) == (verdict.worst.excess_tokens > 0));
        FUZZ_CHECK(verdict.worst.excess_tokens <= verdict.worst.granted_tokens);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    struct bytes input = bytes_of(data + 1, size - 1);
    if (data[0] % 2 == 0) {
        http_try(input);
    } else {
        record_try(input);
    }
    return 0;
}
