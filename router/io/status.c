#include "router/io/status.h"

#include "proto/cluster_view.h"
#include "router/io/shell.h"

static void links_write(const struct router_shell *shell, struct writer *writer) {
    struct router_link_info info;
    uint32_t count = 0;
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        count += router_link_info(shell->router, i, &info);
    }
    write_text(writer, "links");
    write_array(writer, count);
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        if (router_link_info(shell->router, i, &info)) {
            write_map(writer, 3);
            write_text_str(writer, "endpoint", endpoint_name_bytes(info.endpoint));
            write_text_bool(writer, "up", info.up);
            write_text_uint(writer, "outstanding", info.outstanding);
        }
    }
}

static void counters_write(const struct router_shell *shell, struct writer *writer) {
    static const struct {
        const char *name;
        size_t offset;
    } counters[] = {
#define X(name) {#name, offsetof(struct router_counters, name)},
        ROUTER_COUNTERS(X)
#undef X
    };
    const uint32_t count = sizeof counters / sizeof counters[0];
    const uint8_t *values = (const uint8_t *)router_counters(shell->router);
    uint64_t connections = 0;
    for (uint32_t i = 0; i < shell->door.endpoint_count; i++) {
        connections += endpoint_counters(shell->door.endpoints[i].endpoint)->connections_open;
    }
    write_text(writer, "counters");
    write_map(writer, count + 3);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t value;
        memcpy(&value, values + counters[i].offset, sizeof value);
        write_text_uint(writer, counters[i].name, value);
    }
    write_text_uint(writer, "requests_bad", shell->door.refused);
    write_text_uint(writer, "map_polls", shell->view.polls);
    write_text_uint(writer, "connections_open", connections);
}

void status_write(const struct router_shell *shell, struct writer *writer) {
    const struct map *map = router_map(shell->router);
    const struct plan_set *plans = router_plans(shell->router);
    write_map(writer, 7);
    write_text_text(writer, "program", "sluice-router");
    write_text_text(writer, "version", SLUICE_VERSION);
    write_text_uint(writer, "epoch", map == NULL ? 0 : map->epoch.number);
    write_text_uint(writer, "slots", map == NULL ? 0 : map->slot_count);
    write_text_uint(writer, "plans_version", plans == NULL ? 0 : plans->version);
    links_write(shell, writer);
    counters_write(shell, writer);
}

bool status_view_write(const struct router_shell *shell, struct writer *writer) {
    if (router_plans(shell->router) == NULL) {
        return false;
    }
    cluster_view_write(writer, router_map(shell->router), router_plans(shell->router), 0);
    return true;
}
