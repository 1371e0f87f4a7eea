#include "runtime/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name, *label, *colour;
} levels[] = {
    [LOG_LEVEL_DEBUG] = {"debug", "DEBUG", "\033[2m"},
    [LOG_LEVEL_INFO] = {"info", "INFO ", "\033[32m"},
    [LOG_LEVEL_WARN] = {"warn", "WARN ", "\033[33m"},
    [LOG_LEVEL_ERROR] = {"error", "ERROR", "\033[31m"},
};
#define LEVEL_COUNT (sizeof levels / sizeof levels[0])

#define COLOUR_OFF "\033[0m"

/* Text being built in a buffer of fixed size; what does not fit sets `cut`. */
struct text {
    char *data;
    size_t capacity, size;
    bool cut;
};

/* All of `size` bytes or none, so that an escape or a character is never cut in half. */
static void text_put(struct text *text, const char *data, size_t size) {
    if (text->cut || size > text->capacity - text->size) {
        text->cut = true;
        return;
    }
    memcpy(text->data + text->size, data, size);
    text->size += size;
}

static void text_puts(struct text *text, const char *data) {
    text_put(text, data, strlen(data));
}

/* Bytes of the valid, printable UTF-8 character at `data`, 0 if it is none. */
static size_t utf8_size(const uint8_t *data, size_t size) {
    static const struct {
        uint8_t mask, lead;
        size_t size;
        uint32_t least;
    } forms[] = {{0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if ((data[0] & forms[i].mask) != forms[i].lead)
            continue;
        if (size < forms[i].size)
            return 0;
        uint32_t point = data[0] & (uint8_t)~forms[i].mask;
        for (size_t k = 1; k < forms[i].size; k++) {
            if ((data[k] & 0xc0) != 0x80)
                return 0;
            point = point << 6 | (data[k] & 0x3f);
        }
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        bool control = point < 0xa0; /* C1: some terminals obey them */
        bool bidi = (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
        bool separator = point == 0x2028 || point == 0x2029;
        if (point < forms[i].least || point > 0x10ffff || surrogate || control || bidi || separator)
            return 0;
        return forms[i].size;
    }
    return 0;
}

enum escape_style {
    ESCAPE_PLAIN,  /* control characters only */
    ESCAPE_QUOTED, /* quotes and backslashes as well */
    ESCAPE_JSON,   /* as JSON wants them */
};

static void escape_byte(struct text *text, uint8_t byte, enum escape_style style) {
    static const char letters[] = {['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    char escaped[8];
    int size;
    if (byte < sizeof letters && letters[byte] != 0)
        size = snprintf(escaped, sizeof escaped, "\\%c", letters[byte]);
    else if (style == ESCAPE_JSON && byte < 0x80)
        size = snprintf(escaped, sizeof escaped, "\\u%04x", byte);
    else if (style == ESCAPE_JSON) /* no character: shown as its value, after a JSON backslash */
        size = snprintf(escaped, sizeof escaped, "\\\\x%02x", byte);
    else
        size = snprintf(escaped, sizeof escaped, "\\x%02x", byte);
    text_put(text, escaped, (size_t)size);
}

static void text_escape(struct text *text, const uint8_t *data, size_t size,
                        enum escape_style style) {
    for (size_t i = 0; i < size && !text->cut;) {
        uint8_t byte = data[i];
        size_t whole = byte >= 0x80 ? utf8_size(data + i, size - i) : 1;
        if (whole == 0 || byte < 0x20 || byte == 0x7f) {
            escape_byte(text, byte, style);
            i++;
        } else if (style != ESCAPE_PLAIN && (byte == '"' || byte == '\\')) {
            char escaped[2] = {'\\', (char)byte};
            text_put(text, escaped, sizeof escaped);
            i++;
        } else {
            text_put(text, (const char *)data + i, whole);
            i += whole;
        }
    }
}

const char *log_quote(struct log_quoted *buffer, struct bytes value) {
    static const char cut_end[] = "...\"";
    struct text text = {.data = buffer->text, .capacity = sizeof buffer->text - sizeof cut_end};
    text_puts(&text, "\"");
    text_escape(&text, value.data, value.size, ESCAPE_QUOTED);
    const char *end = text.cut ? cut_end : "\"";
    memcpy(buffer->text + text.size, end, strlen(end) + 1);
    return buffer->text;
}

void log_init(struct log *log, enum log_level level, bool json, int fd, const char *who) {
    *log = (struct log){.level = level, .json = json, .fd = fd};
    log->colour = !json && isatty(fd) == 1;
    snprintf(log->who, sizeof log->who, "%s", who);
}

void log_derive(struct log *log, const struct log *from, const char *who) {
    *log = *from;
    snprintf(log->who, sizeof log->who, "%s", who);
}

bool log_level_parse(const char *text, enum log_level *level) {
    for (size_t i = 0; i < LEVEL_COUNT; i++) {
        if (strcmp(text, levels[i].name) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void time_put(struct text *text) {
    struct timespec now = {0};
    struct tm parts;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t size = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    text_put(text, stamp, size);
    int millis = (int)(now.tv_nsec / 1000000);
    char fraction[] = {
        '.', (char)('0' + millis / 100), (char)('0' + millis / 10 % 10), (char)('0' + millis % 10),
        'Z',
    };
    text_put(text, fraction, sizeof fraction);
}

static void head_put(struct text *text, const struct log *log, enum log_level level) {
    const uint8_t *who = (const uint8_t *)log->who;
    if (log->json) {
        text_puts(text, "{\"time\":\"");
        time_put(text);
        text_puts(text, "\",\"level\":\"");
        text_puts(text, levels[level].name);
        text_puts(text, "\",\"who\":\"");
        text_escape(text, who, strlen(log->who), ESCAPE_JSON);
        text_puts(text, "\",\"what\":\"");
        return;
    }
    time_put(text);
    text_puts(text, " ");
    text_puts(text, log->colour ? levels[level].colour : "");
    text_puts(text, levels[level].label);
    text_puts(text, log->colour ? COLOUR_OFF : "");
    text_puts(text, " ");
    text_escape(text, who, strlen(log->who), ESCAPE_PLAIN);
    text_puts(text, " ");
}

static void line_write(int fd, const char *line, size_t size) {
    ssize_t written;
    do {
        written = write(fd, line, size);
    } while (written < 0 && errno == EINTR);
    /* A log that cannot be written has nowhere to say so. */
}

void log_write(const struct log *log, enum log_level level, const char *format, ...) {
    if (level < log->level)
        return;
    int saved_errno = errno;

    char what[LOG_LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    bool what_cut = size >= (int)sizeof what;
    size_t what_size = size < 0 ? 0 : what_cut ? sizeof what - 1 : (size_t)size;

    /* The end of a line always has its place: "...", the JSON's end, the newline. */
    char line[LOG_LINE_BYTES_MAX];
    static const char longest_end[] = "...\"}\n";
    struct text text = {.data = line, .capacity = sizeof line - (sizeof longest_end - 1)};
    head_put(&text, log, level);
    text_escape(&text, (const uint8_t *)what, what_size, log->json ? ESCAPE_JSON : ESCAPE_PLAIN);
    bool cut = text.cut || what_cut;
    text.capacity = sizeof line;
    text.cut = false;
    text_puts(&text, cut ? "..." : "");
    text_puts(&text, log->json ? "\"}\n" : "\n");
    line_write(log->fd, line, text.size);
    errno = saved_errno;
}
