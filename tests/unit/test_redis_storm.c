/* Many links to one Redis: when it goes and comes back they do not knock all at once, and one that
 * is thrown out as soon as it is let in knocks ever more slowly. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/redis_fixture.h"

/* As many as the largest node has shards. */
#define LINKS 256

/* Milliseconds that Redis is away: until the back-off of each has nearly reached its end. */
#define AWAY_MS 1500

/* Milliseconds of one column when comings are counted, and how many of the links may come in one.
 * Spread evenly over the half second that the last back-off varies by, a twentieth would; the rest
 * is for a busy machine on which this loop stands still. */
#define COLUMN_MS 25
#define COLUMN_LINKS_MAX (LINKS / 2)

#define COLUMNS (3 * REDIS_RETRY_LAST_MS / COLUMN_MS)

struct crowd {
    uv_loop_t loop;
    struct redis_access access;
    struct redis_link *links[LINKS];
    uint64_t up, closed, refused;
    uint64_t back_ms; /* when Redis came back; 0: it is not away */
    uint32_t columns[COLUMNS];
};

static void on_up(void *ctx, struct redis_link *link) {
    struct crowd *crowd = ctx;
    crowd->up++;
    if (crowd->back_ms != 0) {
        uint64_t column = (uv_now(&crowd->loop) - crowd->back_ms) / COLUMN_MS;
        assert_in_range(column, 0, COLUMNS - 1);
        crowd->columns[column]++;
    }
}

static void on_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct crowd *crowd = ctx;
    crowd->up -= was_up;
    crowd->refused += !was_up;
}

static bool all_up(void *ctx) {
    return ((struct crowd *)ctx)->up == LINKS;
}

static bool all_down(void *ctx) {
    return ((struct crowd *)ctx)->up == 0;
}

static bool all_closed(void *ctx) {
    return ((struct crowd *)ctx)->closed == LINKS;
}

static void on_closed(void *ctx) {
    ((struct crowd *)ctx)->closed++;
}

static void a_crowd_does_not_come_back_at_once(void **state) {
    static struct crowd crowd;
    struct redis_server server;
    char why[256];
    redis_server_open(&server, "");
    uv_loop_init(&crowd.loop);
    assert_true(redis_address_parse(server.url, &crowd.access.address, why, sizeof why));
    struct redis_link_handler handler = {&crowd, on_up, on_down};
    for (int i = 0; i < LINKS; i++) {
        crowd.links[i] = redis_link_open(&crowd.loop, &crowd.access, &handler);
        assert_non_null(crowd.links[i]);
    }
    assert_true(loop_wait(&crowd.loop, all_up, &crowd));

    crowd.refused = 0;
    redis_server_kill(&server);
    assert_true(loop_wait(&crowd.loop, all_down, &crowd));
    loop_run_ms(&crowd.loop, AWAY_MS);
    /* 20 ms and doubling: six to eight attempts in that time. */
    assert_in_range(crowd.refused, 4 * LINKS, 9 * LINKS);
    redis_server_start(&server);
    uv_update_time(&crowd.loop);
    crowd.back_ms = uv_now(&crowd.loop);
    assert_true(loop_wait(&crowd.loop, all_up, &crowd));
    uint64_t took_ms = uv_now(&crowd.loop) - crowd.back_ms;
    uint32_t most = 0;
    for (int i = 0; i < COLUMNS; i++)
        most = crowd.columns[i] > most ? crowd.columns[i] : most;
    print_message("%d links came back over %d ms, at most %u within %d ms\n", LINKS, (int)took_ms,
                  most, COLUMN_MS);
    assert_in_range(most, 1, COLUMN_LINKS_MAX);

    for (int i = 0; i < LINKS; i++)
        redis_link_close(crowd.links[i], on_closed, &crowd);
    assert_true(loop_wait(&crowd.loop, all_closed, &crowd));
    uv_run(&crowd.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&crowd.loop), 0);
    redis_server_close(&server);
}

static void thrown_out_again_and_again_it_asks_more_slowly(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open(&user, server.url, NULL);
    uint64_t start_ns = uv_hrtime();
    for (uint64_t i = 1; i <= 6; i++) {
        user_wait(&user, &user.ups, i);
        assert_true(user_send(&user, "QUIT", NULL));
    }
    /* 20, 40, 80, 160 and 320 ms, each a quarter less at the least. */
    assert_in_range((uv_hrtime() - start_ns) / 1000000, 465, 60000);
    loop_run_ms(&user.loop, REDIS_RETRY_LAST_MS);
    user_wait(&user, &user.ups, 7);

    /* Once it has stood for a while it begins anew. */
    loop_run_ms(&user.loop, REDIS_STEADY_MS + 50);
    start_ns = uv_hrtime();
    assert_true(user_send(&user, "QUIT", NULL));
    user_wait(&user, &user.ups, 8);
    assert_in_range((uv_hrtime() - start_ns) / 1000000, 0, 400);
    user_close(&user);
    redis_server_close(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_does_not_come_back_at_once),
        cmocka_unit_test(thrown_out_again_and_again_it_asks_more_slowly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
