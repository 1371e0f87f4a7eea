/* What the store executes: who raises fences, who writes under them, who changes the map. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/map_codec.h"
#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/world.h"

struct slot_seen {
    uint64_t fence, raised_at_ns;
    struct process *writer; /* of that fence */
    uint64_t taken_at_ns;   /* when it was told that a router had raised it; 0: it was not */
    bool orderly;           /* its owner has given it away */
    bool sealed;            /* and decided nothing of it by then */
};

static struct slot_seen slots[SLOTS_MAX];
static uint64_t plans_number;

uint64_t fence_newest(uint32_t slot, uint64_t *raised_at_ns, const struct process **by) {
    *raised_at_ns = slots[slot].raised_at_ns;
    *by = slots[slot].writer;
    return slots[slot].fence;
}

uint64_t fence_taken_at(uint32_t slot) {
    return slots[slot].taken_at_ns;
}

bool fence_handed_over(uint32_t slot) {
    return slots[slot].sealed;
}

static uint32_t slot_of_key(struct bytes key) {
    const char *brace = memchr(key.data, '{', key.size);
    assert(brace != NULL);
    return (uint32_t)strtoul(brace + 1, NULL, 10);
}

static bool answered_ok(const struct store_seen *seen) {
    return strstr((const char *)seen->answer.data, "FENCED") == NULL && seen->answer.data[0] != '-';
}

static uint64_t number_of(struct bytes word) {
    return strtoull((const char *)word.data, NULL, 10);
}

/* What the owner of the newest fence asked for was refused: a router has raised it further. */
static void taken_look(struct slot_seen *slot, const struct process *process) {
    if (process == slot->writer && slot->taken_at_ns == 0) {
        slot->taken_at_ns = sim_now();
    }
}

static void fence_look(const struct store_seen *seen) {
    struct slot_seen *slot = &slots[slot_of_key(seen->keys[0])];
    if (!answered_ok(seen)) {
        /* It may not have heard of its own last raise. */
        if (strstr((const char *)seen->answer.data, "FENCED") != NULL) {
            taken_look(slot, seen->process);
        }
        sim_cover(COVER_FENCE_REFUSED);
        return;
    }
    uint64_t fence = strtoull(strstr((const char *)seen->answer.data, "\r\n") + 2, NULL, 10), kept;
    sim_cover(COVER_FENCE_RAISED);
    sim_trace("store: slot %u has fence %" PRIu64 " of %s", slot_of_key(seen->keys[0]), fence,
              seen->process->name);
    /* A store that has lost its tail may count again from where it was. */
    if (fence <= slot->fence && store_lost_at(&kept) < slot->raised_at_ns && !world.unpromised) {
        sim_fail("writer", "slot %u: fence %" PRIu64 " was raised twice",
                 slot_of_key(seen->keys[0]), fence);
    }
    bool again = number_of(seen->words[1]) != 0; /* by who holds it: nothing is read anew */
    if (!again) {
        keys_reloaded(slot_of_key(seen->keys[0]), slot->orderly);
    }
    *slot = (struct slot_seen){.fence = fence, .raised_at_ns = sim_now(), .writer = seen->process};
}

/* Keys that a line of the trace names at most. */
#define TRACED_KEYS_MAX 8

/* Which records a write sets (key) and takes away (-key), or which keys get a plan. `words` are
 * `sets` pairs behind `removals` keys. */
static void write_trace(const struct store_seen *seen, uint32_t index, uint64_t fence, bool ok,
                        const struct bytes words[], uint64_t removals, uint64_t sets) {
    char keys[TRACED_KEYS_MAX * (KEY_BYTES_MAX + 2) + 8] = "";
    size_t size = 0;
    for (uint64_t i = 0; i < removals + sets; i++) {
        if (i == TRACED_KEYS_MAX) {
            snprintf(keys + size, sizeof keys - size, " ...");
            break;
        }
        size += (size_t)snprintf(keys + size, sizeof keys - size, i < removals ? " -%.*s" : " %.*s",
                                 (int)words->size, (const char *)words->data);
        words += i < removals ? 1 : 2;
    }
    sim_trace("store: slot %u %s by %s under %" PRIu64 ":%s%s", index,
              seen->script == SCRIPT_WRITE ? "written" : "assigned", seen->process->name, fence,
              keys, ok ? "" : " FENCED");
}

/* One slot's write, under that fence. */
static void write_look(const struct store_seen *seen, uint32_t index, uint64_t fence, bool ok) {
    struct slot_seen *slot = &slots[index];
    uint64_t kept;
    if (world.unpromised) {
        return;
    }
    if (!ok) {
        if (fence == slot->fence) {
            taken_look(slot, seen->process);
        }
        sim_cover(COVER_WRITE_FENCED);
        return;
    }
    sim_cover(COVER_WRITE_ACCEPTED);
    bool lost = store_lost_at(&kept) >= slot->raised_at_ns;
    if (fence < slot->fence && !lost) {
        sim_fail("writer",
                 "slot %u: a write of %s under fence %" PRIu64 " was accepted after %s had raised "
                 "it to %" PRIu64,
                 index, seen->process->name, fence, slot->writer->name, slot->fence);
    }
    if (fence == slot->fence && seen->process != slot->writer && !lost) {
        sim_fail("writer", "slot %u: %s and %s both write under fence %" PRIu64, index,
                 seen->process->name, slot->writer->name, fence);
    }
}

/* What a call of SCRIPT_WRITE answered for its slot number `at`. */
static bool slot_answered_ok(const struct store_seen *seen, uint32_t at) {
    const char *answer = (const char *)seen->answer.data;
    if (*answer != '*') {
        return answered_ok(seen);
    }
    for (uint32_t i = 0; i <= at; i++) {
        answer = strchr(answer, '$');
        assert(answer != NULL);
        answer = strchr(answer, '\n') + 1;
    }
    return strncmp(answer, "OK\r\n", 4) == 0;
}

static void writes_look(const struct store_seen *seen) {
    const struct bytes *words = seen->words;
    uint32_t count = seen->key_count / 2;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = slot_of_key(seen->keys[i]);
        uint64_t fence = number_of(words[0]), removals = number_of(words[1]);
        uint64_t sets = number_of(words[2]);
        bool ok = slot_answered_ok(seen, i);
        assert(slot == slot_of_key(seen->keys[count + i]));
        write_trace(seen, slot, fence, ok, words + 3, removals, sets);
        write_look(seen, slot, fence, ok);
        words += 3 + removals + 2 * sets;
    }
    assert(words == seen->words + seen->word_count);
    sim_cover_many(COVER_WRITES_TOGETHER, count > 1);
    sim_cover_many(COVER_WRITES_UNLIKE, seen->answer.data[0] == '*');
}

static void assign_look(const struct store_seen *seen) {
    uint32_t slot = slot_of_key(seen->keys[0]);
    uint64_t fence = number_of(seen->words[0]);
    bool ok = answered_ok(seen);
    write_trace(seen, slot, fence, ok, seen->words + 1, 0, 1);
    write_look(seen, slot, fence, ok);
}

static const struct node_place *place_of(const struct process *process) {
    for (uint32_t i = 0; i < world.config.nodes; i++) {
        if (world.nodes[i].process == process) {
            return &world.nodes[i];
        }
    }
    return NULL;
}

/* Slots that their own owner gives away: it has sealed and written them, so the store has all. */
static void orderly_look(const struct map *next, const struct process *process) {
    const struct node_place *place = place_of(process);
    int32_t self = place == NULL ? -1 : map_find_node(world.map, bytes_of_text(place->id));
    for (uint32_t i = 0; i < next->slot_count && i < world.map->slot_count; i++) {
        uint16_t before = world.map->owner[i], after = next->owner[i];
        if (before == after || before == UINT16_MAX) {
            continue;
        }
        if (self >= 0 && world.map->shards[before].node == self) {
            slots[i].orderly = true;
            slots[i].sealed = !shards_decide(process, i);
            if (!slots[i].sealed && !world.unpromised) {
                sim_fail("forgotten",
                         "slot %u: %s goes on deciding, and epoch %" PRIu64 " of it gives it away",
                         i, process->name, next->epoch.number);
            }
            keys_reloaded(i, true);
        } else {
            sim_cover(COVER_FAILOVER);
        }
    }
}

static void number_found(void *ctx, const char *key, struct bytes field, struct bytes value) {
    uint64_t *number = ctx;
    if (bytes_equal(field, bytes_of_text("number"))) {
        *number = number_of(value);
    }
}

static uint64_t stored_number(const char *suffix) {
    uint64_t number = 0;
    db_visit(store_db(), suffix, number_found, &number);
    return number;
}

static void replace_look(const struct store_seen *seen) {
    struct fault fault;
    bool done = strstr((const char *)seen->answer.data, "OK") != NULL;
    if (strstr((const char *)seen->keys[0].data, ":map") == NULL) {
        plans_number = done ? number_of(seen->words[1]) : plans_number;
        return;
    }
    if (!done) {
        sim_cover(COVER_MAP_CONFLICT);
        return;
    }
    sim_cover(COVER_MAP_CHANGED);
    struct map *next = malloc(sizeof *next);
    struct reader reader = reader_of(seen->words[2]);
    if (next == NULL || map_read(&reader, next, &fault) != CODE_OK) {
        sim_fail("simulator", "a map that cannot be read was stored: %s", fault.text);
    }
    sim_trace("store: map epoch %" PRIu64 " of %s", next->epoch.number, seen->process->name);
    orderly_look(next, seen->process);
    *world.map = *next;
    free(next);
}

static void fallback_look(const struct store_seen *seen) {
    /* [word, ...], and what follows it in memory may be of an older answer. */
    static const char begins[] = "*5\r\n$7\r\nGRANTED";
    bool granted = seen->answer.size >= sizeof begins - 1 &&
                   memcmp(seen->answer.data, begins, sizeof begins - 1) == 0;
    sim_cover(granted ? COVER_FALLBACK_GRANTED : COVER_FALLBACK_OTHER);
    if (granted && !world.unpromised) {
        struct tat increment = {number_of(seen->words[7]) << 32 | number_of(seen->words[8]),
                                number_of(seen->words[9])};
        keys_granted_in_store(seen->words[0], seen->process, increment);
    }
}

void check_store(const struct store_seen *seen) {
    if (seen->script == STORE_SCRIPT_FALLBACK) {
        fallback_look(seen);
        return;
    }
    switch (seen->script) {
    case SCRIPT_RAISE_FENCE:
        fence_look(seen);
        break;
    case SCRIPT_WRITE:
        writes_look(seen);
        break;
    case SCRIPT_ASSIGN:
        assign_look(seen);
        break;
    case SCRIPT_REPLACE:
        replace_look(seen);
        break;
    default:
        break;
    }
}

/* The store has gone back to what it held before. What it knows of the cluster may be older than
 * what nodes and routers have acted upon: then nobody can tell who owns what, and nothing is
 * promised (docs/testing.md, known limits). */
void checks_store_lost(void) {
    uint64_t epoch = stored_number(":map"), plans = stored_number(":plans");
    if (epoch < world.map->epoch.number || plans < plans_number) {
        sim_cover(COVER_MAP_LOST);
        sim_trace("store has lost a map or plans that it had acknowledged");
        world.unpromised = true;
    }
}
