/*
 * chaos-load: takes at full speed, or at a steady rate, while a cluster has a bad day; keeps what
 * became of every one of them.
 *
 *     chaos-load --out FILE --routers HOST:PORT,.. --class SPEC [--class SPEC ..] [--slots N]
 *                [--connections N] [--window N] [--batch N] [--rate TAKES_PER_S] [--seed N]
 *
 * Runs until SIGTERM (or --seconds). Then it waits for what is outstanding and looks at every key
 * that it has used, until the owner of each has answered. Exit code: 0, or 3 if some owner has not
 * answered within LOOK_NS. The last line of its output is a summary in JSON.
 */
#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "tests/chaos/peer.h"

#define PEERS_MAX 16

/* How long answers may take after the last request, and owners at the end: far beyond a failover.
 */
#define DRAIN_NS UINT64_C(3000000000)
#define LOOK_NS UINT64_C(30000000000)

/* Of the takes of a class with a moving window: one in so many goes to a key that it has left. */
#define OLD_KEY_ODDS 20

struct load {
    struct record_header header;
    struct record_class classes[CLASSES_MAX];
    uint64_t takes_of[CLASSES_MAX]; /* sent, by class */
    uint32_t weights;
    struct peer peers[PEERS_MAX];
    uint32_t peer_count, window, batch;
    uint64_t rate, random, due_ns, seconds;
    FILE *out;
    uint64_t outcomes[RECORD_OUTCOMES], batches;
    bool looking;
    uint32_t look_class, look_next; /* the next key to look at */
    uint32_t *again;                /* keys whose owner has not answered */
    uint32_t again_count, again_capacity;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    stopping = 1;
}

static uint32_t chance(struct load *load, uint32_t bound) {
    uint64_t z = load->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) % bound);
}

/* --- which key, which cost ------------------------------------------------------------------ */

/* The first key of the class's window. */
static uint32_t window_begin(const struct load *load, uint32_t at) {
    const struct record_class *class = &load->classes[at];
    uint64_t begin = class->advance_takes == 0 ? 0 : load->takes_of[at] / class->advance_takes;
    return begin < CLASS_KEYS_MAX - class->keys ? (uint32_t)begin : CLASS_KEYS_MAX - class->keys;
}

static void take_choose(struct load *load, struct record_take *take) {
    uint32_t at = 0, lot = chance(load, load->weights);
    while (lot >= load->classes[at].weight)
        lot -= load->classes[at++].weight;
    uint32_t begin = window_begin(load, at);
    uint32_t number = begin > 0 && chance(load, OLD_KEY_ODDS) == 0
                          ? chance(load, begin)
                          : begin + chance(load, load->classes[at].keys);
    load->takes_of[at]++;
    /* Mostly 1, so that buckets are emptied to the last token. */
    uint32_t cost = chance(load, 5) == 0 ? 2 + chance(load, 2) : 1;
    *take = (struct record_take){.key = record_key(at, number), .cost = (uint16_t)cost};
}

/* --- the load ------------------------------------------------------------------------------- */

static void on_done(void *ctx, struct peer *peer, struct peer_request *request) {
    struct load *load = ctx;
    for (uint32_t i = 0; i < request->batch.take_count; i++) {
        const struct record_take *take = &request->takes[i];
        load->outcomes[take->outcome]++;
        if (load->looking && take->outcome != RECORD_LOOKED) {
            if (load->again_count == load->again_capacity) {
                load->again_capacity = load->again_capacity == 0 ? 4096 : 2 * load->again_capacity;
                load->again = realloc(load->again, load->again_capacity * sizeof *load->again);
                assert(load->again != NULL);
            }
            load->again[load->again_count++] = take->key;
        }
    }
    load->batches++;
    fwrite(&request->batch, sizeof request->batch, 1, load->out);
    fwrite(request->takes, sizeof request->takes[0], request->batch.take_count, load->out);
}

static void batch_send(struct load *load, struct peer *peer, uint64_t intended_ns) {
    struct peer_request *request = peer_request_get(peer);
    request->batch.intended_ns = intended_ns;
    request->batch.take_count = load->batch;
    for (uint32_t i = 0; i < load->batch; i++)
        take_choose(load, &request->takes[i]);
    peer_send(peer, request);
}

/* Sends what the rate and the windows allow; every connection in turn. */
static void takes_send(struct load *load, uint64_t now_ns) {
    uint64_t gap_ns = load->rate == 0 ? 0 : UINT64_C(1000000000) * load->batch / load->rate;
    bool sent = true;
    while (sent) {
        sent = false;
        for (uint32_t i = 0; i < load->peer_count; i++) {
            if (!peer_may_send(&load->peers[i], load->window) ||
                (load->rate > 0 && load->due_ns > now_ns))
                continue;
            batch_send(load, &load->peers[i], load->rate > 0 ? load->due_ns : now_ns);
            load->due_ns += gap_ns;
            sent = true;
        }
    }
}

/* --- looking at every key, at the end ------------------------------------------------------- */

static bool look_next(struct load *load, struct record_take *take) {
    if (load->again_count > 0) {
        *take = (struct record_take){.key = load->again[--load->again_count]};
        return true;
    }
    for (; load->look_class < load->header.class_count; load->look_class++, load->look_next = 0) {
        uint32_t end =
            load->takes_of[load->look_class] == 0
                ? 0
                : window_begin(load, load->look_class) + load->classes[load->look_class].keys;
        if (load->look_next < end) {
            *take = (struct record_take){.key = record_key(load->look_class, load->look_next++)};
            return true;
        }
    }
    return false;
}

static void looks_send(struct load *load, uint64_t now_ns) {
    for (uint32_t i = 0; i < load->peer_count; i++) {
        struct peer *peer = &load->peers[i];
        while (peer_may_send(peer, load->window)) {
            struct peer_request *request = peer_request_get(peer);
            uint32_t count = 0;
            while (count < load->batch && look_next(load, &request->takes[count]))
                count++;
            if (count == 0)
                return;
            request->batch.intended_ns = now_ns;
            request->batch.take_count = count;
            peer_send(peer, request);
        }
    }
}

static bool outstanding(const struct load *load) {
    for (uint32_t i = 0; i < load->peer_count; i++) {
        if (load->peers[i].outstanding > 0)
            return true;
    }
    return false;
}

/* --- the loop ------------------------------------------------------------------------------- */

static void turn(struct load *load) {
    struct pollfd polled[PEERS_MAX];
    for (uint32_t i = 0; i < load->peer_count; i++) {
        peer_flush(&load->peers[i]);
        polled[i] =
            (struct pollfd){.fd = load->peers[i].fd, .events = peer_events(&load->peers[i])};
    }
    /* A millisecond: what a rate may be late by. */
    if (poll(polled, load->peer_count, 1) <= 0)
        return;
    for (uint32_t i = 0; i < load->peer_count; i++) {
        if (polled[i].fd >= 0 && polled[i].revents != 0)
            peer_ready(&load->peers[i], polled[i].revents);
    }
}

static bool load_run(struct load *load) {
    uint64_t began_ns = clock_monotonic_ns(), now_ns = began_ns, end_ns = 0;
    load->due_ns = began_ns;
    while (end_ns == 0 || now_ns < end_ns) {
        for (uint32_t i = 0; i < load->peer_count; i++)
            peer_tick(&load->peers[i], now_ns);
        if (end_ns == 0) {
            takes_send(load, now_ns);
            if (stopping || (load->seconds > 0 && now_ns - began_ns > load->seconds * 1000000000))
                end_ns = now_ns + DRAIN_NS;
        } else if (load->looking) {
            looks_send(load, now_ns);
            if (!outstanding(load) && load->again_count == 0 &&
                load->look_class == load->header.class_count)
                return true;
        } else if (!outstanding(load)) {
            load->looking = true;
            end_ns = now_ns + LOOK_NS;
        }
        turn(load);
        now_ns = clock_monotonic_ns();
        if (end_ns != 0 && now_ns >= end_ns && !load->looking) {
            for (uint32_t i = 0; i < load->peer_count; i++)
                peer_close(&load->peers[i], now_ns);
            load->looking = true;
            end_ns = now_ns + LOOK_NS;
        }
    }
    return false;
}

/* --- the command line ----------------------------------------------------------------------- */

static bool routers_parse(struct load *load, char *text, uint32_t connections) {
    char *words[PEERS_MAX], *save = NULL;
    uint32_t count = 0;
    for (char *word = strtok_r(text, ",", &save); word != NULL && count < PEERS_MAX;
         word = strtok_r(NULL, ",", &save))
        words[count++] = word;
    load->peer_count = connections < PEERS_MAX ? connections : PEERS_MAX;
    for (uint32_t i = 0; count > 0 && i < load->peer_count; i++) {
        if (!peer_init(&load->peers[i], words[i % count], load->classes, on_done, load)) {
            fprintf(stderr, "chaos-load: not an address: %s\n", words[i % count]);
            return false;
        }
    }
    return count > 0;
}

static bool options_read(struct load *load, int argc, char **argv) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"routers", required_argument, NULL, 'r'},
                                            {"class", required_argument, NULL, 'c'},
                                            {"connections", required_argument, NULL, 'n'},
                                            {"window", required_argument, NULL, 'w'},
                                            {"batch", required_argument, NULL, 'b'},
                                            {"rate", required_argument, NULL, 'R'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"slots", required_argument, NULL, 'S'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {NULL, 0, NULL, 0}};
    char *routers = NULL, *path = NULL;
    uint32_t connections = 8;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        uint64_t number = optarg == NULL ? 0 : strtoull(optarg, NULL, 10);
        switch (option) {
        case 'o':
            path = optarg;
            break;
        case 'r':
            routers = optarg;
            break;
        case 'c':
            if (load->header.class_count == CLASSES_MAX ||
                !class_parse(optarg, &load->classes[load->header.class_count]))
                return false;
            load->weights += load->classes[load->header.class_count++].weight;
            break;
        case 'n':
            connections = (uint32_t)number;
            break;
        case 'w':
            load->window = (uint32_t)number;
            break;
        case 'b':
            load->batch = (uint32_t)number;
            break;
        case 'R':
            load->rate = number;
            break;
        case 's':
            load->random = number;
            break;
        case 'S':
            load->header.slot_count = (uint32_t)number;
            break;
        case 't':
            load->seconds = number;
            break;
        default:
            return false;
        }
    }
    if (path == NULL || routers == NULL || load->weights == 0 || load->window < 1 ||
        load->window > PEER_WINDOW_MAX || load->batch < 1 || load->batch > PEER_BATCH_MAX ||
        !routers_parse(load, routers, connections))
        return false;
    load->out = fopen(path, "wb");
    return load->out != NULL;
}

int main(int argc, char **argv) {
    struct load *load = calloc(1, sizeof *load);
    assert(load != NULL);
    memcpy(load->header.magic, RECORDS_MAGIC, sizeof load->header.magic);
    load->header.version = RECORDS_VERSION;
    load->header.slot_count = SLOTS_DEFAULT;
    load->window = 64;
    load->batch = 8;
    if (!options_read(load, argc, argv)) {
        fprintf(stderr, "chaos-load: see the head of tests/chaos/load.c for its options\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    setvbuf(load->out, NULL, _IOFBF, 1 << 20);
    fwrite(&load->header, sizeof load->header, 1, load->out);
    fwrite(load->classes, sizeof load->classes[0], load->header.class_count, load->out);
    bool all = load_run(load);
    uint64_t connections = 0, takes = 0;
    for (uint32_t i = 0; i < load->peer_count; i++) {
        connections += load->peers[i].connections;
        peer_fini(&load->peers[i]);
    }
    for (uint32_t i = 0; i < CLASSES_MAX; i++)
        takes += load->takes_of[i];
    bool written = fclose(load->out) == 0;
    printf("{\"takes\": %" PRIu64 ", \"batches\": %" PRIu64 ", \"connections\": %" PRIu64
           ", \"looked\": %" PRIu64 ", \"unlooked\": %s}\n",
           takes, load->batches, connections, load->outcomes[RECORD_LOOKED],
           all ? "false" : "true");
    free(load->again);
    free(load);
    return !written ? 1 : all ? 0 : 3;
}
