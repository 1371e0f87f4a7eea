#include "tests/fuzz/options_line.h"

#include "runtime/options_impl.h"
#include "tests/fuzz/words.h"

/* Variables of one input, and what was said of options on the whole. */
#define VARIABLES_MAX 8
#define SAYINGS_MAX (WORDS_MAX + VARIABLES_MAX)

static char why[OPTION_WHY_BYTES_MAX];

/* --- words and variables ---------------------------------------------------------------------- */

/* That an option has this value, by a word or a variable. */
struct saying {
    const struct option *option;
    const char *text; /* within the word or the variable */
    bool flag;
};

struct line {
    const struct options_subject *subject;
    const struct options_program *program;
    struct words words;
    char *variables[VARIABLES_MAX];
    uint32_t variable_count;
    struct saying sayings[SAYINGS_MAX]; /* in order; all there are, unless loose */
    uint32_t saying_count;
    bool loose; /* there are words of which the sayings do not tell */
};

static void saying_add(struct line *line, const struct option *option, const char *text,
                       bool flag) {
    line->sayings[line->saying_count++] = (struct saying){option, text, flag};
}

static const struct option *option_choose(const struct line *line, struct fuzz *fuzz) {
    return &line->program->options[fuzz_u8(fuzz) % line->program->option_count];
}

static bool is_number(const struct option *option) {
    return option->kind == OPTION_COUNT || option->kind == OPTION_BYTES ||
           option->kind == OPTION_DURATION;
}

/* A number at its bounds, or one beyond. */
static char *bound_choose(const struct option *option, struct fuzz *fuzz) {
    uint64_t most = option->max == 0 ? UINT64_MAX : option->max;
    uint64_t at[] = {option->min, most, most + (most < UINT64_MAX),
                     option->min - (option->min > 0)};
    char *text;
    FUZZ_CHECK(asprintf(&text, "%llu%s", (unsigned long long)at[fuzz_below(fuzz, 4)],
                        option->kind == OPTION_DURATION ? "ns" : "") > 0);
    return text;
}

/* A value; for a secret one that is known again. */
static char *value_choose(const struct option *option, struct fuzz *fuzz) {
    if (option->secret) {
        return strdup(WORDS_SECRET);
    }
    return is_number(option) && fuzz_below(fuzz, 2) == 0 ? bound_choose(option, fuzz)
                                                         : words_value(fuzz);
}

static void flag_add(struct line *line, struct fuzz *fuzz) {
    const struct option *option = option_choose(line, fuzz);
    char flag[OPTION_NAME_BYTES_MAX + 8], *value = value_choose(option, fuzz);
    uint32_t how = fuzz_below(fuzz, 10);
    option_flag_name(option->name, flag);
    if (how <= 7 && words_add(&line->words, "%s=%s", flag, value)) {
        const char *word = line->words.made[line->words.count - 1];
        saying_add(line, option, strchr(word, '=') + 1, true);
    } else if (how == 8) {
        words_add(&line->words, "%s", flag);
        words_add(&line->words, "%s", value);
        line->loose = true;
    } else if (how == 9) {
        words_add(&line->words, "--%s%.*s", fuzz_below(fuzz, 2) == 0 ? "" : "no-",
                  1 + (int)(strlen(value) % 8), flag + 2);
        line->loose = true;
    }
    free(value);
}

/* The environment keeps what it is given, and takes nothing twice. */
static void variable_add(struct line *line, struct fuzz *fuzz) {
    const struct option *option = option_choose(line, fuzz);
    char name[OPTION_NAME_BYTES_MAX + 8], *value = value_choose(option, fuzz), *variable;
    option_variable_name(option->name, name);
    if (line->variable_count < VARIABLES_MAX && getenv(name) == NULL) {
        FUZZ_CHECK(asprintf(&variable, "%s=%s", name, value) > 0 && putenv(variable) == 0);
        line->variables[line->variable_count++] = variable;
        const char *text = strchr(variable, '=') + 1;
        if (text[0] != '\0') { /* else it counts as not set */
            saying_add(line, option, text, false);
        }
    }
    free(value);
}

static void variables_free(struct line *line) {
    for (uint32_t i = 0; i < line->variable_count; i++) {
        char name[OPTION_NAME_BYTES_MAX + 8];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(line->variables[i], "="),
                 line->variables[i]);
        FUZZ_CHECK(unsetenv(name) == 0);
        free(line->variables[i]);
    }
}

static void raw_add(struct line *line, struct fuzz *fuzz) {
    static const char *const known[] = {"--help", "--version", "--", "--config", "x"};
    uint32_t which = fuzz_below(fuzz, 8);
    char *word = which < 5 ? strdup(known[which]) : words_raw(fuzz, fuzz_u8(fuzz) % 32);
    /* --config names a file of this machine: options_yaml reads those. */
    size_t size = strcspn(word, "=");
    if (size <= 2 || strncmp(word, "--config", size) != 0) {
        words_add(&line->words, "%s", word);
        line->loose = true;
    }
    free(word);
}

/* Every number of the table at a bound of its own, or next to the lower one: all of them good. */
static void bounds_add(struct line *line, struct fuzz *fuzz) {
    for (size_t i = 0; i < line->program->option_count; i++) {
        const struct option *option = &line->program->options[i];
        uint64_t most = option->max == 0 ? UINT64_MAX : option->max;
        uint64_t at[] = {option->min, most, option->min + 1};
        char flag[OPTION_NAME_BYTES_MAX + 8];
        option_flag_name(option->name, flag);
        if (is_number(option) &&
            words_add(&line->words, "%s=%llu%s", flag, (unsigned long long)at[fuzz_below(fuzz, 3)],
                      option->kind == OPTION_DURATION ? "ns" : "")) {
            const char *word = line->words.made[line->words.count - 1];
            saying_add(line, option, strchr(word, '=') + 1, true);
        }
    }
}

static void line_make(struct line *line, struct fuzz *fuzz) {
    words_add(&line->words, "%s", line->program->name);
    if (line->subject->required != NULL && fuzz_below(fuzz, 4) != 0) {
        const struct option *option = options_find(line->program, line->subject->required);
        char flag[OPTION_NAME_BYTES_MAX + 8];
        option_flag_name(option->name, flag);
        words_add(&line->words, "%s=n1", flag);
        saying_add(line, option, "n1", true);
    }
    /* Mostly a few: of many, one is wrong. */
    uint8_t most = fuzz_u8(fuzz);
    if (most < 64) {
        bounds_add(line, fuzz);
    }
    for (uint32_t left = most < 224 ? most % 6 : WORDS_MAX;
         left > 0 && !fuzz_done(fuzz) && line->words.count < WORDS_MAX; left--) {
        uint32_t how = fuzz_below(fuzz, 16);
        if (how <= 11) {
            flag_add(line, fuzz);
        } else if (how <= 14) {
            variable_add(line, fuzz);
        } else {
            raw_add(line, fuzz);
        }
    }
}

/* --- what must come of it --------------------------------------------------------------------- */

static void *settings_create(const struct options_subject *subject) {
    void *settings = calloc(1, subject->settings_size);
    FUZZ_CHECK(settings != NULL);
    return settings;
}

static bool saying_good(const struct saying *saying) {
    return !(saying->flag && saying->option->secret) &&
           option_set(saying->option, NULL, saying->text, why, sizeof why);
}

static const void *field_of(const struct option *option, const void *settings) {
    return (const char *)settings + option->offset;
}

/* Whether the field is what `text` sets it to; NULL: as it is where nothing is said. */
static bool field_is(const struct options_subject *subject, const struct option *option,
                     const void *settings, const char *text) {
    void *other = settings_create(subject);
    FUZZ_CHECK(text == NULL || option_set(option, other, text, why, sizeof why));
    const void *a = field_of(option, settings), *b = field_of(option, other);
    bool same;
    if (option->kind == OPTION_SWITCH) {
        same = *(const bool *)a == *(const bool *)b;
    } else if (option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE) {
        char *kept = *(char *const *)b;
        const char *has = *(const char *const *)a;
        same = has == NULL || kept == NULL ? has == kept : strcmp(has, kept) == 0;
        free(kept);
    } else {
        same = *(const uint64_t *)a == *(const uint64_t *)b;
    }
    free(other);
    return same;
}

/* The nearest counts: the last flag, then the variable, then the default. */
static void winners_check(const struct line *line, const void *settings) {
    for (size_t i = 0; i < line->program->option_count; i++) {
        const struct option *option = &line->program->options[i];
        const char *text = option->initial;
        bool flag = false;
        for (uint32_t k = 0; k < line->saying_count; k++) {
            const struct saying *saying = &line->sayings[k];
            if (saying->option == option && (saying->flag || !flag)) {
                text = saying->text;
                flag = saying->flag;
            }
        }
        FUZZ_CHECK(field_is(line->subject, option, settings, text));
    }
}

/* Of any line that was taken: each value within what its table says. */
static void table_check(const struct options_program *program, const void *settings) {
    for (size_t i = 0; i < program->option_count; i++) {
        const struct option *option = &program->options[i];
        const void *field = field_of(option, settings);
        if (option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE) {
            const char *text = *(const char *const *)field;
            FUZZ_CHECK(text == NULL || option_set(option, NULL, text, why, sizeof why));
            FUZZ_CHECK(text != NULL || option->initial == NULL);
        } else if (option->kind != OPTION_SWITCH) {
            uint64_t value = *(const uint64_t *)field;
            FUZZ_CHECK(value >= option->min && (option->max == 0 || value <= option->max));
        }
    }
}

/* Each mistake by the place where it stands, and no secret in any. */
static void mistakes_check(const struct line *line, struct words_told told) {
    for (uint32_t i = 0; i < line->saying_count && !line->loose; i++) {
        const struct saying *saying = &line->sayings[i];
        char place[OPTION_NAME_BYTES_MAX + 8];
        (saying->flag ? option_flag_name : option_variable_name)(saying->option->name, place);
        FUZZ_CHECK(saying_good(saying) || strstr(told.err, place) != NULL);
    }
    FUZZ_CHECK(line->loose || strstr(told.err, WORDS_SECRET) == NULL);
}

static bool line_good(const struct line *line) {
    const char *required = line->subject->required;
    bool good = true, complete = required == NULL;
    for (uint32_t i = 0; i < line->saying_count; i++) {
        good = good && saying_good(&line->sayings[i]);
        complete = complete || strcmp(line->sayings[i].option->name, required) == 0;
    }
    return good && complete;
}

static void refusal_check(const struct line *line, struct words_told told) {
    bool lacks = line->subject->required != NULL && strstr(told.err, " is required") != NULL;
    FUZZ_CHECK(strncmp(told.err, line->program->name, strlen(line->program->name)) == 0);
    FUZZ_CHECK(lacks || strstr(told.err, "; --help lists every option") != NULL);
    FUZZ_CHECK(lacks || words_named(&line->words, told.err) ||
               strstr(told.err, "SLUICE_") != NULL || strstr(told.err, ": : ") != NULL);
    mistakes_check(line, told);
}

static void outcome_check(const struct line *line, enum options_outcome outcome, void *settings,
                          struct words_told told) {
    FUZZ_CHECK(line->loose || (outcome == OPTIONS_OK) == line_good(line));
    if (outcome == OPTIONS_OK) {
        FUZZ_CHECK(told.err[0] == '\0' && told.out[0] == '\0');
        table_check(line->program, settings);
        line->subject->check(settings);
        if (!line->loose) {
            winners_check(line, settings);
        }
        options_free(line->program, settings);
    } else if (outcome == OPTIONS_INVALID) {
        refusal_check(line, told);
    } else {
        FUZZ_CHECK(told.out[0] != '\0');
    }
}

/* Nothing is left to be freed. */
static void texts_check(const struct options_program *program, const void *settings) {
    for (size_t i = 0; i < program->option_count; i++) {
        const struct option *option = &program->options[i];
        FUZZ_CHECK((option->kind != OPTION_TEXT && option->kind != OPTION_CHOICE) ||
                   *(char *const *)field_of(option, settings) == NULL);
    }
}

void options_line_try(const struct options_subject *subject, struct fuzz *fuzz) {
    struct line line = {.subject = subject, .program = subject->program};
    void *settings = settings_create(subject);
    words_environment_clear();
    line_make(&line, fuzz);
    words_listen();
    enum options_outcome outcome =
        subject->load != NULL
            ? subject->load(line.words.count, line.words.at, settings)
            : options_load(line.program, line.words.count, line.words.at, settings);
    outcome_check(&line, outcome, settings, words_heard());
    texts_check(line.program, settings);
    variables_free(&line);
    words_free(&line.words);
    free(settings);
}
