#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/log.h"

/* Datagrams keep writes apart: what is read is what one write(2) wrote. */
struct sink {
    int fds[2];
    struct log log;
    char line[LOG_LINE_BYTES_MAX + 64];
};

static void sink_open(struct sink *sink, bool json) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sink->fds), 0);
    log_init(&sink->log, LOG_LEVEL_INFO, json, sink->fds[1], "n1/shard-0");
}

static void sink_close(struct sink *sink) {
    close(sink->fds[0]);
    close(sink->fds[1]);
}

/* The next write, "" if there was none. */
static const char *sink_read(struct sink *sink) {
    ssize_t size = recv(sink->fds[0], sink->line, sizeof sink->line - 1, MSG_DONTWAIT);
    sink->line[size < 0 ? 0 : size] = '\0';
    return sink->line;
}

static void assert_matches(const char *text, const char *pattern) {
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match \"%s\"", text, pattern);
    regfree(&regex);
}

#define TIME "20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

static void a_line_says_when_how_bad_who_and_what(void **state) {
    struct sink sink;
    sink_open(&sink, false);
    errno = ENOENT;
    log_info(&sink.log, "slot %d is ours", 7);
    assert_int_equal(errno, ENOENT);
    assert_matches(sink_read(&sink), "^" TIME " INFO  n1/shard-0 slot 7 is ours\n$");
    assert_string_equal(sink_read(&sink), "");
    sink_close(&sink);
}

static void what_is_below_the_level_is_not_written(void **state) {
    struct sink sink;
    sink_open(&sink, false);
    log_debug(&sink.log, "no");
    assert_string_equal(sink_read(&sink), "");
    log_error(&sink.log, "yes");
    assert_matches(sink_read(&sink), "ERROR n1/shard-0 yes\n$");
    sink_close(&sink);
}

static void a_derived_logger_has_a_name_of_its_own(void **state) {
    struct sink sink;
    struct log derived;
    sink_open(&sink, false);
    log_derive(&derived, &sink.log, "n1/store");
    log_warn(&derived, "slow");
    assert_matches(sink_read(&sink), "WARN  n1/store slow\n$");
    sink_close(&sink);
}

static void text_cannot_fake_a_line(void **state) {
    struct sink sink;
    sink_open(&sink, false);
    log_info(&sink.log, "key %s", "a\nb\r\t\033[31m\x7f\x9b \xff \xc3\xa9 \xe2\x80\xae");
    assert_matches(sink_read(&sink),
                   "key a\\\\nb\\\\r\\\\t\\\\x1b\\[31m\\\\x7f\\\\x9b \\\\xff \xc3\xa9 "
                   "\\\\xe2\\\\x80\\\\xae\n$");
    sink_close(&sink);
}

static void a_quoted_value_cannot_leave_its_quotes(void **state) {
    struct log_quoted quoted;
    assert_string_equal(log_quote(&quoted, bytes_of_text("plain")), "\"plain\"");
    assert_string_equal(log_quote(&quoted, bytes_of("a\"b\\c\n\0d", 8)),
                        "\"a\\\"b\\\\c\\n\\x00d\"");
    char text[1000];
    memset(text, 'k', sizeof text);
    const char *cut = log_quote(&quoted, bytes_of(text, sizeof text));
    assert_true(strlen(cut) < LOG_QUOTE_BYTES_MAX);
    assert_string_equal(cut + strlen(cut) - 5, "k...\"");
}

static void json_is_escaped_as_json_wants_it(void **state) {
    struct sink sink;
    sink_open(&sink, true);
    log_warn(&sink.log, "say \"%s\" \\ %s", "a\nb\001", "\xff");
    assert_matches(sink_read(&sink),
                   "^\\{\"time\":\"" TIME "\",\"level\":\"warn\",\"who\":\"n1/shard-0\","
                   "\"what\":\"say \\\\\"a\\\\nb\\\\u0001\\\\\" \\\\\\\\ \\\\\\\\xff\"\\}\n$");
    sink_close(&sink);
}

static void a_long_line_is_cut_and_still_ends(void **state) {
    char text[3 * LOG_LINE_BYTES_MAX];
    for (int json = 0; json < 2; json++) {
        for (size_t size = LOG_LINE_BYTES_MAX - 120; size < sizeof text; size += 7) {
            struct sink sink;
            sink_open(&sink, json != 0);
            memset(text, size % 2 == 0 ? 'x' : '"', size);
            text[size] = '\0';
            log_info(&sink.log, "%s", text);
            const char *line = sink_read(&sink);
            size_t written = strlen(line);
            assert_in_range(written, 1, LOG_LINE_BYTES_MAX);
            if (size % 2 == 1)
                assert_matches(line, json != 0 ? "what\":\"(\\\\\")*(\\.\\.\\.)?\"\\}\n$"
                                               : " \"*(\\.\\.\\.)?\n$");
            else if (strstr(line, text) == NULL)
                assert_matches(line, json != 0 ? "\\.\\.\\.\"\\}\n$" : "\\.\\.\\.\n$");
            else
                assert_matches(line, json != 0 ? "[^.]\"\\}\n$" : "[^.]\n$");
            assert_string_equal(sink_read(&sink), "");
            sink_close(&sink);
        }
    }
}

static void levels_are_known_by_name(void **state) {
    enum log_level level;
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_true(log_level_parse("error", &level));
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_false(log_level_parse("", &level));
    assert_false(log_level_parse("INFO ", &level));
}

static void colours_are_for_terminals(void **state) {
    struct sink sink;
    sink_open(&sink, false);
    assert_false(sink.log.colour);
    sink.log.colour = true;
    log_info(&sink.log, "green");
    assert_matches(sink_read(&sink), "Z \033\\[32mINFO \033\\[0m n1/shard-0 green\n$");
    sink_close(&sink);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_when_how_bad_who_and_what),
        cmocka_unit_test(what_is_below_the_level_is_not_written),
        cmocka_unit_test(a_derived_logger_has_a_name_of_its_own),
        cmocka_unit_test(text_cannot_fake_a_line),
        cmocka_unit_test(a_quoted_value_cannot_leave_its_quotes),
        cmocka_unit_test(json_is_escaped_as_json_wants_it),
        cmocka_unit_test(a_long_line_is_cut_and_still_ends),
        cmocka_unit_test(levels_are_known_by_name),
        cmocka_unit_test(colours_are_for_terminals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
