/*
 * Which schemas of records a node reads and writes, as it tells others in its lease:
 * "record_schemas": [newest read, written]. Nodes that say nothing know schema 1 alone.
 */
#ifndef SLUICE_SERVER_IO_NODE_SCHEMAS_H
#define SLUICE_SERVER_IO_NODE_SCHEMAS_H

#include "proto/record.h"

struct node_schemas {
    uint32_t newest, written;
};

#define NODE_SCHEMAS_UNSAID ((struct node_schemas){1, 1})

static inline void node_schemas_write(struct writer *writer) {
    write_text(writer, "record_schemas");
    write_array(writer, 2);
    write_uint(writer, record_schema_newest);
    write_uint(writer, record_schema_written);
}

static inline bool node_schemas_read(struct reader *reader, struct node_schemas *schemas) {
    uint32_t count;
    uint64_t newest, written;
    if (!read_array(reader, &count) || count != 2 || !read_uint(reader, &newest) ||
        !read_uint(reader, &written) || newest > UINT32_MAX || written > UINT32_MAX) {
        return false;
    }
    *schemas = (struct node_schemas){(uint32_t)newest, (uint32_t)written};
    return true;
}

#endif
