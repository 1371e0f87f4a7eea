/*
 * The map as a picture: a letter a cell, a cell one slot or as many as make the picture fit.
 *
 * Pure: it writes to the stream that it is given. Letters are the shards' (A, B, ... from Z on
 * again A); small ones mark cells with slots that are due to move; a dot: nobody's. A node's
 * shards share a colour where there are colours.
 */
#ifndef SLUICE_CTL_MAP_PICTURE_H
#define SLUICE_CTL_MAP_PICTURE_H

#include <stdio.h>

#include "proto/map.h"

/* Rows of a picture: with the legend of a small cluster below it fits a terminal of 24 lines. */
#define PICTURE_ROWS_MAX 16

struct picture {
    const struct map *map;
    const bool *marked; /* by slot: due to move; NULL: none */
    uint32_t columns;   /* of the terminal */
    bool colored;
};

/* Cells of a row and slots of a cell: powers of two, so that rows begin at round numbers. */
void picture_measure(const struct picture *picture, uint32_t *cells, uint32_t *cell_slots);

char picture_letter(struct shard_id shard);
/* How the colour of a node begins. */
const char *picture_color(uint32_t node);

void picture_print(FILE *out, const struct picture *picture);

#endif
