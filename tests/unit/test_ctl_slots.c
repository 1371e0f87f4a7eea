/* Slots and shards as they stand on the command line. */
#include "cmocka_all.h"
#include "ctl/slot_argument.h"

static void test_ranges(void **state) {
    struct slot_range range;
    assert_true(slot_range_parse("17", &range));
    assert_int_equal(range.first, 17);
    assert_int_equal(range.last, 17);
    assert_true(slot_range_parse("0-16383", &range));
    assert_int_equal(range.first, 0);
    assert_int_equal(range.last, 16383);
    assert_true(slot_range_parse("5-5", &range));
    static const char *const wrong[] = {"",      "x",   "-1",    "5-4",     "1-",    "-",
                                        "1-2-3", "0x1", "16384", "0-16384", "1 - 2", "4294967296"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(slot_range_parse(wrong[i], &range));
    }
}

static void test_shards(void **state) {
    struct shard_name name;
    assert_true(shard_name_parse("n2", &name));
    assert_false(name.has_number);
    assert_true(shard_name_parse("node-7.rack_2/11", &name));
    assert_true(name.has_number);
    assert_int_equal(name.number, 11);
    assert_true(bytes_equal(name.node, bytes_of_text("node-7.rack_2")));
    static const char *const wrong[] = {"",      "/1",     "n2/",     "n2/x",
                                        "n2/-1", "n2/1/2", "n2/1024", "-n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(shard_name_parse(wrong[i], &name));
    }
}

static void test_runs(void **state) {
    const struct slot slots[] = {{0}, {1}, {2}, {9}, {11}, {12}};
    char text[64];
    slot_runs_write(slots, 6, text, sizeof text);
    assert_string_equal(text, "0-2, 9, 11-12");
    slot_runs_write(slots, 0, text, sizeof text);
    assert_string_equal(text, "");
    slot_runs_write(slots, 6, text, 24); /* no room for all: says that there are more */
    assert_string_equal(text, "0-2, 9...");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
