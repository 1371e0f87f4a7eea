#include "runtime/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void memory_end(size_t size) {
    /* Neither the log nor anything else that may want memory itself. */
    char text[128];
    int length = snprintf(text, sizeof text,
                          "no memory: the system refused %zu bytes; this process ends now\n", size);
    ssize_t written = write(STDERR_FILENO, text, (size_t)length);
    (void)written;
    _exit(MEMORY_EXIT);
}

void *memory_need(size_t size) {
    void *piece = calloc(1, size);
    if (piece == NULL) {
        memory_end(size);
    }
    return piece;
}
