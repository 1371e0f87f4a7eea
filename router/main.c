/* sluice-router: options, signals, and the loops around a router. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "router/io/loops.h"
#include "router/router_options.h"

struct process {
    uv_signal_t signals[2];
    struct log log;
    struct router_loops *router; /* NULL: stopping */
};

static void on_stopped(void *ctx) {
    struct process *process = ctx;
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&process->signals[i], NULL);
    }
}

static void on_signal(uv_signal_t *handle, int signal_number) {
    struct process *process = handle->data;
    if (process->router == NULL) {
        return;
    }
    log_info(&process->log, "stopping: %s", signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    router_loops_stop(process->router, on_stopped, process);
    process->router = NULL;
}

static int serve(const struct router_config *settings) {
    uv_loop_t loop;
    struct process process = {0};
    struct router_settings router = {.items_max = (uint32_t)settings->pending,
                                     .key_prefix = settings->key_prefix};
    struct redis_access access;
    uint32_t loops = (uint32_t)settings->loops;
    char why[512];
    enum log_level level = LOG_LEVEL_INFO;
    log_level_parse(settings->log_level, &level);
    log_init(&process.log, level, settings->log_json, STDERR_FILENO, "router");
    url_list_parse(settings->listen, &router.listen, why, sizeof why);
    url_list_parse(settings->nodes, &router.nodes, why, sizeof why);

    if (settings->redis != NULL) {
        if (!router_options_access(settings, &access, why, sizeof why)) {
            log_error(&process.log, "%s", why);
            return EXIT_FAILURE;
        }
        router.redis = &access;
    }
    if (uv_loop_init(&loop) != 0) {
        log_error(&process.log, "cannot make an event loop");
        return EXIT_FAILURE;
    }
    int result =
        router_loops_open(&process.router, &loop, loops, &router, &process.log, why, sizeof why);
    if (result != 0) {
        log_error(&process.log, "%s (see --listen and --loops)", why);
    } else {
        for (int i = 0; i < 2; i++) {
            uv_signal_init(&loop, &process.signals[i]);
            process.signals[i].data = &process;
            uv_signal_start(&process.signals[i], on_signal, i == 0 ? SIGTERM : SIGINT);
        }
        for (uint32_t i = 0; router_loops_url(process.router, i) != NULL; i++) {
            log_info(&process.log, "serving at %s, nodes %s", router_loops_url(process.router, i),
                     settings->nodes);
        }
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    struct router_config settings = {0};
    signal(SIGPIPE, SIG_IGN);
    switch (options_load(&router_options_program, argc, argv, &settings)) {
    case OPTIONS_HELP:
        return EXIT_SUCCESS;
    case OPTIONS_INVALID:
        return 2;
    case OPTIONS_OK:
        break;
    }
    int status = serve(&settings);
    options_free(&router_options_program, &settings);
    return status;
}
