/*
 * The options of sluice-node and sluice-router, with what they check besides: their own tables,
 * from words and the environment (options_line.h). The first byte picks the program. What is taken
 * is within the bounds that its code relies on.
 */
#include "proto/store_keys.h"
#include "router/core/router.h"
#include "router/io/status.h"
#include "router/io/url_list.h"
#include "router/router_options.h"
#include "runtime/log.h"
#include "server/io/ack.h"
#include "server/io/boot.h"
#include "server/io/node_address.h"
#include "server/node_options.h"
#include "tests/fuzz/options_line.h"

static char why[BOOT_WHY_BYTES];

static bool between(uint64_t value, uint64_t least, uint64_t most) {
    return value >= least && value <= most;
}

/* Refused for a reason that names an option of the store, or good. Not where it would read a file.
 */
static void access_check(struct redis_access access, const char *url) {
    why[0] = '\0';
    if (access.password_file == NULL && !redis_access_check(&access, url, why, sizeof why)) {
        FUZZ_CHECK(strncmp(why, "--redis", strlen("--redis")) == 0);
    }
}

static void log_level_check(const char *text) {
    enum log_level level;
    FUZZ_CHECK(log_level_parse(text, &level));
}

static void node_numbers_check(const struct node_settings *settings) {
    FUZZ_CHECK(between(settings->shards, 1, NODE_SHARDS_MAX));
    FUZZ_CHECK(between(settings->snapshot_interval_ns, 1000000, UINT64_C(60000000000)));
    FUZZ_CHECK(between(settings->lease_ttl_ns, 100000000, UINT64_C(60000000000)));
    FUZZ_CHECK(between(settings->stop_timeout_ns, 100000000, UINT64_C(600000000000)));
    FUZZ_CHECK(between(settings->shard_memory_bytes_max, 16 << 20, UINT64_C(32) << 30));
    FUZZ_CHECK(settings->resident_buckets_max <= UINT32_MAX && settings->weight <= WEIGHT_MAX);
}

static void node_addresses_check(const struct node_settings *settings) {
    char url[ENDPOINT_BYTES_MAX + 16], reason[BOOT_WHY_BYTES] = "";
    struct endpoint_name name;
    FUZZ_CHECK(strlen(settings->listen) <= ENDPOINT_BYTES_MAX);
    FUZZ_CHECK(strlen(settings->control) <= ENDPOINT_BYTES_MAX);
    if (!node_listen_url(settings->listen, (uint32_t)settings->shards - 1, url, sizeof url,
                         reason)) {
        FUZZ_CHECK(strncmp(reason, "--listen: ", strlen("--listen: ")) == 0);
    } else if (!node_advertised_url(settings, url, &name, reason)) {
        FUZZ_CHECK(strstr(reason, "--advertise-host") != NULL);
    } else {
        FUZZ_CHECK(name.size > 0 && name.size <= ENDPOINT_BYTES_MAX);
    }
}

static void node_check(const void *of) {
    const struct node_settings *settings = of;
    struct ack ack;
    FUZZ_CHECK(settings->node_id != NULL && name_valid(bytes_of_text(settings->node_id)));
    FUZZ_CHECK(ack_parse(settings->ack, &ack, why, sizeof why));
    FUZZ_CHECK(key_prefix_check(settings->key_prefix, why, sizeof why));
    FUZZ_CHECK(strlen(settings->key_prefix) <= KEY_PREFIX_BYTES_MAX);
    log_level_check(settings->log_level);
    access_check(settings->redis_access, settings->redis);
    node_numbers_check(settings);
    node_addresses_check(settings);
}

static void urls_check(const char *text) {
    struct url_list list;
    FUZZ_CHECK(url_list_parse(text, &list, why, sizeof why));
    FUZZ_CHECK(between(list.count, 1, URL_LIST_MAX));
}

static void router_check(const void *of) {
    const struct router_config *config = of;
    struct redis_access access;
    urls_check(config->listen);
    urls_check(config->nodes);
    FUZZ_CHECK(between(config->pending, TAKES_PER_REQUEST_MAX, PENDING_ITEMS_MAX));
    FUZZ_CHECK(between(config->loops, 1, ROUTER_LOOPS_MAX));
    FUZZ_CHECK(strlen(config->key_prefix) <= KEY_PREFIX_BYTES_MAX);
    log_level_check(config->log_level);
    if (config->redis == NULL || config->redis_access.password_file != NULL) {
        return;
    }
    if (!router_options_access(config, &access, why, sizeof why)) {
        FUZZ_CHECK(strncmp(why, "--redis", strlen("--redis")) == 0);
    } else {
        FUZZ_CHECK(access.address.place_count > 0 && !access.address.cluster);
    }
}

static enum options_outcome node_load(int argc, char **argv, void *settings) {
    return node_options_load(argc, argv, settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct options_subject subjects[] = {
        {.program = &node_options_program,
         .settings_size = sizeof(struct node_settings),
         .load = node_load,
         .check = node_check,
         .required = "node_id"},
        {.program = &router_options_program,
         .settings_size = sizeof(struct router_config),
         .check = router_check},
    };
    struct fuzz fuzz = fuzz_of(data, size);
    options_line_try(&subjects[fuzz_below(&fuzz, 2)], &fuzz);
    return 0;
}
