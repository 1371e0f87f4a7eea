/*
 * The shell around server/core/handover.h: links to targets, messages to shards, changes of the
 * map, the timer. One at a time, on the node's loop.
 */
#ifndef SLUICE_SERVER_IO_HANDOVER_SHELL_H
#define SLUICE_SERVER_IO_HANDOVER_SHELL_H

#include "server/core/handover.h"
#include "server/io/membership.h"
#include "server/io/shard_loop.h"

struct handover_shell;

struct handover_options {
    const struct node_settings *settings;
    const struct log *log;
    struct membership *membership;
    struct shard_loop **shards; /* borrowed for the shell's life */
    uint32_t shard_count;
};

struct handover_shell *handover_shell_open(uv_loop_t *loop, const struct handover_options *options);

/* The outcome: CODE_OK (all slots belong to the target), or an error with its text. `sealed_ns` is
 * how long the slots were sealed. */
typedef void (*handover_done_fn)(void *ctx, const struct fault *fault, uint64_t sealed_ns);

/* As handover_start; the slots are this node's by the map in force. CODE_OK: `done` will be called
 * from the loop. Else the fault. */
enum code handover_shell_start(struct handover_shell *shell, const struct slot *slots,
                               uint32_t count, struct shard_id target, handover_done_fn done,
                               void *ctx, struct fault *fault);

bool handover_shell_busy(const struct handover_shell *shell);

/* From the node: a shard has sealed; a heartbeat has come. */
void handover_shell_on_sealed(struct handover_shell *shell, const struct node_message *message);
void handover_shell_on_beat(struct handover_shell *shell, const struct beat *beat);

/* Calls an owed `done` with UNAVAILABLE. Freed from the loop. */
void handover_shell_close(struct handover_shell *shell);

#endif
