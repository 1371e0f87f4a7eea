#include "ctl/backup_file.h"

#include <assert.h>

#include "proto/bounds.h"
#include "proto/store_keys.h"
#include "proto/writer.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static const char *const kinds[] = {
    [BACKUP_HEAD] = "head",
    [BACKUP_KEYS] = "keys",
    [BACKUP_BUCKETS] = "buckets",
    [BACKUP_END] = "end",
};

const char *backup_kind_text(enum backup_kind kind) {
    return kinds[kind];
}

/* --- numbers of a fixed width ----------------------------------------------------------------- */

static void big_endian_write(uint8_t *out, uint64_t value, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) {
        out[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    }
}

static uint64_t big_endian_read(const uint8_t *in, uint32_t bytes) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        value = value << 8 | in[i];
    }
    return value;
}

uint64_t backup_checksum(struct bytes body) {
    return XXH3_64bits(body.data, body.size);
}

/* --- writing ---------------------------------------------------------------------------------- */

static struct writer body_begin(uint8_t *out, enum backup_kind kind, uint64_t number,
                                uint32_t elements) {
    struct writer writer = writer_of(out + BACKUP_LEAD_BYTES, BACKUP_BODY_BYTES_MAX);
    write_array(&writer, elements);
    write_text(&writer, kinds[kind]);
    write_uint(&writer, number);
    return writer;
}

static uint32_t seal(const struct writer *writer, uint8_t *out) {
    assert(!writer->overflow);
    out[0] = 0x92; /* an array of two */
    out[1] = 0xcf; /* an integer of 64 bits */
    big_endian_write(out + 2, backup_checksum(writer_bytes(writer)), 8);
    out[10] = 0xc6; /* a binary with its size in 32 bits */
    big_endian_write(out + 11, writer->size, 4);
    return BACKUP_LEAD_BYTES + writer->size;
}

static void slots_write(struct writer *writer, const struct slot_set *slots, uint32_t slot_count) {
    uint32_t runs = 0;
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        runs += slot_set_has(slots, slot) && (slot == 0 || !slot_set_has(slots, slot - 1));
    }
    write_array(writer, runs);
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        if (!slot_set_has(slots, slot)) {
            continue;
        }
        write_array(writer, 2);
        write_uint(writer, slot);
        while (slot + 1 < slot_count && slot_set_has(slots, slot + 1)) {
            slot++;
        }
        write_uint(writer, slot);
    }
}

uint32_t backup_head_write(const struct backup_head *head, uint8_t *out) {
    struct writer writer = body_begin(out, BACKUP_HEAD, 0, 3);
    write_map(&writer, 9);
    write_text_uint(&writer, "format", BACKUP_FORMAT);
    write_text_str(&writer, "cluster", head->cluster);
    write_text_uint(&writer, "slots", head->slot_count);
    write_text(&writer, "covers");
    slots_write(&writer, &head->slots, head->slot_count);
    write_text_uint(&writer, "time_ms", head->time_ms);
    write_text_str(&writer, "prefix", head->prefix);
    write_text_str(&writer, "version", head->version);
    write_text(&writer, "map");
    write_encoded(&writer, head->map);
    write_text(&writer, "plans");
    write_encoded(&writer, head->plans);
    return seal(&writer, out);
}

uint32_t backup_pairs_write(enum backup_kind kind, uint64_t number, struct slot slot,
                            const struct backup_pair *pairs, uint32_t count, uint8_t *out) {
    struct writer writer = body_begin(out, kind, number, 4);
    write_uint(&writer, slot.index);
    write_array(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        write_array(&writer, 2);
        write_bin(&writer, pairs[i].key);
        write_bin(&writer, pairs[i].value);
    }
    return seal(&writer, out);
}

uint32_t backup_end_write(uint64_t number, const struct backup_totals *totals, uint8_t *out) {
    struct writer writer = body_begin(out, BACKUP_END, number, 3);
    write_map(&writer, 4);
    write_text_uint(&writer, "slots", totals->slots);
    write_text_uint(&writer, "buckets", totals->buckets);
    write_text_uint(&writer, "keys", totals->keys);
    write_text_uint(&writer, "left_out", totals->left_out);
    return seal(&writer, out);
}

/* --- reading ---------------------------------------------------------------------------------- */

enum code backup_lead_read(const uint8_t lead[BACKUP_LEAD_BYTES], struct backup_lead *out,
                           struct fault *fault) {
    if (lead[0] != 0x92 || lead[1] != 0xcf || lead[10] != 0xc6) {
        return fault_set(fault, CODE_BAD_REQUEST, "no piece of a backup begins here");
    }
    out->checksum = big_endian_read(lead + 2, 8);
    uint64_t size = big_endian_read(lead + 11, 4);
    if (size > BACKUP_BODY_BYTES_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "a piece of %llu bytes, at most %u are written",
                         (unsigned long long)size, BACKUP_BODY_BYTES_MAX);
    }
    out->body_bytes = (uint32_t)size;
    return CODE_OK;
}

static bool slots_read(struct reader *reader, struct slot_set *slots) {
    uint32_t runs, parts;
    uint64_t first, last, least = 0;
    if (!read_array(reader, &runs)) {
        return false;
    }
    for (uint32_t i = 0; i < runs; i++) {
        if (!read_array(reader, &parts) || parts != 2 || !read_uint(reader, &first) ||
            !read_uint(reader, &last) || first < least || last < first || last >= SLOTS_MAX) {
            return false;
        }
        for (uint64_t slot = first; slot <= last; slot++) {
            slot_set_add(slots, (uint32_t)slot);
        }
        least = last + 2; /* else it would be one run */
    }
    return true;
}

static bool head_member_read(struct reader *reader, struct bytes name, struct backup_head *head,
                             uint64_t *format, uint64_t *slot_count) {
    struct bytes later;
    if (bytes_equal(name, bytes_of_text("format"))) {
        return read_uint(reader, format);
    }
    if (bytes_equal(name, bytes_of_text("cluster"))) {
        return read_bytes(reader, &head->cluster);
    }
    if (bytes_equal(name, bytes_of_text("slots"))) {
        return read_uint(reader, slot_count);
    }
    if (bytes_equal(name, bytes_of_text("covers"))) {
        return slots_read(reader, &head->slots);
    }
    if (bytes_equal(name, bytes_of_text("time_ms"))) {
        return read_uint(reader, &head->time_ms);
    }
    if (bytes_equal(name, bytes_of_text("prefix"))) {
        return read_bytes(reader, &head->prefix);
    }
    if (bytes_equal(name, bytes_of_text("version"))) {
        return read_bytes(reader, &head->version);
    }
    if (bytes_equal(name, bytes_of_text("map"))) {
        return read_any(reader, &head->map);
    }
    if (bytes_equal(name, bytes_of_text("plans"))) {
        return read_any(reader, &head->plans);
    }
    return read_any(reader, &later); /* of a later version, under the same format */
}

static enum code head_read(struct reader *reader, struct backup_head *head, struct fault *fault) {
    uint32_t members;
    uint64_t format = 0, slot_count = 0;
    if (!read_map(reader, &members)) {
        return fault_set(fault, CODE_BAD_REQUEST, "its head is no map");
    }
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name;
        if (!read_bytes(reader, &name) ||
            !head_member_read(reader, name, head, &format, &slot_count)) {
            return fault_set(fault, CODE_BAD_REQUEST, "its head is not as it should be");
        }
        if (format > BACKUP_FORMAT) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "format %llu, this version reads up to %d: upgrade sluicectl",
                             (unsigned long long)format, BACKUP_FORMAT);
        }
    }
    head->slot_count = slot_count <= SLOTS_MAX ? (uint32_t)slot_count : 0;
    if (format == 0 || !slot_count_valid(head->slot_count) || head->map.size == 0 ||
        head->plans.size == 0 || head->prefix.size > KEY_PREFIX_BYTES_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "its head lacks something, or has too much");
    }
    return CODE_OK;
}

static int bytes_order(struct bytes a, struct bytes b) {
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

bool backup_pair_next(struct backup_pairs *pairs, struct backup_pair *pair) {
    uint32_t parts;
    return !reader_done(&pairs->reader) && read_array(&pairs->reader, &parts) && parts == 2 &&
           read_bytes(&pairs->reader, &pair->key) && read_bytes(&pairs->reader, &pair->value);
}

static enum code pairs_read(struct reader *reader, struct backup_pairs *pairs,
                            struct fault *fault) {
    uint64_t slot;
    if (!read_uint(reader, &slot) || slot >= SLOTS_MAX || !read_array(reader, &pairs->count) ||
        pairs->count < 1 || pairs->count > BACKUP_PAIRS_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "a piece without a slot or without pairs");
    }
    pairs->slot = (struct slot){(uint16_t)slot};
    pairs->reader = *reader;
    struct backup_pairs look = *pairs;
    struct backup_pair before = {0}, pair;
    for (uint32_t i = 0; i < pairs->count; i++) {
        if (!backup_pair_next(&look, &pair) || pair.key.size < 1 || pair.key.size > KEY_BYTES_MAX ||
            pair.value.size > BACKUP_VALUE_BYTES_MAX ||
            (i > 0 && bytes_order(before.key, pair.key) >= 0)) {
            return fault_set(fault, CODE_BAD_REQUEST, "slot %llu: pair %u of its piece is none",
                             (unsigned long long)slot, i);
        }
        before = pair;
    }
    *reader = look.reader;
    return CODE_OK;
}

static enum code totals_read(struct reader *reader, struct backup_totals *totals,
                             struct fault *fault) {
    const struct {
        const char *name;
        uint64_t *value;
    } members[] = {{"slots", &totals->slots},
                   {"buckets", &totals->buckets},
                   {"keys", &totals->keys},
                   {"left_out", &totals->left_out}};
    uint32_t count, found = 0;
    bool good = read_map(reader, &count);
    for (uint32_t i = 0; good && i < count; i++) {
        struct bytes name, later;
        bool known = false;
        good = read_bytes(reader, &name);
        for (size_t j = 0; good && j < sizeof members / sizeof members[0]; j++) {
            if (bytes_equal(name, bytes_of_text(members[j].name))) {
                known = true;
                found |= 1u << j;
                good = read_uint(reader, members[j].value);
            }
        }
        good = good && (known || read_any(reader, &later));
    }
    return good && found == 15 ? CODE_OK
                               : fault_set(fault, CODE_BAD_REQUEST, "its totals cannot be read");
}

static bool kind_read(struct reader *reader, uint32_t *count, enum backup_kind *kind) {
    struct bytes text;
    if (!read_array(reader, count) || !read_bytes(reader, &text)) {
        return false;
    }
    for (uint32_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (bytes_equal(text, bytes_of_text(kinds[i]))) {
            *kind = (enum backup_kind)i;
            return *count == (i == BACKUP_KEYS || i == BACKUP_BUCKETS ? 4 : 3);
        }
    }
    return false;
}

/* --- the order of pieces ---------------------------------------------------------------------- */

static enum code order_check(struct backup_progress *progress, const struct backup_piece *piece,
                             struct fault *fault) {
    struct backup_totals *totals = &progress->totals;
    uint32_t slot = piece->pairs.slot.index;
    if (progress->ended || piece->number != progress->pieces ||
        (piece->kind == BACKUP_HEAD) != (progress->pieces == 0)) {
        return fault_set(fault, CODE_BAD_REQUEST, "piece %llu stands where piece %llu belongs",
                         (unsigned long long)piece->number, (unsigned long long)progress->pieces);
    }
    progress->pieces++;
    switch (piece->kind) {
    case BACKUP_HEAD:
        progress->slot_count = piece->head.slot_count;
        progress->covered = piece->head.slots;
        for (uint32_t i = 0; i < SLOTS_MAX; i++) {
            totals->slots += slot_set_has(&piece->head.slots, i);
            if (slot_set_has(&piece->head.slots, i) && i >= progress->slot_count) {
                return fault_set(fault, CODE_BAD_REQUEST, "slot %u of %u", i, progress->slot_count);
            }
        }
        break;
    case BACKUP_KEYS:
    case BACKUP_BUCKETS:
        if (!slot_set_has(&progress->covered, slot)) {
            return fault_set(fault, CODE_BAD_REQUEST, "slot %u, which the head does not name",
                             slot);
        }
        *(piece->kind == BACKUP_KEYS ? &totals->keys : &totals->buckets) += piece->pairs.count;
        break;
    case BACKUP_END:
        progress->ended = true;
        totals->left_out = piece->totals.left_out;
        if (memcmp(totals, &piece->totals, sizeof *totals) != 0) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "its totals do not tally: %llu buckets were read, %llu written",
                             (unsigned long long)totals->buckets,
                             (unsigned long long)piece->totals.buckets);
        }
        break;
    }
    return CODE_OK;
}

enum code backup_body_read(struct backup_progress *progress, const struct backup_lead *lead,
                           struct bytes body, struct backup_piece *piece, struct fault *fault) {
    static const char *const no_piece = "no piece of a backup, or one of a later version";
    struct reader reader = reader_of(body);
    uint32_t count;
    enum code code = CODE_OK;
    memset(piece, 0, sizeof *piece);
    if (body.size != lead->body_bytes || backup_checksum(body) != lead->checksum) {
        return fault_set(fault, CODE_BAD_REQUEST, "its checksum does not match: damaged");
    }
    if (!kind_read(&reader, &count, &piece->kind) || !read_uint(&reader, &piece->number)) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s", no_piece);
    }
    switch (piece->kind) {
    case BACKUP_HEAD:
        code = head_read(&reader, &piece->head, fault);
        break;
    case BACKUP_KEYS:
    case BACKUP_BUCKETS:
        code = pairs_read(&reader, &piece->pairs, fault);
        break;
    case BACKUP_END:
        code = totals_read(&reader, &piece->totals, fault);
        break;
    }
    if (code == CODE_OK && !reader_done(&reader)) {
        code = fault_set(fault, CODE_BAD_REQUEST, "%s", no_piece);
    }
    return code == CODE_OK ? order_check(progress, piece, fault) : code;
}
