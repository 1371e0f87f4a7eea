/* Options from flags, the environment and a file: who wins, and what is said of mistakes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/options.h"
#include "tests/unit/cmocka_all.h"

#define MS UINT64_C(1000000)

struct settings {
    const char *node_id;
    const char *password;
    const char *level;
    uint64_t shards, memory_bytes, interval_ns, any;
    bool json, fast;
};

static bool no_spaces(const char *text, char *why, size_t why_size) {
    if (strchr(text, ' ') == NULL)
        return true;
    snprintf(why, why_size, "\"%s\" has a space in it", text);
    return false;
}

#define AT(field) offsetof(struct settings, field)

static const struct option options[] = {
    {.name = "node_id",
     .kind = OPTION_TEXT,
     .offset = AT(node_id),
     .check = no_spaces,
     .metavar = "ID",
     .help = "This node's name."},
    {.name = "redis_password",
     .kind = OPTION_TEXT,
     .offset = AT(password),
     .secret = true,
     .check = no_spaces,
     .help = "Redis's password."},
    {.name = "log_level",
     .kind = OPTION_CHOICE,
     .offset = AT(level),
     .initial = "info",
     .choices = "debug|info|warn",
     .help = "The least that is logged."},
    {.name = "shards",
     .kind = OPTION_COUNT,
     .offset = AT(shards),
     .initial = "1",
     .min = 1,
     .max = 64,
     .help = "Threads."},
    {.name = "memory_max",
     .kind = OPTION_BYTES,
     .offset = AT(memory_bytes),
     .initial = "1GiB",
     .min = 1 << 20,
     .help = "Memory."},
    {.name = "snapshot_interval",
     .kind = OPTION_DURATION,
     .offset = AT(interval_ns),
     .initial = "100ms",
     .min = MS,
     .max = 60000 * MS,
     .help = "Time between snapshots, which is what a crash forgets at most, and a sentence long "
             "enough to be broken into lines."},
    {.name = "any", .kind = OPTION_COUNT, .offset = AT(any), .help = "Any number."},
    {.name = "log_json",
     .kind = OPTION_SWITCH,
     .offset = AT(json),
     .initial = "false",
     .help = "JSON."},
    {.name = "fast", .kind = OPTION_SWITCH, .offset = AT(fast), .initial = "true", .help = "Fast."},
};

static const struct options_program program = {
    .name = "sluice-test",
    .summary = "Tests options.",
    .examples = "  sluice-test --node-id n1\n",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

struct run {
    struct settings settings;
    enum options_outcome outcome;
    char out[8192], err[8192]; /* what it printed */
    char file[64];             /* of the YAML text, if there was one */
};

/* Puts a file in the place of a descriptor; the descriptor to put back. */
static int redirect(FILE *stream, FILE *to) {
    fflush(stream);
    int kept = dup(fileno(stream));
    assert_true(dup2(fileno(to), fileno(stream)) >= 0);
    return kept;
}

static void redirect_end(FILE *stream, int kept, FILE *file, char *text, size_t size) {
    fflush(stream);
    assert_true(dup2(kept, fileno(stream)) >= 0);
    close(kept);
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

/* Runs with flags (separated by '|'), the variables that are set, and a file if `yaml` is given. */
static void run(struct run *run, const char *flags, const char *yaml) {
    char own[] = "sluice-test", config[] = "--config", words[2048], *argv[64] = {own};
    int argc = 1;
    memset(run, 0, sizeof *run);
    if (yaml != NULL) {
        snprintf(run->file, sizeof run->file, "/tmp/sluice-test-XXXXXX");
        int fd = mkstemp(run->file);
        assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
        close(fd);
        argv[argc++] = config;
        argv[argc++] = run->file;
    }
    snprintf(words, sizeof words, "%s", flags);
    char *rest = words;
    for (char *word; flags[0] != '\0' && (word = strsep(&rest, "|")) != NULL;)
        argv[argc++] = word;
    argv[argc] = NULL;

    FILE *out = tmpfile(), *err = tmpfile();
    int kept_out = redirect(stdout, out), kept_err = redirect(stderr, err);
    run->outcome = options_load(&program, argc, argv, &run->settings);
    redirect_end(stdout, kept_out, out, run->out, sizeof run->out);
    redirect_end(stderr, kept_err, err, run->err, sizeof run->err);
    if (yaml != NULL)
        unlink(run->file);
}

static void run_end(struct run *run) {
    options_free(&program, &run->settings);
    assert_null(run->settings.node_id);
    assert_null(run->settings.level);
}

static void assert_says(const char *text, const char *expected) {
    if (strstr(text, expected) == NULL)
        fail_msg("\"%s\" is not said in:\n%s", expected, text);
}

/* How often `what` stands in `text`. */
static int count_of(const char *text, const char *what) {
    int count = 0;
    for (; (text = strstr(text, what)) != NULL; text++)
        count++;
    return count;
}

static void defaults_hold(void **state) {
    struct run r;
    run(&r, "", NULL);
    assert_int_equal(r.outcome, OPTIONS_OK);
    assert_null(r.settings.node_id);
    assert_string_equal(r.settings.level, "info");
    assert_int_equal(r.settings.shards, 1);
    assert_int_equal(r.settings.memory_bytes, 1 << 30);
    assert_int_equal(r.settings.interval_ns, 100 * MS);
    assert_int_equal(r.settings.any, 0);
    assert_false(r.settings.json);
    assert_true(r.settings.fast);
    assert_string_equal(r.out, "");
    assert_string_equal(r.err, "");
    run_end(&r);
}

static void flags_are_read(void **state) {
    struct run r;
    run(&r,
        "--node-id=n1|--shards|8|--memory-max|64MiB|--snapshot-interval|2s|--log-json|--no-fast|"
        "--log-level|warn|--any|18446744073709551615",
        NULL);
    assert_string_equal(r.err, "");
    assert_int_equal(r.outcome, OPTIONS_OK);
    assert_string_equal(r.settings.node_id, "n1");
    assert_int_equal(r.settings.shards, 8);
    assert_int_equal(r.settings.memory_bytes, 64 << 20);
    assert_int_equal(r.settings.interval_ns, 2000 * MS);
    assert_string_equal(r.settings.level, "warn");
    assert_true(r.settings.any == UINT64_MAX);
    assert_true(r.settings.json);
    assert_false(r.settings.fast);
    run_end(&r);
    run(&r, "--fast=off|--log-json=yes", NULL);
    assert_int_equal(r.outcome, OPTIONS_OK);
    assert_true(r.settings.json);
    assert_false(r.settings.fast);
    run_end(&r);
}

static void a_file_is_read(void **state) {
    struct run r;
    run(&r, "",
        "# a comment\n"
        "node_id: \"n7\"\n"
        "redis_password: geheim\n"
        "snapshot-interval: 250ms\n"
        "log_json: yes\n");
    assert_string_equal(r.err, "");
    assert_int_equal(r.outcome, OPTIONS_OK);
    assert_string_equal(r.settings.node_id, "n7");
    assert_string_equal(r.settings.password, "geheim");
    assert_int_equal(r.settings.interval_ns, 250 * MS);
    assert_true(r.settings.json);
    run_end(&r);
}

static void the_nearest_wins(void **state) {
    struct run r;
    setenv("SLUICE_SHARDS", "3", 1);
    setenv("SLUICE_LOG_LEVEL", "debug", 1);
    setenv("SLUICE_ANY", "", 1); /* empty: not set */
    run(&r, "--shards|4", "shards: 2\nlog_level: warn\nany: 9\n");
    assert_string_equal(r.err, "");
    assert_int_equal(r.settings.shards, 4);
    assert_string_equal(r.settings.level, "debug");
    assert_int_equal(r.settings.any, 9);
    run_end(&r);
    unsetenv("SLUICE_SHARDS");
    unsetenv("SLUICE_LOG_LEVEL");
    unsetenv("SLUICE_ANY");
    run(&r, "", "shards: 2\n");
    assert_int_equal(r.settings.shards, 2);
    run_end(&r);
    run(&r, "--shards|4|--shards|5", NULL);
    assert_int_equal(r.settings.shards, 5);
    run_end(&r);
}

static void the_file_may_be_named_by_a_variable(void **state) {
    struct run r;
    setenv("SLUICE_CONFIG", "/tmp/sluice-test-no-such-file", 1);
    run(&r, "", NULL);
    assert_int_equal(r.outcome, OPTIONS_INVALID);
    assert_says(r.err, "/tmp/sluice-test-no-such-file: cannot be read: No such file");
    run(&r, "", "shards: 2\n"); /* the flag is nearer */
    assert_int_equal(r.outcome, OPTIONS_OK);
    run_end(&r);
    unsetenv("SLUICE_CONFIG");
}

static void every_mistake_is_named_with_its_place(void **state) {
    struct run r;
    char place[256];
    setenv("SLUICE_MEMORY_MAX", "lots", 1);
    run(&r, "--shards|0|--snapshot-intervall|1s|stray|--node-id|a b|--log-level=loud|--any",
        "shards: 65\n"
        "snapshot_intervals: 1s\n"
        "log_json: maybe\n"
        "any: [1, 2]\n"
        "fast:\n"
        "shards: 2\n");
    unsetenv("SLUICE_MEMORY_MAX");
    assert_int_equal(r.outcome, OPTIONS_INVALID);
    assert_string_equal(r.out, "");
    assert_says(r.err, "sluice-test: --shards: \"0\" is out of bounds: from 1 to 64\n");
    assert_says(r.err, "--snapshot-intervall: no such option; did you mean --snapshot-interval?\n");
    assert_says(r.err, "stray: not expected");
    assert_says(r.err, "--node-id: \"a b\" has a space in it\n");
    assert_says(r.err, "--log-level: \"loud\" is none of debug|info|warn\n");
    assert_says(r.err, "--any: a value must follow\n");
    assert_says(r.err, "SLUICE_MEMORY_MAX: \"lots\" is not a size, for example 4096, 64MiB");
    snprintf(place, sizeof place, "%s:1:9: shards: \"65\" is out of bounds", r.file);
    assert_says(r.err, place);
    snprintf(place, sizeof place,
             "%s:2:1: no such option \"snapshot_intervals\"; did you mean "
             "snapshot_interval?",
             r.file);
    assert_says(r.err, place);
    snprintf(place, sizeof place, "%s:3:11: log_json: \"maybe\" is not one of true", r.file);
    assert_says(r.err, place);
    snprintf(place, sizeof place, "%s:4:6: any: expected one value", r.file);
    assert_says(r.err, place);
    snprintf(place, sizeof place, "%s:5:6: fast: expected one value", r.file);
    assert_says(r.err, place);
    snprintf(place, sizeof place, "%s:6:1: shards stands twice", r.file);
    assert_says(r.err, place);
    assert_says(r.err, "sluice-test: 13 mistakes; --help lists every option\n");
    assert_int_equal(count_of(r.err, "\n"), 14);
    run_end(&r);
}

/* Of letters behind one dash getopt reads one at a time: the word before them is not the culprit.
 */
static void letters_are_no_options(void **state) {
    struct run r;
    run(&r, "-xyz|--log-json|-abc|value|--shards=2|-s|--any=1|-d", NULL);
    assert_int_equal(r.outcome, OPTIONS_INVALID);
    assert_says(r.err, "sluice-test: -xyz: no such option (names are words: --name)\n"
                       "sluice-test: -abc: no such option (names are words: --name)\n"
                       "sluice-test: -s: no such option (names are words: --name)\n"
                       "sluice-test: -d: no such option (names are words: --name)\n"
                       "sluice-test: 4 mistakes; --help lists every option\n");
    run_end(&r);
}

static void files_that_are_no_options_are_refused(void **state) {
    static const char *const wrong[][2] = {
        {"- a\n- b\n", ":1:1: expected lines of the form name: value"},
        {"just text\n", ":1:1: expected lines"},
        {"shards: 1\n\tany: 2\n", ":2:1: not YAML"},
        {"shards: \"1\n", "not YAML"},
        {"? [a]\n: 1\n", ":1:3: expected the name of an option"},
        {"shards: 1\n---\nshards: 2\n", "more than one document"},
        {"shards: *none\n", "not YAML"},
        {"node_id: \"a\\0b\"\n", ":1:10: node_id: expected one value"},
        {"zzzzzzzzzzzzzzz: 1\n", "no such option \"zzzzzzzzzzzzzzz\"\n"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct run r;
        run(&r, "", wrong[i][0]);
        assert_int_equal(r.outcome, OPTIONS_INVALID);
        assert_says(r.err, wrong[i][1]);
        run_end(&r);
    }
}

static void files_that_say_nothing_are_no_mistake(void **state) {
    static const char *const empty[] = {"", "\n\n", "# nothing\n", "---\n", "---\n...\n"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        struct run r;
        run(&r, "", empty[i]);
        assert_string_equal(r.err, "");
        assert_int_equal(r.outcome, OPTIONS_OK);
        run_end(&r);
    }
}

static void a_secret_is_never_a_flag_and_never_shown(void **state) {
    struct run r;
    run(&r, "--redis-password|hunter2", NULL);
    assert_int_equal(r.outcome, OPTIONS_INVALID);
    assert_says(r.err, "--redis-password: a secret is never a flag");
    assert_says(r.err, "SLUICE_REDIS_PASSWORD");
    assert_int_equal(count_of(r.err, "hunter2"), 0);
    run_end(&r);
    run(&r, "--redis-password=hunter2", NULL);
    assert_int_equal(r.outcome, OPTIONS_INVALID);
    assert_int_equal(count_of(r.err, "hunter2"), 0);
    run_end(&r);

    setenv("SLUICE_REDIS_PASSWORD", "hunter2 ", 1);
    run(&r, "", "redis_password: \"hunter2 \"\n");
    assert_int_equal(r.outcome, OPTIONS_INVALID);
    assert_int_equal(count_of(r.err, "the secret is not valid"), 2);
    assert_int_equal(count_of(r.err, "hunter2"), 0);
    run_end(&r);
    setenv("SLUICE_REDIS_PASSWORD", "hunter2", 1);
    run(&r, "", NULL);
    assert_string_equal(r.settings.password, "hunter2");
    run_end(&r);
    run(&r, "--help", NULL);
    assert_int_equal(count_of(r.out, "hunter2"), 0);
    unsetenv("SLUICE_REDIS_PASSWORD");
}

static void help_shows_every_option(void **state) {
    struct run r;
    run(&r, "--shards|0|--help", NULL);
    assert_int_equal(r.outcome, OPTIONS_HELP);
    assert_says(r.out, "Usage: sluice-test");
    assert_says(r.out, "Tests options.");
    assert_says(r.out, "  --node-id ID\n");
    assert_says(r.out, "  redis_password (a secret: no flag)\n");
    assert_says(r.out, "  --log-level debug|info|warn\n");
    assert_says(r.out, "  --shards N\n        Threads.\n        [default 1; 1 to 64; "
                       "SLUICE_SHARDS]\n");
    assert_says(r.out, "[default 1GiB; at least 1MiB; SLUICE_MEMORY_MAX]");
    assert_says(r.out, "[default 100ms; 1ms to 1m; SLUICE_SNAPSHOT_INTERVAL]");
    assert_says(r.out, "  --log-json, --no-log-json\n");
    assert_says(r.out, "  --config FILE\n");
    assert_says(r.out, "sluice-test --node-id n1\n");
    size_t column = 0;
    for (const char *letter = r.out; *letter != '\0'; letter++) {
        column = *letter == '\n' ? 0 : column + 1;
        assert_true(column <= 80);
    }
}

static void the_version_is_shown(void **state) {
    struct run r;
    run(&r, "--version", NULL);
    assert_int_equal(r.outcome, OPTIONS_HELP);
    assert_string_equal(r.out, "sluice-test " SLUICE_VERSION "\n");
}

static void numbers_are_read_exactly(void **state) {
    uint64_t value;
    char why[256];
    assert_true(option_parse_count("18446744073709551615", &value, why, sizeof why));
    assert_true(value == UINT64_MAX);
    const char *no_counts[] = {"", "-1", "+1", " 1", "1 ", "1.5", "0x10", "18446744073709551616"};
    for (size_t i = 0; i < sizeof no_counts / sizeof no_counts[0]; i++)
        assert_false(option_parse_count(no_counts[i], &value, why, sizeof why));

    static const struct {
        const char *text;
        uint64_t ns;
    } durations[] = {{"0", 0},
                     {"5ns", 5},
                     {"5us", 5000},
                     {"5ms", 5 * MS},
                     {"5s", 5000 * MS},
                     {"2m", 120000 * MS},
                     {"1h", 3600 * 1000 * MS},
                     {"1d", 86400 * 1000 * MS}};
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        assert_true(option_parse_duration(durations[i].text, &value, why, sizeof why));
        assert_true(value == durations[i].ns);
    }
    const char *no_durations[] = {"", "5", "s", "5 s", "5S", "1.5s", "-1s", "1s1ms", "300000000d"};
    for (size_t i = 0; i < sizeof no_durations / sizeof no_durations[0]; i++)
        assert_false(option_parse_duration(no_durations[i], &value, why, sizeof why));

    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"0", 0},          {"4096", 4096},
                 {"1KiB", 1024},    {"64MiB", 64 << 20},
                 {"1GiB", 1 << 30}, {"2TiB", UINT64_C(2) << 40},
                 {"5kB", 5000},     {"5MB", 5000000},
                 {"7B", 7}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_true(option_parse_bytes(sizes[i].text, &value, why, sizeof why));
        assert_true(value == sizes[i].bytes);
    }
    const char *no_sizes[] = {"", "MiB", "1 MiB", "1mib", "1Mib", "-1", "99999999TiB", "1.5GiB"};
    for (size_t i = 0; i < sizeof no_sizes / sizeof no_sizes[0]; i++)
        assert_false(option_parse_bytes(no_sizes[i], &value, why, sizeof why));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold),
        cmocka_unit_test(flags_are_read),
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(the_nearest_wins),
        cmocka_unit_test(the_file_may_be_named_by_a_variable),
        cmocka_unit_test(every_mistake_is_named_with_its_place),
        cmocka_unit_test(letters_are_no_options),
        cmocka_unit_test(files_that_are_no_options_are_refused),
        cmocka_unit_test(files_that_say_nothing_are_no_mistake),
        cmocka_unit_test(a_secret_is_never_a_flag_and_never_shown),
        cmocka_unit_test(help_shows_every_option),
        cmocka_unit_test(the_version_is_shown),
        cmocka_unit_test(numbers_are_read_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
