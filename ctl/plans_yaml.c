#include "ctl/plans_yaml.h"

#include <stdarg.h>
#include <stdio.h>

#include "ctl/text.h"

/* Bytes of somebody else's text that a message quotes. */
#define QUOTED_BYTES_MAX 40

/* Fields of one mapping: the bits of mapping_walk's result. */
#define FIELDS_MAX 8

__attribute__((format(printf, 4, 0))) static void mistake_add(struct plans_mistakes *mistakes,
                                                              size_t line, size_t column,
                                                              const char *format,
                                                              va_list arguments) {
    if (mistakes->count == PLANS_MISTAKES_MAX) {
        mistakes->more = true;
        return;
    }
    struct plans_mistake *mistake = &mistakes->items[mistakes->count++];
    mistake->line = (uint32_t)line + 1;
    mistake->column = (uint32_t)column + 1;
    vsnprintf(mistake->text, sizeof mistake->text, format, arguments);
}

void mistake_at(struct plans_yaml *yaml, const yaml_node_t *node, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    mistake_add(yaml->mistakes, node->start_mark.line, node->start_mark.column, format, arguments);
    va_end(arguments);
}

void mistake_at_mark(struct plans_mistakes *mistakes, size_t line, size_t column,
                     const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    mistake_add(mistakes, line, column, format, arguments);
    va_end(arguments);
}

struct bytes scalar_text(const yaml_node_t *node) {
    if (node->type != YAML_SCALAR_NODE) {
        return (struct bytes){0};
    }
    return bytes_of(node->data.scalar.value, node->data.scalar.length);
}

static bool scalar_plain(const yaml_node_t *node) {
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

bool scalar_uint(const yaml_node_t *node, uint64_t *value) {
    return scalar_plain(node) && text_uint(scalar_text(node), value);
}

bool scalar_is_null(const yaml_node_t *node) {
    if (!scalar_plain(node)) {
        return false;
    }
    struct bytes text = scalar_text(node);
    return text.size == 0 || bytes_equal(text, bytes_of_text("~")) ||
           bytes_equal(text, bytes_of_text("null"));
}

static void describe(const yaml_node_t *node, char *out, size_t capacity) {
    uint64_t number;
    if (node->type == YAML_SEQUENCE_NODE) {
        snprintf(out, capacity, "a list");
    } else if (node->type == YAML_MAPPING_NODE) {
        snprintf(out, capacity, "a mapping");
    } else if (scalar_is_null(node)) {
        snprintf(out, capacity, "nothing");
    } else {
        struct bytes text = scalar_text(node);
        char escaped[TEXT_ESCAPED_BYTES_MAX(QUOTED_BYTES_MAX)];
        bool cut = text.size > QUOTED_BYTES_MAX;
        text_escape(bytes_of(text.data, cut ? QUOTED_BYTES_MAX : text.size), escaped);
        snprintf(out, capacity, scalar_uint(node, &number) ? "%s%s" : "\"%s%s\"", escaped,
                 cut ? "..." : "");
    }
}

void mistake_expected(struct plans_yaml *yaml, const yaml_node_t *node, const char *place,
                      const char *what) {
    char got[TEXT_ESCAPED_BYTES_MAX(QUOTED_BYTES_MAX) + 8];
    describe(node, got, sizeof got);
    mistake_at(yaml, node, "%s: expected %s, got %s", place[0] == '\0' ? "the file" : place, what,
               got);
}

static void names_join(const struct field *fields, uint32_t count, char *out, size_t capacity) {
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < count && used < capacity; i++) {
        used += (size_t)snprintf(out + used, capacity - used, "%s%s", i > 0 ? ", " : "",
                                 fields[i].name);
    }
}

static void unknown_field(struct plans_yaml *yaml, const yaml_node_t *key, const char *place,
                          const struct field *fields, uint32_t count) {
    const char *names[FIELDS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        names[i] = fields[i].name;
    }
    char got[TEXT_ESCAPED_BYTES_MAX(QUOTED_BYTES_MAX) + 8], known[96];
    describe(key, got, sizeof got);
    names_join(fields, count, known, sizeof known);
    const char *nearest = text_nearest(scalar_text(key), names, count);
    mistake_at(yaml, key, "%s%sunknown field %s%s%s%s (there are: %s)", place,
               place[0] == '\0' ? "" : ": ", got, nearest ? "; did you mean \"" : "",
               nearest ? nearest : "", nearest ? "\"?" : "", known);
}

static uint32_t field_find(const struct field *fields, uint32_t count, struct bytes name) {
    uint32_t i = 0;
    while (i < count && !bytes_equal(name, bytes_of_text(fields[i].name))) {
        i++;
    }
    return i;
}

uint32_t mapping_walk(struct plans_yaml *yaml, yaml_node_t *node, const char *place,
                      const struct field *fields, uint32_t field_count, void *into) {
    char known[96];
    uint32_t seen = 0;
    if (node->type != YAML_MAPPING_NODE) {
        char what[128];
        names_join(fields, field_count, known, sizeof known);
        snprintf(what, sizeof what, "a mapping with %s", known);
        mistake_expected(yaml, node, place, what);
        return UINT32_MAX;
    }
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(yaml->document, pair->key);
        yaml_node_t *value = yaml_document_get_node(yaml->document, pair->value);
        uint32_t i = field_find(fields, field_count, scalar_text(key));
        if (i == field_count) {
            unknown_field(yaml, key, place, fields, field_count);
            continue;
        }
        char inner[PLACE_BYTES_MAX];
        snprintf(inner, sizeof inner, "%s%s%s", place, place[0] == '\0' ? "" : ".", fields[i].name);
        if (seen & (1u << i)) {
            mistake_at(yaml, key, "%s: stands twice", inner);
            continue;
        }
        seen |= 1u << i;
        fields[i].parse(yaml, value, inner, into);
    }
    return seen;
}
