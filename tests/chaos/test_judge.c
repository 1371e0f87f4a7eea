/*
 * The judge of whole runs is itself judged. A cluster of true buckets writes the records of a load:
 * strict ones lose their reservation in crashes, relaxed ones forget what they granted last. Then
 * one refusal is turned into a grant, or one token into a lost one, and that must be found wherever
 * it is.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/slot.h"
#include "tests/chaos/explain.h"
#include "tests/unit/cmocka_all.h"

#define KEYS 120
#define TAKES 12000
#define BURST 64
#define SLOTS 64
#define MS UINT64_C(1000000)
#define BEFORE_NS (100 * MS)

/* At this take every slot below 32 crashes. */
#define CRASH_AT (TAKES / 3)

static uint64_t random_state = 7;

static uint32_t chance(uint32_t bound) {
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) % bound);
}

struct world {
    struct record_header header;
    struct record_class class;
    struct record_batch batches[TAKES + KEYS];
    struct record_take takes[TAKES + KEYS];
    uint32_t level[KEYS], late[KEYS]; /* late: granted in the last BEFORE_NS before the crash */
    uint64_t crash_ns;
    char records[64], events[64];
};

static uint32_t slot_of(const struct world *world, uint32_t number) {
    char text[KEY_TEXT_BYTES];
    uint32_t size = key_text(&world->class, number, text);
    return slot_of_hash(key_hash(bytes_of(text, size)), SLOTS).index;
}

/* `keep` of the burst is left for nobody to take, so that keys are not all spent. */
static void world_make(struct world *world, bool strict, uint32_t keep) {
    memset(world, 0, sizeof *world);
    memcpy(world->header.magic, RECORDS_MAGIC, sizeof world->header.magic);
    world->header.version = RECORDS_VERSION;
    world->header.class_count = 1;
    world->header.slot_count = SLOTS;
    assert_true(
        class_parse("name=key,plan=p,limits=1/3600000/64,keys=120,strict=0", &world->class));
    world->class.strict = strict;
    uint64_t now_ns = 1000 * MS;
    world->crash_ns = now_ns + CRASH_AT * MS;
    for (uint32_t i = 0; i < KEYS; i++)
        world->level[i] = BURST;
    for (uint32_t i = 0; i < TAKES + KEYS; i++, now_ns += MS) {
        uint32_t number = i < TAKES ? chance(KEYS) : i - TAKES;
        struct record_take *take = &world->takes[i];
        if (i == CRASH_AT) {
            for (uint32_t key = 0; key < KEYS; key++) {
                if (slot_of(world, key) >= SLOTS / 2)
                    continue;
                uint32_t lost = chance(BURST / RESERVATION_PART + 1);
                if (strict)
                    world->level[key] -= lost < world->level[key] ? lost : world->level[key];
                else
                    world->level[key] += world->late[key];
            }
        }
        world->batches[i] = (struct record_batch){now_ns, now_ns - chance(40) * MS,
                                                  now_ns + chance(40) * MS, .take_count = 1};
        take->key = record_key(0, number);
        take->cost = i < TAKES ? 1 : 0;
        take->outcome = i >= TAKES                    ? RECORD_LOOKED
                        : world->level[number] > keep ? RECORD_GRANTED
                                                      : RECORD_REFUSED;
        if (take->outcome == RECORD_GRANTED) {
            world->level[number]--;
            world->late[number] +=
                now_ns < world->crash_ns && now_ns >= world->crash_ns - BEFORE_NS;
        }
        if (i >= TAKES) /* after all else, or it would not be the last word */
            world->batches[i].sent_ns += 100 * MS, world->batches[i].answered_ns += 100 * MS;
        take->remaining = world->level[number];
    }
}

static void world_write(struct world *world) {
    snprintf(world->records, sizeof world->records, "/tmp/sluice-judge-%ld.records",
             (long)getpid());
    snprintf(world->events, sizeof world->events, "/tmp/sluice-judge-%ld.events", (long)getpid());
    FILE *file = fopen(world->records, "wb");
    assert_non_null(file);
    fwrite(&world->header, sizeof world->header, 1, file);
    fwrite(&world->class, sizeof world->class, 1, file);
    for (uint32_t i = 0; i < TAKES + KEYS; i++) {
        fwrite(&world->batches[i], sizeof world->batches[i], 1, file);
        fwrite(&world->takes[i], sizeof world->takes[i], 1, file);
    }
    fclose(file);
    file = fopen(world->events, "w");
    assert_non_null(file);
    fprintf(file, "crash %llu %llu %llu ffffffff00000000 n1 killed\n",
            (unsigned long long)world->crash_ns, (unsigned long long)BEFORE_NS,
            (unsigned long long)world->crash_ns);
    fclose(file);
}

static struct judgement world_judge(struct world *world, uint64_t *reach_ns) {
    struct evidence evidence;
    struct judge_options options = {.reach_ns = UINT64_MAX};
    struct bound *bound = bound_create();
    world_write(world);
    assert_true(evidence_read(&evidence, world->records, world->events));
    struct judgement judgement = judge_class(&evidence, bound, 0, &options);
    if (reach_ns != NULL)
        *reach_ns = judge_reach_ns(&evidence, bound, 0, &options);
    evidence_free(&evidence);
    bound_destroy(bound);
    unlink(world->records);
    unlink(world->events);
    return judgement;
}

static struct world world;

/* A take anywhere that was refused, answered as if it had been granted: the token was granted
 * twice. In keys that no crash touched, for there a lost token may pay for it. */
static void test_any_refusal_turned_into_a_grant_is_found(void **state) {
    for (int keep = 0; keep <= 10; keep += 10) {
        world_make(&world, true, (uint32_t)keep);
        struct judgement judgement = world_judge(&world, NULL);
        assert_int_equal(judgement.over, 0);
        assert_int_equal(judgement.lost_too_much, 0);
        assert_int_equal(judgement.keys, KEYS);
        assert_true(judgement.lost > 0);
        for (int round = 0; round < 60;) {
            struct record_take *take = &world.takes[chance(TAKES)];
            if (take->outcome != RECORD_REFUSED || slot_of(&world, take->key) < SLOTS / 2)
                continue;
            take->outcome = RECORD_GRANTED;
            judgement = world_judge(&world, NULL);
            assert_int_equal(judgement.over, 1);
            assert_int_equal(judgement.lost_too_much, 0);
            take->outcome = RECORD_REFUSED;
            round++;
        }
    }
}

/* A token that is gone without a crash, and one more than a crash may cost. */
static void test_a_token_too_few_is_found(void **state) {
    world_make(&world, true, 20);
    for (uint32_t round = 0; round < KEYS; round++) {
        struct record_take *look = &world.takes[TAKES + round];
        bool crashed = slot_of(&world, look->key) < SLOTS / 2;
        uint32_t had = look->remaining;
        /* What it has not lost yet of what it may lose: at most all of it. */
        look->remaining -= crashed ? BURST / RESERVATION_PART + 1 : 1;
        struct judgement judgement = world_judge(&world, NULL);
        assert_true(judgement.lost_too_much <= 1);
        assert_true(judgement.lost_too_much == 1 || crashed);
        assert_int_equal(judgement.over, 0);
        look->remaining = had;
    }
}

/* What relaxed buckets forgot is counted and forgiven; but not before its time, and not elsewhere.
 */
static void test_what_relaxed_buckets_forget_is_measured(void **state) {
    uint64_t reach_ns;
    world_make(&world, false, 0);
    struct judgement judgement = world_judge(&world, &reach_ns);
    uint32_t late = 0;
    for (uint32_t i = 0; i < KEYS; i++)
        late += slot_of(&world, i) < SLOTS / 2 ? world.late[i] : 0;
    assert_int_equal(judgement.over, 0);
    assert_in_range(judgement.forgotten, 1, late);
    assert_true(judgement.forgiven >= late);
    assert_in_range(reach_ns, 10 * MS, BEFORE_NS);
    for (int round = 0; round < 60;) {
        struct record_take *take = &world.takes[chance(TAKES)];
        if (take->outcome != RECORD_REFUSED || slot_of(&world, take->key) < SLOTS / 2)
            continue;
        take->outcome = RECORD_GRANTED;
        assert_int_equal(world_judge(&world, NULL).over, 1);
        take->outcome = RECORD_REFUSED;
        round++;
    }
}

static uint32_t marked(const char *text) {
    uint32_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == '*';
    return count;
}

/* With nothing allowed for, some keys are over, and what is printed of them tells why: the crash,
 * and the grants before it that were made once more. */
static void test_a_broken_key_is_explained(void **state) {
    struct evidence evidence;
    struct judge_options options = {.reach_ns = 0};
    struct bound *bound = bound_create();
    world_make(&world, false, 0);
    world_write(&world);
    assert_true(evidence_read(&evidence, world.records, world.events));
    struct judgement judgement = judge_class(&evidence, bound, 0, &options);
    assert_int_equal(judgement.broken_count, BROKEN_MAX);
    for (int allowed = 0; allowed < 2; allowed++) {
        char *text = NULL, crash[64], granted[64];
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        options.reach_ns = allowed ? UINT64_MAX : 0;
        explain_key(out, &evidence, 0, judgement.broken[0], &options);
        fclose(out);
        snprintf(crash, sizeof crash, "crash n1 killed at %.3f: may be forgotten from %.3f",
                 (double)world.crash_ns / 1e9, (double)(world.crash_ns - BEFORE_NS) / 1e9);
        snprintf(granted, sizeof granted, "granted %u, ",
                 (unsigned)evidence.of[0].keys[judgement.broken[0]].granted_cost);
        assert_memory_equal(text, "why key-", 8);
        assert_non_null(strstr(text, crash));
        assert_non_null(strstr(text, granted));
        assert_int_equal(marked(text) > 1, allowed); /* one is of the words */
        free(text);
    }
    evidence_free(&evidence);
    bound_destroy(bound);
    unlink(world.records);
    unlink(world.events);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_refusal_turned_into_a_grant_is_found),
        cmocka_unit_test(test_a_token_too_few_is_found),
        cmocka_unit_test(test_what_relaxed_buckets_forget_is_measured),
        cmocka_unit_test(test_a_broken_key_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
