#include "ctl/map_picture.h"

/* Columns in front of a row: the number of its first slot and two blanks. */
#define LABEL_COLUMNS 7

/* Cells of a row: what is wider is hard to read. */
#define CELLS_MAX 128

void picture_measure(const struct picture *picture, uint32_t *cells, uint32_t *cell_slots) {
    uint32_t slots = picture->map->slot_count;
    uint32_t room = picture->columns > LABEL_COLUMNS ? picture->columns - LABEL_COLUMNS : 1;
    *cells = 1;
    while (*cells * 2 <= room && *cells * 2 <= CELLS_MAX && *cells * 2 <= slots) {
        *cells *= 2;
    }
    *cell_slots = 1;
    while (*cells * *cell_slots * PICTURE_ROWS_MAX < slots) {
        *cell_slots *= 2;
    }
    /* Few slots make a block, not a line. */
    while (*cells > 16 && *cells * *cell_slots * 4 > slots) {
        *cells /= 2;
    }
}

char picture_letter(struct shard_id shard) {
    return shard.index == UINT16_MAX ? '.' : (char)('A' + shard.index % 26);
}

const char *picture_color(uint32_t node) {
    static const char *const colors[] = {
        "\033[32m", "\033[34m", "\033[33m", "\033[35m", "\033[36m", "\033[31m",
        "\033[92m", "\033[94m", "\033[93m", "\033[95m", "\033[96m", "\033[91m",
    };
    return colors[node % (sizeof colors / sizeof colors[0])];
}

/* The owner of most of a cell's slots; the first of several. */
static struct shard_id cell_owner(const struct map *map, uint32_t first, uint32_t count) {
    uint16_t best = map->owner[first];
    uint32_t best_count = 0;
    for (uint32_t i = first; i < first + count; i++) {
        uint32_t alike = 0;
        for (uint32_t j = i; j < first + count; j++) {
            alike += map->owner[j] == map->owner[i];
        }
        if (alike > best_count) {
            best = map->owner[i];
            best_count = alike;
        }
    }
    return (struct shard_id){.index = best};
}

static bool cell_marked(const struct picture *picture, uint32_t first, uint32_t count) {
    for (uint32_t i = first; picture->marked != NULL && i < first + count; i++) {
        if (picture->marked[i]) {
            return true;
        }
    }
    return false;
}

void picture_print(FILE *out, const struct picture *picture) {
    const struct map *map = picture->map;
    uint32_t cells, cell_slots;
    picture_measure(picture, &cells, &cell_slots);
    for (uint32_t row = 0; row < map->slot_count; row += cells * cell_slots) {
        const char *color = "";
        fprintf(out, "%5u  ", row);
        for (uint32_t i = 0; i < cells && row + i * cell_slots < map->slot_count; i++) {
            uint32_t first = row + i * cell_slots;
            struct shard_id owner = cell_owner(map, first, cell_slots);
            char letter = picture_letter(owner);
            bool owned = owner.index < map->shard_count;
            const char *next = owned && picture->colored
                                   ? picture_color(map->shards[owner.index].node)
                                   : (color[0] != '\0' ? "\033[0m" : "");
            if (next != color) {
                fputs(next, out);
                color = owned ? next : "";
            }
            fputc(owned && cell_marked(picture, first, cell_slots) ? letter - 'A' + 'a' : letter,
                  out);
        }
        fputs(color[0] != '\0' ? "\033[0m\n" : "\n", out);
    }
}
