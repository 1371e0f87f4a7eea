#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/options_impl.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* Descending, so that the first that divides a value is the one to write it in. */
static const struct unit duration_units[] = {
    {"d", UINT64_C(86400000000000)},
    {"h", UINT64_C(3600000000000)},
    {"m", UINT64_C(60000000000)},
    {"s", 1000000000},
    {"ms", 1000000},
    {"us", 1000},
    {"ns", 1},
};
static const struct unit byte_units[] = {
    {"TiB", UINT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1},
};
/* Understood, but not written: powers of ten. */
static const struct unit byte_units_decimal[] = {
    {"B", 1},        {"kB", 1000},       {"KB", 1000},
    {"MB", 1000000}, {"GB", 1000000000}, {"TB", UINT64_C(1000000000000)},
};
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct unit *unit_find(const struct unit *units, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(units[i].name, name) == 0)
            return &units[i];
    }
    return NULL;
}

/* The digits at the start of `text`; false if there are none or too many. */
static bool digits_parse(const char *text, uint64_t *value, const char **end) {
    size_t digits = strspn(text, "0123456789");
    *end = text + digits;
    errno = 0;
    *value = strtoull(text, NULL, 10);
    return digits > 0 && errno == 0;
}

static bool expected(char *why, size_t why_size, const char *text, const char *what) {
    snprintf(why, why_size, "\"%.80s\" is not %s", text, what);
    return false;
}

bool option_parse_count(const char *text, uint64_t *count, char *why, size_t why_size) {
    const char *end;
    if (!digits_parse(text, count, &end) || *end != '\0')
        return expected(why, why_size, text, "a whole number, for example 8");
    return true;
}

bool option_parse_duration(const char *text, uint64_t *ns, char *why, size_t why_size) {
    static const char what[] = "a duration, for example 100ms, 1s or 2m (units: ns us ms s m h d)";
    const char *end;
    if (!digits_parse(text, ns, &end))
        return expected(why, why_size, text, what);
    if (*ns == 0 && *end == '\0')
        return true;
    const struct unit *unit = unit_find(duration_units, COUNT_OF(duration_units), end);
    if (unit == NULL || __builtin_mul_overflow(*ns, unit->factor, ns))
        return expected(why, why_size, text, what);
    return true;
}

bool option_parse_bytes(const char *text, uint64_t *bytes, char *why, size_t why_size) {
    static const char what[] = "a size, for example 4096, 64MiB or 1GiB (units: KiB MiB GiB TiB)";
    const char *end;
    if (!digits_parse(text, bytes, &end))
        return expected(why, why_size, text, what);
    const struct unit *unit = unit_find(byte_units, COUNT_OF(byte_units), end);
    if (unit == NULL)
        unit = unit_find(byte_units_decimal, COUNT_OF(byte_units_decimal), end);
    if (unit == NULL || __builtin_mul_overflow(*bytes, unit->factor, bytes))
        return expected(why, why_size, text, what);
    return true;
}

void option_number_format(enum option_kind kind, uint64_t value, char *out, size_t out_size) {
    const struct unit *units = kind == OPTION_DURATION ? duration_units : byte_units;
    size_t count = kind == OPTION_DURATION ? COUNT_OF(duration_units) : COUNT_OF(byte_units);
    const struct unit *unit = NULL;
    for (size_t i = 0; i < count && unit == NULL && kind != OPTION_COUNT; i++) {
        if (value >= units[i].factor && value % units[i].factor == 0)
            unit = &units[i];
    }
    snprintf(out, out_size, "%" PRIu64 "%s", unit != NULL ? value / unit->factor : value,
             unit != NULL ? unit->name : "");
}

static bool switch_parse(const char *text, bool *on, char *why, size_t why_size) {
    static const struct {
        const char *word;
        bool on;
    } words[] = {{"true", true},   {"yes", true}, {"on", true},   {"1", true},
                 {"false", false}, {"no", false}, {"off", false}, {"0", false}};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strcasecmp(text, words[i].word) == 0) {
            *on = words[i].on;
            return true;
        }
    }
    return expected(why, why_size, text, "one of true, yes, on, false, no, off");
}

static bool choice_check(const struct option *option, const char *text, char *why,
                         size_t why_size) {
    size_t size = strlen(text);
    for (const char *choice = option->choices; *choice != '\0';) {
        size_t choice_size = strcspn(choice, "|");
        if (choice_size == size && strncmp(choice, text, size) == 0)
            return true;
        choice += choice_size;
        choice += *choice == '|';
    }
    snprintf(why, why_size, "\"%.80s\" is none of %s", text, option->choices);
    return false;
}

static bool number_parse(const struct option *option, const char *text, uint64_t *value, char *why,
                         size_t why_size) {
    bool right = false;
    if (option->kind == OPTION_COUNT)
        right = option_parse_count(text, value, why, why_size);
    else if (option->kind == OPTION_BYTES)
        right = option_parse_bytes(text, value, why, why_size);
    else
        right = option_parse_duration(text, value, why, why_size);
    if (!right)
        return false;
    if (*value >= option->min && (option->max == 0 || *value <= option->max))
        return true;
    char least[32], most[32];
    option_number_format(option->kind, option->min, least, sizeof least);
    option_number_format(option->kind, option->max, most, sizeof most);
    if (option->max == 0)
        snprintf(why, why_size, "\"%.80s\" is out of bounds: at least %s", text, least);
    else
        snprintf(why, why_size, "\"%.80s\" is out of bounds: from %s to %s", text, least, most);
    return false;
}

static bool text_keep(char **field, const char *text, char *why, size_t why_size) {
    char *copy = strdup(text);
    if (copy == NULL) {
        snprintf(why, why_size, "no memory");
        return false;
    }
    free(*field);
    *field = copy;
    return true;
}

bool option_set(const struct option *option, void *settings, const char *text, char *why,
                size_t why_size) {
    void *field = settings != NULL ? (char *)settings + option->offset : NULL;
    uint64_t number = 0;
    bool on = false;
    bool right = true;
    switch (option->kind) {
    case OPTION_TEXT:
        break;
    case OPTION_CHOICE:
        right = choice_check(option, text, why, why_size);
        break;
    case OPTION_SWITCH:
        right = switch_parse(text, &on, why, why_size);
        break;
    case OPTION_COUNT:
    case OPTION_BYTES:
    case OPTION_DURATION:
        right = number_parse(option, text, &number, why, why_size);
        break;
    }
    if (right && option->check != NULL)
        right = option->check(text, why, why_size);
    if (!right || field == NULL)
        return right;
    if (option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE)
        return text_keep(field, text, why, why_size);
    if (option->kind == OPTION_SWITCH)
        *(bool *)field = on;
    else
        *(uint64_t *)field = number;
    return true;
}
