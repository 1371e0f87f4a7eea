/* Slots as operators list them. */
#include "ctl/slot_list.h"
#include "tests/unit/cmocka_all.h"

static struct slot_set slots;
static char why[160];

static bool parse(const char *text) {
    return slot_list_parse(text, 64, &slots, why, sizeof why);
}

static void test_lists(void **state) {
    assert_true(parse(NULL));
    assert_int_equal(slot_set_count(&slots), 64);
    assert_true(parse("0-9,20,30-30,63"));
    assert_int_equal(slot_set_count(&slots), 13);
    assert_true(slot_set_has(&slots, 9) && slot_set_has(&slots, 20) && slot_set_has(&slots, 63));
    assert_false(slot_set_has(&slots, 10));
    assert_true(parse("5,1-7")); /* each once */
    assert_int_equal(slot_set_count(&slots), 7);
}

static void test_what_is_none(void **state) {
    static const char *const wrong[] = {
        "", ",", "1,", ",1", "a", "1-", "-1", "7-3", "1;2", "1 2", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(parse(wrong[i]));
        assert_non_null(strstr(why, "expected slots and ranges as in 0-99,200"));
    }
    assert_false(parse("3,60-64"));
    assert_string_equal(why, "--slots: slot 64: this cluster has slots 0 to 63");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
