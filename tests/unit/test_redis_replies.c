/* Replies in memory that is used again: the same as hiredis's own, however they arrive. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/redis_replies.h"
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
    redis_replies_use(&replies, reader);
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
    redis_replies_use(&replies, reader);
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
            redis_replies_use(&replies, reader);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_as_hiredis_in_chunks_of_any_size),
        cmocka_unit_test(large_ones_fit_and_memory_is_used_again),
        cmocka_unit_test(a_reader_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
