/*
 * A wrong clock for one process, by LD_PRELOAD: its time of day is off by an offset that may change
 * at any moment, and its monotonic clock runs fast or slow.
 *
 * Both numbers stand in the file that CHAOS_CLOCK names, which is mapped: two signed 64-bit
 * integers, the offset in ns and the drift in parts per million. Without the file the clock is
 * right. What has no library behind it (no dlsym, no allocation) cannot disturb an allocator that
 * asks for the time while it starts.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct wrong {
    volatile int64_t offset_ns, drift_ppm;
};

static const struct wrong right = {0, 0};
static const struct wrong *wrong = &right;
static int64_t began_ns; /* monotonic: drift counts from here on */

static int64_t true_ns(clockid_t id) {
    struct timespec now = {0, 0};
    syscall(SYS_clock_gettime, id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

__attribute__((constructor)) static void wrong_open(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof *wrong, PROT_READ, MAP_SHARED, fd, 0);
    began_ns = true_ns(CLOCK_MONOTONIC);
    if (mapped != MAP_FAILED)
        wrong = mapped;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *out) {
    struct timespec now;
    long status = syscall(SYS_clock_gettime, id, &now);
    if (status != 0)
        return (int)status;
    int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
        ns += wrong->offset_ns;
    else if ((id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE) && ns > began_ns)
        ns += (ns - began_ns) / 1000000 * wrong->drift_ppm;
    *out = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    int64_t us = (true_ns(CLOCK_REALTIME) + wrong->offset_ns) / 1000;
    (void)zone;
    *out = (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    return 0;
}

time_t time(time_t *out) {
    time_t seconds = (true_ns(CLOCK_REALTIME) + wrong->offset_ns) / 1000000000;
    if (out != NULL)
        *out = seconds;
    return seconds;
}
