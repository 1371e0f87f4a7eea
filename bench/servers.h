/*
 * Private servers for a comparison: processes on free loopback ports, with their data and logs in
 * one temporary directory. They die with this process, whatever happens to it, and servers_close
 * ends them in order and removes the directory. One thread; blocks.
 */
#ifndef SLUICE_BENCH_SERVERS_H
#define SLUICE_BENCH_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Servers at once, words of a command, bytes of a path or URL. */
#define SERVERS_MAX 16
#define SERVER_WORDS_MAX 32
#define SERVER_PATH_BYTES 256

/* Milliseconds in which a server must be ready, and must have ended. Ample: both take well under
 * one second. */
#define SERVER_READY_MS 20000
#define SERVER_END_MS 10000

struct servers {
    char directory[SERVER_PATH_BYTES];
    char programs[SERVER_PATH_BYTES]; /* where this program is: the others are beside it */
    pid_t pids[SERVERS_MAX];
    uint32_t count;
};

/* False with the reason in `why`. */
bool servers_open(struct servers *servers, char *why, size_t why_size);
void servers_close(struct servers *servers);

/* A port that is free now; 0: none. */
uint16_t server_port_free(void);

/* Starts argv[0] (one of ours by its bare name, else looked up in PATH); `name` names its log.
 * argv ends with NULL. */
bool server_start(struct servers *servers, const char *name, const char *const argv[], char *why,
                  size_t why_size);

/* Waits until something listens at the port of 127.0.0.1. */
bool server_wait_port(uint16_t port, const char *name, char *why, size_t why_size);

/* Runs a command to its end, with what it prints in `out` (cut to fit). Its exit status; -1 if it
 * could not be run. */
int server_run(struct servers *servers, const char *const argv[], char *out, size_t out_size);

/* Ends the servers that were started last, down to `count` of them. */
void servers_end(struct servers *servers, uint32_t count);

#endif
