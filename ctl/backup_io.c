#include "ctl/backup_io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/memory.h"

/* Behind the name of a file that is not whole yet. */
#define PARTIAL ".partial"

__attribute__((format(printf, 2, 3))) static bool fail(char *why, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, BACKUP_WHY_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

/* --- writing ---------------------------------------------------------------------------------- */

bool backup_out_open(struct backup_out *out, const char *path, char why[BACKUP_WHY_BYTES]) {
    memset(out, 0, sizeof *out);
    out->path = path;
    out->memory = memory_need(BACKUP_LEAD_BYTES + BACKUP_BODY_BYTES_MAX);
    if (strcmp(path, "-") == 0) {
        out->file = stdout;
        return !isatty(STDOUT_FILENO) ||
               fail(why, "standard output is a terminal: give a file, or send it elsewhere");
    }
    size_t size = strlen(path) + sizeof PARTIAL;
    out->partial = memory_need(size);
    snprintf(out->partial, size, "%s%s", path, PARTIAL);
    int fd = open(out->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR);
    out->file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (out->file == NULL) {
        bool failed = fail(why, "%s: %s", out->partial, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return failed;
    }
    return true;
}

bool backup_out_put(struct backup_out *out, uint32_t size, char why[BACKUP_WHY_BYTES]) {
    if (fwrite(out->memory, 1, size, out->file) != size) {
        return fail(why, "%s: %s", out->partial != NULL ? out->partial : "standard output",
                    strerror(errno));
    }
    out->bytes += size;
    return true;
}

/* A new name is on disk when its directory is. */
static bool directory_sync(const char *path, char why[BACKUP_WHY_BYTES]) {
    char *copy = memory_need(strlen(path) + 1);
    memcpy(copy, path, strlen(path) + 1);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL); /* some file systems cannot */
    if (!synced) {
        fail(why, "the directory of %s: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    free(copy);
    return synced;
}

bool backup_out_finish(struct backup_out *out, char why[BACKUP_WHY_BYTES]) {
    if (out->partial == NULL) {
        return fflush(out->file) == 0 || fail(why, "standard output: %s", strerror(errno));
    }
    if (fflush(out->file) != 0 || fsync(fileno(out->file)) != 0) {
        return fail(why, "%s: %s", out->partial, strerror(errno));
    }
    if (rename(out->partial, out->path) != 0) {
        return fail(why, "%s cannot be given its name, %s: %s", out->partial, out->path,
                    strerror(errno));
    }
    free(out->partial);
    out->partial = NULL;
    return directory_sync(out->path, why);
}

void backup_out_close(struct backup_out *out) {
    if (out->file != NULL && out->file != stdout) {
        fclose(out->file);
    }
    if (out->partial != NULL) {
        unlink(out->partial);
    }
    free(out->partial);
    free(out->memory);
}

/* --- reading ---------------------------------------------------------------------------------- */

bool backup_in_open(struct backup_in *in, const char *path, char why[BACKUP_WHY_BYTES]) {
    memset(in, 0, sizeof *in);
    in->path = path;
    in->memory = memory_need(BACKUP_BODY_BYTES_MAX);
    in->file = fopen(path, "rbe");
    if (in->file == NULL) {
        return fail(why, "%s: %s", path, strerror(errno));
    }
    return backup_in_rewind(in, why);
}

bool backup_in_rewind(struct backup_in *in, char why[BACKUP_WHY_BYTES]) {
    if (fseek(in->file, 0, SEEK_SET) != 0) {
        return fail(why,
                    "%s cannot be read twice, first to see that it is whole: %s; give a file, no "
                    "pipe",
                    in->path, strerror(errno));
    }
    memset(&in->progress, 0, sizeof in->progress);
    in->offset = 0;
    in->slot = -1;
    return true;
}

/* Where it is wrong, as an operator can find it again. */
static bool wrong_here(const struct backup_in *in, const char *what, char *why) {
    char behind[32] = "";
    if (in->slot >= 0) {
        snprintf(behind, sizeof behind, ", behind slot %d", in->slot);
    }
    return fail(why, "%s: at byte %" PRIu64 "%s: %s", in->path, in->offset, behind, what);
}

static bool cut_here(const struct backup_in *in, char *why) {
    if (ferror(in->file)) {
        return wrong_here(in, strerror(errno), why);
    }
    return wrong_here(in, "the file ends before the backup does: it is cut off", why);
}

bool backup_in_next(struct backup_in *in, struct backup_piece *piece, char why[BACKUP_WHY_BYTES]) {
    uint8_t lead_bytes[BACKUP_LEAD_BYTES];
    struct backup_lead lead;
    struct fault fault;
    why[0] = '\0';
    size_t got = fread(lead_bytes, 1, sizeof lead_bytes, in->file);
    if (got == 0 && in->progress.ended && !ferror(in->file)) {
        return false;
    }
    if (in->progress.ended) {
        return wrong_here(in, "the backup has ended, and the file goes on", why);
    }
    if (got < sizeof lead_bytes) {
        return cut_here(in, why);
    }
    if (backup_lead_read(lead_bytes, &lead, &fault) != CODE_OK) {
        return wrong_here(in, fault.text, why);
    }
    if (fread(in->memory, 1, lead.body_bytes, in->file) < lead.body_bytes) {
        return cut_here(in, why);
    }
    if (backup_body_read(&in->progress, &lead, bytes_of(in->memory, lead.body_bytes), piece,
                         &fault) != CODE_OK) {
        return wrong_here(in, fault.text, why);
    }
    if (piece->kind == BACKUP_KEYS || piece->kind == BACKUP_BUCKETS) {
        in->slot = piece->pairs.slot.index;
    }
    in->offset += sizeof lead_bytes + lead.body_bytes;
    return true;
}

void backup_in_close(struct backup_in *in) {
    if (in->file != NULL) {
        fclose(in->file);
    }
    free(in->memory);
}
