/* A program's file of options: any text is read, or refused by mistakes; nothing is lost of it. */
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/options_impl.h"
#include "tests/fuzz/fuzz.h"

struct settings {
    char *node_id, *policy;
    uint64_t shards, memory, interval;
    bool idle;
};

static const struct option options[] = {
    {.name = "node_id", .kind = OPTION_TEXT, .offset = offsetof(struct settings, node_id)},
    {.name = "policy",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, policy),
     .choices = "deny|allow"},
    {.name = "shards",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, shards),
     .min = 1,
     .max = 64},
    {.name = "memory", .kind = OPTION_BYTES, .offset = offsetof(struct settings, memory)},
    {.name = "snapshot_interval",
     .kind = OPTION_DURATION,
     .offset = offsetof(struct settings, interval)},
    {.name = "idle", .kind = OPTION_SWITCH, .offset = offsetof(struct settings, idle)},
};
#define OPTION_COUNT_OF (sizeof options / sizeof options[0])
static const struct options_program program = {
    .name = "fuzz", .options = options, .option_count = OPTION_COUNT_OF};

/* Mistakes are printed; nobody reads them here. */
static void file_read(struct options_run *run) {
    static FILE *nowhere;
    if (nowhere == NULL) {
        nowhere = fopen("/dev/null", "we");
        FUZZ_CHECK(nowhere != NULL);
    }
    FILE *shown = stderr;
    stderr = nowhere;
    options_file_read(run);
    stderr = shown;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int file = -1;
    char path[64];
    if (file < 0) {
        file = memfd_create("fuzz", MFD_CLOEXEC);
        FUZZ_CHECK(file >= 0);
    }
    FUZZ_CHECK(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);

    enum option_origin origins[OPTION_COUNT_OF] = {ORIGIN_DEFAULT};
    struct settings settings = {0};
    struct options_run run = {
        .program = &program, .settings = &settings, .origins = origins, .config = path};
    file_read(&run);
    FUZZ_CHECK(origins[2] == ORIGIN_DEFAULT || run.mistakes > 0 ||
               (settings.shards >= 1 && settings.shards <= 64));
    FUZZ_CHECK(settings.policy == NULL || strcmp(settings.policy, "deny") == 0 ||
               strcmp(settings.policy, "allow") == 0);
    for (size_t i = 0; i < OPTION_COUNT_OF; i++) {
        FUZZ_CHECK(origins[i] == ORIGIN_DEFAULT || origins[i] == ORIGIN_FILE);
    }
    options_free(&program, &settings);
    return 0;
}
