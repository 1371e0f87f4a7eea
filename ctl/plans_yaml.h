/*
 * What a plans file's parser needs of YAML: mistakes with their place, and mappings walked by a
 * table of fields. Borrows the document from libyaml; used within one parse.
 */
#ifndef SLUICE_CTL_PLANS_YAML_H
#define SLUICE_CTL_PLANS_YAML_H

#include <yaml.h>

#include "ctl/plans_file.h"

/* Bytes of a place such as "plans.<63 bytes>.limits[3].period". */
#define PLACE_BYTES_MAX 128

struct plans_yaml {
    yaml_document_t *document;
    struct plans_mistakes *mistakes;
};

/* A field of a mapping; `parse` gets the value, its place and what walk() was given. */
struct field {
    const char *name;
    void (*parse)(struct plans_yaml *yaml, yaml_node_t *value, const char *place, void *into);
};

/* Notes a mistake at that node. */
void mistake_at(struct plans_yaml *yaml, const yaml_node_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same at a line and column counted from 0, as libyaml does. */
void mistake_at_mark(struct plans_mistakes *mistakes, size_t line, size_t column,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* "PLACE: expected WHAT, got ...". */
void mistake_expected(struct plans_yaml *yaml, const yaml_node_t *node, const char *place,
                      const char *what);

/* Walks a mapping's fields: each known one is parsed once; unknown and repeated ones are mistakes.
 * `place` is "" at the top. Returns which fields were there, bit i for fields[i]; UINT32_MAX if the
 * node is no mapping (noted). */
uint32_t mapping_walk(struct plans_yaml *yaml, yaml_node_t *node, const char *place,
                      const struct field *fields, uint32_t field_count, void *into);

/* The scalar's text; size 0 and data NULL if the node is no scalar. */
struct bytes scalar_text(const yaml_node_t *node);

/* A plain (unquoted) scalar of digits. */
bool scalar_uint(const yaml_node_t *node, uint64_t *value);

bool scalar_is_null(const yaml_node_t *node);

#endif
