/* The next release: it reads a schema that this one does not know, and writes what this one reads.
 */
#include "tests/schema/record_schema_2.h"

const struct record_schema record_schemas[] = {{record_read_1, record_write_1},
                                               {record_read_2, record_write_2}};
const uint32_t record_schema_newest = 2;
const uint32_t record_schema_written = 1;
