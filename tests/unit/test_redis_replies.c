/* Replies in memory that is used again: the same as hiredis's own, however they arrive. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/redis_replies.h"
#include "runtime/redis_time.h"
#include "tests/unit/cmocka_all.h"

/* Every kind of reply, empty and nested ones, and some that are cut anywhere. */
static const char *const texts[] = {
    "+OK\r\n",
    "-ERR no\r\n",
    ":-12\r\n",
    "$0\r\n\r\n",
    "$5\r\na\0\r\nb\r\n",
    "$-1\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*2\r\n$2\r\n17\r\n*4\r\n$1\r\na\r\n$3\r\nxyz\r\n$1\r\nb\r\n$0\r\n\r\n",
    "*3\r\n:1\r\n$-1\r\n*2\r\n+OK\r\n*0\r\n",
};

static size_t text_size(const char *text) {
    return strcmp(text, "$5\r\na") == 0 ? sizeof "$5\r\na\0\r\nb\r\n" - 1 : strlen(text);
}

static void assert_same(const redisReply *reply, const redisReply *expected) {
    assert_int_equal(reply->type, expected->type);
    assert_int_equal(reply->integer, expected->integer);
    assert_int_equal(reply->elements, expected->elements);
    if (expected->str != NULL) {
        assert_int_equal(reply->len, expected->len);
        assert_memory_equal(reply->str, expected->str, expected->len + 1);
    } else {
        assert_null(reply->str);
    }
    for (size_t i = 0; i < expected->elements; i++) {
        assert_same(reply->element[i], expected->element[i]);
    }
}

static redisReply *read_whole(redisReader *reader, const char *bytes, size_t size) {
    void *reply = NULL;
    assert_int_equal(redisReaderFeed(reader, bytes, size), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    return reply;
}

static void the_same_as_hiredis_in_chunks_of_any_size(void **state) {
    struct redis_replies replies = {0};
    redisReader *own = redisReaderCreate(), *reader = redisReaderCreate();
    redis_replies_use(&replies, reader, NULL);
    for (size_t chunk = 1; chunk < 40; chunk++) {
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            size_t size = text_size(texts[i]);
            redisReply *expected = read_whole(own, texts[i], size);
            void *reply = NULL;
            for (size_t at = 0; at < size; at += chunk) {
                assert_null(reply);
                redisReaderFeed(reader, texts[i] + at, chunk < size - at ? chunk : size - at);
                assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
            }
            assert_non_null(reply);
            assert_same(reply, expected);
            reader->fn->freeObject(reply);
            freeReplyObject(expected);
        }
    }
    redisReaderFree(own);
    redisReaderFree(reader);
    redis_replies_fini(&replies);
}

/* A page of strings; returns its bytes. */
static size_t page_write(char *out, size_t strings, size_t string_size) {
    size_t size = (size_t)sprintf(out, "*%zu\r\n", strings);
    for (size_t i = 0; i < strings; i++) {
        size += (size_t)sprintf(out + size, "$%zu\r\n", string_size);
        memset(out + size, 'a' + (char)(i % 26), string_size);
        memcpy(out + size + string_size, "\r\n", 2);
        size += string_size + 2;
    }
    return size;
}

static void large_ones_fit_and_memory_is_used_again(void **state) {
    enum { ROOM = 4 << 20 };
    static const size_t shapes[][2] = {{1000, 20}, {1, 3 << 20}, {10000, 200}, {1000, 20}, {0, 0}};
    char *bytes = malloc(ROOM);
    struct redis_replies replies = {0};
    redisReader *own = redisReaderCreate(), *reader = redisReaderCreate();
    assert_non_null(bytes);
    redis_replies_use(&replies, reader, NULL);
    const redisReply *first = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t size = page_write(bytes, shapes[i][0], shapes[i][1]);
        redisReply *reply = read_whole(reader, bytes, size);
        redisReply *expected = read_whole(own, bytes, size);
        assert_same(reply, expected);
        assert_true(first == NULL || reply == first); /* the piece that is kept */
        first = reply;
        reader->fn->freeObject(reply);
        freeReplyObject(expected);
    }
    free(bytes);
    redisReaderFree(own);
    redisReaderFree(reader);
    redis_replies_fini(&replies);
}

/* A connection that ends in the middle of a reply, and the next one. */
static void a_reader_may_end_anywhere(void **state) {
    struct redis_replies replies = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (size_t size = 0; size < text_size(texts[i]); size++) {
            void *reply = NULL;
            redisReader *reader = redisReaderCreate();
            redis_replies_use(&replies, reader, NULL);
            redisReaderFeed(reader, texts[i], size);
            assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
            assert_null(reply);
            if (size % 2 == 0) {
                redisReaderFree(reader);
                continue;
            }
            redis_replies_fini(&replies); /* a link that is closed goes before its reader */
            redisReaderFree(reader);
        }
    }
    redis_replies_fini(&replies);
}

/* Of protocol 3, which we do not ask for: each is a reply like the others, alone and within one. */
static void numbers_and_truths_of_another_protocol(void **state) {
#if HIREDIS_MAJOR > 0
    static const char *const foreign[] = {",1.5\r\n",           "#t\r\n",
                                          "(123\r\n",           "=5\r\ntxt:a\r\n",
                                          "*2\r\n,2\r\n#f\r\n", "%1\r\n#t\r\n,3\r\n"};
    struct redis_replies replies = {0};
    redisReader *reader = redisReaderCreate();
    redis_replies_use(&replies, reader, NULL);
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        const redisReply *reply = read_whole(reader, foreign[i], strlen(foreign[i]));
        for (size_t j = 0; j < reply->elements; j++) {
            bool is_truth = reply->element[j]->type == REDIS_REPLY_BOOL;
            assert_int_equal(is_truth, reply->element[j]->str == NULL);
        }
    }
    redisReaderFree(reader);
    redis_replies_fini(&replies);
#endif
}

static void refused(const char *text, size_t *wanted, const char *why) {
    struct redis_replies replies = {0};
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    redis_replies_use(&replies, reader, wanted);
    redisReaderFeed(reader, text, strlen(text));
    while (redisReaderGetReply(reader, &reply) == REDIS_OK) {
        assert_non_null(reply);
    }
    assert_non_null(replies.refused);
    assert_non_null(strstr(replies.refused, why));
    assert_true(replies.bytes <= REDIS_REPLY_BYTES_MAX);
    redisReaderFree(reader);
    redis_replies_fini(&replies);
}

static void what_an_array_says_of_itself_is_not_believed(void **state) {
    size_t wanted = 9;
    refused("*2000000000\r\n", &wanted, "256 MiB");
    refused("*30000000\r\n*30000000\r\n", &wanted, "256 MiB");
}

static void each_reply_is_asked_for(void **state) {
    size_t wanted = 2;
    refused("+a\r\n*2\r\n+b\r\n+c\r\n+d\r\n", &wanted, "nobody asked for");
    assert_int_equal(wanted, 0);
}

/* A server that has no room for another client says so before it is asked anything. */
static void an_error_needs_no_question(void **state) {
    struct redis_replies replies = {0};
    redisReader *reader = redisReaderCreate();
    size_t wanted = 0;
    redis_replies_use(&replies, reader, &wanted);
    const redisReply *reply = read_whole(reader, "-ERR max\r\n", 10);
    assert_int_equal(reply->type, REDIS_REPLY_ERROR);
    assert_null(replies.refused);
    redisReaderFree(reader);
    redis_replies_fini(&replies);
}

static void a_time_is_two_numbers(void **state) {
    static const char *const none[] = {
        "$1\r\n1\r\n",
        "*1\r\n$1\r\n1\r\n",
        "*2\r\n$-1\r\n$1\r\n1\r\n",
        "*2\r\n:1\r\n:1\r\n",
        "*2\r\n$1\r\nx\r\n$1\r\n1\r\n",
        "*2\r\n$1\r\n1\r\n$7\r\n1000000\r\n",
        "*2\r\n$10\r\n4294967296\r\n$1\r\n0\r\n",
        "*2\r\n$2\r\n-1\r\n$1\r\n0\r\n",
    };
    redisReader *reader = redisReaderCreate();
    uint64_t ns;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        redisReply *reply = read_whole(reader, none[i], strlen(none[i]));
        assert_false(redis_time_read(reply, &ns));
        freeReplyObject(reply);
    }
    static const char text[] = "*2\r\n$10\r\n4294967295\r\n$6\r\n999999\r\n";
    redisReply *reply = read_whole(reader, text, strlen(text));
    assert_true(redis_time_read(reply, &ns));
    assert_int_equal(ns, UINT64_C(4294967295999999000));
    freeReplyObject(reply);
    redisReaderFree(reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_as_hiredis_in_chunks_of_any_size),
        cmocka_unit_test(large_ones_fit_and_memory_is_used_again),
        cmocka_unit_test(a_reader_may_end_anywhere),
        cmocka_unit_test(numbers_and_truths_of_another_protocol),
        cmocka_unit_test(what_an_array_says_of_itself_is_not_believed),
        cmocka_unit_test(each_reply_is_asked_for),
        cmocka_unit_test(an_error_needs_no_question),
        cmocka_unit_test(a_time_is_two_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
