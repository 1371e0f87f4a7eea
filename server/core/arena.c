#include "server/core/arena.h"

#include <assert.h>
#include <string.h>

static uint16_t class_of(uint32_t size) {
    if (size <= ARENA_STEPPED_MAX) {
        return (uint16_t)((size - 1) / ARENA_UNIT_BYTES);
    }
    uint16_t class_at = ARENA_STEPPED_MAX / ARENA_UNIT_BYTES;
    for (uint32_t class_size = 512; class_size < size; class_size *= 2) {
        class_at++;
    }
    return class_at;
}

static uint32_t class_size(uint16_t class_at) {
    uint32_t stepped = ARENA_STEPPED_MAX / ARENA_UNIT_BYTES;
    return class_at < stepped ? (class_at + 1u) * ARENA_UNIT_BYTES : 512u << (class_at - stepped);
}

bool arena_init(struct arena *arena, struct budget *budget) {
    uint64_t pages = budget->bytes_max / ARENA_PAGE_BYTES + 1;
    *arena = (struct arena){.budget = budget};
    arena->page_count_max = pages > ARENA_PAGES_MAX ? ARENA_PAGES_MAX : (uint32_t)pages;
    arena->pages =
        budget->memory.get(budget->memory.ctx, arena->page_count_max * sizeof arena->pages[0]);
    return arena->pages != NULL;
}

void arena_fini(struct arena *arena) {
    if (arena->pages == NULL) {
        return;
    }
    for (uint32_t i = 0; i < arena->page_count; i++) {
        if (arena->pages[i].base != NULL) {
            budget_put(arena->budget, arena->pages[i].base, ARENA_PAGE_BYTES);
        }
    }
    if (arena->spare != NULL) {
        budget_put(arena->budget, arena->spare, ARENA_PAGE_BYTES);
    }
    struct memory *memory = &arena->budget->memory;
    memory->put(memory->ctx, arena->pages, arena->page_count_max * sizeof arena->pages[0]);
    arena->pages = NULL;
}

static void room_link(struct arena *arena, uint32_t page_at) {
    struct arena_page *page = &arena->pages[page_at];
    uint32_t *head = &arena->with_room[page->class_at];
    page->previous = 0;
    page->next = *head;
    if (*head != 0) {
        arena->pages[*head - 1].previous = page_at + 1;
    }
    *head = page_at + 1;
    page->with_room = true;
}

static void room_unlink(struct arena *arena, uint32_t page_at) {
    struct arena_page *page = &arena->pages[page_at];
    if (page->previous != 0) {
        arena->pages[page->previous - 1].next = page->next;
    } else {
        arena->with_room[page->class_at] = page->next;
    }
    if (page->next != 0) {
        arena->pages[page->next - 1].previous = page->previous;
    }
    page->with_room = false;
}

/* Unit 0 of page 0 is never given out, so that 0 names nothing. */
static uint32_t first_unit(uint32_t page_at, uint16_t class_at) {
    return page_at == 0 ? class_size(class_at) / ARENA_UNIT_BYTES : 0;
}

static bool page_exhausted(const struct arena_page *page) {
    return page->free == 0 &&
           page->fresh + class_size(page->class_at) / ARENA_UNIT_BYTES > ARENA_PAGE_UNITS;
}

/* A page for that class, linked as having room; false if there is no memory or no number left. */
static bool page_add(struct arena *arena, uint16_t class_at) {
    while (arena->hole < arena->page_count && arena->pages[arena->hole].base != NULL) {
        arena->hole++;
    }
    uint32_t page_at = arena->hole;
    if (page_at == arena->page_count_max) {
        return false;
    }
    uint8_t *base = arena->spare;
    arena->spare = NULL;
    if (base == NULL) {
        base = budget_get(arena->budget, ARENA_PAGE_BYTES);
    }
    if (base == NULL) {
        return false;
    }
    if (page_at == arena->page_count) {
        arena->page_count++;
    }
    arena->pages[page_at] = (struct arena_page){
        .base = base, .class_at = class_at, .fresh = first_unit(page_at, class_at)};
    room_link(arena, page_at);
    return true;
}

static void page_remove(struct arena *arena, uint32_t page_at) {
    struct arena_page *page = &arena->pages[page_at];
    if (page->with_room) {
        room_unlink(arena, page_at);
    }
    if (arena->spare == NULL) {
        arena->spare = page->base;
    } else {
        budget_put(arena->budget, page->base, ARENA_PAGE_BYTES);
    }
    page->base = NULL;
    if (page_at < arena->hole) {
        arena->hole = page_at;
    }
}

uint32_t arena_get(struct arena *arena, uint32_t size) {
    assert(size >= 1 && size <= ARENA_PIECE_MAX);
    uint16_t class_at = class_of(size);
    if (arena->with_room[class_at] == 0 && !page_add(arena, class_at)) {
        return 0;
    }
    uint32_t page_at = arena->with_room[class_at] - 1;
    struct arena_page *page = &arena->pages[page_at];
    uint32_t ref;
    if (page->free != 0) {
        ref = page->free;
        memcpy(&page->free, arena_at(arena, ref), sizeof page->free);
        if (page->free != 0) {
            __builtin_prefetch(arena_at(arena, page->free), 1); /* the next caller's */
        }
    } else {
        ref = page_at * ARENA_PAGE_UNITS + page->fresh;
        page->fresh += class_size(class_at) / ARENA_UNIT_BYTES;
    }
    page->used++;
    if (page_exhausted(page)) {
        room_unlink(arena, page_at);
    }
    return ref;
}

void arena_put(struct arena *arena, uint32_t ref) {
    uint32_t page_at = ref / ARENA_PAGE_UNITS;
    struct arena_page *page = &arena->pages[page_at];
    assert(ref != 0 && page->base != NULL && page->used > 0);
    page->used--;
    if (page->used == 0) {
        page_remove(arena, page_at);
        return;
    }
    memcpy(arena_at(arena, ref), &page->free, sizeof page->free);
    page->free = ref;
    if (!page->with_room) {
        room_link(arena, page_at);
    }
}

uint32_t arena_size(const struct arena *arena, uint32_t ref) {
    return class_size(arena->pages[ref / ARENA_PAGE_UNITS].class_at);
}
