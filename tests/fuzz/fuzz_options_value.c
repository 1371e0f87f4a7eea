/* The values of options: durations, sizes, counts, words. What is taken in is written by
 * option_number_format as a text that means the same. The first byte chooses the option. */
#include "runtime/options_impl.h"
#include "tests/fuzz/fuzz.h"

struct settings {
    char *text, *choice;
    uint64_t number;
    bool on;
};

#define NUMBER .offset = offsetof(struct settings, number)
static const struct option options[] = {
    {.name = "count", .kind = OPTION_COUNT, NUMBER, .min = 1, .max = 64},
    {.name = "bytes", .kind = OPTION_BYTES, NUMBER, .min = 4096, .max = UINT64_C(1) << 40},
    {.name = "span", .kind = OPTION_DURATION, NUMBER, .min = 1000000, .max = 60000000000},
    {.name = "any_count", .kind = OPTION_COUNT, NUMBER},
    {.name = "any_bytes", .kind = OPTION_BYTES, NUMBER},
    {.name = "any_span", .kind = OPTION_DURATION, NUMBER},
    {.name = "on", .kind = OPTION_SWITCH, .offset = offsetof(struct settings, on)},
    {.name = "text", .kind = OPTION_TEXT, .offset = offsetof(struct settings, text)},
    {.name = "choice",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, choice),
     .choices = "deny|allow|relaxed"},
};

static void number_check(const struct option *option, uint64_t value) {
    struct settings again = {0};
    char text[64], why[OPTION_WHY_BYTES_MAX];
    FUZZ_CHECK(value >= option->min && (option->max == 0 || value <= option->max));
    option_number_format(option->kind, value, text, sizeof text);
    FUZZ_CHECK(option_set(option, &again, text, why, sizeof why) && again.number == value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz fuzz = fuzz_of(data, size);
    const struct option *option = &options[fuzz_below(&fuzz, sizeof options / sizeof options[0])];
    struct settings settings = {0};
    char why[OPTION_WHY_BYTES_MAX] = "";
    char *text = fuzz_text(&fuzz);
    if (!option_set(option, &settings, text, why, sizeof why)) {
        FUZZ_CHECK(why[0] != '\0' && memchr(why, '\0', sizeof why) != NULL);
        FUZZ_CHECK(settings.text == NULL && settings.choice == NULL && settings.number == 0);
    } else if (option->kind == OPTION_TEXT) {
        FUZZ_CHECK(strcmp(settings.text, text) == 0);
    } else if (option->kind == OPTION_CHOICE) {
        FUZZ_CHECK(strcmp(settings.choice, text) == 0 && strchr(text, '|') == NULL);
    } else if (option->kind != OPTION_SWITCH) {
        number_check(option, settings.number);
    }
    free(settings.text);
    free(settings.choice);
    free(text);
    return 0;
}
