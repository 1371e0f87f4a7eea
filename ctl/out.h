/*
 * What sluicectl prints: tables for people, one JSON document for programs, failures on stderr.
 *
 * Colours go to terminals only, and not with NO_COLOR set. One thread.
 */
#ifndef SLUICE_CTL_OUT_H
#define SLUICE_CTL_OUT_H

#include <jansson.h>
#include <stdio.h>

#include "ctl/command.h"
#include "proto/reply.h"

/* A failure of our own: "sluicectl: ..." on stderr; with --json {"error": {...}} on stdout too. */
void out_failure(const struct settings *settings, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The piece, or the end: without memory it says so and exits with EXIT_MEMORY, for half an answer
 * would be a wrong one. */
void *out_needed(void *piece);

/* An error that the cluster answered, with what to do about it. */
void out_error(const struct settings *settings, const struct reply *reply);

/* Prints the document (moved; NULL is null) on stdout. */
void out_json(json_t *document);

/* Any msgpack value as JSON (new reference); NULL if it is malformed. Text that is not UTF-8 is
 * escaped as \xNN; integers beyond JSON's 63 bits become text. */
json_t *json_of_value(struct bytes value);

/* Text as JSON (new reference), escaped likewise; NULL without memory. */
json_t *json_of_text(struct bytes text);

/* Text of a member, "" or 0 if it is not there. Borrowed from the object. */
const char *json_text(const json_t *object, const char *member);
long long json_int(const json_t *object, const char *member);

enum color { COLOR_NONE, COLOR_BOLD, COLOR_GREEN, COLOR_RED, COLOR_YELLOW, COLOR_DIM };

/* Start and end of a colour on stdout: "" where there are none. */
const char *color_on(const struct settings *settings, enum color color);
const char *color_off(const struct settings *settings);

/* Columns of a table. */
#define TABLE_COLUMNS_MAX 24

/* Aligned columns: rows are kept until table_print. */
struct table {
    uint32_t column_count;
    uint32_t row_count;
    uint32_t row_capacity;
    char ***rows; /* owned */
};

/* Adds a row of `column_count` texts (copied); the first row is the head. */
void table_init(struct table *table, uint32_t column_count);
void table_row(struct table *table, const char *const *cells);
/* Prints and frees. Cells that are whole numbers are aligned to the right. */
void table_print(struct table *table, const struct settings *settings);

#endif
