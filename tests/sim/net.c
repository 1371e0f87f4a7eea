#include "tests/sim/net.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "tests/sim/coverage.h"

#define MACHINES_MAX 32
#define LISTENERS_MAX 512

/* Bytes that are sent as one piece at most, when pieces are chopped. */
#define CHOP_BYTES_MAX 200

enum piece_kind { PIECE_DATA, PIECE_END, PIECE_RESET };

struct piece {
    struct piece *next;
    enum piece_kind kind;
    uint64_t arrives_ns, sent_ns;
    size_t size;
    uint8_t data[];
};

struct net_conn;

struct net_end {
    struct net_conn *conn;
    struct net_end *peer;
    struct machine *machine;
    struct process *process;
    const struct net_handler *handler; /* NULL: closed, or not yet taken */
    void *ctx;
    bool closed; /* by its owner, or with it */
    bool told;   /* that the connection has ended */
    bool silent; /* lost with its machine: answers nothing, not even by a reset */
    /* What it has sent and the peer has not got. */
    struct piece *first, *last;
    size_t unsent;
    uint64_t last_arrival_ns;
    bool delivering; /* an event for the first piece is planned */
    bool stalled;    /* the first piece waits for a cut to heal */
    uint64_t patience_ns;
};

struct net_conn {
    struct net_conn *next;
    uint32_t number;
    bool open;
    struct net_end ends[2]; /* 0: who connected */
    uint16_t port;
};

struct net_listener {
    bool used;
    struct machine *machine;
    uint16_t port;
    struct process *process;
    net_accept_fn accept;
    void *ctx;
};

static struct net_weather weather = {.delay_least_ns = 50 * US, .delay_most_ns = 300 * US};
static bool cuts[MACHINES_MAX][MACHINES_MAX];
static struct net_listener listeners[LISTENERS_MAX];
static struct net_conn *conns;
static uint32_t conn_count;

void net_weather(const struct net_weather *now) {
    weather = *now;
}

static uint32_t index_of(const struct machine *machine) {
    return machine->address & 0xff;
}

bool net_is_cut(const struct machine *from, const struct machine *to) {
    return from != to && cuts[index_of(from)][index_of(to)];
}

static uint64_t delay(void) {
    uint64_t ns = sim_between(STREAM_NET, weather.delay_least_ns, weather.delay_most_ns);
    if (weather.spike_per_mille > 0 && sim_chance(STREAM_NET, weather.spike_per_mille)) {
        ns += sim_below(STREAM_NET, weather.spike_ns) + 1;
    }
    return ns;
}

static bool gone(const struct net_end *end) {
    return end->process != NULL && !end->process->alive;
}

/* --- pieces -------------------------------------------------------------------------------- */

static void pieces_drop(struct net_end *end) {
    while (end->first != NULL) {
        struct piece *next = end->first->next;
        free(end->first);
        end->first = next;
    }
    end->last = NULL;
    end->unsent = 0;
}

static void tell_ended(struct net_end *end, int status) {
    if (end->told || end->closed || gone(end)) {
        return;
    }
    end->told = true;
    if (end->handler != NULL) {
        end->handler->ended(end->ctx, status);
    }
}

static void piece_add(struct net_end *end, enum piece_kind kind, const void *data, size_t size);

/* What arrives where nobody is any more is answered by a reset. */
static void arrived(struct net_end *end, const struct piece *piece) {
    struct net_end *to = end->peer;
    if (to->closed || gone(to)) {
        if (piece->kind == PIECE_DATA && !end->told && !end->closed) {
            piece_add(to, PIECE_RESET, NULL, 0);
        }
        return;
    }
    switch (piece->kind) {
    case PIECE_DATA:
        if (!to->told) {
            if (end->closed) {
                sim_cover(COVER_LATE_BYTES);
            }
            to->handler->arrived(to->ctx, piece->data, piece->size);
        }
        break;
    case PIECE_END:
        tell_ended(to, 0);
        break;
    case PIECE_RESET:
        tell_ended(to, UV_ECONNRESET);
        pieces_drop(to);
        break;
    }
}

static void deliver_plan(struct net_end *end);

static void on_deliver(void *ctx, uint64_t argument) {
    struct net_end *end = ctx;
    end->delivering = false;
    if (end->first == NULL) {
        return;
    }
    if (end->first->arrives_ns > sim_now()) {
        deliver_plan(end); /* it is late: planned before it was known to be */
        return;
    }
    if (end->peer->silent || net_is_cut(end->machine, end->peer->machine)) {
        end->stalled = true;
        return;
    }
    if (end->peer->process != NULL && end->peer->handler == NULL && !end->peer->closed) {
        /* Not yet accepted: a kernel keeps it. */
        end->first->arrives_ns = sim_now() + MS;
        deliver_plan(end);
        return;
    }
    struct piece *piece = end->first;
    end->first = piece->next;
    end->last = end->first == NULL ? NULL : end->last;
    end->unsent -= piece->size;
    arrived(end, piece);
    free(piece);
    if (end->first != NULL) {
        deliver_plan(end);
    } else if (!end->closed && !gone(end) && end->handler != NULL &&
               end->handler->drained != NULL) {
        end->handler->drained(end->ctx);
    }
}

static void deliver_plan(struct net_end *end) {
    if (!end->delivering && !end->stalled) {
        end->delivering = true;
        sim_at(end->first->arrives_ns, on_deliver, end, 0);
    }
}

static void on_patience(void *ctx, uint64_t sent_ns) {
    struct net_end *end = ctx;
    if (end->closed || end->told || gone(end) || end->first == NULL ||
        end->first->sent_ns > sent_ns) {
        return;
    }
    sim_trace("connection %u: nothing arrives, given up", end->conn->number);
    pieces_drop(end);
    tell_ended(end, UV_ETIMEDOUT);
}

static void piece_add(struct net_end *end, enum piece_kind kind, const void *data, size_t size) {
    struct piece *piece = calloc(1, sizeof *piece + size);
    assert(piece != NULL);
    piece->kind = kind;
    piece->size = size;
    piece->sent_ns = sim_now();
    if (size > 0) {
        memcpy(piece->data, data, size);
    }
    uint64_t at_ns = sim_now() + delay();
    piece->arrives_ns = at_ns > end->last_arrival_ns ? at_ns : end->last_arrival_ns;
    end->last_arrival_ns = piece->arrives_ns;
    if (end->last != NULL) {
        end->last->next = piece;
    } else {
        end->first = piece;
    }
    end->last = piece;
    end->unsent += size;
    if (end->patience_ns > 0) {
        sim_at(sim_now() + end->patience_ns, on_patience, end, piece->sent_ns);
    }
    deliver_plan(end);
}

/* --- connecting ---------------------------------------------------------------------------- */

static struct net_listener *listener_find(const struct machine *machine, uint16_t port) {
    for (uint32_t i = 0; i < LISTENERS_MAX; i++) {
        if (listeners[i].used && listeners[i].machine == machine && listeners[i].port == port) {
            return &listeners[i];
        }
    }
    return NULL;
}

struct net_listener *net_listen(struct machine *machine, uint16_t port, struct process *process,
                                net_accept_fn accept, void *ctx) {
    if (listener_find(machine, port) != NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < LISTENERS_MAX; i++) {
        if (!listeners[i].used) {
            listeners[i] = (struct net_listener){true, machine, port, process, accept, ctx};
            return &listeners[i];
        }
    }
    assert(false);
    return NULL;
}

void net_unlisten(struct net_listener *listener) {
    listener->used = false;
}

static void on_opened(void *ctx, uint64_t status) {
    struct net_end *end = ctx;
    if (end->closed || gone(end)) {
        return;
    }
    if (status != 0) {
        end->told = true;
    }
    end->handler->opened(end->ctx, -(int)status);
}

/* The first packet has come to where it was sent, if nothing is cut; else it is sent again. */
static void on_knock(void *ctx, uint64_t tries) {
    struct net_conn *conn = ctx;
    struct net_end *from = &conn->ends[0], *to = &conn->ends[1];
    if (from->closed || gone(from)) {
        return;
    }
    bool lost = net_is_cut(from->machine, to->machine) || net_is_cut(to->machine, from->machine);
    if (lost || to->machine->off) {
        sim_at(sim_now() + ((SECOND / 4) << tries), on_knock, conn, tries < 4 ? tries + 1 : tries);
        return;
    }
    struct net_listener *listener = listener_find(to->machine, conn->port);
    if (listener == NULL) {
        sim_at(sim_now() + delay(), on_opened, from, -UV_ECONNREFUSED);
        return;
    }
    conn->open = true;
    to->process = listener->process;
    listener->accept(listener->ctx, to);
    uint64_t at_ns = sim_now() + delay();
    to->last_arrival_ns = at_ns; /* nothing overtakes the greeting of the kernels */
    sim_at(at_ns, on_opened, from, 0);
}

struct net_end *net_connect(struct machine *from, struct process *process, uint32_t address,
                            uint16_t port, const struct net_handler *handler, void *ctx) {
    struct net_conn *conn = sim_keep(sizeof *conn);
    conn_count++;
    conn->number = conn_count;
    conn->next = conns;
    conns = conn;
    conn->port = port;
    for (int i = 0; i < 2; i++) {
        conn->ends[i].conn = conn;
        conn->ends[i].peer = &conn->ends[1 - i];
    }
    conn->ends[0].machine = from;
    conn->ends[0].process = process;
    conn->ends[0].handler = handler;
    conn->ends[0].ctx = ctx;
    conn->ends[1].machine = machine_at(address);
    assert(conn->ends[1].machine != NULL);
    sim_at(sim_now() + delay(), on_knock, conn, 0);
    return &conn->ends[0];
}

void net_take(struct net_end *end, struct process *process, const struct net_handler *handler,
              void *ctx) {
    end->process = process;
    end->handler = handler;
    end->ctx = ctx;
}

/* --- using --------------------------------------------------------------------------------- */

void net_send(struct net_end *end, const void *data, size_t size) {
    if (end->told) {
        return;
    }
    const uint8_t *from = data;
    while (weather.chop && size > CHOP_BYTES_MAX) {
        size_t cut = (size_t)sim_between(STREAM_NET, 1, CHOP_BYTES_MAX);
        piece_add(end, PIECE_DATA, from, cut);
        from += cut;
        size -= cut;
    }
    piece_add(end, PIECE_DATA, from, size);
}

size_t net_unsent(const struct net_end *end) {
    return end->unsent;
}

void net_shutdown(struct net_end *end) {
    if (!end->told) {
        piece_add(end, PIECE_END, NULL, 0);
    }
}

/* What lies in buffers is lost, or arrives in its time, or long after the owner has moved on. */
static void fate_draw(struct net_end *end) {
    if (end->first == NULL || end->first->kind != PIECE_DATA) {
        return;
    }
    if (weather.late_per_mille > 0 && sim_chance(STREAM_NET, weather.late_per_mille)) {
        uint64_t late_ns = sim_below(STREAM_NET, weather.late_most_ns) + 1;
        for (struct piece *piece = end->first; piece != NULL; piece = piece->next) {
            piece->arrives_ns += late_ns;
        }
        end->last_arrival_ns += late_ns;
    } else if (sim_chance(STREAM_NET, 300)) {
        sim_cover(COVER_BYTES_LOST);
        pieces_drop(end);
    }
}

void net_close(struct net_end *end) {
    if (end->closed) {
        return;
    }
    end->closed = true;
    end->handler = NULL;
    if (end->told || !end->conn->open) {
        return;
    }
    fate_draw(end);
    piece_add(end, PIECE_END, NULL, 0);
}

void net_patience(struct net_end *end, uint64_t ns) {
    end->patience_ns = ns;
}

struct machine *net_peer(const struct net_end *end) {
    return end->peer->machine;
}

struct process *net_peer_process(const struct net_end *end) {
    return end->peer->process;
}

uint32_t net_end_number(const struct net_end *end) {
    return end->conn->number;
}

/* --- weather ------------------------------------------------------------------------------- */

static void unstall(struct net_end *end) {
    if (end->stalled && !end->peer->silent && !net_is_cut(end->machine, end->peer->machine)) {
        end->stalled = false;
        if (end->first != NULL) {
            /* TCP sends again in its own time. */
            uint64_t at_ns = sim_now() + sim_below(STREAM_NET, 200 * MS);
            for (struct piece *piece = end->first; piece != NULL; piece = piece->next) {
                piece->arrives_ns = piece->arrives_ns > at_ns ? piece->arrives_ns : at_ns;
            }
            end->last_arrival_ns = end->last_arrival_ns > at_ns ? end->last_arrival_ns : at_ns;
            deliver_plan(end);
        }
    }
}

void net_cut(const struct machine *from, const struct machine *to, bool cut) {
    cuts[index_of(from)][index_of(to)] = cut;
    for (struct net_conn *conn = conns; conn != NULL && !cut; conn = conn->next) {
        unstall(&conn->ends[0]);
        unstall(&conn->ends[1]);
    }
}

void net_heal(void) {
    memset(cuts, 0, sizeof cuts);
    for (struct net_conn *conn = conns; conn != NULL; conn = conn->next) {
        unstall(&conn->ends[0]);
        unstall(&conn->ends[1]);
    }
}

static bool breakable(const struct net_conn *conn, const struct machine *a,
                      const struct machine *b) {
    const struct net_end *from = &conn->ends[0], *to = &conn->ends[1];
    bool fits = (from->machine == a && (b == NULL || to->machine == b)) ||
                (to->machine == a && (b == NULL || from->machine == b));
    return fits && conn->open && !from->closed && !to->closed && !from->told && !to->told;
}

bool net_break(const struct machine *a, const struct machine *b) {
    uint32_t count = 0;
    for (const struct net_conn *conn = conns; conn != NULL; conn = conn->next) {
        count += breakable(conn, a, b);
    }
    if (count == 0) {
        return false;
    }
    uint32_t chosen = (uint32_t)sim_below(STREAM_FAULTS, count);
    for (struct net_conn *conn = conns; conn != NULL; conn = conn->next) {
        if (breakable(conn, a, b) && chosen-- == 0) {
            sim_trace("connection %u between %s and %s breaks", conn->number,
                      conn->ends[0].machine->name, conn->ends[1].machine->name);
            for (int i = 0; i < 2; i++) {
                if (sim_chance(STREAM_NET, 500)) {
                    pieces_drop(&conn->ends[i]);
                }
                piece_add(&conn->ends[i], PIECE_RESET, NULL, 0);
            }
            break;
        }
    }
    return true;
}

static void on_given_up(void *ctx, uint64_t argument) {
    tell_ended(ctx, UV_ECONNRESET);
}

void net_give_up(struct net_end *end, uint64_t late_ns) {
    if (end->told || end->closed || !end->conn->open) {
        return;
    }
    sim_trace("connection %u of %s is given up, its bytes come %llu ms later", end->conn->number,
              end->machine->name, (unsigned long long)(late_ns / MS));
    for (struct piece *piece = end->first; piece != NULL; piece = piece->next) {
        piece->arrives_ns += late_ns;
    }
    end->last_arrival_ns += late_ns;
    sim_at(sim_now() + delay(), on_given_up, end, 0);
}

void net_reset_all(const struct machine *machine) {
    for (struct net_conn *conn = conns; conn != NULL; conn = conn->next) {
        for (int i = 0; i < 2; i++) {
            struct net_end *end = &conn->ends[i];
            if (end->machine == machine && conn->open && !end->closed) {
                end->closed = true;
                end->handler = NULL;
                pieces_drop(end);
                piece_add(end, PIECE_RESET, NULL, 0);
            }
        }
    }
}

void net_process_gone(struct process *process) {
    for (uint32_t i = 0; i < LISTENERS_MAX; i++) {
        if (listeners[i].used && listeners[i].process == process) {
            listeners[i].used = false;
        }
    }
    for (struct net_conn *conn = conns; conn != NULL; conn = conn->next) {
        for (int i = 0; i < 2; i++) {
            struct net_end *end = &conn->ends[i];
            if (end->process != process || end->closed) {
                continue;
            }
            end->closed = true;
            end->handler = NULL;
            end->silent = process->silent;
            if (process->silent) {
                pieces_drop(end);
            } else if (conn->open && !end->told) {
                fate_draw(end);
                piece_add(end, PIECE_END, NULL, 0);
            }
        }
    }
}

void net_machine_back(struct machine *machine) {
    machine->off = false;
    for (struct net_conn *conn = conns; conn != NULL; conn = conn->next) {
        for (int i = 0; i < 2; i++) {
            if (conn->ends[i].machine == machine && conn->ends[i].silent) {
                conn->ends[i].silent = false;
                unstall(conn->ends[i].peer);
            }
        }
    }
}
