/* Results that shards hold back until the store has acknowledged their marks. */
#include <assert.h>
#include <stdlib.h>

#include "tests/sim/check.h"
#include "tests/sim/coverage.h"

struct kept {
    const void *shard;
    const struct process *process;
    uint64_t token;
    struct check_decision decision;
    struct terms terms;
    char key[32];
};

static struct kept *list;
static uint32_t count, room;

void held_keep(const void *shard, uint64_t token, const struct check_decision *decision) {
    if (count == room) {
        room = room * 2 + 256;
        list = realloc(list, room * sizeof list[0]);
        assert(list != NULL);
    }
    struct kept *added = &list[count];
    count++;
    *added = (struct kept){.shard = shard,
                           .process = decision->process,
                           .token = token,
                           .decision = *decision,
                           .terms = *decision->terms};
    assert(decision->key.size <= sizeof added->key);
    memcpy(added->key, decision->key.data, decision->key.size);
}

void held_released(const void *shard, const struct process *process,
                   const struct shard_release *release) {
    for (uint32_t i = 0; i < count; i++) {
        struct kept *found = &list[i];
        if (found->shard != shard || found->process != process || found->token != release->token) {
            continue;
        }
        bool granted = release->reason == REASON_NONE;
        struct check_decision *decision = &found->decision;
        decision->key = bytes_of(found->key, decision->key.size);
        decision->terms = &found->terms;
        sim_cover(granted ? COVER_RELEASED : COVER_GIVEN_BACK);
        sim_trace("%s %s %.*s %u", process->name, granted ? "releases" : "gives back",
                  (int)decision->key.size, found->key, (unsigned)decision->cost);
        if (granted && decision->verb == VERB_TAKE && decision->strict) {
            keys_granted_strictly(decision);
        } else if (!granted) {
            keys_given_back(decision);
        }
        count--;
        memmove(&list[i], &list[i + 1], (count - i) * sizeof list[0]);
        return;
    }
    if (!check_planted(PLANT_EARLY)) {
        sim_fail("answers", "%s released a result that it did not hold", process->name);
    }
}

/* --- keys on demand ------------------------------------------------------------------------ */

struct asking {
    const void *shard;
    const struct process *process;
    uint64_t token;
    struct check_asked asked;
    uint8_t key[KEY_BYTES_MAX];
};

static struct asking *askings;
static uint32_t asking_count, asking_room;
static struct asking taken;

void asked_keep(const void *shard, const struct process *process, uint64_t token,
                const struct check_asked *asked) {
    if (asking_count == asking_room) {
        asking_room = asking_room * 2 + 256;
        askings = realloc(askings, asking_room * sizeof askings[0]);
        assert(askings != NULL);
    }
    struct asking *added = &askings[asking_count];
    asking_count++;
    *added = (struct asking){.shard = shard, .process = process, .token = token, .asked = *asked};
    memcpy(added->key, asked->key.data, asked->key.size);
}

const struct check_asked *asked_take(const void *shard, const struct process *process,
                                     uint64_t token) {
    for (uint32_t i = 0; i < asking_count; i++) {
        if (askings[i].shard == shard && askings[i].process == process &&
            askings[i].token == token) {
            taken = askings[i];
            taken.asked.key = bytes_of(taken.key, taken.asked.key.size);
            asking_count--;
            memmove(&askings[i], &askings[i + 1], (asking_count - i) * sizeof askings[0]);
            return &taken.asked;
        }
    }
    return NULL;
}

uint32_t asked_now(void) {
    return asking_count;
}

void held_drop(const struct process *process) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < asking_count; i++) {
        if (askings[i].process != process) {
            askings[kept] = askings[i];
            kept++;
        }
    }
    asking_count = kept;
    kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (list[i].process != process) {
            list[kept] = list[i];
            kept++;
        }
    }
    count = kept;
}

uint32_t held_now(void) {
    return count;
}
