#include "bench/clock_watch.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void ask(struct clock_watch *watch) {
    static const char name[] = "\"clock_error_us\":";
    char printed[16384];
    for (uint32_t i = 0; i < watch->count; i++) {
        const char *argv[] = {"sluicectl", "--control", watch->control_urls[i], "--json", "node",
                              "status",    NULL};
        if (server_run(watch->servers, argv, printed, sizeof printed) != 0) {
            continue;
        }
        for (const char *at = printed; (at = strstr(at, name)) != NULL; at += sizeof name - 1) {
            uint64_t ns = 1000 * strtoull(at + sizeof name - 1, NULL, 10);
            *watch->worst_ns = ns > *watch->worst_ns ? ns : *watch->worst_ns;
        }
    }
}

bool clock_watch_start(struct clock_watch *watch) {
    pid_t parent = getpid();
    watch->worst_ns = mmap(NULL, sizeof *watch->worst_ns, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (watch->worst_ns == MAP_FAILED) {
        return false;
    }
    ask(watch);
    watch->pid = watch->count > 0 ? fork() : 0;
    if (watch->count > 0 && watch->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == parent) {
            sleep(1);
            ask(watch);
        }
        _exit(0);
    }
    return watch->pid >= 0;
}

uint64_t clock_watch_stop(struct clock_watch *watch) {
    if (watch->pid > 0) {
        kill(watch->pid, SIGKILL);
        waitpid(watch->pid, NULL, 0);
    }
    ask(watch);
    uint64_t worst_ns = *watch->worst_ns;
    munmap(watch->worst_ns, sizeof *watch->worst_ns);
    return 2 * worst_ns;
}
