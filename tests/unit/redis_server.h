/*
 * For tests: a Redis of our own, in a directory of its own, on a local socket. Nothing outside the
 * directory is touched, and the server dies with the test program.
 */
#ifndef SLUICE_TESTS_REDIS_SERVER_H
#define SLUICE_TESTS_REDIS_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct redis_server {
    char dir[64];
    char url[128]; /* unix://... */
    char password[64];
    pid_t pid; /* 0: not running */
};

/* Makes the directory and starts the server; `password` may be "". */
void redis_server_open(struct redis_server *server, const char *password);

/* Starts it again after it was killed, and waits until it listens. */
void redis_server_start(struct redis_server *server);
void redis_server_signal(struct redis_server *server, int signal);
void redis_server_kill(struct redis_server *server);

/* Kills it and removes the directory. */
void redis_server_close(struct redis_server *server);

#endif
