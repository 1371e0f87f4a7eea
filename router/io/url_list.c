#include "router/io/url_list.h"

#include <stdio.h>

static bool url_check(struct bytes url, char *why, size_t why_size) {
    if (url.size == 0) {
        snprintf(why, why_size,
                 "an empty URL: expected one or more, separated by commas, such as "
                 "tcp://127.0.0.1:7400,tcp://127.0.0.1:7401");
        return false;
    }
    const uint8_t *scheme = memmem(url.data, url.size, "://", 3);
    if (scheme == NULL || scheme == url.data) {
        snprintf(why, why_size, "\"%.*s\" is no URL: expected one such as tcp://127.0.0.1:7400",
                 (int)(url.size < 80 ? url.size : 80), (const char *)url.data);
        return false;
    }
    if (url.size > ENDPOINT_BYTES_MAX) {
        snprintf(why, why_size, "a URL of %u bytes: at most %d are allowed", url.size,
                 ENDPOINT_BYTES_MAX);
        return false;
    }
    return true;
}

bool url_list_parse(const char *text, struct url_list *list, char *why, size_t why_size) {
    list->count = 0;
    for (;;) {
        while (*text == ' ') {
            text++;
        }
        size_t size = strcspn(text, ", ");
        struct bytes url = bytes_of(text, size);
        if (!url_check(url, why, why_size)) {
            return false;
        }
        if (list->count == URL_LIST_MAX) {
            snprintf(why, why_size, "more than %d URLs", URL_LIST_MAX);
            return false;
        }
        endpoint_name_set(&list->urls[list->count++], url);
        text += size;
        while (*text == ' ') {
            text++;
        }
        if (*text == '\0') {
            return true;
        }
        if (*text != ',') {
            snprintf(why, why_size, "expected a comma before \"%.40s\"", text);
            return false;
        }
        text++;
    }
}
