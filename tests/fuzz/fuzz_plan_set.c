/* The plan set: what is read is written as the same, and can follow another and be followed. */
#include "proto/plan_codec.h"
#include "tests/fuzz/fuzz.h"

static struct plan_set set, again, wanted, next;
static uint8_t memory[PLAN_SET_BYTES_MAX], memory_again[PLAN_SET_BYTES_MAX];

static void set_check(const struct plan_set *checked) {
    struct fault fault;
    FUZZ_CHECK(checked->plan_count <= PLANS_MAX);
    FUZZ_CHECK(checked->default_at >= -1 && checked->default_at < (int32_t)checked->plan_count);
    for (uint32_t i = 0; i < checked->plan_count; i++) {
        const struct plan *plan = &checked->plans[i];
        FUZZ_CHECK(name_valid(name_bytes(&plan->name)));
        FUZZ_CHECK(plan_set_find(checked, name_bytes(&plan->name)) == (int32_t)i);
        FUZZ_CHECK(plan->generation_count >= 1 && plan->generation_count <= 1 + PLAN_HISTORY_MAX);
        for (uint32_t j = 0; j < plan->generation_count; j++) {
            const struct terms *terms = &plan->generations[j].terms;
            FUZZ_CHECK(terms->limit_count >= 1 && terms->limit_count <= LIMITS_PER_PLAN_MAX);
            for (uint32_t k = 0; k < terms->limit_count; k++) {
                FUZZ_CHECK(limit_check(&terms->limits[k], "limit", &fault) == CODE_OK);
            }
        }
    }
}

/* What was read, as if an operator had sent it without its first plan. */
static void succeed_try(void) {
    plan_set_init(&wanted);
    for (uint32_t i = 0; i < set.plan_count; i++) {
        struct plan plan = set.plans[i];
        plan.generation_count = 1;
        if (i > 0 || set.plan_count == 1) {
            plan_set_add(&wanted, &plan);
        }
    }
    if (set.version == UINT64_MAX || !plan_set_succeed(&set, &wanted, &next)) {
        return;
    }
    FUZZ_CHECK(next.version == set.version + 1 && next.plan_count == wanted.plan_count);
    set_check(&next);
    FUZZ_CHECK(!plan_set_succeed(&next, &wanted, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct reader reader = reader_of(bytes_of(data, size));
    struct fault fault = {.code = CODE_OK};
    enum code code = plan_set_read(&reader, &set, &fault);
    if (code != CODE_OK) {
        FUZZ_CHECK(code == fault.code && fault.text[0] != '\0');
        return 0;
    }
    set_check(&set);
    struct writer writer = writer_of(memory, sizeof memory);
    plan_set_write(&writer, &set);
    FUZZ_CHECK(!writer.overflow);
    reader = reader_of(writer_bytes(&writer));
    FUZZ_CHECK(plan_set_read(&reader, &again, &fault) == CODE_OK && reader_done(&reader));
    struct writer writer_again = writer_of(memory_again, sizeof memory_again);
    plan_set_write(&writer_again, &again);
    FUZZ_CHECK(bytes_equal(writer_bytes(&writer), writer_bytes(&writer_again)));
    FUZZ_CHECK(set.version == again.version && set.plan_count == again.plan_count);
    succeed_try();
    return 0;
}
