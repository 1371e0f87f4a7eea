/*
 * Loaded before a program (LD_PRELOAD): the n-th piece of memory that the program's own code, or
 * libsluice's, asks for is not there. What other libraries ask for themselves is left to them: some
 * end the process.
 *
 * SLUICE_TEST_FAIL_AT   n, from 1; 0 or unset: none
 * SLUICE_TEST_FAIL_LOG  file that gets a line "failed <n>" when it happens, and "asked <count>"
 * when the program ends in order
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *piece, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *aligned_alloc(size_t alignment, size_t size);
int posix_memalign(void **out, size_t alignment, size_t size);

static struct { uintptr_t start, end; } ours[8];
static unsigned ours_count;
static unsigned long fail_at;
static atomic_ulong asked;

static void log_line(const char *what, unsigned long number) {
    const char *path = getenv("SLUICE_TEST_FAIL_LOG");
    char text[64];
    int file = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file >= 0) {
        int size = snprintf(text, sizeof text, "%s %lu\n", what, number);
        ssize_t written = write(file, text, (size_t)size);
        (void)written;
        close(file);
    }
}

/* The first object is the program itself. */
static int ours_find(struct dl_phdr_info *object, size_t size, void *context) {
    unsigned *seen = context;
    bool is_ours = (*seen)++ == 0 || strstr(object->dlpi_name, "libsluice") != NULL;
    for (int i = 0; is_ours && i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0 &&
            ours_count < sizeof ours / sizeof ours[0]) {
            ours[ours_count].start = object->dlpi_addr + part->p_vaddr;
            ours[ours_count++].end = object->dlpi_addr + part->p_vaddr + part->p_memsz;
        }
    }
    return 0;
}

static bool is_ours(uintptr_t at) {
    for (unsigned i = 0; i < ours_count; i++) {
        if (at >= ours[i].start && at < ours[i].end) {
            return true;
        }
    }
    return false;
}

static __attribute__((constructor)) void begin(void) {
    const char *text = getenv("SLUICE_TEST_FAIL_AT");
    unsigned seen = 0;
    dl_iterate_phdr(ours_find, &seen);
    fail_at = text == NULL ? 0 : strtoul(text, NULL, 10);
}

static __attribute__((destructor)) void end(void) {
    log_line("asked", atomic_load(&asked));
}

static bool is_missing(const void *caller) {
    if (!is_ours((uintptr_t)caller) || atomic_fetch_add(&asked, 1) + 1 != fail_at) {
        return false;
    }
    log_line("failed", fail_at);
    errno = ENOMEM;
    return true;
}

#define IS_MISSING() is_missing(__builtin_return_address(0))

void *malloc(size_t size) {
    return IS_MISSING() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return IS_MISSING() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *piece, size_t size) {
    return IS_MISSING() ? NULL : __libc_realloc(piece, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return IS_MISSING() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    *out = IS_MISSING() ? NULL : __libc_memalign(alignment, size);
    return *out == NULL ? ENOMEM : 0;
}

/* In place of libc's, which would ask in libc's name. */
char *strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = IS_MISSING() ? NULL : __libc_malloc(size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}
