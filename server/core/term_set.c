#include "server/core/term_set.h"

#include <assert.h>

#include "proto/bucket.h"
#include "proto/slot.h"

/* At most half full. */
static uint32_t index_size(const struct term_set *set) {
    return 2 * set->capacity;
}

bool term_set_init(struct term_set *set, const struct memory *memory, uint32_t capacity) {
    assert(capacity <= TERM_NONE + 1 && (capacity & (capacity - 1)) == 0);
    *set = (struct term_set){.memory = *memory, .capacity = capacity};
    set->terms = memory->get(memory->ctx, capacity * sizeof set->terms[0]);
    set->index = memory->get(memory->ctx, index_size(set) * sizeof set->index[0]);
    if (set->terms == NULL || set->index == NULL) {
        term_set_fini(set);
        return false;
    }
    for (uint32_t i = 0; i < capacity; i++) {
        set->terms[i].next_free = (uint16_t)(i + 1); /* the last one is never come to */
    }
    return true;
}

void term_set_fini(struct term_set *set) {
    struct memory *memory = &set->memory;
    if (set->terms != NULL) {
        memory->put(memory->ctx, set->terms, set->capacity * sizeof set->terms[0]);
    }
    if (set->index != NULL) {
        memory->put(memory->ctx, set->index, index_size(set) * sizeof set->index[0]);
    }
    set->terms = NULL;
    set->index = NULL;
}

static uint32_t home_of(const struct term_set *set, const struct term *term) {
    uint64_t hash = term->kind == TERM_INLINE
                        ? key_hash(bytes_of(&term->terms.limits[0], sizeof(struct limit)))
                        : key_hash(name_bytes(&term->name)) + term->generation * 31u;
    return (uint32_t)hash & (index_size(set) - 1);
}

static bool term_equal(const struct term *a, const struct term *b) {
    return a->kind == b->kind && a->generation == b->generation &&
           bytes_equal(name_bytes(&a->name), name_bytes(&b->name)) &&
           terms_equal(&a->terms, &b->terms);
}

/* Where the term stands in the index, or the free position where it would. */
static uint32_t locate(const struct term_set *set, const struct term *term) {
    uint32_t at = home_of(set, term);
    while (set->index[at] != 0 && !term_equal(&set->terms[set->index[at] - 1], term)) {
        at = (at + 1) & (index_size(set) - 1);
    }
    return at;
}

static uint32_t capacity_named(const struct term_set *set) {
    return set->capacity < TERM_NONE ? set->capacity : TERM_NONE;
}

/* All limits have a grid, or none. */
static void grid_set(struct term *term) {
    bool all = term->kind == TERM_PLAN || term->kind == TERM_INLINE;
    for (uint32_t i = 0; i < term->terms.limit_count && all; i++) {
        term->grid_ns[i] = bucket_grid_ns(&term->terms.limits[i], TERM_GRID_PART);
        all = term->grid_ns[i] > 0;
    }
    if (!all) {
        memset(term->grid_ns, 0, sizeof term->grid_ns);
    }
}

static uint16_t intern(struct term_set *set, const struct term *wanted) {
    uint32_t at = locate(set, wanted);
    if (set->index[at] != 0) {
        uint16_t found = set->index[at] - 1;
        term_set_hold(set, found);
        return found;
    }
    bool is_inline = wanted->kind == TERM_INLINE;
    if (set->count == capacity_named(set) ||
        (is_inline && set->inline_count == set->capacity / 2)) {
        return TERM_NONE;
    }
    uint16_t added = set->free;
    set->free = set->terms[added].next_free;
    set->terms[added] = *wanted;
    set->terms[added].users = 1;
    set->terms[added].plan_at = -1;
    grid_set(&set->terms[added]);
    set->index[at] = added + 1;
    set->count++;
    set->inline_count += is_inline;
    return added;
}

uint16_t term_set_plan(struct term_set *set, const struct name *name, uint32_t generation,
                       const struct terms *terms) {
    struct term wanted = {
        .kind = TERM_PLAN, .generation = generation, .name = *name, .terms = *terms};
    return intern(set, &wanted);
}

uint16_t term_set_inline(struct term_set *set, const struct limit *limit) {
    struct term wanted = {.kind = TERM_INLINE, .terms = {.limit_count = 1, .limits = {*limit}}};
    return intern(set, &wanted);
}

uint16_t term_set_unknown(struct term_set *set, const struct name *name, uint32_t generation,
                          uint32_t limit_count) {
    struct term wanted = {.kind = TERM_UNKNOWN,
                          .generation = generation,
                          .name = *name,
                          .terms = {.limit_count = limit_count}};
    return intern(set, &wanted);
}

uint16_t term_set_name(struct term_set *set, const struct name *name) {
    struct term wanted = {.kind = TERM_NAME, .name = *name};
    return intern(set, &wanted);
}

void term_set_hold(struct term_set *set, uint16_t term) {
    assert(set->terms[term].kind != TERM_FREE);
    set->terms[term].users++;
}

/* Frees the position and moves back what stands behind it and may. */
static void index_erase(struct term_set *set, uint32_t gap) {
    uint32_t mask = index_size(set) - 1;
    for (uint32_t at = (gap + 1) & mask; set->index[at] != 0; at = (at + 1) & mask) {
        uint32_t home = home_of(set, &set->terms[set->index[at] - 1]);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            set->index[gap] = set->index[at];
            gap = at;
        }
    }
    set->index[gap] = 0;
}

void term_set_release(struct term_set *set, uint16_t term_at) {
    struct term *term = &set->terms[term_at];
    assert(term->kind != TERM_FREE && term->users > 0);
    term->users--;
    if (term->users > 0) {
        return;
    }
    index_erase(set, locate(set, term));
    set->inline_count -= term->kind == TERM_INLINE;
    set->count--;
    term->kind = TERM_FREE;
    term->next_free = set->free;
    set->free = term_at;
}
