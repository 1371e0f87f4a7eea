#include "router/io/status.h"

#include <stdlib.h>

#include "proto/cluster_view.h"
#include "router/io/shell.h"

/* --- sums ------------------------------------------------------------------------------------ */

/* The counters, as the list that they are. */
#define COUNTER_COUNT (sizeof(struct router_counters) / sizeof(uint64_t))

static uint64_t counter_at(const struct router_counters *counters, size_t at) {
    uint64_t value;
    memcpy(&value, (const uint8_t *)counters + at * sizeof value, sizeof value);
    return value;
}

static void counters_add(struct router_counters *sum, const struct router_counters *counters) {
    for (size_t i = 0; i < COUNTER_COUNT; i++) {
        uint64_t value = counter_at(sum, i) + counter_at(counters, i);
        memcpy((uint8_t *)sum + i * sizeof value, &value, sizeof value);
    }
}

/* The place of the link to `endpoint`: mostly `hint`, since loops learn the same map. NULL: no
 * memory for another. */
static struct status_link *link_place(struct status *status, uint32_t hint,
                                      const struct endpoint_name *endpoint) {
    for (uint32_t i = 0; i < status->link_count; i++) {
        struct status_link *link = &status->links[(hint + i) % status->link_count];
        if (bytes_equal(endpoint_name_bytes(&link->endpoint), endpoint_name_bytes(endpoint))) {
            return link;
        }
    }
    if (status->link_count == status->link_capacity) {
        uint32_t capacity = status->link_capacity == 0 ? 8 : status->link_capacity * 2;
        struct status_link *links = realloc(status->links, capacity * sizeof *links);
        if (links == NULL) {
            return NULL;
        }
        status->links = links;
        status->link_capacity = capacity;
    }
    struct status_link *link = &status->links[status->link_count++];
    *link = (struct status_link){.endpoint = *endpoint, .up = true};
    return link;
}

static bool links_add(struct status *status, const struct router_shell *shell) {
    struct router_link_info info;
    uint32_t hint = 0;
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        if (!router_link_info(shell->router, i, &info)) {
            continue;
        }
        struct status_link *link = link_place(status, hint++, info.endpoint);
        if (link == NULL) {
            return false;
        }
        link->up = link->up && info.up;
        link->outstanding += info.outstanding;
    }
    return true;
}

static void oldest_keep(const struct status *status, uint64_t *kept, uint64_t value) {
    if (status->loop_count == 0 || value < *kept) {
        *kept = value;
    }
}

bool status_add(struct status *status, const struct router_shell *shell) {
    const struct map *map = router_map(shell->router);
    const struct plan_set *plans = router_plans(shell->router);
    const struct router_counters *counters = router_counters(shell->router);
    if (map != NULL) {
        status->cluster = map->cluster;
    }
    oldest_keep(status, &status->epoch, map == NULL ? 0 : map->epoch.number);
    oldest_keep(status, &status->slots, map == NULL ? 0 : map->slot_count);
    oldest_keep(status, &status->plans_version, plans == NULL ? 0 : plans->version);
    struct status_loop *loop = &status->loops[status->loop_count++];
    *loop = (struct status_loop){.requests = counters->requests, .takes = counters->takes};
    for (uint32_t i = 0; i < shell->door.endpoint_count; i++) {
        const struct endpoint_counters *door = endpoint_counters(shell->door.endpoints[i].endpoint);
        loop->connections_open += door->connections_open;
        status->doors.connections_refused += door->connections_refused;
        status->doors.replies_dropped += door->replies_dropped;
        status->doors.closed_bad_peer += door->closed_bad_peer;
        status->doors.closed_stalled += door->closed_stalled;
    }
    counters_add(&status->counters, counters);
    histogram_merge(&status->parked_us, router_parked_us(shell->router));
    histogram_merge(&status->fallback_us, router_fallback_us(shell->router));
    status->store_up = shell->fallback.ready && (status->store_up || status->loop_count == 1);
    status->store_wanted = shell->fallback.link != NULL;
    status->requests_bad += shell->door.refused;
    status->map_polls += shell->view.polls;
    return links_add(status, shell);
}

void status_fini(struct status *status) {
    free(status->links);
    status->links = NULL;
}

/* --- written -----------------------------------------------------------------------------------
 */

static void links_write(const struct status *status, struct writer *writer) {
    write_text(writer, "links");
    write_array(writer, status->link_count);
    for (uint32_t i = 0; i < status->link_count; i++) {
        const struct status_link *link = &status->links[i];
        write_map(writer, 3);
        write_text_str(writer, "endpoint", endpoint_name_bytes(&link->endpoint));
        write_text_bool(writer, "up", link->up);
        write_text_uint(writer, "outstanding", link->outstanding);
    }
}

static uint64_t loops_write(const struct status *status, struct writer *writer) {
    uint64_t connections = 0;
    write_text(writer, "loops");
    write_array(writer, status->loop_count);
    for (uint32_t i = 0; i < status->loop_count; i++) {
        const struct status_loop *loop = &status->loops[i];
        write_map(writer, 3);
        write_text_uint(writer, "connections_open", loop->connections_open);
        write_text_uint(writer, "requests", loop->requests);
        write_text_uint(writer, "takes", loop->takes);
        connections += loop->connections_open;
    }
    return connections;
}

static void counters_write(const struct status *status, uint64_t connections,
                           struct writer *writer) {
    static const char *const names[] = {
#define X(name) #name,
        ROUTER_COUNTERS(X)
#undef X
    };
    _Static_assert(sizeof names / sizeof names[0] == COUNTER_COUNT, "nothing but counters");
    write_text(writer, "counters");
    write_map(writer, COUNTER_COUNT + 11);
    for (size_t i = 0; i < COUNTER_COUNT; i++) {
        write_text_uint(writer, names[i], counter_at(&status->counters, i));
    }
    write_text_uint(writer, "parked_median_us", histogram_median(&status->parked_us));
    write_text_uint(writer, "parked_longest_us", status->parked_us.longest);
    write_text_uint(writer, "fallback_median_us", histogram_median(&status->fallback_us));
    write_text_uint(writer, "fallback_longest_us", status->fallback_us.longest);
    write_text_uint(writer, "requests_bad", status->requests_bad);
    write_text_uint(writer, "map_polls", status->map_polls);
    write_text_uint(writer, "connections_open", connections);
    write_text_uint(writer, "connections_refused", status->doors.connections_refused);
    write_text_uint(writer, "replies_dropped", status->doors.replies_dropped);
    write_text_uint(writer, "closed_bad_peer", status->doors.closed_bad_peer);
    write_text_uint(writer, "closed_stalled", status->doors.closed_stalled);
}

/* [[at most so many microseconds, how many], ...], without those that are none. */
static void histogram_write(const char *name, const struct histogram *histogram,
                            struct writer *writer) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += histogram->counts[i] > 0;
    }
    write_text(writer, name);
    write_array(writer, count);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram->counts[i] > 0) {
            write_array(writer, 2);
            write_uint(writer, histogram_upper(i));
            write_uint(writer, histogram->counts[i]);
        }
    }
}

void status_write(const struct status *status, struct writer *writer) {
    write_map(writer, 12);
    write_text_text(writer, "program", "sluice-router");
    write_text_text(writer, "version", SLUICE_VERSION);
    write_text_text(writer, "cluster", status->cluster.text);
    write_text_uint(writer, "epoch", status->epoch);
    write_text_uint(writer, "slots", status->slots);
    write_text_uint(writer, "plans_version", status->plans_version);
    uint64_t connections = loops_write(status, writer);
    links_write(status, writer);
    counters_write(status, connections, writer);
    histogram_write("parked_us", &status->parked_us, writer);
    histogram_write("fallback_us", &status->fallback_us, writer);
    write_text_text(writer, "store",
                    !status->store_wanted ? "none"
                    : status->store_up    ? "up"
                                          : "away");
}

bool status_view_write(const struct router_shell *shell, struct writer *writer) {
    if (router_plans(shell->router) == NULL) {
        return false;
    }
    cluster_view_write(writer, router_map(shell->router), router_plans(shell->router), 0);
    return true;
}
