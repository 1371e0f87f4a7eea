#include "tests/unit/redis_server.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

/* Milliseconds until a start has failed. */
#define START_WAIT_MS 10000

static void path_of(const struct redis_server *server, const char *name, char path[108]) {
    snprintf(path, 108, "%s/%s", server->dir, name);
}

/* Waits until somebody listens at the socket. */
static void answer_await(const char *path) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    int status = -1;
    for (int i = 0; i < START_WAIT_MS && status != 0; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        status = connect(fd, (struct sockaddr *)&to, sizeof to);
        close(fd);
        if (status != 0)
            usleep(1000);
    }
    assert_int_equal(status, 0);
}

void redis_server_start(struct redis_server *server) {
    char socket_path[108], log[108];
    path_of(server, "socket", socket_path);
    path_of(server, "log", log);
    pid_t parent = getpid();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_path, "--dir",
               server->dir, "--logfile", log, "--save", "", "--appendonly", "no", "--requirepass",
               server->password, (char *)NULL);
        _exit(127);
    }
    server->pid = pid;
    answer_await(socket_path);
}

void redis_server_open(struct redis_server *server, const char *password) {
    memset(server, 0, sizeof *server);
    snprintf(server->dir, sizeof server->dir, "/tmp/sluice-test-XXXXXX");
    assert_non_null(mkdtemp(server->dir));
    snprintf(server->url, sizeof server->url, "unix://%s/socket", server->dir);
    snprintf(server->password, sizeof server->password, "%s", password);
    redis_server_start(server);
}

void redis_server_signal(struct redis_server *server, int signal) {
    assert_true(server->pid > 0);
    assert_int_equal(kill(server->pid, signal), 0);
}

void redis_server_kill(struct redis_server *server) {
    if (server->pid == 0)
        return;
    redis_server_signal(server, SIGKILL);
    assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
    server->pid = 0;
}

void redis_server_close(struct redis_server *server) {
    const char *names[] = {"socket", "log", "dump.rdb"};
    redis_server_kill(server);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[108];
        path_of(server, names[i], path);
        unlink(path);
    }
    assert_int_equal(rmdir(server->dir), 0);
}
