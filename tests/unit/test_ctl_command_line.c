/* sluicectl's command line: what is found and filled in, what is said, and that it may be read
 * again and again. The words that go wrong in other ways are the fuzz target's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/command_line.h"
#include "tests/unit/cmocka_all.h"

#define WORDS_MAX 16

struct read {
    const struct command *command;
    struct invocation invocation;
    enum exit_code code;
    char words[512];
    char *out, *err; /* owned */
};

static void line_read(struct read *read, const char *line) {
    char *argv[WORDS_MAX + 1] = {NULL}, *rest = read->words;
    size_t out_size, err_size;
    int argc = 0;
    memset(read, 0, sizeof *read);
    read->code = EXIT_INTERRUPTED;
    snprintf(read->words, sizeof read->words, "%s", line);
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        argv[argc++] = word;
    }
    FILE *kept_out = stdout, *kept_err = stderr;
    stdout = open_memstream(&read->out, &out_size);
    stderr = open_memstream(&read->err, &err_size);
    read->invocation = invocation_of_environment();
    read->command = command_line_read(argc, argv, &read->invocation, &read->code);
    fclose(stdout);
    fclose(stderr);
    stdout = kept_out;
    stderr = kept_err;
}

static void read_end(struct read *read) {
    free(read->out);
    free(read->err);
}

static void assert_told(const char *line, enum exit_code code, const char *out, const char *err) {
    struct read read;
    line_read(&read, line);
    assert_null(read.command);
    assert_int_equal(read.code, code);
    assert_non_null(strstr(read.out, out));
    assert_non_null(strstr(read.err, err));
    assert_int_equal(read.out[0] == '\0', out[0] == '\0');
    assert_int_equal(read.err[0] == '\0', err[0] == '\0');
    read_end(&read);
}

static void commands_are_found_with_what_is_said(void **state) {
    struct read read;
    line_read(&read, "sluicectl --json slot move 0-63 --batch 7 n2/1 --dry --timeout=250ms");
    assert_non_null(read.command);
    assert_string_equal(read.command->family, "slot");
    assert_string_equal(read.command->name, "move");
    assert_string_equal(read.out, "");
    assert_string_equal(read.err, "");
    assert_int_equal(read.invocation.argument_count, 2);
    assert_string_equal(read.invocation.arguments[0], "0-63");
    assert_string_equal(read.invocation.arguments[1], "n2/1");
    assert_int_equal(read.invocation.options.batch_slots, 7);
    assert_int_equal(read.invocation.settings.timeout_ms, 250);
    assert_true(read.invocation.settings.json && read.invocation.options.dry_run);
    assert_string_equal(read.invocation.settings.router, "tcp://127.0.0.1:7400");
    read_end(&read);
    line_read(&read, "sluicectl rebalance"); /* a command, and a family */
    assert_string_equal(read.command->name, "rebalance");
    assert_null(read.command->family);
    read_end(&read);
    line_read(&read, "sluicectl take -- -a --json");
    assert_string_equal(read.invocation.arguments[1], "--json");
    assert_false(read.invocation.settings.json);
    read_end(&read);
}

static void help_ends_nothing(void **state) {
    for (int i = 0; i < 2; i++) {
        assert_told("sluicectl --help", EXIT_DONE, "Commands (sluicectl COMMAND --help", "");
        assert_told("sluicectl take -h --rate x", EXIT_DONE, "Usage: sluicectl take [OPTION", "");
        assert_told("sluicectl plans --help", EXIT_DONE, "plans COMMAND", "");
        assert_told("sluicectl --version bogus", EXIT_DONE, "sluicectl " SLUICE_VERSION "\n", "");
    }
}

static void mistakes_are_named(void **state) {
    assert_told("sluicectl", EXIT_USAGE, "", "Usage: sluicectl ");
    assert_told("sluicectl takke a", EXIT_USAGE, "", "\"takke\"; did you mean \"take\"?");
    assert_told("sluicectl plans shov", EXIT_USAGE, "", "\"plans shov\"; did you mean \"show\"?");
    assert_told("sluicectl slot", EXIT_USAGE, "", "Usage: sluicectl slot COMMAND");
    assert_told("sluicectl take", EXIT_USAGE, "", "sluicectl take: expected KEY [COST]");
    assert_told("sluicectl take a 1 b", EXIT_USAGE, "", "\"b\" is one argument too many");
    assert_told("sluicectl take a --rate 0", EXIT_USAGE, "", "--rate: expected a whole number");
    assert_told("sluicectl init --slots 1000", EXIT_USAGE, "", "--slots: expected a power of two");
    assert_told("sluicectl status --rate 1", EXIT_USAGE, "", "unrecognized option '--rate'");
    assert_told("sluicectl status --p x", EXIT_USAGE, "", "unrecognized option '--p'");
}

static void a_password_is_no_option(void **state) {
    struct read read;
    static const char *const lines[] = {"sluicectl backup --redis-password geheim f",
                                        "sluicectl restore --redis-password=geheim f",
                                        "sluicectl backup --redis-sentinel-password geheim f"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        line_read(&read, lines[i]);
        assert_null(read.command);
        assert_int_equal(read.code, EXIT_USAGE);
        assert_non_null(strstr(read.err, "a secret is never an option"));
        assert_non_null(strstr(read.err, "set SLUICE_REDIS_"));
        assert_null(strstr(read.err, "geheim"));
        read_end(&read);
    }
}

int main(void) {
    static const char *const variables[] = {"SLUICE_ROUTER", "SLUICE_CONTROL", "SLUICE_REDIS"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        unsetenv(variables[i]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_found_with_what_is_said),
        cmocka_unit_test(help_ends_nothing),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_password_is_no_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
