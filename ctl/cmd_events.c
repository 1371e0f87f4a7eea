/* events: what happened to the cluster's map and nodes. */
#include <inttypes.h>
#include <time.h>

#include "ctl/cluster.h"
#include "ctl/out.h"

/* Milliseconds between two looks with --follow. */
#define FOLLOW_MS 500

/* Events of a look that follows: more than happen between two. */
#define FOLLOW_COUNT 200

static json_t *events_ask(const struct settings *settings, uint32_t count, enum exit_code *code) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    struct rpc_answer answer;
    request_write_head(&writer, 1, METHOD_CLUSTER_EVENTS);
    write_array(&writer, count > 0 ? 1 : 0);
    if (count > 0) {
        write_uint(&writer, count);
    }
    *code = rpc_ask(settings, settings->control, false, writer_bytes(&writer), &answer);
    json_t *events = *code == EXIT_DONE ? json_of_value(answer.reply.result) : NULL;
    rpc_answer_fini(&answer);
    if (*code == EXIT_DONE && !json_is_array(events)) {
        out_failure(settings, "the answer is not a list of events");
        json_decref(events);
        events = NULL;
        *code = EXIT_ANSWERED_ERROR;
    }
    return events;
}

static void time_write(uint64_t time_ms, char out[40]) {
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm local;
    localtime_r(&seconds, &local);
    size_t used = strftime(out, 40, "%Y-%m-%d %H:%M:%S", &local);
    snprintf(out + used, 40 - used, ".%03u", (unsigned)(time_ms % 1000));
}

static void event_line(const struct settings *settings, const json_t *event) {
    char when[40];
    if (settings->json) {
        json_dumpf(event, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        putchar('\n');
        return;
    }
    time_write((uint64_t)json_int(event, "time_ms"), when);
    printf("%s  %5lld  %s%-10s%s  %-10s  %s\n", when, json_int(event, "epoch"),
           color_on(settings, COLOR_BOLD), json_text(event, "kind"), color_off(settings),
           json_text(event, "node"), json_text(event, "text"));
}

static void events_print(const struct settings *settings, const json_t *events) {
    struct table table;
    table_init(&table, 5);
    table_row(&table, (const char *const[]){"TIME", "EPOCH", "KIND", "NODE", "WHAT"});
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i);
        char when[40], epoch[24];
        time_write((uint64_t)json_int(event, "time_ms"), when);
        snprintf(epoch, sizeof epoch, "%lld", json_int(event, "epoch"));
        table_row(&table,
                  (const char *const[]){when, epoch, json_text(event, "kind"),
                                        json_text(event, "node"), json_text(event, "text")});
    }
    table_print(&table, settings);
}

/* Where the news begins: behind the event that was seen last, or if that one is no longer in the
 * list, at the first that is not older. */
static size_t news_at(const json_t *events, const json_t *last) {
    size_t size = json_array_size(events);
    for (size_t i = size; last != NULL && i > 0; i--) {
        if (json_equal(json_array_get(events, i - 1), last)) {
            return i;
        }
    }
    for (size_t i = 0; i < size; i++) {
        if (last == NULL ||
            json_int(json_array_get(events, i), "time_ms") >= json_int(last, "time_ms")) {
            return i;
        }
    }
    return size;
}

/* Until the node cannot be asked any more, or Ctrl-C ends the program. */
static enum exit_code follow(const struct settings *settings, uint32_t count) {
    enum exit_code code;
    json_t *last = NULL, *events;
    while ((events = events_ask(settings, count, &code)) != NULL) {
        size_t size = json_array_size(events);
        for (size_t i = news_at(events, last); i < size; i++) {
            event_line(settings, json_array_get(events, i));
        }
        if (size > 0) {
            json_decref(last);
            last = json_incref(json_array_get(events, size - 1));
        }
        json_decref(events);
        if (fflush(stdout) != 0) {
            break; /* nobody reads any more */
        }
        count = FOLLOW_COUNT;
        time_sleep_ms(FOLLOW_MS);
    }
    json_decref(last);
    return code;
}

static enum exit_code events_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    uint32_t count = invocation->options.event_count;
    if (invocation->options.follow) {
        return follow(settings, count > 0 ? count : 10);
    }
    enum exit_code code;
    json_t *events = events_ask(settings, count, &code);
    if (events != NULL && settings->json) {
        out_json(json_incref(events));
    } else if (events != NULL) {
        events_print(settings, events);
    }
    json_decref(events);
    return code;
}

static const struct argp_option events_options[] = {
    {"count", OPTION_COUNT, "N", 0, "the newest N of the 1000 that are kept (100)", 0},
    {"follow", OPTION_FOLLOW, 0, 0, "go on and print what happens; with --json a line each", 0},
    {0},
};

const struct command events_commands[] = {
    {NULL, "events", "joins, failovers and moves, with times", NULL, 0, 0, events_options,
     "Shows what happened to the cluster's map and nodes, oldest first.\v"
     "Examples:\n"
     "  sluicectl events --count 20\n"
     "  sluicectl events --follow",
     events_run},
    {0},
};
