/*
 * Replays inputs through a fuzz target, for compilers that have no libFuzzer: every file that is
 * named, and every file in the directories that are named. A crash names the file that it had.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

static unsigned replayed;

static void file_replay(const char *path) {
    struct stat about;
    FILE *file = fopen(path, "rb");
    FUZZ_CHECK(file != NULL && fstat(fileno(file), &about) == 0);
    size_t size = (size_t)about.st_size;
    uint8_t *data = malloc(size + (size == 0)); /* exact, so that a read beyond it is seen */
    FUZZ_CHECK(data != NULL && fread(data, 1, size, file) == size);
    fclose(file);
    fprintf(stderr, "%s\n", path);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    replayed++;
}

static void path_replay(const char *path) {
    DIR *directory = opendir(path);
    if (directory == NULL) {
        file_replay(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char inner[4096];
        if (entry->d_name[0] != '.') {
            snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
            path_replay(inner);
        }
    }
    closedir(directory);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        path_replay(argv[i]);
    }
    printf("replayed %u inputs\n", replayed);
    return replayed > 0 ? 0 : 1;
}
