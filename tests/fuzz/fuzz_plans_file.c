/* The operator's plans file: any text gives a plan set that can be applied, or mistakes in order.
 */
#include "ctl/plans_file.h"
#include "proto/plan_codec.h"
#include "tests/fuzz/fuzz.h"

static struct plan_set set, again;
static struct plans_mistakes mistakes;
static uint8_t memory[PLAN_SET_BYTES_MAX];

static void mistakes_check(void) {
    FUZZ_CHECK(mistakes.count >= 1 && mistakes.count <= PLANS_MISTAKES_MAX);
    for (uint32_t i = 0; i < mistakes.count; i++) {
        const struct plans_mistake *mistake = &mistakes.items[i];
        FUZZ_CHECK(memchr(mistake->text, '\0', sizeof mistake->text) != NULL);
        FUZZ_CHECK(mistake->text[0] != '\0' && mistake->line >= 1 && mistake->column >= 1);
        FUZZ_CHECK(i == 0 || mistake[-1].line <= mistake->line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fault fault;
    if (!plans_text_parse(bytes_of(data, size), &set, &mistakes)) {
        mistakes_check();
        return 0;
    }
    FUZZ_CHECK(mistakes.count == 0 && set.version == 0);
    struct writer writer = writer_of(memory, sizeof memory);
    plan_set_write(&writer, &set);
    FUZZ_CHECK(!writer.overflow);
    struct reader reader = reader_of(writer_bytes(&writer));
    FUZZ_CHECK(plan_set_read(&reader, &again, &fault) == CODE_OK && reader_done(&reader));
    FUZZ_CHECK(set.plan_count == again.plan_count && set.default_at == again.default_at);
    for (uint32_t i = 0; i < set.plan_count; i++) {
        const struct plan *plan = &set.plans[i];
        FUZZ_CHECK(plan->generation_count == 1);
        FUZZ_CHECK(terms_equal(&plan->generations[0].terms, &again.plans[i].generations[0].terms));
    }
    return 0;
}
