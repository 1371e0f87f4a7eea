/*
 * Put before each of the programs' own files when they are built for the simulator: what they ask
 * of the system they get from it. libuv, hiredis and Lua keep their names (loop.c, tcp.c, redis.c).
 */
#ifndef SLUICE_TESTS_SIM_SHIM_H
#define SLUICE_TESTS_SIM_SHIM_H

/* Declared by the system before they are renamed. */
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "runtime/retry.h"
#include "tests/sim/process.h"
#include "tests/sim/redis_names.h"

struct net_end;
int shim_fd(struct net_end *end);

#ifdef SLUICE_SIM_PROGRAM
#define malloc(size) process_malloc(size)
#define calloc(count, size) process_calloc((count), (size))
#define realloc(memory, size) process_realloc((memory), (size))
#define free process_free
#define strdup(text) process_strdup(text)
#define mmap(address, size, protection, flags, fd, offset) shim_map(size)
#define munmap(memory, size) shim_unmap(memory)
#define clock_gettime(clock, out) shim_clock_gettime(out)
#define nanosleep(wanted, left) shim_nanosleep(wanted)
#define getrandom(out, size, flags) shim_getrandom((out), (size))
#define socket(family, type, protocol) shim_socket()
#define connect(fd, address, size) shim_connect((fd), (address))
#define poll(fds, count, timeout) shim_poll((fds), (timeout))
#define getsockopt(fd, level, option, value, size) shim_getsockopt((fd), (value), (size))
#define setsockopt(fd, level, option, value, size) shim_setsockopt((fd), (option), (value))
#ifdef SLUICE_SIM_SOCKETS
#define close(fd) shim_close(fd)
#endif
#define write(fd, data, size) shim_write((data), (size))
#define isatty(fd) 0
/* Programs free what they have copied themselves. */
#define freeReplyObject shim_reply_free
/* Its seed is made from an address, which is another in each run. */
#define retry_init(retry, first_ms, last_ms, seed)                                                 \
    (retry_init)((retry), (first_ms), (last_ms), sim_random(STREAM_SYSTEM))
#endif

void shim_reply_free(void *reply);
void *shim_map(size_t size);
int shim_unmap(void *memory);
int shim_clock_gettime(struct timespec *out);
int shim_nanosleep(const struct timespec *wanted);
ssize_t shim_getrandom(void *out, size_t size);
int shim_socket(void);
int shim_connect(int fd, const struct sockaddr *address);
int shim_poll(struct pollfd *fds, int timeout_ms);
int shim_getsockopt(int fd, void *value, socklen_t *size);
int shim_setsockopt(int fd, int option, const void *value);
int shim_close(int fd);
ssize_t shim_write(const void *data, size_t size);

#endif
