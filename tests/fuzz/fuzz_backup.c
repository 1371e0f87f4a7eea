/* Files of backups: whatever stands in one, each piece is within its bounds or refused with a
 * reason, and a piece of pairs is the same when it is written again. */
#include "ctl/backup_file.h"
#include "tests/fuzz/fuzz.h"

static uint8_t again[BACKUP_LEAD_BYTES + BACKUP_BODY_BYTES_MAX];

static void pairs_check(const struct backup_piece *piece, struct bytes body) {
    static struct backup_pair pairs[BACKUP_PAIRS_MAX];
    struct backup_pairs look = piece->pairs;
    struct backup_piece copy;
    struct backup_lead lead;
    struct fault fault;
    uint32_t count = 0;
    while (count < look.count && backup_pair_next(&look, &pairs[count])) {
        FUZZ_CHECK(pairs[count].key.size >= 1 && pairs[count].key.size <= KEY_BYTES_MAX);
        FUZZ_CHECK(pairs[count].value.size <= BACKUP_VALUE_BYTES_MAX);
        count++;
    }
    FUZZ_CHECK(count == piece->pairs.count && count >= 1);
    uint32_t size =
        backup_pairs_write(piece->kind, piece->number, piece->pairs.slot, pairs, count, again);
    struct backup_progress progress = {.pieces = piece->number};
    slot_set_add(&progress.covered, piece->pairs.slot.index);
    FUZZ_CHECK(backup_lead_read(again, &lead, &fault) == CODE_OK);
    FUZZ_CHECK(lead.body_bytes == size - BACKUP_LEAD_BYTES);
    FUZZ_CHECK(backup_body_read(&progress, &lead,
                                bytes_of(again + BACKUP_LEAD_BYTES, lead.body_bytes), &copy,
                                &fault) == CODE_OK);
    FUZZ_CHECK(copy.pairs.count == count);
}

/* Checksums would keep a fuzzer out: each piece gets the one that belongs to it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct backup_progress progress = {0};
    struct fault fault = {.code = CODE_OK};
    size_t at = 0;
    while (size - at >= BACKUP_LEAD_BYTES) {
        struct backup_lead lead;
        struct backup_piece piece;
        if (backup_lead_read(data + at, &lead, &fault) != CODE_OK) {
            FUZZ_CHECK(fault.text[0] != '\0');
            return 0;
        }
        at += BACKUP_LEAD_BYTES;
        if (lead.body_bytes > size - at) {
            return 0;
        }
        struct bytes body = bytes_of(data + at, lead.body_bytes);
        lead.checksum = backup_checksum(body);
        uint64_t pieces = progress.pieces;
        enum code code = backup_body_read(&progress, &lead, body, &piece, &fault);
        if (code != CODE_OK) {
            FUZZ_CHECK(code == fault.code && fault.text[0] != '\0');
            return 0;
        }
        FUZZ_CHECK(progress.pieces == pieces + 1 && piece.number == pieces);
        FUZZ_CHECK((piece.kind == BACKUP_HEAD) == (pieces == 0));
        if (piece.kind == BACKUP_KEYS || piece.kind == BACKUP_BUCKETS) {
            FUZZ_CHECK(piece.pairs.slot.index < progress.slot_count);
            pairs_check(&piece, body);
        }
        at += lead.body_bytes;
    }
    return 0;
}
