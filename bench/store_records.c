/*
 * Records in bulk, for bench/start.py.
 *
 *     store-records fill BUCKETS SLOTS PLAN NOW_NS      writes the commands that make them
 *     store-records read PORT SLOTS [COUNT] [PIPELINE]  reads them all, as fast as Redis gives them
 *
 * `fill` prints for `redis-cli --pipe`: keys "bench:" and ten digits under the prefix "sluice:",
 * buckets of one limit that are full again some hours after NOW_NS (of Redis's clock), of the
 * plan's generation 1. A hundred share an HSET.
 *
 * `read` asks for pages as a shard does, of COUNT entries, PIPELINE slots at a time over one
 * connection, and only finds their ends: what it prints is what Redis can give, on this machine,
 * to somebody who does nothing with it.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/record.h"
#include "proto/store_keys.h"
#include "runtime/clock.h"

#define PREFIX "sluice:"
#define KEY_SIZE 16 /* "bench:" and ten digits */

/* Buckets that share a command: the command's own cost is divided by so many. */
#define BATCH 100

#define HOUR_NS UINT64_C(3600000000000)

static int usage(void) {
    fprintf(stderr, "usage: store-records fill BUCKETS SLOTS PLAN NOW_NS\n"
                    "       store-records read PORT SLOTS [COUNT] [PIPELINE]\n");
    return 2;
}

/* --- fill ---------------------------------------------------------------------------------- */

struct pair {
    char key[KEY_SIZE + 1];
    uint8_t record[RECORD_BYTES_MAX];
    uint32_t record_size;
};

struct batch {
    struct pair pairs[BATCH];
    uint32_t count;
};

static void bulk_print(const void *data, size_t size) {
    printf("$%zu\r\n", size);
    fwrite(data, 1, size, stdout);
    fputs("\r\n", stdout);
}

static void batch_print(struct batch *batch, uint32_t slot) {
    store_key key;
    int size = store_key_buckets(PREFIX, (struct slot){.index = (uint16_t)slot}, key);
    if (batch->count == 0) {
        return;
    }
    printf("*%u\r\n$4\r\nHSET\r\n", 2 + 2 * batch->count);
    bulk_print(key, (size_t)size);
    for (uint32_t i = 0; i < batch->count; i++) {
        bulk_print(batch->pairs[i].key, KEY_SIZE);
        bulk_print(batch->pairs[i].record, batch->pairs[i].record_size);
    }
    batch->count = 0;
}

static int fill(uint64_t buckets, uint32_t slots, const char *plan, uint64_t now_ns) {
    static char buffer[1 << 20];
    struct batch *batches = calloc(slots, sizeof *batches);
    if (batches == NULL) {
        return 1;
    }
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    struct record record = {.plan = bytes_of_text(plan), .generation = 1, .tat_count = 1};
    for (uint64_t i = 0; i < buckets; i++) {
        struct pair made;
        snprintf(made.key, sizeof made.key, "bench:%010u", (unsigned)i);
        uint64_t hash = key_hash(bytes_of(made.key, KEY_SIZE));
        /* Not all alike: some hours, by the hash. */
        record.tats[0] = (struct tat){.ns = now_ns + HOUR_NS * (24 + hash % 24)};
        made.record_size = record_write(&record, made.record);
        uint32_t slot = slot_of_hash(hash, slots).index;
        batches[slot].pairs[batches[slot].count] = made;
        batches[slot].count++;
        if (batches[slot].count == BATCH) {
            batch_print(&batches[slot], slot);
        }
    }
    for (uint32_t slot = 0; slot < slots; slot++) {
        batch_print(&batches[slot], slot);
    }
    free(batches);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}

/* --- read ---------------------------------------------------------------------------------- */

/* Bytes asked of the kernel at once, and kept of what is not a whole line yet. */
#define INPUT_BYTES (1 << 20)

struct input {
    int fd;
    char bytes[INPUT_BYTES];
    size_t at, end;
};

static bool input_more(struct input *input) {
    memmove(input->bytes, input->bytes + input->at, input->end - input->at);
    input->end -= input->at;
    input->at = 0;
    ssize_t got = read(input->fd, input->bytes + input->end, sizeof input->bytes - input->end);
    input->end += got > 0 ? (size_t)got : 0;
    return got > 0;
}

/* A line that begins with `type` and tells a number; false: something else came, or nothing. */
static bool number_line(struct input *input, char type, uint64_t *number) {
    char *line_end;
    while ((line_end = memchr(input->bytes + input->at, '\n', input->end - input->at)) == NULL) {
        if (!input_more(input)) {
            return false;
        }
    }
    bool good = input->bytes[input->at] == type;
    *number = strtoull(input->bytes + input->at + 1, NULL, 10);
    input->at = (size_t)(line_end + 1 - input->bytes);
    return good;
}

/* Borrowed until the next call. */
static bool bulk_read(struct input *input, struct bytes *bulk) {
    uint64_t size;
    if (!number_line(input, '$', &size) || size > INPUT_BYTES / 2) {
        return false;
    }
    while (input->end - input->at < size + 2) {
        if (!input_more(input)) {
            return false;
        }
    }
    *bulk = bytes_of(input->bytes + input->at, size);
    input->at += size + 2;
    return true;
}

static bool page_ask(int fd, uint32_t slot, const char *cursor, const char *count) {
    char command[STORE_KEY_BYTES_MAX + 128];
    store_key key;
    int size = store_key_buckets(PREFIX, (struct slot){.index = (uint16_t)slot}, key);
    size = snprintf(command, sizeof command,
                    "*5\r\n$5\r\nHSCAN\r\n$%d\r\n%s\r\n$%zu\r\n%s\r\n$5\r\nCOUNT\r\n$%zu\r\n%s\r\n",
                    size, key, strlen(cursor), cursor, strlen(count), count);
    return write(fd, command, (size_t)size) == size;
}

/* The pages come in the order of their asking, so a ring of slots says whose each is. */
static bool read_all(struct input *input, uint32_t slots, const char *count, uint32_t pipeline,
                     uint64_t *pairs) {
    uint32_t ring[SLOTS_MAX], first = 0, asked = 0, next = 0;
    while (asked < pipeline && next < slots) {
        ring[(first + asked) % SLOTS_MAX] = next;
        asked++;
        page_ask(input->fd, next++, "0", count);
    }
    while (asked > 0) {
        uint64_t two, elements;
        struct bytes bulk;
        char cursor[24];
        uint32_t slot = ring[first];
        first = (first + 1) % SLOTS_MAX;
        asked--;
        if (!number_line(input, '*', &two) || two != 2 || !bulk_read(input, &bulk) ||
            bulk.size >= sizeof cursor) {
            return false;
        }
        memcpy(cursor, bulk.data, bulk.size);
        cursor[bulk.size] = '\0';
        if (!number_line(input, '*', &elements)) {
            return false;
        }
        *pairs += elements / 2;
        for (uint64_t i = 0; i < elements; i++) {
            if (!bulk_read(input, &bulk)) {
                return false;
            }
        }
        bool done = strcmp(cursor, "0") == 0;
        if (done && next == slots) {
            continue;
        }
        slot = done ? next++ : slot;
        ring[(first + asked) % SLOTS_MAX] = slot;
        asked++;
        if (!page_ask(input->fd, slot, done ? "0" : cursor, count)) {
            return false;
        }
    }
    return true;
}

static int read_bench(uint16_t port, uint32_t slots, const char *count, uint32_t pipeline) {
    static struct input input;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    input.fd = socket(AF_INET, SOCK_STREAM, 0);
    if (input.fd < 0 || connect(input.fd, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("store-records: cannot connect");
        return 1;
    }
    uint64_t began_ns = clock_monotonic_ns(), pairs = 0;
    if (!read_all(&input, slots, count, pipeline, &pairs)) {
        fprintf(stderr, "store-records: Redis answered something that is no page\n");
        return 1;
    }
    double seconds = (double)(clock_monotonic_ns() - began_ns) / 1e9;
    close(input.fd);
    printf("%" PRIu64 " buckets in %.3f s, %.0f buckets/s\n", pairs, seconds,
           (double)pairs / seconds);
    return 0;
}

int main(int argc, char **argv) {
    uint64_t number = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t slots = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    if (!slot_count_valid(slots)) {
        return usage();
    }
    if (strcmp(argv[1], "fill") == 0 && argc == 6 && number <= UINT32_MAX &&
        name_valid(bytes_of_text(argv[4]))) {
        return fill(number, (uint32_t)slots, argv[4], strtoull(argv[5], NULL, 10));
    }
    uint64_t pipeline = argc > 5 ? strtoull(argv[5], NULL, 10) : 16;
    if (strcmp(argv[1], "read") == 0 && argc <= 6 && number > 0 && number <= UINT16_MAX &&
        pipeline > 0 && pipeline <= SLOTS_MAX) {
        return read_bench((uint16_t)number, (uint32_t)slots, argc > 4 ? argv[4] : "1000",
                          (uint32_t)pipeline);
    }
    return usage();
}
