#include "proto/error.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const code_texts[] = {
#define X(name, text) [CODE_##name] = text,
    CODES(X)
#undef X
};

static const struct {
    enum code code;
    const char *text;
} reasons[] = {
#define X(name, code, message) [REASON_##name] = {code, message},
    REASONS(X)
#undef X
};

const char *code_text(enum code code) {
    return code_texts[code];
}

bool code_of_text(struct bytes text, enum code *code) {
    for (int i = 0; i < CODE_COUNT; i++) {
        if (bytes_equal(text, bytes_of_text(code_texts[i]))) {
            *code = (enum code)i;
            return true;
        }
    }
    return false;
}

enum code reason_code(enum reason reason) {
    return reasons[reason].code;
}

const char *reason_text(enum reason reason) {
    return reasons[reason].text;
}

enum code fault_set(struct fault *fault, enum code code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fault->text, sizeof fault->text, format, arguments);
    va_end(arguments);
    /* It may quote what somebody sent, and is sent itself: as text, which must be UTF-8. */
    for (char *at = fault->text; *at != '\0'; at++) {
        if (*at < 0x20 || *at > 0x7e) {
            *at = '?';
        }
    }
    fault->code = code;
    fault->retry_ms = 0;
    return code;
}
