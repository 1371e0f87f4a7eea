/*
 * A node's control endpoint: the operator's methods, and what is read-only.
 *
 * Belongs to the node's loop. Requests that must ask the store or a shard wait as calls, bounded:
 * when all are taken the answer is OVERLOADED. Operators' methods are answered only to callers on
 * this machine.
 */
#ifndef SLUICE_SERVER_IO_CONTROL_H
#define SLUICE_SERVER_IO_CONTROL_H

#include "runtime/endpoint.h"
#include "server/io/handover_shell.h"
#include "server/io/membership.h"
#include "server/io/shard_loop.h"

/* Requests that wait at once. Operators are few; a script that asks in a loop waits for answers. */
#define CONTROL_CALLS_MAX 256

struct control;

struct control_options {
    const struct node_settings *settings;
    const struct boot *boot;
    const struct log *log;
    struct shard_loop **shards; /* borrowed for the control's life */
    uint32_t shard_count;
};

/* Binds the endpoint. NULL with `why`. */
struct control *control_open(uv_loop_t *loop, const struct control_options *options, char *why,
                             size_t why_size);

/* The membership and the handover to ask; before they are set nothing may be asked. */
void control_membership_set(struct control *control, struct membership *membership,
                            struct handover_shell *handover);

const char *control_url(const struct control *control);

/* The answer of a shard to something that a call asked; borrowed. */
void control_on_shard(struct control *control, const struct node_message *message);

/* A heartbeat has come: changes of the map that this node has adopted are answered. */
void control_on_beat(struct control *control);

/* Freed from the loop; the membership must be closed before. */
void control_close(struct control *control);

#endif
