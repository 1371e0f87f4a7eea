/* sluice-bench: finds the command by its word. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bench/command.h"

static const struct {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"load", "asks a router, shards, or a peer for tokens, and tells how fast they answer",
     command_load},
    {"check", "reads what load recorded and checks the bound of every key", command_check},
    {"compare", "the same load on every way to keep buckets, with private servers",
     command_compare},
    {"echo", "a bare SP echo on libuv: the floor that a network server stands on", command_echo},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void usage(FILE *out) {
    fprintf(out, "Usage: sluice-bench COMMAND [--name VALUE ...]\n"
                 "Loads, checks and compares token buckets.\n\nCommands "
                 "(sluice-bench COMMAND --help says more):\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    }
    fprintf(out, "\nExamples:\n"
                 "  sluice-bench load --connections 64 --outstanding 32 --duration 10s\n"
                 "  sluice-bench load --rate 10000 --record grants && "
                 "sluice-bench check --records grants\n"
                 "  sluice-bench compare --seconds 20 --charts charts\n\nExit status:\n");
#define X(name, number, meaning) fprintf(out, "  %-3d %s\n", number, meaning);
    EXITS(X)
#undef X
}

int main(int argc, char **argv) {
    static char names[COMMAND_COUNT][32];
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; argc > 1 && i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            snprintf(names[i], sizeof names[i], "sluice-bench %s", commands[i].name);
            argv[1] = names[i];
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return BENCH_EXIT_DONE;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("sluice-bench %s\n", SLUICE_VERSION);
        return BENCH_EXIT_DONE;
    }
    if (argc > 1) {
        fprintf(stderr, "sluice-bench: no command is called \"%s\"\n\n", argv[1]);
    }
    usage(stderr);
    return BENCH_EXIT_USAGE;
}
