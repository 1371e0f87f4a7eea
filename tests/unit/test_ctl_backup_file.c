/* Files of backups: what is written is read, and whatever is changed, cut off, taken out, doubled
 * or moved is noticed. */
#include <stdlib.h>
#include <unistd.h>

#include "ctl/backup_io.h"
#include "proto/record.h"
#include "tests/unit/cmocka_all.h"

/* A small backup in memory: head, assignments of a slot, records of two, end. */
static struct {
    uint8_t bytes[BACKUP_LEAD_BYTES + 4096];
    uint32_t size;
    uint32_t at[8]; /* where pieces begin */
    uint32_t count;
} whole;

static char why[BACKUP_WHY_BYTES];
static char path[64];
static uint8_t piece_memory[BACKUP_LEAD_BYTES + BACKUP_BODY_BYTES_MAX];

static const struct backup_pair pairs[] = {
    {{(const uint8_t *)"a", 1}, {(const uint8_t *)"\x94\x01\xa1p\x01\x00", 6}},
    {{(const uint8_t *)"a\0b", 3}, {(const uint8_t *)"garbage", 7}},
    {{(const uint8_t *)"b", 1}, {(const uint8_t *)"", 0}},
};

static void piece_add(uint32_t size) {
    whole.at[whole.count++] = whole.size;
    assert_true(whole.size + size <= sizeof whole.bytes);
    memcpy(whole.bytes + whole.size, piece_memory, size);
    whole.size += size;
}

static int whole_make(void **state) {
    memset(&whole, 0, sizeof whole);
    struct backup_head head = {.cluster = bytes_of_text("0123456789abcdef"),
                               .slot_count = 8,
                               .time_ms = 1700000000000,
                               .prefix = bytes_of_text("sluice:"),
                               .version = bytes_of_text("0.1.0"),
                               .map = bytes_of("\x80", 1),
                               .plans = bytes_of("\xc0", 1)};
    for (uint32_t slot = 0; slot < 8; slot++) {
        if (slot != 5) {
            slot_set_add(&head.slots, slot);
        }
    }
    piece_add(backup_head_write(&head, piece_memory));
    piece_add(backup_pairs_write(BACKUP_KEYS, 1, (struct slot){2}, pairs, 1, piece_memory));
    piece_add(backup_pairs_write(BACKUP_BUCKETS, 2, (struct slot){2}, pairs, 3, piece_memory));
    piece_add(backup_pairs_write(BACKUP_BUCKETS, 3, (struct slot){7}, pairs, 2, piece_memory));
    struct backup_totals totals = {.slots = 7, .buckets = 5, .keys = 1, .left_out = 4};
    piece_add(backup_end_write(4, &totals, piece_memory));
    snprintf(path, sizeof path, "/tmp/sluice-backup-%d", (int)getpid());
    return 0;
}

static int file_remove(void **state) {
    unlink(path);
    return 0;
}

static void file_write(const uint8_t *bytes, uint32_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/* Pieces that are right before the first that is not; `why` says what is wrong, or nothing. */
static uint32_t file_read(void) {
    struct backup_in in;
    struct backup_piece piece;
    uint32_t count = 0;
    assert_true(backup_in_open(&in, path, why));
    while (backup_in_next(&in, &piece, why)) {
        count++;
    }
    backup_in_close(&in);
    return count;
}

static void test_what_is_written_is_read(void **state) {
    struct backup_in in;
    struct backup_piece piece;
    struct backup_pair pair;
    file_write(whole.bytes, whole.size);
    assert_true(backup_in_open(&in, path, why));
    for (int pass = 0; pass < 2; pass++) {
        assert_true(backup_in_next(&in, &piece, why));
        assert_int_equal(piece.kind, BACKUP_HEAD);
        assert_int_equal(piece.head.slot_count, 8);
        assert_int_equal(piece.head.time_ms, 1700000000000);
        assert_int_equal(piece.head.slots.bits[0], 0xdf);
        assert_true(bytes_equal(piece.head.map, bytes_of("\x80", 1)));
        assert_true(backup_in_next(&in, &piece, why));
        assert_int_equal(piece.kind, BACKUP_KEYS);
        assert_true(backup_in_next(&in, &piece, why));
        assert_int_equal(piece.kind, BACKUP_BUCKETS);
        assert_int_equal(piece.pairs.slot.index, 2);
        for (uint32_t i = 0; i < 3; i++) {
            assert_true(backup_pair_next(&piece.pairs, &pair));
            assert_true(bytes_equal(pair.key, pairs[i].key));
            assert_true(bytes_equal(pair.value, pairs[i].value));
        }
        assert_false(backup_pair_next(&piece.pairs, &pair));
        assert_true(backup_in_next(&in, &piece, why));
        assert_true(backup_in_next(&in, &piece, why));
        assert_int_equal(piece.kind, BACKUP_END);
        assert_int_equal(piece.totals.left_out, 4);
        assert_false(backup_in_next(&in, &piece, why));
        assert_string_equal(why, "");
        assert_true(backup_in_rewind(&in, why));
    }
    backup_in_close(&in);
}

/* Each byte in four ways: its lowest bit, its highest, both, all of them. */
static void test_every_changed_byte_is_found(void **state) {
    uint8_t *copy = malloc(whole.size);
    assert_non_null(copy);
    for (uint32_t at = 0; at < whole.size; at++) {
        static const uint8_t changes[] = {0x01, 0x80, 0x81, 0xff};
        for (uint32_t i = 0; i < sizeof changes; i++) {
            uint8_t change = changes[i];
            memcpy(copy, whole.bytes, whole.size);
            copy[at] ^= change;
            file_write(copy, whole.size);
            uint32_t right = file_read();
            if (right == whole.count || why[0] == '\0') {
                fail_msg("byte %u, changed by %02x, went unnoticed", at, change);
            }
            assert_true(right == whole.count || at >= whole.at[right]); /* and in its piece */
            assert_non_null(strstr(why, "at byte "));
        }
    }
    free(copy);
}

static void test_every_cut_is_found(void **state) {
    for (uint32_t size = 0; size < whole.size; size++) {
        file_write(whole.bytes, size);
        assert_true(file_read() < whole.count);
        assert_non_null(strstr(why, "cut off"));
    }
    assert_non_null(strstr(why, "behind slot 7"));
    uint8_t *longer = malloc(whole.size + 1);
    assert_non_null(longer);
    memcpy(longer, whole.bytes, whole.size);
    longer[whole.size] = 0;
    file_write(longer, whole.size + 1);
    file_read();
    assert_non_null(strstr(why, "the file goes on"));
    free(longer);
}

/* Whole pieces in another order: their checksums are right. */
static void test_pieces_that_go_come_twice_or_change_places(void **state) {
    for (uint32_t a = 0; a < whole.count; a++) {
        for (uint32_t b = 0; b < whole.count; b++) {
            if (a == b) {
                continue; /* piece a in the place of piece b */
            }
            uint32_t ends[8];
            uint8_t made[2 * sizeof whole.bytes];
            uint32_t size = 0;
            for (uint32_t i = 0; i < whole.count; i++) {
                ends[i] = i + 1 < whole.count ? whole.at[i + 1] : whole.size;
            }
            for (uint32_t i = 0; i < whole.count; i++) {
                uint32_t from = i == b ? a : i;
                memcpy(made + size, whole.bytes + whole.at[from], ends[from] - whole.at[from]);
                size += ends[from] - whole.at[from];
            }
            file_write(made, size);
            assert_true(file_read() < whole.count);
            assert_true(why[0] != '\0');
        }
    }
}

/* Totals that do not tally, with a checksum that is right. */
static void test_totals_are_compared(void **state) {
    struct backup_totals totals = {.slots = 7, .buckets = 6, .keys = 1, .left_out = 4};
    whole.size = whole.at[4];
    whole.count = 4;
    piece_add(backup_end_write(4, &totals, piece_memory));
    file_write(whole.bytes, whole.size);
    assert_int_equal(file_read(), 4);
    assert_non_null(strstr(why, "5 buckets were read, 6 written"));
}

static void test_a_file_has_its_name_when_it_is_whole(void **state) {
    struct backup_out out;
    char partial[80];
    snprintf(partial, sizeof partial, "%s.partial", path);
    file_write((const uint8_t *)"before", 6);
    assert_true(backup_out_open(&out, path, why));
    memcpy(out.memory, "half", 4);
    assert_true(backup_out_put(&out, 4, why));
    assert_int_equal(access(partial, F_OK), 0);
    backup_out_close(&out);
    assert_int_equal(access(partial, F_OK), -1);
    assert_int_equal(file_read(), 0); /* still what it was */
    assert_true(backup_out_open(&out, path, why));
    memcpy(out.memory, whole.bytes, whole.size);
    assert_true(backup_out_put(&out, whole.size, why));
    assert_true(backup_out_finish(&out, why));
    backup_out_close(&out);
    assert_int_equal(access(partial, F_OK), -1);
    assert_int_equal(file_read(), whole.count);
    assert_string_equal(why, "");
}

static void test_no_file(void **state) {
    struct backup_in in;
    struct backup_out out;
    assert_false(backup_in_open(&in, "/nowhere/at/all", why));
    assert_string_equal(why, "/nowhere/at/all: No such file or directory");
    backup_in_close(&in);
    assert_false(backup_out_open(&out, "/nowhere/at/all", why));
    assert_string_equal(why, "/nowhere/at/all.partial: No such file or directory");
    backup_out_close(&out);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, whole_make, file_remove)
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_written_is_read),
        TEST(test_every_changed_byte_is_found),
        TEST(test_every_cut_is_found),
        TEST(test_pieces_that_go_come_twice_or_change_places),
        TEST(test_totals_are_compared),
        TEST(test_a_file_has_its_name_when_it_is_whole),
        TEST(test_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
