#include "ctl/out.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static void error_json(const char *code, const char *message) {
    out_json(json_pack("{s:{s:s, s:o}}", "error", "code", code, "message",
                       json_of_text(bytes_of_text(message))));
}

void out_failure(const struct settings *settings, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "sluicectl: %s\n", text);
    if (settings->json) {
        error_json("LOCAL", text);
    }
}

/* What to do about it, unless the message says so itself. */
static const char *advice(const struct reply *reply) {
    struct bytes text = reply->message;
    if (memmem(text.data, text.size, "sluicectl", 9) != NULL) {
        return NULL;
    }
    switch (reply->code) {
    case CODE_FORBIDDEN:
        return "operator's commands go to a node's control endpoint from the same machine "
               "(--control URL)";
    case CODE_UNKNOWN_METHOD:
        return "operator's commands go to a node's control endpoint (--control URL)";
    case CODE_UNAVAILABLE:
        return "look at `sluicectl status`; it may be tried again";
    case CODE_OVERLOADED:
        return "try again later";
    case CODE_MOVED:
        return "the cluster is moving this key; try again";
    case CODE_CONFLICT:
        return "look at what is in force, then decide again";
    default:
        return NULL;
    }
}

void out_error(const struct settings *settings, const struct reply *reply) {
    const char *more = advice(reply);
    fprintf(stderr, "sluicectl: %s: %.*s%s%s%s\n", code_text(reply->code), (int)reply->message.size,
            (const char *)reply->message.data, more ? " (" : "", more ? more : "", more ? ")" : "");
    if (settings->json) {
        char text[FAULT_TEXT_BYTES_MAX];
        snprintf(text, sizeof text, "%.*s", (int)reply->message.size,
                 (const char *)reply->message.data);
        error_json(code_text(reply->code), text);
    }
}

void out_json(json_t *document) {
    if (document == NULL) { /* text of the command line that is not UTF-8 */
        puts("null");
        return;
    }
    json_dumpf(document, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
    putchar('\n');
    json_decref(document);
}

const char *json_text(const json_t *object, const char *member) {
    const char *text = json_string_value(json_object_get(object, member));
    return text == NULL ? "" : text;
}

long long json_int(const json_t *object, const char *member) {
    return json_integer_value(json_object_get(object, member));
}

static bool colored(const struct settings *settings) {
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return !settings->no_color && !settings->json && (no_color == NULL || no_color[0] == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0) && isatty(STDOUT_FILENO);
}

const char *color_on(const struct settings *settings, enum color color) {
    static const char *const codes[] = {
        [COLOR_NONE] = "",        [COLOR_BOLD] = "\033[1m",    [COLOR_GREEN] = "\033[32m",
        [COLOR_RED] = "\033[31m", [COLOR_YELLOW] = "\033[33m", [COLOR_DIM] = "\033[2m",
    };
    return colored(settings) ? codes[color] : "";
}

const char *color_off(const struct settings *settings) {
    return colored(settings) ? "\033[0m" : "";
}

void table_init(struct table *table, uint32_t column_count) {
    assert(column_count <= TABLE_COLUMNS_MAX);
    *table = (struct table){.column_count = column_count};
}

void *out_needed(void *piece) {
    if (piece == NULL) {
        fputs("sluicectl: no memory\n", stderr);
        exit(EXIT_MEMORY);
    }
    return piece;
}

void table_row(struct table *table, const char *const *cells) {
    if (table->row_count == table->row_capacity) {
        table->row_capacity = table->row_capacity == 0 ? 16 : 2 * table->row_capacity;
        table->rows = out_needed(realloc(table->rows, table->row_capacity * sizeof *table->rows));
    }
    char **row = out_needed(calloc(table->column_count, sizeof *row));
    for (uint32_t i = 0; i < table->column_count; i++) {
        row[i] = out_needed(strdup(cells[i]));
    }
    table->rows[table->row_count++] = row;
}

static bool is_number(const char *text) {
    return text[0] != '\0' && strspn(text, "-0123456789.") == strlen(text);
}

/* A column is aligned to the right if everything below its head is a number. */
static bool column_measure(const struct table *table, uint32_t column, int *width) {
    bool right = table->row_count > 1;
    *width = 0;
    for (uint32_t i = 0; i < table->row_count; i++) {
        int size = (int)strlen(table->rows[i][column]);
        *width = size > *width ? size : *width;
        right = right && (i == 0 || is_number(table->rows[i][column]));
    }
    return right;
}

static enum color cell_color(const char *text) {
    if (strcmp(text, "yes") == 0 || strcmp(text, "up") == 0) {
        return COLOR_GREEN;
    }
    return strcmp(text, "no") == 0 || strcmp(text, "down") == 0 ? COLOR_RED : COLOR_NONE;
}

void table_print(struct table *table, const struct settings *settings) {
    int widths[TABLE_COLUMNS_MAX];
    bool rights[TABLE_COLUMNS_MAX];
    for (uint32_t i = 0; i < table->column_count; i++) {
        rights[i] = column_measure(table, i, &widths[i]);
    }
    for (uint32_t i = 0; i < table->row_count; i++) {
        for (uint32_t j = 0; j < table->column_count; j++) {
            char *cell = table->rows[i][j];
            bool last = j + 1 == table->column_count;
            enum color color = i == 0 ? COLOR_BOLD : cell_color(cell);
            printf("%s%*s%s%s", color_on(settings, color),
                   rights[j] ? widths[j] : (last ? 0 : -widths[j]), cell,
                   color == COLOR_NONE ? "" : color_off(settings), last ? "\n" : "  ");
            free(cell);
        }
        free(table->rows[i]);
    }
    free(table->rows);
    table->rows = NULL;
}
