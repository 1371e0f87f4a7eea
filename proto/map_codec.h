/*
 * The map as a msgpack value: in Redis, and in the result of cluster.map.
 *
 *     {"format": 1, "cluster": id, "epoch": e, "slots": n,
 *      "nodes":  [[id, control endpoint, weight], ...],
 *      "shards": [[node index, number in its node, endpoint], ...],
 *      "owners": [[how many slots, shard index or nil], ...]}        runs, from slot 0 on
 *
 * "cluster" is left out of a map that has no id. Pure. Unknown members are skipped, so that a newer
 * version may add some. One that changes the meaning of a member raises the format, and older
 * programs refuse its maps by name.
 */
#ifndef SLUICE_PROTO_MAP_CODEC_H
#define SLUICE_PROTO_MAP_CODEC_H

#include "proto/map.h"
#include "proto/reader.h"
#include "proto/writer.h"

#define MAP_FORMAT 1

/* Bytes of the largest map: every shard and node with the longest endpoint, every slot its own
 * run. */
#define MAP_BYTES_MAX (1u << 20)

void map_write(struct writer *writer, const struct map *map);

/* CODE_OK, or BAD_REQUEST with what is wrong. Checked with map_check as well. */
enum code map_read(struct reader *reader, struct map *map, struct fault *fault);

#endif
