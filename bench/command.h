/* The commands of sluice-bench, each a function of its own command line. */
#ifndef SLUICE_BENCH_COMMAND_H
#define SLUICE_BENCH_COMMAND_H

/* X(name, number, meaning): what the shell gets. */
#define EXITS(X)                                                                                   \
    X(DONE, 0, "done; of check: the bound holds")                                                  \
    X(BROKEN, 1, "check: the bound is broken; compare: Sluice erred or granted beyond the bound")  \
    X(USAGE, 2, "the command line is wrong")                                                       \
    X(UNREACHABLE, 3, "the target cannot be reached, or a server could not be started")            \
    X(FILE, 4, "a file cannot be read or written")                                                 \
    X(INTERRUPTED, 130, "interrupted; what was measured until then was printed")

enum bench_exit {
#define X(name, number, meaning) BENCH_EXIT_##name = number,
    EXITS(X)
#undef X
};

int command_load(int argc, char **argv);
int command_echo(int argc, char **argv);
int command_check(int argc, char **argv);
int command_compare(int argc, char **argv);

#endif
