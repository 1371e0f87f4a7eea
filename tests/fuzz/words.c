#include "tests/fuzz/words.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* At the bounds of what programs take, and next to them; with blanks between. */
static const char numbers[] =
    "0 1 2 63 64 65 99 100 101 256 257 999 1000 1001 1023 1024 1_000 4096 10000 10001 16383 16384 "
    "16385 60000 60001 65536 262144 262145 4294967295 4294967296 34560000000 34560000001 "
    "281474976710656 281474976710657 9223372036854775807 9223372036854775808 "
    "18446744073709551615 18446744073709551616 -1 1__0 0x1";
static const char texts[] =
    "0ms 1ms 99ms 100ms 1s 2s 10s 60s 61s 10m 1h 3600001ms 1d 400d 36500d 1 16MiB 1GiB 32GiB "
    "33GiB yes no 1.5 0.01 10 nan inf 0-3,7 0-1023 5,1024 0-16383 7-3 63 64 1024 16384 n1 n1/0 "
    "n2/65536 00ff 0f0 alice premium load slots debug error map zipf hot even redis,sluice-strict "
    "memory aof replicas:1 replicas:0 sluice: a{b} - /tmp/a,/tmp/b tcp://127.0.0.1:7400 "
    "tcp://[::1]:65535 tcp://0.0.0.0:0 tcp://a:1,tcp://b:2 ipc:///tmp/x "
    "redis://127.0.0.1:6379/1 rediss://me@h:6380 redis+cluster://h:1,g:2 "
    "redis+sentinel://h:1,g:2/name unix:///run/redis.sock";

/* Bytes of long values, at the bounds of names, prefixes, keys (also as pairs of digits), URLs. */
static const uint16_t sizes[] = {32, 33, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 514, 1200};

static FILE *heard_out, *heard_err, *kept_out, *kept_err;
static char *out_text, *err_text;
static size_t out_size, err_size;

bool words_add(struct words *words, const char *format, ...) {
    va_list arguments;
    if (words->count == WORDS_MAX) {
        return false;
    }
    va_start(arguments, format);
    int size = vasprintf(&words->made[words->count], format, arguments);
    va_end(arguments);
    FUZZ_CHECK(size >= 0);
    words->at[words->count] = words->made[words->count];
    words->count++;
    return true;
}

void words_free(struct words *words) {
    for (int i = 0; i < words->count; i++) {
        free(words->made[i]);
    }
}

static char *text_copy(const char *text, size_t size) {
    char *copy = strndup(text, size);
    FUZZ_CHECK(copy != NULL);
    return copy;
}

char *words_raw(struct fuzz *fuzz, uint32_t most) {
    struct bytes bytes = fuzz_bytes(fuzz, most);
    return text_copy((const char *)bytes.data, bytes.size);
}

/* One of the words, whatever the byte. */
static char *choose(const char *list, uint8_t byte) {
    uint32_t count = 1;
    for (const char *at = list; (at = strchr(at, ' ')) != NULL; at++) {
        count++;
    }
    for (uint32_t skip = byte % count; skip > 0; skip--) {
        list = strchr(list, ' ') + 1;
    }
    return text_copy(list, strcspn(list, " "));
}

static char *long_value(uint8_t byte) {
    size_t size = sizes[byte / 2 % (sizeof sizes / sizeof sizes[0])];
    char *text = malloc(size + 1);
    FUZZ_CHECK(text != NULL);
    memset(text, byte % 2 == 0 ? 'k' : '0', size);
    text[size] = '\0';
    return text;
}

char *words_value(struct fuzz *fuzz) {
    uint8_t how = fuzz_u8(fuzz);
    if (how < 96) {
        return choose(texts, fuzz_u8(fuzz));
    }
    if (how < 160) {
        return words_number(fuzz);
    }
    if (how < 192) {
        return long_value(fuzz_u8(fuzz));
    }
    char *text = words_raw(fuzz, how - 192);
    if (strstr(text, WORDS_SECRET) != NULL) {
        text[0] = '\0';
    }
    return text;
}

char *words_number(struct fuzz *fuzz) {
    return choose(numbers, fuzz_u8(fuzz));
}

bool words_named(const struct words *words, const char *text) {
    for (int i = 1; i < words->count; i++) {
        size_t size = words->made[i][0] == '=' ? 1 : strcspn(words->made[i], "=");
        if (size > 0 && memmem(text, strlen(text), words->made[i], size) != NULL) {
            return true;
        }
    }
    return false;
}

void words_listen(void) {
    if (heard_out == NULL) {
        heard_out = open_memstream(&out_text, &out_size);
        heard_err = open_memstream(&err_text, &err_size);
        FUZZ_CHECK(heard_out != NULL && heard_err != NULL);
    }
    rewind(heard_out);
    rewind(heard_err);
    kept_out = stdout;
    kept_err = stderr;
    stdout = heard_out;
    stderr = heard_err;
}

/* What was told before may be longer, and stand behind it. */
static void text_end(FILE *heard, char **text) {
    FUZZ_CHECK(fflush(heard) == 0);
    (*text)[ftell(heard)] = '\0';
}

struct words_told words_heard(void) {
    stdout = kept_out;
    stderr = kept_err;
    text_end(heard_out, &out_text);
    text_end(heard_err, &err_text);
    return (struct words_told){.out = out_text, .err = err_text};
}

void words_environment_clear(void) {
    static bool cleared;
    if (!cleared) {
        cleared = true;
        FUZZ_CHECK(clearenv() == 0);
    }
}
