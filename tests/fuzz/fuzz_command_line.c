/*
 * Command lines of programs, from the words on: every kind of option, abbreviations, negations,
 * secrets, what is no option. Settings within their bounds, or mistakes that were told; all memory
 * returns. Words stand behind each other, with a zero between them.
 */
#include "runtime/options_impl.h"
#include "server/io/ack.h"
#include "tests/fuzz/fuzz.h"

#define WORDS_MAX 40

struct settings {
    char *text, *choice, *secret, *ack;
    uint64_t count, bytes, span;
    bool on;
};

static bool ack_check_text(const char *text, char *why, size_t why_size) {
    struct ack ack;
    return ack_parse(text, &ack, why, why_size);
}

#define AT(field) .offset = offsetof(struct settings, field)
static const struct option options[] = {
    {.name = "node_id", AT(text), .help = "."},
    {.name = "policy", .kind = OPTION_CHOICE, AT(choice), .choices = "deny|allow", .help = "."},
    {.name = "shards",
     .kind = OPTION_COUNT,
     AT(count),
     .initial = "1",
     .min = 1,
     .max = 64,
     .help = "."},
    {.name = "shard_memory",
     .kind = OPTION_BYTES,
     AT(bytes),
     .initial = "1GiB",
     .min = 4096,
     .max = UINT64_C(1) << 40,
     .help = "."},
    {.name = "snapshot_interval",
     .kind = OPTION_DURATION,
     AT(span),
     .initial = "100ms",
     .min = 1000000,
     .max = UINT64_C(60000000000),
     .help = "."},
    {.name = "drain_on_stop", .kind = OPTION_SWITCH, AT(on), .initial = "yes", .help = "."},
    {.name = "redis_password", AT(secret), .secret = true, .help = "."},
    {.name = "ack", AT(ack), .initial = "memory", .check = ack_check_text, .help = "."},
};

static const struct options_program program = {
    .name = "fuzz",
    .summary = "Words.",
    .examples = "",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

static void settings_check(const struct settings *settings) {
    struct ack ack;
    char why[OPTION_WHY_BYTES_MAX];
    FUZZ_CHECK(settings->count >= 1 && settings->count <= 64);
    FUZZ_CHECK(settings->bytes >= 4096 && settings->bytes <= UINT64_C(1) << 40);
    FUZZ_CHECK(settings->span >= 1000000 && settings->span <= UINT64_C(60000000000));
    FUZZ_CHECK(settings->secret == NULL); /* never a flag */
    FUZZ_CHECK(settings->choice == NULL || strcmp(settings->choice, "deny") == 0 ||
               strcmp(settings->choice, "allow") == 0);
    FUZZ_CHECK(ack_parse(settings->ack, &ack, why, sizeof why));
}

/* Programs tell people; here nobody reads it. */
static void streams_silence(void) {
    static bool silent;
    if (!silent) {
        silent = true;
        stderr = fopen("/dev/null", "w");
        stdout = fopen("/dev/null", "w");
        FUZZ_CHECK(stderr != NULL && stdout != NULL);
        unsetenv("SLUICE_CONFIG");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz fuzz = fuzz_of(data, size);
    struct settings settings = {0};
    char name[] = "fuzz", *words[WORDS_MAX + 2] = {name};
    int count = 1;
    char *text = fuzz_text(&fuzz);
    streams_silence();
    for (size_t at = 0; at < size && count <= WORDS_MAX; at += strlen(text + at) + 1) {
        /* --config names a file of this machine: options_yaml reads those. */
        bool names_file = strncmp(text + at, "--c", 3) == 0;
        words[count] = text + at;
        count += !names_file;
    }
    words[count] = NULL;
    enum options_outcome outcome = options_load(&program, count, words, &settings);
    if (outcome == OPTIONS_OK) {
        settings_check(&settings);
        options_free(&program, &settings);
    }
    FUZZ_CHECK(settings.text == NULL && settings.choice == NULL && settings.ack == NULL);
    free(text);
    return 0;
}
