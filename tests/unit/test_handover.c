/* The handover's core: each step in order, and what every failure on the way leaves behind. */
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#include "server/core/handover.h"

#define MS UINT64_C(1000000)

struct fixture {
    struct map map, next;
    struct handover handover;
    struct handover_update update;
    uint64_t now_ns;
};

/* Two nodes of two shards and 8 slots: a owns 0 to 3, b 4 to 7, two slots a shard. */
static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    map_init(&f->map);
    f->map.epoch.number = 7;
    f->map.slot_count = 8;
    f->map.node_count = 2;
    f->map.shard_count = 4;
    for (uint32_t i = 0; i < 2; i++) {
        f->map.nodes[i].id = name_of(bytes_of_text(i == 0 ? "a" : "b"));
        f->map.nodes[i].weight = WEIGHT_DEFAULT;
    }
    for (uint32_t i = 0; i < 4; i++) {
        f->map.shards[i] = (struct map_shard){.node = (uint16_t)(i / 2), .number = i % 2};
    }
    map_spread(&f->map);
    handover_init(&f->handover, bytes_of_text("a"));
    f->now_ns = 1000 * MS;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static enum code start(struct fixture *f, uint32_t first, uint32_t count, uint16_t target) {
    struct slot slots[8];
    for (uint32_t i = 0; i < count; i++) {
        slots[i].index = (uint16_t)(first + i);
    }
    return handover_start(&f->handover, &f->map, slots, count, (struct shard_id){target}, f->now_ns,
                          &f->update);
}

static void step(struct fixture *f, enum handover_event_kind kind, uint64_t turn, uint64_t beat) {
    struct handover_event event = {
        .kind = kind, .now_ns = f->now_ns, .map = &f->map, .turn = turn, .beat = beat};
    handover_step(&f->handover, &event, &f->next, &f->update);
}

static void to_changing(struct fixture *f) {
    assert_int_equal(start(f, 1, 2, 3), CODE_OK);
    step(f, HANDOVER_EVENT_REACHED, 0, 0);
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    assert_true(f->update.change);
}

static void assert_over(struct fixture *f, enum code code, bool unsealed) {
    assert_true(f->update.done);
    assert_int_equal(f->update.fault.code, code);
    assert_int_equal(f->update.unseal, unsealed);
    assert_int_equal(f->handover.state, HANDOVER_IDLE);
    assert_int_equal(f->update.deadline_ns, 0);
}

static void moves_through_all_steps(void **state) {
    struct fixture *f = *state;
    assert_int_equal(start(f, 1, 2, 3), CODE_OK);
    assert_true(f->update.reach);
    assert_false(f->update.seal);
    assert_int_equal(f->update.deadline_ns, f->now_ns + HANDOVER_REACH_NS);

    step(f, HANDOVER_EVENT_REACHED, 0, 0);
    assert_true(f->update.seal);
    assert_int_equal(f->handover.shards_outstanding, 2); /* slot 1 is shard 0's, slot 2 shard 1's */

    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    assert_false(f->update.change); /* the other shard has not written yet */
    f->now_ns += 3 * MS;
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    assert_true(f->update.change);
    assert_int_equal(f->next.epoch.number, 8);
    assert_int_equal(f->next.owner[0], 0);
    assert_int_equal(f->next.owner[1], 3);
    assert_int_equal(f->next.owner[2], 3);
    assert_int_equal(f->next.owner[3], 1);
    assert_int_equal(map_owner(&f->map, (struct slot){1}).index, 0); /* only proposed */

    step(f, HANDOVER_EVENT_CHANGED, 0, 41);
    f->map = f->next;
    step(f, HANDOVER_EVENT_BEAT, 0, 40); /* sent before the change was answered: tells nothing */
    assert_false(f->update.done);
    step(f, HANDOVER_EVENT_BEAT, 0, 41);
    assert_over(f, CODE_OK, true);
    assert_true(f->update.refresh);
    assert_int_equal(f->update.sealed_ns, 3 * MS);
}

static void peer_check(struct fixture *f, struct handover_peer peer, const char *words) {
    struct fault fault = {0};
    enum code code = handover_check_peer(&f->handover, &f->map, 3, &peer, &fault);
    assert_int_equal(code, words == NULL ? CODE_OK : CODE_CONFLICT);
    assert_true(words == NULL || strstr(fault.text, words) != NULL);
}

static void refuses_a_target_that_is_another(void **state) {
    struct fixture *f = *state;
    cluster_id_set(&f->map.cluster, bytes_of_text("00112233445566aa"));
    assert_int_equal(start(f, 1, 2, 3), CODE_OK);
    struct handover_peer right = {
        .node = f->map.nodes[1].id, .cluster = f->map.cluster, .slots = 8, .map_format = 3};
    peer_check(f, right, NULL);
    peer_check(f, (struct handover_peer){.slots = 0}, NULL); /* an older version says nothing */
    struct handover_peer other = right;
    other.node = f->map.nodes[0].id;
    peer_check(f, other, "is node a");
    other = right;
    cluster_id_set(&other.cluster, bytes_of_text("ffffffffffffffff"));
    peer_check(f, other, "of cluster ffffffffffffffff, this is cluster 00112233445566aa");
    other = right;
    other.slots = 16;
    peer_check(f, other, "a map of 16 slots, this cluster has 8");
    other = right;
    other.map_format = 2;
    other.version = bytes_of_text("0.0.1");
    peer_check(f, other, "version 0.0.1, which is too old: it reads maps of format 2");
    /* And then it is over, with nothing sealed. */
    struct fault fault;
    fault_set(&fault, CODE_CONFLICT, "no");
    struct handover_event event = {
        .kind = HANDOVER_EVENT_REFUSED, .now_ns = f->now_ns, .map = &f->map, .fault = &fault};
    handover_step(&f->handover, &event, &f->next, &f->update);
    assert_over(f, CODE_CONFLICT, false);
}

static void needs_no_link_within_its_node(void **state) {
    struct fixture *f = *state;
    assert_int_equal(start(f, 0, 1, 1), CODE_OK);
    assert_false(f->update.reach);
    assert_true(f->update.seal);
}

static void allows_one_at_a_time(void **state) {
    struct fixture *f = *state;
    assert_int_equal(start(f, 0, 1, 2), CODE_OK);
    uint64_t turn = f->handover.turn;
    assert_int_equal(start(f, 1, 1, 2), CODE_OVERLOADED);
    assert_int_equal(f->handover.turn, turn);
}

static void gives_up_on_a_target_that_is_not_there(void **state) {
    struct fixture *f = *state;
    start(f, 0, 1, 2);
    f->now_ns += HANDOVER_REACH_NS - 1;
    step(f, HANDOVER_EVENT_TIME, 0, 0);
    assert_false(f->update.done);
    f->now_ns += 1;
    step(f, HANDOVER_EVENT_TIME, 0, 0);
    assert_over(f, CODE_UNAVAILABLE, false); /* nothing was sealed yet */
}

static void unseals_when_the_store_is_slow(void **state) {
    struct fixture *f = *state;
    start(f, 0, 1, 2);
    step(f, HANDOVER_EVENT_REACHED, 0, 0);
    f->now_ns += HANDOVER_SEAL_NS;
    step(f, HANDOVER_EVENT_TIME, 0, 0);
    assert_over(f, CODE_UNAVAILABLE, true);
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0); /* too late: the map is left alone */
    assert_false(f->update.change);
}

static void ignores_what_an_earlier_one_sealed(void **state) {
    struct fixture *f = *state;
    start(f, 0, 1, 2);
    step(f, HANDOVER_EVENT_REACHED, 0, 0);
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn - 1, 0);
    assert_false(f->update.change);
}

static void never_times_out_once_the_change_is_asked_for(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    assert_int_equal(f->update.deadline_ns, 0);
    f->now_ns += 3600 * 1000 * MS;
    step(f, HANDOVER_EVENT_TIME, 0, 0);
    assert_false(f->update.done);
    assert_false(f->update.unseal);
}

static void step_lost(struct fixture *f, uint64_t beat) {
    struct handover_event event = {.kind = HANDOVER_EVENT_CHANGED,
                                   .now_ns = f->now_ns,
                                   .map = &f->map,
                                   .beat = beat,
                                   .lost = true};
    handover_step(&f->handover, &event, &f->next, &f->update);
}

static void proposes_again_when_another_change_won(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    for (uint32_t i = 1; i < HANDOVER_PROPOSALS_MAX; i++) {
        step(f, HANDOVER_EVENT_CHANGED, 0, 9 + i);
        f->map.epoch.number++; /* somebody else's, which leaves the slots where they are */
        step(f, HANDOVER_EVENT_BEAT, 0, 9 + i);
        assert_true(f->update.change);
        assert_false(f->update.unseal);
        assert_int_equal(f->next.epoch.number, f->map.epoch.number + 1);
        assert_int_equal(f->next.owner[1], 3);
    }
    step(f, HANDOVER_EVENT_CHANGED, 0, 99);
    f->map.epoch.number++;
    step(f, HANDOVER_EVENT_BEAT, 0, 99);
    assert_over(f, CODE_CONFLICT, true);
    assert_false(f->update.refresh);
}

/* Of several changes nobody knows whether the slots went and came back, to be decided here again:
 * they are sealed before they are given away. */
static void seals_again_when_several_changes_won(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    uint64_t turn = f->handover.turn, sealed_at_ns = f->handover.sealed_at_ns;
    f->now_ns += MS;
    step_lost(f, 9);
    f->map.epoch.number += 2;
    step(f, HANDOVER_EVENT_BEAT, 0, 9);
    assert_true(f->update.seal);
    assert_false(f->update.change);
    assert_false(f->update.unseal);
    assert_int_equal(f->handover.sealed_at_ns, sealed_at_ns);
    for (uint32_t i = 0; i < 3; i++) {
        step(f, HANDOVER_EVENT_SEALED, turn, 0); /* of the first time */
        assert_false(f->update.change);
    }
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    assert_true(f->update.change);
    assert_int_equal(f->next.epoch.number, f->map.epoch.number + 1);
    assert_int_equal(f->next.owner[1], 3);
    /* What was sealed all the while may be of before: it is read again when it stays. */
    step_lost(f, 10);
    f->map.owner[1] = 2;
    f->map.epoch.number++;
    step(f, HANDOVER_EVENT_BEAT, 0, 10);
    assert_over(f, CODE_CONFLICT, true);
    assert_true(f->update.reload);
}

/* The connection was lost, and the map is as it was. What was proposed may still be executed: were
 * the slots unsealed now, they would be given away while they are decided here. */
static void proposes_again_when_nobody_knows_the_outcome(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    for (uint32_t i = 1; i < HANDOVER_PROPOSALS_MAX; i++) {
        step(f, HANDOVER_EVENT_CHANGED, 0, 9 + i);
        step(f, HANDOVER_EVENT_BEAT, 0, 9 + i);
        assert_true(f->update.change);
        assert_false(f->update.unseal);
        assert_int_equal(f->next.epoch.number, 8); /* so only one of them can win */
    }
    step(f, HANDOVER_EVENT_CHANGED, 0, 99);
    step(f, HANDOVER_EVENT_BEAT, 0, 99);
    assert_over(f, CODE_CONFLICT, true);
}

static void is_through_when_the_first_proposal_won_late(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    step(f, HANDOVER_EVENT_CHANGED, 0, 9);
    step(f, HANDOVER_EVENT_BEAT, 0, 9);
    assert_true(f->update.change);
    step_lost(f, 10); /* to the first one */
    f->map = f->next;
    step(f, HANDOVER_EVENT_BEAT, 0, 10);
    assert_over(f, CODE_OK, true);
    assert_true(f->update.refresh);
}

/* The second one is known to have lost; the first may have won, and the slots have come back. */
static void reloads_slots_that_a_doubtful_proposal_may_have_moved(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    step(f, HANDOVER_EVENT_CHANGED, 0, 9);
    step(f, HANDOVER_EVENT_BEAT, 0, 9);
    step_lost(f, 10);
    f->map.epoch.number = 9;
    step(f, HANDOVER_EVENT_BEAT, 0, 10);
    assert_over(f, CODE_CONFLICT, true);
    assert_true(f->update.reload);
}

/* The map that came first shows that the doubtful proposal lost. */
static void another_change_ends_the_doubt(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    step(f, HANDOVER_EVENT_CHANGED, 0, 9);
    step(f, HANDOVER_EVENT_BEAT, 0, 9);
    step_lost(f, 10);
    f->map.epoch.number = 8;
    step(f, HANDOVER_EVENT_BEAT, 0, 10);
    assert_true(f->update.change);
    step_lost(f, 11);
    f->map.epoch.number = 9;
    step(f, HANDOVER_EVENT_BEAT, 0, 11);
    assert_true(f->update.change);
    assert_int_equal(f->next.epoch.number, 10);
}

static void ends_when_the_change_that_won_took_the_slots(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    step(f, HANDOVER_EVENT_CHANGED, 0, 9);
    f->map.epoch.number++;
    f->map.owner[1] = 2;
    step(f, HANDOVER_EVENT_BEAT, 0, 9);
    assert_over(f, CODE_CONFLICT, true);
    assert_false(f->update.change);
    assert_false(f->update.reload); /* what it lost it does not read */
}

/* Away and back between two heartbeats: what this node remembers of the slots may be outdated. */
static void reloads_slots_that_may_have_been_away(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    step(f, HANDOVER_EVENT_CHANGED, 0, 9);
    f->map.epoch.number = 9; /* the proposed one was 8 */
    step(f, HANDOVER_EVENT_BEAT, 0, 9);
    assert_over(f, CODE_CONFLICT, true);
    assert_true(f->update.reload);
}

static void proposes_nothing_for_slots_it_lost(void **state) {
    struct fixture *f = *state;
    start(f, 1, 2, 3);
    step(f, HANDOVER_EVENT_REACHED, 0, 0);
    f->map.owner[2] = 2; /* a takeover by b came in between */
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    assert_over(f, CODE_CONFLICT, true);
    assert_false(f->update.change);
}

static void proposes_nothing_for_a_target_that_left(void **state) {
    struct fixture *f = *state;
    start(f, 0, 1, 3);
    step(f, HANDOVER_EVENT_REACHED, 0, 0);
    f->map.shard_count = 3;
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    assert_over(f, CODE_CONFLICT, true);
}

static void ends_when_all_slots_are_gone_before_sealing(void **state) {
    struct fixture *f = *state;
    start(f, 0, 1, 3);
    f->map.owner[0] = 2;
    step(f, HANDOVER_EVENT_REACHED, 0, 0);
    assert_over(f, CODE_CONFLICT, true);
    assert_false(f->update.seal);
}

/* Every event in every state: those that do not fit change nothing but the deadline that is told.
 */
static void what_does_not_fit_is_ignored(void **state) {
    static const struct {
        enum handover_state state;
        enum handover_event_kind fits;
    } fitting[] = {{HANDOVER_REACHING, HANDOVER_EVENT_REACHED},
                   {HANDOVER_SEALING, HANDOVER_EVENT_SEALED},
                   {HANDOVER_CHANGING, HANDOVER_EVENT_CHANGED},
                   {HANDOVER_SETTLING, HANDOVER_EVENT_BEAT}};
    struct fixture *f = *state;
    for (uint32_t at = 0; at <= HANDOVER_SETTLING; at++) {
        if (at == HANDOVER_REACHING) {
            assert_int_equal(start(f, 0, 2, 3), CODE_OK); /* both of shard 0 */
        } else if (at > HANDOVER_REACHING) {
            step(f, fitting[at - 2].fits, f->handover.turn, 5);
        }
        assert_int_equal(f->handover.state, at);
        for (uint32_t kind = HANDOVER_EVENT_REACHED; kind <= HANDOVER_EVENT_TIME; kind++) {
            bool refused = at == HANDOVER_REACHING && kind == HANDOVER_EVENT_REFUSED;
            if (refused || (at != HANDOVER_IDLE && kind == fitting[at - 1].fits)) {
                continue;
            }
            step(f, kind, f->handover.turn, 99);
            assert_int_equal(f->handover.state, at);
            assert_false(f->update.seal || f->update.unseal || f->update.change || f->update.done);
        }
    }
    /* One that fits but speaks of an earlier handover or heartbeat does not either. */
    step(f, HANDOVER_EVENT_BEAT, f->handover.turn, f->handover.settles_at - 1);
    assert_int_equal(f->handover.state, HANDOVER_SETTLING);
}

static void the_target_leaves_the_map(void **state) {
    struct fixture *f = *state;
    assert_int_equal(start(f, 0, 2, 3), CODE_OK);
    step(f, HANDOVER_EVENT_REACHED, 0, 0);
    f->map.node_count = 1; /* b, the last one, is removed, and its slots are nobody's */
    f->map.shard_count = 2;
    for (uint32_t slot = 4; slot < 8; slot++) {
        f->map.owner[slot] = UINT16_MAX;
    }
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    assert_over(f, CODE_CONFLICT, true);
    assert_non_null(strstr(f->update.fault.text, "target"));
}

static void a_slot_becomes_nobodys(void **state) {
    struct fixture *f = *state;
    assert_int_equal(start(f, 0, 2, 3), CODE_OK);
    step(f, HANDOVER_EVENT_REACHED, 0, 0);
    f->map.owner[1] = UINT16_MAX;
    step(f, HANDOVER_EVENT_SEALED, f->handover.turn, 0);
    assert_over(f, CODE_CONFLICT, true);
}

static void the_target_leaves_the_map_after_the_change(void **state) {
    struct fixture *f = *state;
    to_changing(f);
    step(f, HANDOVER_EVENT_CHANGED, 0, 41);
    f->map.epoch.number = 9;
    f->map.node_count = 1;
    f->map.shard_count = 2;
    step(f, HANDOVER_EVENT_BEAT, 0, 41);
    assert_over(f, CODE_CONFLICT, true);
    assert_true(f->update.reload);
    assert_false(f->update.refresh);
}

static void every_state_has_a_name(void **state) {
    for (uint32_t at = HANDOVER_IDLE; at <= HANDOVER_SETTLING; at++) {
        assert_true(strlen(handover_state_name(at)) > 3);
        for (uint32_t other = 0; other < at; other++) {
            assert_string_not_equal(handover_state_name(at), handover_state_name(other));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(moves_through_all_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(needs_no_link_within_its_node, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_a_target_that_is_another, setup, teardown),
        cmocka_unit_test_setup_teardown(allows_one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(gives_up_on_a_target_that_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(unseals_when_the_store_is_slow, setup, teardown),
        cmocka_unit_test_setup_teardown(ignores_what_an_earlier_one_sealed, setup, teardown),
        cmocka_unit_test_setup_teardown(never_times_out_once_the_change_is_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(proposes_again_when_another_change_won, setup, teardown),
        cmocka_unit_test_setup_teardown(seals_again_when_several_changes_won, setup, teardown),
        cmocka_unit_test_setup_teardown(proposes_again_when_nobody_knows_the_outcome, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(is_through_when_the_first_proposal_won_late, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(reloads_slots_that_a_doubtful_proposal_may_have_moved,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(another_change_ends_the_doubt, setup, teardown),
        cmocka_unit_test_setup_teardown(reloads_slots_that_may_have_been_away, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_when_the_change_that_won_took_the_slots, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(proposes_nothing_for_slots_it_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(proposes_nothing_for_a_target_that_left, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_when_all_slots_are_gone_before_sealing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(the_target_leaves_the_map, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slot_becomes_nobodys, setup, teardown),
        cmocka_unit_test_setup_teardown(the_target_leaves_the_map_after_the_change, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_state_has_a_name, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
