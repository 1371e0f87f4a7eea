#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#include "runtime/mailbox.h"
#include "tests/unit/loop_wait.h"

#define PUTTERS 4
#define MESSAGES_EACH 20000

struct message {
    uint32_t putter, number;
};

struct reader {
    uv_loop_t loop;
    struct mailbox *mailbox;
    uint32_t next[PUTTERS];
    uint64_t count;
    uint64_t stop_after; /* closes the mailbox itself then; 0: never */
    bool out_of_order;
};

static uint32_t discarded;

static void message_discard(void *message) {
    free(message);
    discarded++;
}

static void on_message(void *ctx, void *data) {
    struct reader *reader = ctx;
    struct message *message = data;
    reader->out_of_order |= message->number != reader->next[message->putter]++;
    free(message);
    if (++reader->count == reader->stop_after)
        mailbox_close(reader->mailbox, message_discard);
}

static void reader_init(struct reader *reader, uint32_t capacity) {
    *reader = (struct reader){0};
    discarded = 0;
    uv_loop_init(&reader->loop);
    reader->mailbox = mailbox_create(&reader->loop, capacity, on_message, reader);
    assert_non_null(reader->mailbox);
}

static void reader_fini(struct reader *reader) {
    uv_run(&reader->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&reader->loop), 0);
}

static bool put(struct mailbox *mailbox, uint32_t putter, uint32_t number) {
    struct message *message = malloc(sizeof *message);
    *message = (struct message){putter, number};
    bool room = mailbox_put(mailbox, message);
    if (!room)
        free(message);
    return room;
}

struct putter {
    struct mailbox *mailbox;
    uint32_t index;
    uint64_t refused;
};

static void putter_run(void *arg) {
    struct putter *putter = arg;
    for (uint32_t i = 0; i < MESSAGES_EACH; i++) {
        while (!put(putter->mailbox, putter->index, i)) {
            putter->refused++;
            uv_sleep(0);
        }
    }
}

static bool all_arrived(void *ctx) {
    return ((struct reader *)ctx)->count == (uint64_t)PUTTERS * MESSAGES_EACH;
}

static void each_message_arrives_once_in_its_putters_order(void **state) {
    struct reader reader;
    uv_thread_t threads[PUTTERS];
    struct putter putters[PUTTERS];
    reader_init(&reader, 64);
    for (uint32_t i = 0; i < PUTTERS; i++) {
        putters[i] = (struct putter){.mailbox = reader.mailbox, .index = i};
        uv_thread_create(&threads[i], putter_run, &putters[i]);
    }
    assert_true(loop_wait(&reader.loop, all_arrived, &reader));
    for (uint32_t i = 0; i < PUTTERS; i++)
        uv_thread_join(&threads[i]);
    assert_false(reader.out_of_order);
    mailbox_close(reader.mailbox, message_discard);
    reader_fini(&reader);
    assert_int_equal(discarded, 0);
}

static void full_is_an_answer(void **state) {
    struct reader reader;
    reader_init(&reader, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(put(reader.mailbox, 0, i));
    assert_false(put(reader.mailbox, 0, 3));
    uv_run(&reader.loop, UV_RUN_NOWAIT);
    assert_int_equal(reader.count, 3);
    assert_true(put(reader.mailbox, 0, 3));
    mailbox_close(reader.mailbox, message_discard);
    reader_fini(&reader);
    assert_int_equal(discarded, 1);
    assert_int_equal(reader.count, 3);
}

static void a_full_mailbox_does_not_starve_its_loop(void **state) {
    struct reader reader;
    reader_init(&reader, 10000);
    for (uint32_t i = 0; i < 10000; i++)
        assert_true(put(reader.mailbox, 0, i));
    uv_run(&reader.loop, UV_RUN_NOWAIT);
    assert_in_range(reader.count, 1, 1000);
    for (int i = 0; i < 10000 && reader.count < 10000; i++)
        uv_run(&reader.loop, UV_RUN_ONCE); /* and needs nobody to wake it again */
    assert_int_equal(reader.count, 10000);
    mailbox_close(reader.mailbox, NULL);
    reader_fini(&reader);
}

static void a_handler_may_close_its_mailbox(void **state) {
    struct reader reader;
    reader_init(&reader, 10);
    reader.stop_after = 4;
    for (uint32_t i = 0; i < 10; i++)
        put(reader.mailbox, 0, i);
    reader_fini(&reader);
    assert_int_equal(reader.count, 4);
    assert_int_equal(discarded, 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_message_arrives_once_in_its_putters_order),
        cmocka_unit_test(full_is_an_answer),
        cmocka_unit_test(a_full_mailbox_does_not_starve_its_loop),
        cmocka_unit_test(a_handler_may_close_its_mailbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
