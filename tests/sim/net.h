/*
 * The network: connections between machines, as TCP gives them. What was sent on one comes in
 * order, or not at all from some byte on; different connections know no order.
 *
 * Delay is drawn for each piece. A direction between two machines can be cut: what is under way
 * waits (TCP sends again) until the cut is healed, or the connection is given up. A connection that
 * one side has given up: what that side had sent may still arrive, much later, as bytes that lay in
 * a kernel's or a server's buffer do.
 *
 * Handlers are called as events, not in any process's fiber.
 */
#ifndef SLUICE_TESTS_SIM_NET_H
#define SLUICE_TESTS_SIM_NET_H

#include "tests/sim/process.h"

struct net_end;

struct net_handler {
    /* The connection stands (0) or does not come about (a negative libuv error). */
    void (*opened)(void *ctx, int status);
    void (*arrived)(void *ctx, const void *data, size_t size);
    /* The other side has closed (0), or the connection is broken (a negative libuv error). */
    void (*ended)(void *ctx, int status);
    /* Everything sent so far has arrived. May be NULL. */
    void (*drained)(void *ctx);
};

/* Who accepts at an address. `process` may be NULL: part of the simulator. */
typedef void (*net_accept_fn)(void *ctx, struct net_end *end);
struct net_listener;
struct net_listener *net_listen(struct machine *machine, uint16_t port, struct process *process,
                                net_accept_fn accept, void *ctx); /* NULL: in use */
void net_unlisten(struct net_listener *listener);

struct net_end *net_connect(struct machine *from, struct process *process, uint32_t address,
                            uint16_t port, const struct net_handler *handler, void *ctx);
/* Of an accepted end, at once. */
void net_take(struct net_end *end, struct process *process, const struct net_handler *handler,
              void *ctx);

void net_send(struct net_end *end, const void *data, size_t size);
size_t net_unsent(const struct net_end *end);

/* An orderly end: what was sent arrives first. */
void net_shutdown(struct net_end *end);
/* The end is the caller's no more. */
void net_close(struct net_end *end);

/* Gives up when what was sent has not arrived for so long (TCP_USER_TIMEOUT). 0: never. */
void net_patience(struct net_end *end, uint64_t ns);

struct machine *net_peer(const struct net_end *end);
struct process *net_peer_process(const struct net_end *end);
uint32_t net_end_number(const struct net_end *end); /* of the connection */

/* --- weather ------------------------------------------------------------------------------- */

struct net_weather {
    uint64_t delay_least_ns, delay_most_ns;
    uint32_t spike_per_mille; /* pieces that take far longer */
    uint64_t spike_ns;
    uint32_t late_per_mille; /* connections given up whose bytes arrive late */
    uint64_t late_most_ns;
    bool chop; /* pieces are cut at odd places */
};
void net_weather(const struct net_weather *weather);

/* Cuts one direction, or heals it. */
void net_cut(const struct machine *from, const struct machine *to, bool cut);
bool net_is_cut(const struct machine *from, const struct machine *to);
void net_heal(void); /* all of them */

/* Breaks one connection, drawn from those between the two (to NULL: from any); false: none. */
bool net_break(const struct machine *a, const struct machine *b);

/* The sender is told that the connection is broken; what it has sent and has not arrived comes
 * after all, so much later. */
void net_give_up(struct net_end *end, uint64_t late_ns);

/* A server that is part of the simulator dies: its connections are reset. */
void net_reset_all(const struct machine *machine);

void net_process_gone(struct process *process);

/* A machine that was lost has power again: what still knocks at its old connections is reset. */
void net_machine_back(struct machine *machine);

#endif
