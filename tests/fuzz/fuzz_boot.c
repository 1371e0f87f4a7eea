/*
 * The start of a node before a Redis that is none, or a broken one: what it asks, in the order in
 * which it asks, ends with a yes or with a reason, and all memory returns.
 *
 * The first byte chooses where Redis is and what an acknowledged write means; the rest are the
 * answers (lying_redis.h).
 */
#include "server/io/boot.h"

#include "proto/writer.h"
#include "server/io/scripts.h"
#include "tests/fuzz/lying_redis.h"

static struct node_settings settings;

static void info_put(struct fuzz *fuzz, struct lying_text *out) {
    uint8_t memory[300];
    struct writer writer = writer_of(memory, sizeof memory);
    write_map(&writer, 3);
    write_text_text(&writer, "control", "tcp://n9.example:1");
    write_text_text(&writer, "version", "0.1.0");
    write_text(&writer, "record_schemas");
    write_array(&writer, 2);
    write_uint(&writer, fuzz_u8(fuzz) % 3);
    write_uint(&writer, fuzz_u8(fuzz) % 3);
    uint8_t choice = fuzz_u8(fuzz);
    if (choice > 200) {
        memory[fuzz_u8(fuzz) % writer.size] = fuzz_u8(fuzz);
    }
    lying_string(out, memory, writer.size);
}

static bool usual(struct fuzz *fuzz, const redisReply *words, struct lying_text *out) {
    const char *name = words->element[0]->str;
    if (strcmp(name, "HMGET") == 0) { /* a lease, held or not */
        lying_print(out, "*2\r\n%s", fuzz_u8(fuzz) < 128 ? "$-1\r\n" : "$3\r\nabc\r\n");
        info_put(fuzz, out);
    } else if (strcmp(name, "PTTL") == 0) {
        lying_print(out, ":%d\r\n", 255 - fuzz_u8(fuzz));
    } else if (strcmp(name, "EVAL") == 0 &&
               strcmp(words->element[1]->str, script_text(SCRIPT_NODES)) == 0) {
        lying_print(out, "*2\r\n$1\r\n0\r\n*1\r\n*4\r\n$2\r\nn9\r\n$3\r\nabc\r\n");
        info_put(fuzz, out);
        lying_print(out, ":900\r\n");
    } else if (strcmp(name, "EVAL") == 0) {
        lying_print(out, "$2\r\nOK\r\n");
    } else if (strcmp(name, "HGET") == 0) {
        lying_print(out, "$-1\r\n");
    } else {
        return false;
    }
    return true;
}

static void why_check(const char *why) {
    FUZZ_CHECK(why[0] != '\0' && memchr(why, '\0', BOOT_WHY_BYTES) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const urls[] = {"redis://10.0.0.1:7001", "redis+cluster://10.0.0.1:7001",
                                       "redis+sentinel://10.0.0.9:1,10.0.0.8:2/m"};
    static const char *const acks[] = {"memory", "aof", "replicas:1"};
    struct fuzz fuzz = fuzz_of(data, size);
    struct boot boot;
    struct log log;
    char why[BOOT_WHY_BYTES] = "", replaces[INCARNATION_SIZE + 1] = "";
    uint8_t choice = fuzz_u8(&fuzz);
    settings = (struct node_settings){.node_id = "n1",
                                      .redis = urls[choice % 3],
                                      .ack = acks[choice / 3 % 3],
                                      .key_prefix = "t:",
                                      .lease_ttl_ns = 1000000000};
    log_init(&log, LOG_LEVEL_ERROR, false, -1, "fuzz");
    lying_open(&fuzz, usual);
    if (!boot_open(&boot, &settings, &log, why)) {
        why_check(why);
        lying_close();
        return 0;
    }
    FUZZ_CHECK(boot.clock.set && strlen(boot.incarnation) == INCARNATION_SIZE);
    bool good = boot_schema_check(&boot, &settings, why) &&
                boot_lease_check(&boot, &settings, &log, replaces, why) &&
                boot_lease_acquire(&boot, &settings, replaces, bytes_of_text("info"), why);
    if (!good) {
        why_check(why);
    }
    FUZZ_CHECK(memchr(replaces, '\0', sizeof replaces) != NULL);
    boot_close(&boot);
    lying_close();
    return 0;
}
