#include "ctl/plans_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/plans_yaml.h"
#include "ctl/text.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define NS_PER_MS UINT64_C(1000000)

/* --- one limit ------------------------------------------------------------------------------ */

struct limit_draft {
    struct limit limit;
    bool rate_has_period; /* "100/s" */
    bool wrong;           /* a mistake was noted: no need for what follows from it */
};

static bool tokens_in_bounds(struct plans_yaml *yaml, yaml_node_t *node, const char *place,
                             uint64_t value) {
    if (value >= 1 && value <= TOKENS_MAX) {
        return true;
    }
    char what[64];
    snprintf(what, sizeof what, "1 to %" PRIu64 " tokens", TOKENS_MAX);
    mistake_expected(yaml, node, place, what);
    return false;
}

static bool period_set(struct plans_yaml *yaml, yaml_node_t *node, const char *place,
                       uint64_t period_ms, struct limit *limit) {
    if (period_ms < 1 || period_ms > PERIOD_NS_MAX / NS_PER_MS) {
        mistake_expected(yaml, node, place, "a period from 1ms to 400d");
        return false;
    }
    limit->period_ns = period_ms * NS_PER_MS;
    return true;
}

static void rate_parse(struct plans_yaml *yaml, yaml_node_t *value, const char *place, void *into) {
    struct limit_draft *draft = into;
    struct bytes text = scalar_text(value);
    uint64_t tokens, period_ms;
    const uint8_t *slash = text.size > 0 ? memchr(text.data, '/', text.size) : NULL;
    if (scalar_uint(value, &tokens)) {
        draft->wrong |= !tokens_in_bounds(yaml, value, place, tokens);
        draft->limit.rate_tokens = tokens;
        return;
    }
    if (slash == NULL || !text_uint(bytes_of(text.data, (size_t)(slash - text.data)), &tokens) ||
        !text_duration_ms(bytes_of(slash + 1, (size_t)(text.data + text.size - slash - 1)), true,
                          &period_ms)) {
        mistake_expected(yaml, value, place, "a whole number, or one with its period as in 100/s");
        draft->wrong = true;
        return;
    }
    draft->rate_has_period = true;
    draft->limit.rate_tokens = tokens;
    draft->wrong |= !tokens_in_bounds(yaml, value, place, tokens) ||
                    !period_set(yaml, value, place, period_ms, &draft->limit);
}

static void period_parse(struct plans_yaml *yaml, yaml_node_t *value, const char *place,
                         void *into) {
    struct limit_draft *draft = into;
    uint64_t period_ms;
    if (!text_duration_ms(scalar_text(value), false, &period_ms)) {
        mistake_expected(yaml, value, place,
                         "a whole number with its unit (ms, s, m, h, d), as in 1s");
        draft->wrong = true;
        return;
    }
    /* With rate: 100/s the place of the mistake is known only when both are: limit_parse. */
    struct limit own = {0};
    if (!period_set(yaml, value, place, period_ms, &own)) {
        draft->wrong = true;
    } else if (!draft->rate_has_period) {
        draft->limit.period_ns = own.period_ns;
    }
}

static void burst_parse(struct plans_yaml *yaml, yaml_node_t *value, const char *place,
                        void *into) {
    struct limit_draft *draft = into;
    if (!scalar_uint(value, &draft->limit.burst_tokens)) {
        mistake_expected(yaml, value, place, "a whole number of tokens");
        draft->wrong = true;
        return;
    }
    draft->wrong |= !tokens_in_bounds(yaml, value, place, draft->limit.burst_tokens);
}

static bool limit_parse(struct plans_yaml *yaml, yaml_node_t *node, const char *place,
                        struct limit *limit) {
    static const struct field fields[] = {
        {"rate", rate_parse}, {"period", period_parse}, {"burst", burst_parse}};
    struct limit_draft draft = {0};
    uint32_t seen = mapping_walk(yaml, node, place, fields, COUNT_OF(fields), &draft);
    if (seen == UINT32_MAX) {
        return false;
    }
    bool has_rate = seen & 1, has_period = seen & 2, has_burst = seen & 4;
    if (!has_rate) {
        mistake_at(yaml, node, "%s: rate is missing (rate: 100, period: 1s)", place);
    } else if (draft.rate_has_period && has_period) {
        mistake_at(yaml, node, "%s: rate already names its period; leave out period", place);
        return false;
    }
    if (!has_period && !draft.rate_has_period && !(has_rate && draft.wrong)) {
        mistake_at(yaml, node, "%s: period is missing (period: 1s, or rate: 100/s)", place);
        return false;
    }
    if (!has_rate || draft.wrong) {
        return false;
    }
    *limit = draft.limit;
    if (!has_burst) {
        limit->burst_tokens = limit->rate_tokens;
    }
    struct fault fault;
    if (limit_check(limit, place, &fault) != CODE_OK) {
        mistake_at(yaml, node, "%s", fault.text);
        return false;
    }
    return true;
}

/* --- one plan ------------------------------------------------------------------------------- */

static void limits_parse(struct plans_yaml *yaml, yaml_node_t *value, const char *place,
                         void *into) {
    struct plan *plan = into;
    struct terms *terms = &plan->generations[0].terms;
    if (value->type != YAML_SEQUENCE_NODE) {
        mistake_expected(yaml, value, place, "a list of limits, as in [{rate: 10, period: 1s}]");
        return;
    }
    size_t count = (size_t)(value->data.sequence.items.top - value->data.sequence.items.start);
    if (count < 1 || count > LIMITS_PER_PLAN_MAX) {
        mistake_at(yaml, value, "%s: expected 1 to %d limits, got %zu", place, LIMITS_PER_PLAN_MAX,
                   count);
    }
    for (size_t i = 0; i < count && i < LIMITS_PER_PLAN_MAX; i++) {
        char inner[PLACE_BYTES_MAX];
        snprintf(inner, sizeof inner, "%s[%zu]", place, i);
        yaml_node_t *item =
            yaml_document_get_node(yaml->document, value->data.sequence.items.start[i]);
        if (limit_parse(yaml, item, inner, &terms->limits[terms->limit_count])) {
            terms->limit_count++;
        }
    }
}

static void policy_parse(struct plans_yaml *yaml, yaml_node_t *value, const char *place,
                         void *into) {
    struct plan *plan = into;
    if (!policy_of_text(scalar_text(value), &plan->on_unavailable)) {
        mistake_expected(yaml, value, place, "deny, allow or redis");
    }
}

static void durability_parse(struct plans_yaml *yaml, yaml_node_t *value, const char *place,
                             void *into) {
    struct plan *plan = into;
    if (!durability_of_text(scalar_text(value), &plan->durability)) {
        mistake_expected(yaml, value, place, "strict or relaxed");
    }
}

static void plan_parse(struct plans_yaml *yaml, yaml_node_t *node, const char *place,
                       struct plan *plan) {
    static const struct field fields[] = {{"limits", limits_parse},
                                          {"on_unavailable", policy_parse},
                                          {"durability", durability_parse}};
    uint32_t seen = mapping_walk(yaml, node, place, fields, COUNT_OF(fields), plan);
    if (seen != UINT32_MAX && !(seen & 1)) {
        mistake_at(yaml, node, "%s: limits is missing", place);
    }
}

/* --- the file ------------------------------------------------------------------------------- */

struct file_draft {
    struct plan_set *set;
    yaml_node_t *default_node; /* NULL: none */
};

static void default_parse(struct plans_yaml *yaml, yaml_node_t *value, const char *place,
                          void *into) {
    struct file_draft *draft = into;
    if (scalar_is_null(value)) {
        return;
    }
    if (value->type != YAML_SCALAR_NODE) {
        mistake_expected(yaml, value, place, "the name of a plan");
        return;
    }
    draft->default_node = value;
}

static void named_plan_parse(struct plans_yaml *yaml, yaml_node_t *key, yaml_node_t *value,
                             struct plan_set *set) {
    struct bytes name = scalar_text(key);
    if (!name_valid(name)) {
        mistake_expected(yaml, key, "plans",
                         "a name of 1 to 63 letters, digits, '_', '-', '.' that begins with a "
                         "letter or digit");
        return;
    }
    struct plan plan = {.name = name_of(name), .generation_count = 1};
    char place[PLACE_BYTES_MAX];
    snprintf(place, sizeof place, "plans.%s", plan.name.text);
    if (plan_set_find(set, name) >= 0) {
        mistake_at(yaml, key, "%s: stands twice", place);
        return;
    }
    plan_parse(yaml, value, place, &plan);
    plan_set_add(set, &plan); /* faulty ones too: `default` may name them */
}

static void plans_parse(struct plans_yaml *yaml, yaml_node_t *value, const char *place,
                        void *into) {
    struct file_draft *draft = into;
    if (value->type != YAML_MAPPING_NODE) {
        mistake_expected(yaml, value, place, "a mapping from a plan's name to its limits");
        return;
    }
    yaml_node_pair_t *start = value->data.mapping.pairs.start;
    size_t count = (size_t)(value->data.mapping.pairs.top - start);
    if (count < 1 || count > PLANS_MAX) {
        mistake_at(yaml, value, "%s: expected 1 to %d plans, got %zu", place, PLANS_MAX, count);
    }
    for (size_t i = 0; i < count && i < PLANS_MAX; i++) {
        named_plan_parse(yaml, yaml_document_get_node(yaml->document, start[i].key),
                         yaml_document_get_node(yaml->document, start[i].value), draft->set);
    }
}

static void default_resolve(struct plans_yaml *yaml, struct file_draft *draft) {
    struct plan_set *set = draft->set;
    struct bytes name = scalar_text(draft->default_node);
    set->default_at = plan_set_find(set, name);
    if (set->default_at >= 0) {
        return;
    }
    const char *names[PLANS_MAX];
    for (uint32_t i = 0; i < set->plan_count; i++) {
        names[i] = set->plans[i].name.text;
    }
    const char *nearest = text_nearest(name, names, set->plan_count);
    mistake_at(yaml, draft->default_node, "default: no plan of this file is called that%s%s%s",
               nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

static void document_parse(struct plans_yaml *yaml, struct plan_set *set) {
    static const struct field fields[] = {{"default", default_parse}, {"plans", plans_parse}};
    struct file_draft draft = {.set = set};
    yaml_node_t *root = yaml_document_get_root_node(yaml->document);
    if (root == NULL || scalar_is_null(root)) {
        mistake_at_mark(yaml->mistakes, 0, 0, "the file is empty; expected default and plans");
        return;
    }
    uint32_t seen = mapping_walk(yaml, root, "", fields, COUNT_OF(fields), &draft);
    if (seen == UINT32_MAX) {
        return;
    }
    if (!(seen & 2)) {
        mistake_at(yaml, root, "plans is missing");
    } else if (draft.default_node != NULL) {
        default_resolve(yaml, &draft);
    }
}

/* libyaml reads ahead, so the place of bytes that are no text is counted here. */
static void text_mistake(struct bytes text, const yaml_parser_t *parser,
                         struct plans_mistakes *mistakes) {
    size_t line = 0, column = 0;
    for (size_t i = 0; i < parser->problem_offset && i < text.size; i++) {
        bool ends_line = text.data[i] == '\n', continues = (text.data[i] & 0xc0) == 0x80;
        line += ends_line;
        column = ends_line ? 0 : column + !continues;
    }
    mistake_at_mark(mistakes, line, column, "not text: %s", parser->problem);
}

static void syntax_mistake(struct bytes text, const yaml_parser_t *parser,
                           struct plans_mistakes *mistakes) {
    if (parser->error == YAML_READER_ERROR) {
        text_mistake(text, parser, mistakes);
        return;
    }
    mistake_at_mark(mistakes, parser->problem_mark.line, parser->problem_mark.column,
                    "not YAML: %s%s%s", parser->problem != NULL ? parser->problem : "no memory",
                    parser->context != NULL ? " " : "",
                    parser->context != NULL ? parser->context : "");
}

/* A second document in the file would otherwise be dropped silently. */
static void rest_check(struct bytes text, yaml_parser_t *parser, struct plans_mistakes *mistakes) {
    yaml_document_t rest;
    if (!yaml_parser_load(parser, &rest)) {
        syntax_mistake(text, parser, mistakes);
        return;
    }
    yaml_node_t *root = yaml_document_get_root_node(&rest);
    if (root != NULL) {
        mistake_at_mark(mistakes, rest.start_mark.line, rest.start_mark.column,
                        "a second YAML document begins here; a plans file has one");
    }
    yaml_document_delete(&rest);
}

/* Mistakes are found field by field, but read from top to bottom. */
static int mistake_order(const void *left, const void *right) {
    const struct plans_mistake *a = left, *b = right;
    if (a->line != b->line) {
        return a->line < b->line ? -1 : 1;
    }
    return a->column < b->column ? -1 : a->column > b->column;
}

bool plans_text_parse(struct bytes text, struct plan_set *set, struct plans_mistakes *mistakes) {
    yaml_parser_t parser;
    yaml_document_t document;
    mistakes->count = 0;
    mistakes->more = false;
    plan_set_init(set);
    if (!yaml_parser_initialize(&parser)) {
        mistake_at_mark(mistakes, 0, 0, "no memory");
        return false;
    }
    yaml_parser_set_input_string(&parser, text.data, text.size);
    if (!yaml_parser_load(&parser, &document)) {
        syntax_mistake(text, &parser, mistakes);
    } else {
        struct plans_yaml yaml = {.document = &document, .mistakes = mistakes};
        document_parse(&yaml, set);
        if (yaml_document_get_root_node(&document) != NULL) {
            rest_check(text, &parser, mistakes);
        }
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    qsort(mistakes->items, mistakes->count, sizeof mistakes->items[0], mistake_order);
    return mistakes->count == 0;
}

/* --- reading -------------------------------------------------------------------------------- */

static bool file_mistake(struct plans_mistakes *mistakes, const char *text) {
    mistake_at_mark(mistakes, 0, 0, "%s", text);
    mistakes->items[mistakes->count - 1].line = 0;
    return false;
}

/* Reads all of `file` into `text`, which has room for one byte more than is allowed. */
static bool whole_read(int file, uint8_t *text, uint32_t *size, struct plans_mistakes *mistakes) {
    *size = 0;
    for (;;) {
        ssize_t count = read(file, text + *size, PLANS_FILE_BYTES_MAX + 1 - *size);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return file_mistake(mistakes, strerror(errno));
        }
        *size += (uint32_t)count;
        if (*size > PLANS_FILE_BYTES_MAX) {
            return file_mistake(mistakes, "the file is too large: a plans file has at most 1 MiB");
        }
        if (count == 0) {
            return true;
        }
    }
}

bool plans_file_parse(const char *path, struct plan_set *set, struct plans_mistakes *mistakes) {
    bool is_stdin = strcmp(path, "-") == 0;
    uint8_t *text = NULL;
    uint32_t size;
    struct stat about;
    mistakes->count = 0;
    mistakes->more = false;
    int file = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        return file_mistake(mistakes, strerror(errno));
    }
    bool good = false;
    if (fstat(file, &about) != 0) {
        file_mistake(mistakes, strerror(errno));
    } else if (!is_stdin && !S_ISREG(about.st_mode)) {
        file_mistake(mistakes, S_ISDIR(about.st_mode)
                                   ? "is a directory; expected a YAML file"
                                   : "is not a regular file (\"-\" reads the standard input)");
    } else {
        text = malloc(PLANS_FILE_BYTES_MAX + 1);
        good = text == NULL ? file_mistake(mistakes, "no memory")
                            : whole_read(file, text, &size, mistakes) &&
                                  plans_text_parse(bytes_of(text, size), set, mistakes);
    }
    free(text);
    if (!is_stdin) {
        close(file);
    }
    return good;
}
