#include "bench/servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/clock.h"

/* Microseconds between two looks whether something is ready. */
#define LOOK_US 20000

bool servers_open(struct servers *servers, char *why, size_t why_size) {
    const char *temporary = getenv("TMPDIR");
    char self[SERVER_PATH_BYTES];
    memset(servers, 0, sizeof *servers);
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size < 0) {
        snprintf(why, why_size, "/proc/self/exe: %s", strerror(errno));
        return false;
    }
    self[size] = '\0';
    snprintf(servers->programs, sizeof servers->programs, "%s", dirname(self));
    snprintf(servers->directory, sizeof servers->directory, "%.200s/sluice-bench-XXXXXX",
             temporary != NULL && temporary[0] != '\0' ? temporary : "/tmp");
    if (mkdtemp(servers->directory) == NULL) {
        snprintf(why, why_size, "%s: %s", servers->directory, strerror(errno));
        servers->directory[0] = '\0';
        return false;
    }
    return true;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
    return remove(path);
}

void servers_close(struct servers *servers) {
    servers_end(servers, 0);
    if (servers->directory[0] != '\0') {
        nftw(servers->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

static bool wait_ended(pid_t pid, uint64_t wait_ms) {
    for (uint64_t end_ns = clock_monotonic_ns() + wait_ms * UINT64_C(1000000);;) {
        pid_t ended = waitpid(pid, NULL, WNOHANG);
        if (ended == pid || (ended < 0 && errno == ECHILD)) {
            return true;
        }
        if (clock_monotonic_ns() > end_ns) {
            return false;
        }
        usleep(LOOK_US);
    }
}

void servers_end(struct servers *servers, uint32_t count) {
    while (servers->count > count) {
        pid_t pid = servers->pids[--servers->count];
        kill(pid, SIGTERM);
        if (!wait_ended(pid, SERVER_END_MS)) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
    }
}

static int loopback_socket(uint16_t port, struct sockaddr_in *address) {
    *address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

uint16_t server_port_free(void) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int fd = loopback_socket(0, &address);
    bool found = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                 getsockname(fd, (struct sockaddr *)&address, &size) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return found ? ntohs(address.sin_port) : 0;
}

static bool port_listens(uint16_t port) {
    struct sockaddr_in address;
    int fd = loopback_socket(port, &address);
    bool listens = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return listens;
}

bool server_wait_port(uint16_t port, const char *name, char *why, size_t why_size) {
    uint64_t end_ns = clock_monotonic_ns() + SERVER_READY_MS * UINT64_C(1000000);
    while (!port_listens(port)) {
        if (clock_monotonic_ns() > end_ns) {
            snprintf(why, why_size, "%s does not listen at port %u after %d s", name, port,
                     SERVER_READY_MS / 1000);
            return false;
        }
        usleep(LOOK_US);
    }
    return true;
}

/* In the child: becomes the program, with its output at `fd`. */
_Noreturn static void become(const struct servers *servers, const char *const argv[], int fd,
                             pid_t parent) {
    char path[2 * SERVER_PATH_BYTES];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(127);
    }
    for (char **at = environ; *at != NULL;) { /* options of ours are not theirs */
        char name[SERVER_PATH_BYTES];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*at, "="), *at);
        if (strncmp(name, "SLUICE_", strlen("SLUICE_")) != 0 || unsetenv(name) != 0) {
            at++;
        }
    }
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    snprintf(path, sizeof path, "%s/%s", servers->programs, argv[0]);
    execv(path, (char *const *)argv);
    execvp(argv[0], (char *const *)argv);
    dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

bool server_start(struct servers *servers, const char *name, const char *const argv[], char *why,
                  size_t why_size) {
    char path[2 * SERVER_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s.log", servers->directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    pid_t parent = getpid();
    pid_t pid = fd >= 0 && servers->count < SERVERS_MAX ? fork() : -1;
    if (pid == 0) {
        become(servers, argv, fd, parent);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (pid < 0) {
        snprintf(why, why_size, "cannot start %s: %s", name, strerror(errno));
        return false;
    }
    servers->pids[servers->count++] = pid;
    return true;
}

int server_run(struct servers *servers, const char *const argv[], char *out, size_t out_size) {
    int ends[2], status;
    size_t size = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -1;
    }
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        become(servers, argv, ends[1], parent);
    }
    close(ends[1]);
    for (ssize_t more = 1; pid > 0 && more > 0;) {
        char rest[512];
        bool room = size + 1 < out_size;
        more = read(ends[0], room ? out + size : rest, room ? out_size - size - 1 : sizeof rest);
        size += room && more > 0 ? (size_t)more : 0;
    }
    out[size] = '\0';
    close(ends[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        return -1;
    }
    return WEXITSTATUS(status);
}
