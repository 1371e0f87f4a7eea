#include "ctl/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "proto/bounds.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Bytes of a word that is compared with others: longer than any field's or plan's name. */
#define WORD_BYTES_MAX (NAME_BYTES_MAX + 1)

bool text_uint(struct bytes text, uint64_t *value) {
    uint64_t sum = 0;
    bool after_digit = false;
    for (uint32_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '_' && after_digit) {
            after_digit = false;
            continue;
        }
        if (c < '0' || c > '9' || __builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(c - '0'), &sum)) {
            return false;
        }
        after_digit = true;
    }
    *value = sum;
    return after_digit;
}

static const struct {
    const char *name;
    uint64_t ms;
} units[] = {
    {"ms", 1},         {"s", 1000},       {"m", 60000},       {"h", 3600000},
    {"d", 86400000},   {"second", 1000},  {"minute", 60000},  {"hour", 3600000},
    {"day", 86400000}, {"seconds", 1000}, {"minutes", 60000}, {"hours", 3600000},
    {"sec", 1000},     {"min", 60000},    {"days", 86400000},
};

bool text_duration_ms(struct bytes text, bool count_optional, uint64_t *value_ms) {
    uint32_t digits = 0;
    while (digits < text.size && (isdigit(text.data[digits]) || text.data[digits] == '_')) {
        digits++;
    }
    uint64_t count = 1;
    if (digits == 0 ? !count_optional : !text_uint(bytes_of(text.data, digits), &count)) {
        return false;
    }
    struct bytes unit = bytes_of(text.data + digits, text.size - digits);
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (bytes_equal(unit, bytes_of_text(units[i].name))) {
            return !__builtin_mul_overflow(count, units[i].ms, value_ms);
        }
    }
    return false;
}

void text_duration_write(uint64_t value_ms, char out[TEXT_DURATION_BYTES_MAX]) {
    size_t best = 0;
    for (size_t i = 0; i < 5; i++) { /* the five short names, in ascending order */
        if (value_ms >= units[i].ms && value_ms % units[i].ms == 0) {
            best = i;
        }
    }
    snprintf(out, TEXT_DURATION_BYTES_MAX, "%" PRIu64 "%s", value_ms / units[best].ms,
             units[best].name);
}

void text_rate_write(uint64_t rate, uint64_t period_ms, char out[TEXT_RATE_BYTES_MAX]) {
    char period[TEXT_DURATION_BYTES_MAX];
    text_duration_write(period_ms, period);
    bool is_one = period[0] == '1' && isalpha((unsigned char)period[1]);
    snprintf(out, TEXT_RATE_BYTES_MAX, "%" PRIu64 "/%s", rate, is_one ? period + 1 : period);
}

void text_escape(struct bytes bytes, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (uint32_t i = 0; i < bytes.size; i++) {
        uint8_t c = bytes.data[i];
        if (c == '\\') {
            *out++ = '\\';
            *out++ = '\\';
        } else if (c >= 0x20 && c < 0x7f) {
            *out++ = (char)c;
        } else {
            *out++ = '\\';
            *out++ = 'x';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    *out = '\0';
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    int lower = tolower((unsigned char)c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool text_unhex(const char *text, uint8_t *out, uint32_t capacity, uint32_t *size) {
    *size = 0;
    for (; text[0] != '\0'; text += 2) {
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0 || *size == capacity) {
            return false;
        }
        out[(*size)++] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Levenshtein distance; both words shorter than WORD_BYTES_MAX. */
static uint32_t distance(struct bytes a, struct bytes b) {
    uint32_t row[WORD_BYTES_MAX + 1];
    for (uint32_t j = 0; j <= b.size; j++) {
        row[j] = j;
    }
    for (uint32_t i = 1; i <= a.size; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= b.size; j++) {
            uint32_t replaced = diagonal + (a.data[i - 1] != b.data[j - 1]);
            uint32_t gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < gap ? replaced : gap;
        }
    }
    return row[b.size];
}

const char *text_nearest(struct bytes text, const char *const *candidates, uint32_t count) {
    const char *best = NULL;
    uint32_t best_distance = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct bytes candidate = bytes_of_text(candidates[i]);
        if (text.size >= WORD_BYTES_MAX || candidate.size >= WORD_BYTES_MAX) {
            continue;
        }
        /* Two slips, fewer in short words: a third of the word must not be a guess. */
        uint32_t allowed = candidate.size < 3 ? 0 : candidate.size < 5 ? 1 : 2;
        uint32_t d = distance(text, candidate);
        if (d <= allowed && d < best_distance) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}
