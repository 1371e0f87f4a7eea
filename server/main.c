/* sluice-node: options, signals, and a node on the main loop. */
#include <signal.h>
#include <stdlib.h>

#include "server/io/node.h"
#include "server/node_options.h"

struct running {
    struct node *node;
    uv_signal_t signals[2];
    enum node_outcome outcome;
};

static void on_signal(uv_signal_t *signal, int number) {
    struct running *running = signal->data;
    node_stop(running->node);
}

static void on_end(void *ctx, enum node_outcome outcome) {
    struct running *running = ctx;
    running->outcome = outcome;
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&running->signals[i], NULL);
    }
    node_close(running->node);
}

static int run(const struct node_settings *settings, const struct log *log) {
    uv_loop_t loop;
    char why[BOOT_WHY_BYTES];
    struct running running = {0};
    if (uv_loop_init(&loop) != 0) {
        log_error(log, "no loop to be had from the system");
        return NODE_FAILED;
    }
    running.node = node_open(&loop, settings, log, why);
    if (running.node == NULL) {
        log_error(log, "cannot start: %s", why);
        uv_loop_close(&loop);
        return NODE_FAILED;
    }
    node_on_end(running.node, on_end, &running);
    static const int numbers[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&loop, &running.signals[i]);
        running.signals[i].data = &running;
        uv_signal_start(&running.signals[i], on_signal, numbers[i]);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return (int)running.outcome;
}

int main(int argc, char **argv) {
    struct node_settings settings = {0};
    struct log log;
    enum log_level level = LOG_LEVEL_INFO;
    enum options_outcome outcome = node_options_load(argc, argv, &settings);
    if (outcome != OPTIONS_OK) {
        return outcome == OPTIONS_HELP ? 0 : 2;
    }
    settings.test_stop_at = getenv("SLUICE_TEST_STOP_AT");
    signal(SIGPIPE, SIG_IGN);
    log_level_parse(settings.log_level, &level);
    log_init(&log, level, settings.log_json, 2, settings.node_id);
    int code = run(&settings, &log);
    node_options_free(&settings);
    return code;
}
