/* Endpoint URLs, lists of them, and the store's URL. The first byte chooses the parser. */
#include "router/io/url_list.h"
#include "runtime/redis_link.h"
#include "runtime/tcp_address.h"
#include "tests/fuzz/fuzz.h"

static char why[512];

static void why_check(void) {
    FUZZ_CHECK(why[0] != '\0' && memchr(why, '\0', sizeof why) != NULL);
}

static void tcp_try(const char *url) {
    struct tcp_address address, again;
    struct sockaddr_storage raw;
    char formatted[TCP_URL_BYTES_MAX];
    if (!tcp_address_parse(url, &address, why, sizeof why)) {
        why_check();
        return;
    }
    FUZZ_CHECK(address.host[0] != '\0');
    FUZZ_CHECK(memchr(address.host, '\0', sizeof address.host) != NULL);
    tcp_address_format(&address, formatted);
    FUZZ_CHECK(tcp_address_parse(formatted, &again, why, sizeof why));
    FUZZ_CHECK(strcmp(address.host, again.host) == 0 && address.port == again.port);
    if (tcp_address_numeric(&address, &raw)) {
        FUZZ_CHECK(tcp_port_of((const struct sockaddr *)&raw) == address.port);
        (void)tcp_is_loopback((const struct sockaddr *)&raw);
    }
}

static void redis_try(const char *url) {
    struct redis_address address;
    if (!redis_address_parse(url, &address, why, sizeof why)) {
        why_check();
        return;
    }
    FUZZ_CHECK(address.place_count >= 1 && address.place_count <= REDIS_SENTINELS_MAX);
    for (uint32_t i = 0; i < address.place_count; i++) {
        const struct redis_place *place = &address.places[i];
        char text[REDIS_PLACE_TEXT_BYTES];
        FUZZ_CHECK(place->host[0] != '\0');
        FUZZ_CHECK(memchr(place->host, '\0', sizeof place->host) != NULL);
        FUZZ_CHECK(place->port >= 0 && place->port <= 65535);
        redis_place_format(place, text);
        FUZZ_CHECK(strlen(text) < sizeof text && text[0] != '\0');
    }
    FUZZ_CHECK(memchr(address.master, '\0', sizeof address.master) != NULL);
    FUZZ_CHECK(address.place_count == 1 || address.master[0] != '\0' || address.cluster);
    FUZZ_CHECK(!address.cluster || (address.master[0] == '\0' && address.database == 0));
    FUZZ_CHECK(memchr(address.user, '\0', sizeof address.user) != NULL);
    FUZZ_CHECK(strchr(address.user, ':') == NULL); /* a password */
    FUZZ_CHECK(address.places[0].port != 0 || address.places[0].host[0] == '/');
    FUZZ_CHECK(address.database >= 0 && address.database <= 65535);
}

static void list_try(const char *text) {
    struct url_list list;
    if (!url_list_parse(text, &list, why, sizeof why)) {
        why_check();
        return;
    }
    FUZZ_CHECK(list.count >= 1 && list.count <= URL_LIST_MAX);
    for (uint32_t i = 0; i < list.count; i++) {
        FUZZ_CHECK(list.urls[i].size >= 4 && strlen(list.urls[i].text) == list.urls[i].size);
        FUZZ_CHECK(strpbrk(list.urls[i].text, ", ") == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz fuzz = fuzz_of(data, size);
    uint32_t which = fuzz_below(&fuzz, 3);
    char *text = fuzz_text(&fuzz);
    why[0] = '\0';
    if (which == 0) {
        tcp_try(text);
    } else if (which == 1) {
        redis_try(text);
    } else {
        list_try(text);
    }
    free(text);
    return 0;
}
