/* Faults that are planted: rules that are broken on purpose, for the checkers to find. */
#include "proto/record.h"
#include "server/core/shard_parts.h"
#include "tests/sim/check.h"
#include "tests/sim/world.h"

/* Records of a page that a planted fault changes. */
#define PAGE_PAIRS_MAX 64

static const char *const plants[] = {
#define X(name, text) text,
    PLANTS(X)
#undef X
        NULL,
};
static int planted = -1;

const char *const *check_plants(void) {
    return plants;
}

bool check_planted(enum plant plant) {
    return planted == (int)plant;
}

bool check_planted_any(void) {
    return planted >= 0;
}

bool check_plant(const char *name) {
    for (int i = 0; plants[i] != NULL; i++) {
        if (strcmp(plants[i], name) == 0) {
            planted = i;
            if (check_planted(PLANT_NO_FENCE)) {
                store_plant(SCRIPT_WRITE, "if held > tonumber(fence) then return 'FENCED' end", "");
            }
            return true;
        }
    }
    return false;
}

/* As if the takes were made again when the file is read: the outage has refilled nothing. */
static void page_spoil(struct shard_event *event) {
    static struct shard_stored_pair pairs[PAGE_PAIRS_MAX];
    static uint8_t records[PAGE_PAIRS_MAX][RECORD_BYTES_MAX];
    for (uint32_t i = 0; i < event->stored.pair_count; i++) {
        struct record record;
        struct fault fault;
        pairs[i] = event->stored.pairs[i];
        if (i < PAGE_PAIRS_MAX && pairs[i].value.data != NULL &&
            record_read(pairs[i].value, &record, &fault) == CODE_OK) {
            for (uint32_t j = 0; j < record.tat_count; j++) {
                record.tats[j].ns += world.config.outage_ns;
            }
            pairs[i].value = bytes_of(records[i], record_write(&record, records[i]));
        }
    }
    event->stored.pairs = pairs;
}

/* Who takes a slot on finds no record in it. */
static void page_forget(struct shard_event *event) {
    static const struct shard_stored_pair none[2];
    if (event->stored.op_kind == SHARD_OP_LOAD_BUCKETS) {
        event->stored.pair_count = 0;
    } else if (event->stored.op_kind == SHARD_OP_FETCH) {
        event->stored.pairs = none;
    }
}

void plant_shard(struct shard *shard) {
    bool endless = check_planted(PLANT_ENDLESS), no_wait = check_planted(PLANT_NO_WAIT);
    for (uint32_t i = 0; (endless || no_wait) && i < shard->options.slot_count; i++) {
        struct shard_slot *slot = &shard->slots[i];
        slot->proved_ns = endless ? shard->now_ns : slot->proved_ns;
        slot->asked_ns = endless ? shard->now_ns : slot->asked_ns;
        slot->former_until_ns = no_wait ? 0 : slot->former_until_ns;
    }
}

void plant_event(struct shard_event *event, uint8_t owned[SLOTS_MAX / 8]) {
    static const uint8_t nothing[SLOTS_MAX / 8];
    bool deaf = check_planted(PLANT_DEAF) || check_planted(PLANT_TWO_LISTS);
    if (check_planted(PLANT_UNSEALED) && event->kind == SHARD_EVENT_SEAL) {
        event->seal.slots = nothing;
    } else if (deaf && event->kind == SHARD_EVENT_OWN) {
        for (uint32_t i = 0; i < (world.config.slots + 7) / 8; i++) {
            owned[i] |= event->own.slots[i];
        }
        event->own.slots = owned;
    } else if (deaf && event->kind == SHARD_EVENT_WRITTEN) {
        static struct shard_written writes[SLOTS_MAX];
        for (uint32_t i = 0; i < event->written.count; i++) {
            writes[i] = event->written.writes[i];
            bool fenced = writes[i].status == SHARD_STORED_FENCED;
            writes[i].status = fenced ? SHARD_STORED_OK : writes[i].status;
        }
        event->written.writes = writes;
    } else if (check_planted(PLANT_REPLAYED) && event->kind == SHARD_EVENT_STORED &&
               event->stored.status == SHARD_STORED_OK && sim_now() > OUTAGE_BEGINS_NS &&
               (event->stored.op_kind == SHARD_OP_LOAD_BUCKETS ||
                event->stored.op_kind == SHARD_OP_FETCH)) {
        page_spoil(event);
    } else if (check_planted(PLANT_FRESH) && event->kind == SHARD_EVENT_STORED &&
               event->stored.status == SHARD_STORED_OK) {
        page_forget(event);
    } else if (check_planted(PLANT_LOST_ASLEEP) && event->kind == SHARD_EVENT_STORED &&
               event->stored.op_kind == SHARD_OP_FETCH) {
        static const struct shard_stored_pair none[2];
        event->stored.pairs = none;
    }
}
