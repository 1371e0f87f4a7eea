/*
 * Log lines: time, level, who, what. One line an event, to standard error; JSON on request.
 * A logger is a value that its owner holds (no process-wide one); lines are written whole, so
 * threads may share the descriptor. Never given a secret.
 *
 * Guarantee: one call writes at most one line of printable UTF-8, whatever bytes the text holds:
 * control characters and invalid bytes are escaped. Text from outside (keys, names, a peer's words)
 * goes through log_quote, so that it cannot pass for something the program said.
 */
#ifndef SLUICE_RUNTIME_LOG_H
#define SLUICE_RUNTIME_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/bytes.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Bytes of a line, cut with "..." beyond. */
#define LOG_LINE_BYTES_MAX 1024

/* Bytes of a quoted value: a short key whole, a long one cut with "...". */
#define LOG_QUOTE_BYTES_MAX 128

struct log_quoted {
    char text[LOG_QUOTE_BYTES_MAX];
};

struct log {
    enum log_level level; /* the least that is written */
    bool json;
    bool colour; /* the level, if the descriptor is a terminal */
    int fd;
    char who[64]; /* "n1", "n1/shard-0", "router" */
};

void log_init(struct log *log, enum log_level level, bool json, int fd, const char *who);

/* A logger for a part: the same but for the name. */
void log_derive(struct log *log, const struct log *from, const char *who);

/* `value` in double quotes, with quotes, backslashes, control characters and invalid bytes escaped.
 * Returns buffer->text. */
const char *log_quote(struct log_quoted *buffer, struct bytes value);

/* False if `text` names no level (debug, info, warn, error). */
bool log_level_parse(const char *text, enum log_level *level);

void log_write(const struct log *log, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(log, ...) log_write((log), LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(log, ...) log_write((log), LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(log, ...) log_write((log), LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(log, ...) log_write((log), LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
