/* The schemas that this version knows. Apart from record.c, so that a test can link another list.
 */
#include "proto/record.h"

const struct record_schema record_schemas[] = {{record_read_1, record_write_1}};
const uint32_t record_schema_newest = 1;
const uint32_t record_schema_written = 1;
