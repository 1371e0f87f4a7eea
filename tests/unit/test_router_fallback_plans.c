/* Takes that leave for the store while plans, the map, or the store change, or nobody owns them. */
#include <stdlib.h>

#include "tests/unit/router_fallback_fixture.h"

static const struct bytes none;

/* The default leaves for the store, which says that another plan is meant. */
static const struct fallback_call *ask_and_leave(enum verb verb) {
    ask_one(verb, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 150 * MS);
    return only_call();
}

static enum reason only_reason(void) {
    assert_int_equal(counter(fixture, pending_fallbacks), 0);
    return only_result()->reason;
}

/* --- which leave ---------------------------------------------------------------------------- */

static void test_an_inline_limit_goes_by_the_default_plan(void **state) {
    struct take take = take_under(key_of(fixture, 0, 0), NULL, 200);
    take.plan = (struct plan_choice){.kind = PLAN_CHOICE_INLINE, .limit = {1, SECOND, 3}};
    ask_takes(fixture, 1, VERB_TAKE, false, &take, 1);
    turn_after(fixture, 150 * MS);
    assert_false(only_call()->by_default);
    answer(only_call(), FALLBACK_GRANTED, none, "");
    assert_int_equal(only_result()->remaining_tokens, 2);
    assert_int_equal(only_result()->limit_tokens, 3);
}

static void test_plans_that_do_not_exist_stay(void **state) {
    struct plan_set *plans = plans_of(2);
    plans->default_at = -1;
    give_view(fixture, NULL, plans);
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), "nobody", 200);
    ask_one(VERB_TAKE, key_of(fixture, 0, 1), NULL, 200);
    turn_after(fixture, 150 * MS);
    assert_int_equal(fixture->call_count, 0);
    turn_after(fixture, 50 * MS);
    assert_int_equal(fixture->answer_count, 2);
    uint32_t unknown = fixture->answers[0].results[0].code != CODE_OK ? 0 : 1;
    assert_int_equal(fixture->answers[unknown].results[0].reason, REASON_PLAN_NOT_FOUND);
    denied(&fixture->answers[1 - unknown].results[0]);
}

static void test_a_slot_that_nobody_owns_is_decided(void **state) {
    struct map *map = map_make(2, 2);
    const char *key = key_of(fixture, 1, 0), *owned = key_of(fixture, 0, 0);
    map->owner[slot_of_hash(key_hash(bytes_of_text(key)), map->slot_count).index] = UINT16_MAX;
    give_view(fixture, map, plans_of(2));
    ask_one(VERB_TAKE, key, NULL, 200);
    turn_after(fixture, 150 * MS);
    answer(only_call(), FALLBACK_GRANTED, none, "");
    assert_true(only_result()->allowed);
    /* The next one does not wait as long; a key that has an owner does. */
    forget(fixture);
    ask_one(VERB_TAKE, key, NULL, 200);
    ask_one(VERB_TAKE, owned, NULL, 200);
    turn_after(fixture, FALLBACK_DOUBT_NS);
    assert_int_equal(fixture->call_count, 1);
    answer(only_call(), FALLBACK_GRANTED, none, "");
    /* Until there is another map. */
    forget(fixture);
    map = map_make(3, 2);
    map->owner[slot_of_hash(key_hash(bytes_of_text(key)), map->slot_count).index] = UINT16_MAX;
    give_view(fixture, map, plans_of(2));
    ask_one(VERB_TAKE, key, NULL, 200);
    turn_after(fixture, FALLBACK_DOUBT_NS);
    assert_int_equal(fixture->call_count, 0);
    turn_after(fixture, 150 * MS);
    assert_int_equal(fixture->call_count, 2);
}

static void test_a_refusal_before_the_slot_lost_its_owner(void **state) {
    const char *key = key_of(fixture, 0, 0);
    ask_one(VERB_TAKE, key, NULL, 200);
    turn_after(fixture, 140 * MS);
    reply_error(fixture, only_batch(fixture), CODE_UNAVAILABLE, "being loaded", 0);
    struct map *map = map_make(2, 2);
    map->owner[slot_of_hash(key_hash(bytes_of_text(key)), map->slot_count).index] = UINT16_MAX;
    give_view(fixture, map, plans_of(2));
    turn_after(fixture, 10 * MS); /* who refused it is no longer anybody's business */
    assert_int_equal(fixture->call_count, 1);
}

static void test_before_there_is_a_map_nothing_leaves(void **state) {
    fixture_destroy(fixture);
    fixture = fixture_create(64);
    give_view(fixture, NULL, plans_of(1));
    give_store(fixture, true);
    ask_one(VERB_TAKE, "key", NULL, 200);
    turn_after(fixture, 150 * MS);
    assert_int_equal(fixture->call_count, 0);
    turn_after(fixture, 50 * MS);
    assert_int_equal(only_result()->reason, REASON_NO_MAP);
}

static void test_a_router_without_a_store_never_asks_it(void **state) {
    fixture_destroy(fixture);
    fixture = fixture_create_of(&(struct router_options){
        .items_max = 64, .links_max = 8, .batches_per_link_max = 4, .fallback = false});
    give_view(fixture, map_make(1, 1), plans_of(1));
    give_store(fixture, true);
    ask_one(VERB_TAKE, "key", NULL, 200);
    turn_after(fixture, 199 * MS);
    assert_int_equal(fixture->call_count, 0);
    turn_after(fixture, 1 * MS);
    denied(only_result());
    assert_int_equal(counter(fixture, fallback_unready), 0);
}

/* --- plans that change meanwhile ------------------------------------------------------------ */

static void test_a_plan_that_turns_firm_before_it_leaves(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    struct plan_set *plans = plans_of(2);
    plans->plans[0].on_unavailable = POLICY_DENY;
    give_view(fixture, NULL, plans);
    turn_after(fixture, 150 * MS);
    assert_int_equal(fixture->call_count, 0);
    turn_after(fixture, 50 * MS);
    denied(only_result());
}

static void test_an_assignment_that_is_no_name(void **state) {
    answer(ask_and_leave(VERB_TAKE), FALLBACK_OTHER_PLAN, none, "no name");
    assert_int_equal(only_reason(), REASON_ASSIGNED_PLAN_GONE);
}

static void test_a_default_that_is_gone(void **state) {
    const struct fallback_call *call = ask_and_leave(VERB_TAKE);
    answer(call, FALLBACK_OTHER_PLAN, none, "small");
    struct plan_set *plans = plans_of(2);
    plans->default_at = -1;
    give_view(fixture, NULL, plans);
    answer(&fixture->calls[1], FALLBACK_OTHER_PLAN, none, ""); /* the assignment was taken back */
    assert_int_equal(only_reason(), REASON_NO_DEFAULT_PLAN);
}

static void test_an_assigned_plan_without_limits(void **state) {
    const struct fallback_call *call = ask_and_leave(VERB_TAKE);
    struct plan_set *plans = plans_of(2);
    plans->plans[1].generations[0].terms.limit_count = 0;
    give_view(fixture, NULL, plans);
    answer(call, FALLBACK_OTHER_PLAN, none, "small");
    denied(only_result());
    assert_int_equal(counter(fixture, fallback_failed), 1);
    assert_int_equal(counter(fixture, pending_fallbacks), 0);
}

static void test_a_peek_under_a_firm_plan_is_nobodys(void **state) {
    answer(ask_and_leave(VERB_PEEK), FALLBACK_OTHER_PLAN, none, "firm");
    assert_int_equal(only_reason(), REASON_DEADLINE);
    assert_int_equal(only_result()->code, CODE_UNAVAILABLE);
    assert_int_equal(counter(fixture, fallback_asked), 1);
}

/* --- a store that goes, and calls that outlive their items ---------------------------------- */

static void test_a_store_that_goes_between_two_rounds(void **state) {
    const struct fallback_call *call = ask_and_leave(VERB_TAKE);
    give_store(fixture, false);
    answer(call, FALLBACK_OTHER_PLAN, none, "small");
    denied(only_result());
    assert_int_equal(counter(fixture, fallback_asked), 1);
    assert_int_equal(counter(fixture, pending_fallbacks), 0);
}

static void test_an_answer_to_the_one_that_had_the_place_before(void **state) {
    struct fallback_call late = *ask_and_leave(VERB_TAKE);
    turn_after(fixture, 50 * MS);
    denied(only_result());
    turn(fixture);
    forget(fixture);
    /* The next one is in the same place, and is asked as well. */
    ask_one(VERB_TAKE, key_of(fixture, 0, 1), NULL, 200);
    turn_after(fixture, 150 * MS);
    const struct fallback_call *call = only_call();
    assert_int_equal(call->item, late.item);
    assert_int_not_equal(call->index, late.index);
    answer(&late, FALLBACK_GRANTED, none, "");
    assert_int_equal(fixture->answer_count, 0);
    assert_int_equal(counter(fixture, fallback_late), 1);
    answer(call, FALLBACK_GRANTED, none, "");
    assert_true(only_result()->allowed);
}

static void test_a_peek_that_the_store_cannot_judge(void **state) {
    /* It looks, and what it saw is no record. */
    answer(ask_and_leave(VERB_PEEK), FALLBACK_LOOKED, bytes_of_text("garbage"), "");
    assert_int_equal(only_reason(), REASON_STORE_AWAY);
    assert_int_equal(counter(fixture, fallback_disagreed), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        READY(test_an_inline_limit_goes_by_the_default_plan),
        READY(test_plans_that_do_not_exist_stay),
        READY(test_a_slot_that_nobody_owns_is_decided),
        READY(test_a_refusal_before_the_slot_lost_its_owner),
        READY(test_before_there_is_a_map_nothing_leaves),
        READY(test_a_router_without_a_store_never_asks_it),
        READY(test_a_plan_that_turns_firm_before_it_leaves),
        READY(test_an_assignment_that_is_no_name),
        READY(test_a_default_that_is_gone),
        READY(test_an_assigned_plan_without_limits),
        READY(test_a_peek_under_a_firm_plan_is_nobodys),
        READY(test_a_store_that_goes_between_two_rounds),
        READY(test_an_answer_to_the_one_that_had_the_place_before),
        READY(test_a_peek_that_the_store_cannot_judge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
