/* The system calls of the simulated programs. */
#include "tests/sim/shim.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "runtime/endpoint_impl.h"
#include "tests/sim/net.h"

/* Descriptors below are sockets of boot_lease.c, which tries whether an address is served; from
 * here on they stand for connections of streams, to set their options. */
#define FD_STREAMS 1000
#define FDS_MAX 100000

struct probe {
    struct net_end *end;
    struct fiber *waiting;
    bool done;
    int status;
};

static struct net_end *ends[FDS_MAX];
static uint32_t end_count;
static struct probe *probes[FD_STREAMS];
static uint32_t probe_count;

/* --- memory, time, randomness -------------------------------------------------------------- */

/* Aligned as pages are, as far as anybody relies on it. */
void *shim_map(size_t size) {
    uint8_t *memory = process_calloc(1, size + 128);
    uintptr_t aligned = ((uintptr_t)memory + sizeof(void *) + 63) & ~(uintptr_t)63;
    ((void **)aligned)[-1] = memory;
    return (void *)aligned;
}

int shim_unmap(void *memory) {
    process_free(((void **)memory)[-1]);
    return 0;
}

int shim_clock_gettime(struct timespec *out) {
    uint64_t now_ns = machine_clock(process_current()->machine);
    out->tv_sec = (time_t)(now_ns / SECOND);
    out->tv_nsec = (long)(now_ns % SECOND);
    return 0;
}

int shim_nanosleep(const struct timespec *wanted) {
    fiber_sleep((uint64_t)wanted->tv_sec * SECOND + (uint64_t)wanted->tv_nsec);
    return 0;
}

ssize_t shim_getrandom(void *out, size_t size) {
    uint8_t *bytes = out;
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)sim_random(STREAM_SYSTEM);
    }
    return (ssize_t)size;
}

void shim_reply_free(void *given) {
    redisReply *reply = given;
    for (size_t i = 0; i < reply->elements; i++) {
        shim_reply_free(reply->element[i]);
    }
    process_free(reply->element);
    process_free(reply->str);
    process_free(reply);
}

/* --- logs ---------------------------------------------------------------------------------- */

ssize_t shim_write(const void *data, size_t size) {
    const char *text = data;
    size_t shown = size > 0 && text[size - 1] == '\n' ? size - 1 : size;
    /* The time of the line is the machine's own, which says nothing new. */
    const char *blank = memchr(text, ' ', shown);
    size_t skipped = blank == NULL ? 0 : (size_t)(blank - text);
    sim_trace("log%.*s", (int)(shown - skipped), text + skipped);
    return (ssize_t)size;
}

/* --- sockets ------------------------------------------------------------------------------- */

int shim_fd(struct net_end *end) {
    uint32_t at = end_count % FDS_MAX;
    end_count++;
    ends[at] = end;
    return FD_STREAMS + (int)at;
}

int shim_setsockopt(int fd, int option, const void *value) {
    if (fd >= FD_STREAMS && option == TCP_USER_TIMEOUT) {
        unsigned ms;
        memcpy(&ms, value, sizeof ms);
        net_patience(ends[fd - FD_STREAMS], ms * MS);
    }
    return 0;
}

static void on_resume(void *ctx, uint64_t argument) {
    struct probe *probe = ctx;
    struct fiber *waiting = probe->waiting;
    probe->waiting = NULL;
    if (waiting != NULL) {
        fiber_resume(waiting);
    }
}

static void on_opened(void *ctx, int status) {
    struct probe *probe = ctx;
    probe->done = true;
    probe->status = status;
    on_resume(probe, 0);
}

static void on_arrived(void *ctx, const void *data, size_t size) {}
static void on_ended(void *ctx, int status) {}
static const struct net_handler handler = {on_opened, on_arrived, on_ended, NULL};

int shim_socket(void) {
    uint32_t at = probe_count % FD_STREAMS;
    probe_count++;
    probes[at] = sim_keep(sizeof *probes[at]);
    return (int)at;
}

int shim_connect(int fd, const struct sockaddr *address) {
    const struct sockaddr_in *to = (const struct sockaddr_in *)address;
    struct process *process = process_current();
    probes[fd]->end = net_connect(process->machine, process, ntohl(to->sin_addr.s_addr),
                                  ntohs(to->sin_port), &handler, probes[fd]);
    errno = EINPROGRESS;
    return -1;
}

int shim_poll(struct pollfd *fds, int timeout_ms) {
    struct probe *probe = probes[fds[0].fd];
    if (!probe->done) {
        probe->waiting = fiber_current();
        sim_at(sim_now() + (uint64_t)timeout_ms * MS, on_resume, probe, 0);
        fiber_wait();
    }
    return probe->done ? 1 : 0;
}

int shim_getsockopt(int fd, void *value, socklen_t *size) {
    int error = probes[fd]->status == 0 ? 0 : ECONNREFUSED;
    memcpy(value, &error, sizeof error);
    return 0;
}

int shim_close(int fd) {
    net_close(probes[fd]->end);
    return 0;
}

/* --- what is left out ---------------------------------------------------------------------- */

/* Endpoints of other schemes run libnng's threads, which have no place here. */
int endpoint_nng_open(struct endpoint **out, uv_loop_t *loop, const char *url,
                      const struct endpoint_handler *at, char *why, size_t why_size) {
    snprintf(why, why_size, "%s: only tcp:// is simulated", url);
    return -1;
}
