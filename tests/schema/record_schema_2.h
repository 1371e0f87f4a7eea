/*
 * A schema that no version of ours writes: what the next one might look like. Tests link it in the
 * place of proto/record_schemas.c, to be a later release.
 *
 *     [2, [tat...], generation, plan]    tat: [ns, part]; plan: a name, or [rate, period_ms, burst]
 */
#ifndef SLUICE_TESTS_SCHEMA_RECORD_SCHEMA_2_H
#define SLUICE_TESTS_SCHEMA_RECORD_SCHEMA_2_H

#include "proto/record.h"

enum code record_read_2(struct reader *reader, uint32_t count, struct record *record,
                        struct fault *fault);
void record_write_2(struct writer *writer, const struct record *record);

#endif
