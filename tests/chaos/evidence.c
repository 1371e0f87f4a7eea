#include "tests/chaos/evidence.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/slot.h"

uint32_t evidence_slot(const struct evidence *evidence, uint32_t key) {
    char text[KEY_TEXT_BYTES];
    uint32_t size = key_text(&evidence->classes[key_class(key)], key, text);
    return slot_of_hash(key_hash(bytes_of(text, size)), evidence->header.slot_count).index;
}

uint32_t evidence_latency_us(const struct evidence *evidence, uint32_t per_mille) {
    uint64_t total = 0, below = 0;
    for (uint32_t us = 0; us <= LATENCY_US_MAX; us++)
        total += evidence->latency[us];
    for (uint32_t us = 0; us <= LATENCY_US_MAX; us++) {
        below += evidence->latency[us];
        if (below * 1000 >= total * per_mille)
            return us;
    }
    return LATENCY_US_MAX;
}

/* --- what the driver noted ------------------------------------------------------------------ */

static int digit_of(char text) {
    return text >= '0' && text <= '9'   ? text - '0'
           : text >= 'a' && text <= 'f' ? text - 'a' + 10
                                        : -1;
}

/* "crash AT_NS BEFORE_NS UNTIL_NS SLOTS WHAT", or "stale ..", "links ..": a hex digit for each four
 * slots, the first in its lowest bit; then what happened, in words. */
static bool loss_parse(const struct evidence *evidence, const char *line, struct loss *loss) {
    static const char *const kinds[] = {"crash", "stale", "links"};
    char word[8];
    int at = 0;
    memset(loss, 0, sizeof *loss);
    if (sscanf(line, "%7s %" SCNu64 " %" SCNu64 " %" SCNu64 " %n", word, &loss->at_ns,
               &loss->before_ns, &loss->until_ns, &at) != 4 ||
        at == 0)
        return false;
    while (strcmp(word, kinds[loss->kind]) != 0) {
        if (++loss->kind > LOSS_LINKS)
            return false;
    }
    for (uint32_t i = 0; i < evidence->header.slot_count / 4; i++) {
        int digit = digit_of(line[(uint32_t)at + i]);
        if (digit < 0)
            return false;
        loss->slots[i / 2] |= (uint8_t)(digit << (i % 2 * 4));
    }
    const char *what = &line[(uint32_t)at + evidence->header.slot_count / 4];
    snprintf(loss->what, sizeof loss->what, "%.*s", (int)strcspn(what + (*what == ' '), "\n"),
             what + (*what == ' '));
    return true;
}

static bool events_read(struct evidence *evidence, const char *path) {
    static char line[SLOTS_MAX / 4 + 192];
    FILE *file = fopen(path, "r");
    bool good = file != NULL;
    evidence->losses = calloc(LOSSES_MAX, sizeof *evidence->losses);
    assert(evidence->losses != NULL);
    while (good && fgets(line, sizeof line, file) != NULL) {
        good = evidence->loss_count < LOSSES_MAX &&
               loss_parse(evidence, line, &evidence->losses[evidence->loss_count]);
        evidence->loss_count++;
    }
    if (!good)
        fprintf(stderr, "chaos-check: %s: not events: %.60s\n", path, file == NULL ? "" : line);
    if (file != NULL)
        fclose(file);
    return good;
}

/* --- records -------------------------------------------------------------------------------- */

static struct key_record *key_at(struct evidence *evidence, uint32_t key) {
    struct class_keys *of = &evidence->of[key_class(key)];
    uint32_t number = key_number(key);
    if (number >= of->capacity) {
        uint32_t capacity = of->capacity == 0 ? 4096 : of->capacity;
        while (capacity <= number)
            capacity *= 2;
        of->keys = realloc(of->keys, capacity * sizeof *of->keys);
        assert(of->keys != NULL);
        memset(of->keys + of->capacity, 0, (capacity - of->capacity) * sizeof *of->keys);
        of->capacity = capacity;
    }
    if (number >= of->count)
        of->count = number + 1;
    return &of->keys[number];
}

/* Whether the take may have been sent to a shard, and again to another: see PROTOCOL.md. */
static bool maybe_twice(const struct evidence *evidence, const struct record_batch *batch,
                        uint32_t key) {
    bool late = batch->answered_ns - batch->sent_ns >= RETRIED_NS;
    for (uint32_t i = 0; i < evidence->loss_count; i++) {
        const struct loss *loss = &evidence->losses[i];
        if (batch->answered_ns < loss->at_ns || batch->sent_ns > loss->until_ns ||
            (!late && (loss->kind != LOSS_CRASH || loss->until_ns - loss->at_ns > MOMENT_NS)))
            continue;
        uint32_t slot = evidence_slot(evidence, key);
        if (loss_concerns(loss, slot))
            return true;
    }
    return false;
}

/* Whether any loss was under way; asked of the batch, for most of them fall into none. */
static bool in_some_loss(const struct evidence *evidence, const struct record_batch *batch) {
    for (uint32_t i = 0; i < evidence->loss_count; i++) {
        if (batch->answered_ns >= evidence->losses[i].at_ns &&
            batch->sent_ns <= evidence->losses[i].until_ns)
            return true;
    }
    return false;
}

static void take_count(struct evidence *evidence, const struct record_batch *batch,
                       const struct record_take *take, bool doubtful) {
    struct key_record *key = key_at(evidence, take->key);
    struct class_keys *of = &evidence->of[key_class(take->key)];
    of->takes[take->outcome]++;
    of->cost[take->outcome] += take->cost;
    if (take->cost > 0 && (key->first_ns == 0 || batch->sent_ns < key->first_ns))
        key->first_ns = batch->sent_ns;
    switch ((enum record_outcome)take->outcome) {
    case RECORD_GRANTED:
        key->grant_count++;
        key->granted_cost += take->cost;
        break;
    case RECORD_LOOKED:
        key->looked = true;
        key->level = take->remaining;
        key->looked_sent_ns = batch->sent_ns;
        key->looked_answered_ns = batch->answered_ns;
        break;
    case RECORD_REFUSED:
        break;
    default:
        key->unknown_cost += take->cost;
        break;
    }
    if (doubtful && maybe_twice(evidence, batch, take->key))
        key->twice_cost += take->cost;
    if (take->outcome <= RECORD_REFUSED) {
        uint64_t us = (batch->answered_ns - batch->intended_ns) / 1000;
        evidence->latency[us < LATENCY_US_MAX ? us : LATENCY_US_MAX]++;
    }
}

static void grants_place(struct evidence *evidence) {
    size_t at = 0;
    for (uint32_t class = 0; class < evidence->header.class_count; class ++) {
        for (uint32_t i = 0; i < evidence->of[class].count; i++) {
            struct key_record *key = &evidence->of[class].keys[i];
            key->grants_at = at;
            at += key->grant_count + 1;
            key->grant_count = 0;
        }
    }
    evidence->grants = malloc((at + 1) * sizeof *evidence->grants);
    assert(evidence->grants != NULL);
}

/* One pass over the file counts, a second one puts the grants in their places. */
static void batches_read(struct evidence *evidence, FILE *file, bool place) {
    static struct record_take takes[TAKES_PER_REQUEST_MAX];
    struct record_batch batch;
    while (records_read_batch(file, &batch, takes)) {
        if (evidence->first_ns == 0 || batch.sent_ns < evidence->first_ns)
            evidence->first_ns = batch.sent_ns;
        bool doubtful = !place && in_some_loss(evidence, &batch);
        for (uint32_t i = 0; i < batch.take_count; i++) {
            assert(key_class(takes[i].key) < evidence->header.class_count);
            if (!place) {
                take_count(evidence, &batch, &takes[i], doubtful);
            } else if (takes[i].outcome == RECORD_GRANTED) {
                struct key_record *key = key_at(evidence, takes[i].key);
                evidence->grants[key->grants_at + key->grant_count++] =
                    (struct grant){batch.sent_ns, batch.answered_ns, takes[i].key, takes[i].cost};
                evidence->grant_count++;
            }
        }
        if (batch.answered_ns > evidence->last_ns)
            evidence->last_ns = batch.answered_ns;
    }
}

/* --- both ---------------------------------------------------------------------------------- */

bool evidence_read(struct evidence *evidence, const char *path, const char *events) {
    memset(evidence, 0, sizeof *evidence);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "chaos-check: %s cannot be read\n", path);
        return false;
    }
    evidence->latency = calloc(LATENCY_US_MAX + 1, sizeof *evidence->latency);
    assert(evidence->latency != NULL);
    bool good = records_read_head(file, path, &evidence->header, evidence->classes) &&
                (events == NULL || events_read(evidence, events));
    if (good) {
        batches_read(evidence, file, false);
        grants_place(evidence);
        good = fseek(file, 0, SEEK_SET) == 0 &&
               records_read_head(file, path, &evidence->header, evidence->classes);
        batches_read(evidence, file, true);
    }
    fclose(file);
    return good;
}

void evidence_free(struct evidence *evidence) {
    for (uint32_t i = 0; i < CLASSES_MAX; i++)
        free(evidence->of[i].keys);
    free(evidence->grants);
    free(evidence->latency);
    free(evidence->losses);
}
