#include "tests/unit/cmocka_all.h"

#include "bench/http_reply.h"

static enum http_found find(const char *text, struct http_reply *reply) {
    return http_reply_find(bytes_of_text(text), reply);
}

static void whole_replies_are_found(void **state) {
    static const char text[] = "HTTP/1.1 429 Too Many Requests\r\nServer: x\r\n"
                               "content-LENGTH:  7\r\nVary: *\r\n\r\nrefusedHTTP/1.1 200 OK\r\n";
    struct http_reply reply;
    assert_int_equal(find(text, &reply), HTTP_FOUND_REPLY);
    assert_int_equal(reply.status, 429);
    assert_true(bytes_equal(reply.body, bytes_of_text("refused")));
    assert_true(strncmp(text + reply.size, "HTTP/1.1 200", 12) == 0);
    for (uint32_t size = 0; size < reply.size; size++) { /* cut anywhere: more is needed */
        struct http_reply cut;
        assert_int_equal(http_reply_find(bytes_of(text, size), &cut), HTTP_FOUND_NONE);
    }
}

static void what_is_no_reply_is_refused(void **state) {
    static const char *const texts[] = {
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 abc OK\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n",
    };
    struct http_reply reply;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(find(texts[i], &reply), HTTP_FOUND_BAD);
    }
    static char endless[HTTP_HEAD_BYTES_MAX + 1];
    memset(endless, 'x', HTTP_HEAD_BYTES_MAX);
    memcpy(endless, "HTTP/1.1 200 OK\r\n", 17);
    assert_int_equal(find(endless, &reply), HTTP_FOUND_BAD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_replies_are_found),
        cmocka_unit_test(what_is_no_reply_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
