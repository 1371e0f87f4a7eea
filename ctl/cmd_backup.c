/* backup, restore. */
#include "ctl/backup.h"
#include "ctl/out.h"
#include "ctl/restore.h"

/* The secrets are here to be refused: else --redis-password would stand for --redis-password-file,
 * and what follows for a file's name. */
#define STORE_ROWS                                                                                   \
    {"redis",                                                                                        \
     OPTION_REDIS,                                                                                   \
     "URL",                                                                                          \
     0,                                                                                              \
     "the store, as a node's --redis (SLUICE_REDIS; redis://127.0.0.1:6379)",                        \
     0},                                                                                             \
        {"redis-password-file",                                                                      \
         OPTION_REDIS_PASSWORD_FILE,                                                                 \
         "FILE",                                                                                     \
         0,                                                                                          \
         "a file that holds its password and nothing else (or SLUICE_REDIS_PASSWORD)",               \
         0},                                                                                         \
        {"redis-password", OPTION_REDIS_PASSWORD, "TEXT", OPTION_HIDDEN, 0, 0},                      \
        {"redis-sentinel-password", OPTION_REDIS_SENTINEL_PASSWORD, "TEXT", OPTION_HIDDEN, 0, 0},    \
        {"redis-ca", OPTION_REDIS_CA, "FILE", 0, "whose certificates to believe, for rediss://", 0}, \
        {"redis-cert", OPTION_REDIS_CERT, "FILE", 0, "the certificate to show to Redis", 0},         \
        {"redis-key", OPTION_REDIS_KEY, "FILE", 0, "the key of that certificate", 0},                \
        {"redis-server-name",                                                                        \
         OPTION_REDIS_SERVER_NAME,                                                                   \
         "NAME",                                                                                     \
         0,                                                                                          \
         "whom Redis's certificate must name",                                                       \
         0},                                                                                         \
    {                                                                                                \
        "key-prefix", OPTION_KEY_PREFIX, "TEXT", 0,                                                  \
            "what our keys in Redis begin with (SLUICE_KEY_PREFIX; sluice:, of a restore: the "      \
            "backup's)",                                                                             \
            0                                                                                        \
    }

static enum exit_code backup_run(const struct invocation *invocation) {
    if (!invocation->options.verify) {
        return backup_take(invocation);
    }
    if (invocation->options.slot_list != NULL) {
        out_failure(&invocation->settings, "--verify reads all of the file: --slots has no place");
        return EXIT_USAGE;
    }
    return backup_verify(invocation);
}

static const struct argp_option backup_options[] = {
    {"slots", OPTION_SLOT_LIST, "LIST", 0, "only these slots, as in 0-99,200", 0},
    {"verify", OPTION_VERIFY, 0, 0, "take none: see whether FILE is whole and undamaged", 0},
    STORE_ROWS,
    {0},
};

static const struct argp_option restore_options[] = {
    {"slots", OPTION_SLOT_LIST, "LIST", 0, "only these slots, as in 0-99,200", 0},
    {"dry-run", OPTION_DRY_RUN, 0, 0, "verify FILE, compare, and only say what would be done", 0},
    {"live", OPTION_LIVE, 0, 0, "while nodes are alive: see below", 0},
    {"replace", OPTION_REPLACE, 0, 0, "as it was in the backup, even where less was spent", 0},
    STORE_ROWS,
    {0},
};

const struct command backup_commands[] = {
    {NULL, "backup", "write what the store holds into a file", "FILE", 1, 1, backup_options,
     "Reads buckets, assignments, plans and the map straight from the store, while the cluster "
     "serves or while it is down, into FILE (- is standard output). FILE appears when it is whole "
     "and on disk.\v"
     "docs/backup.md tells what a backup is worth, and how to read one without Sluice.\n\n"
     "Examples:\n"
     "  sluicectl backup /var/backups/sluice.backup\n"
     "  sluicectl backup --redis rediss://db:6380 --redis-ca ca.pem FILE\n"
     "  sluicectl backup --redis redis+cluster://c1:6379,c2:6379 FILE\n"
     "  sluicectl backup - | zstd > sluice.backup.zst\n"
     "  sluicectl backup --verify /var/backups/sluice.backup",
     backup_run},
    {NULL, "restore", "write a backup back into the store", "FILE", 1, 1, restore_options,
     "Writes a backup back. FILE is first read to its end and found whole. A key that the store "
     "has "
     "keeps what was spent of it by either: a restore never gives tokens back (but with "
     "--replace).\v"
     "Nodes must be stopped. With --live they need not be: until the restore is done, takes of the "
     "slots that are restored are answered by policy. One that is broken off leaves them closed: "
     "run it again.\n\n"
     "Examples:\n"
     "  sluicectl restore --dry-run /var/backups/sluice.backup\n"
     "  sluicectl restore /var/backups/sluice.backup\n"
     "  sluicectl restore --live --slots 17,100-199 /var/backups/sluice.backup",
     restore_run},
    {0},
};
