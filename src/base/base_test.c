// SPDX-License-Identifier: MIT
// base_test.c - the shelf of small helpers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/byteorder.h"
#include "base/err.h"
#include "base/htable.h"
#include "base/list.h"

static void crc32c_matches_the_published_check_value(void **state)
{
    (void)state;
    // The catalogue's check value is of the inverted form.
    assert_int_equal(~crc32c(~0u, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(crc32c(~0u, "1234", 4), "56789", 5), crc32c(~0u, "123456789", 9));
}

static void one_flipped_bit_is_put_right_and_two_are_not(void **state)
{
    (void)state;
    uint8_t bytes[40], damaged[40];
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37);
    uint32_t crc = crc32c(7, bytes, sizeof bytes);
    for (uint32_t bit = 0; bit < 8 * sizeof bytes + 32; bit++) {
        uint32_t kept = crc;
        memcpy(damaged, bytes, sizeof bytes);
        if (bit < 8 * sizeof bytes)
            damaged[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        else
            kept ^= 1u << (bit - 8 * sizeof bytes);
        assert_true(crc32c_mend(damaged, sizeof damaged, 7, &kept));
        assert_memory_equal(damaged, bytes, sizeof bytes);
        assert_int_equal(kept, crc);
        damaged[(bit / 8) % sizeof bytes] ^= (uint8_t)(1u << (bit % 8));
        damaged[(bit / 8 + 11) % sizeof bytes] ^= 0x10;
        assert_false(crc32c_mend(damaged, sizeof damaged, 7, &kept));
    }
}

static void bitmap_ranges_agree_with_single_bits(void **state)
{
    (void)state;
    for (uint32_t first = 0; first < 70; first++) {
        for (uint32_t count = 0; first + count <= 200; count++) {
            uint8_t map[32] = {0};
            bitmap_set_range(map, first, count);
            for (uint32_t bit = 0; bit < 256; bit++)
                assert_int_equal(bitmap_test(map, bit), bit >= first && bit < first + count);
            assert_true(bitmap_all_set(map, first, count));
            assert_int_equal(bitmap_count_clear(map, 256), 256 - count);
            assert_int_equal(bitmap_next_set(map, 0, 256), count ? first : 256);
            assert_int_equal(bitmap_next_clear(map, first, 256), first + count);
            bitmap_clear_range(map, first, count);
            assert_true(bitmap_all_clear(map, 0, 256));
        }
    }
}

static void htable_finds_what_was_inserted_and_not_what_was_removed(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct htable table;
    struct hnode nodes[N];
    htable_init(&table);
    for (uint64_t i = 0; i < N; i++)
        htable_insert(&table, &nodes[i], i * 4096);
    for (uint64_t i = 0; i < N; i += 2)
        htable_remove(&table, &nodes[i]);
    for (uint64_t i = 0; i < N; i++)
        assert_ptr_equal(htable_find(&table, i * 4096), i % 2 ? &nodes[i] : NULL);
    uint64_t seen = 0;
    HTABLE_EACH(node, &table) {
        seen++;
        htable_remove(&table, node);
    }
    assert_int_equal(seen, N / 2);
    assert_int_equal(table.count, 0);
    htable_fini(&table);
}

static void list_splice_keeps_the_order(void **state)
{
    (void)state;
    struct list a, b, nodes[4];
    list_init(&a);
    list_init(&b);
    list_push_back(&a, &nodes[0]);
    list_push_back(&a, &nodes[1]);
    list_push_back(&b, &nodes[2]);
    list_push_back(&b, &nodes[3]);
    list_splice_back(&a, &b);
    assert_true(list_empty(&b));
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(list_pop_front(&a), &nodes[i]);
    assert_null(list_pop_front(&a));
}

static void integers_keep_their_byte_order(void **state)
{
    (void)state;
    struct le32 little = to_le32(0x01020304);
    struct be32 big = to_be32(0x01020304);
    assert_memory_equal(&little, "\x04\x03\x02\x01", 4);
    assert_memory_equal(&big, "\x01\x02\x03\x04", 4);
    assert_int_equal(le32(little), 0x01020304);
    assert_int_equal(be32(big), 0x01020304);
}

static void the_first_error_sentence_wins(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(err_set(&err, ENOENT, "no %s", "disk"), -ENOENT);
    assert_int_equal(err_set(&err, EIO, "later"), -EIO);
    assert_int_equal(err.number, ENOENT);
    assert_string_equal(err.text, "no disk");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_matches_the_published_check_value),
        cmocka_unit_test(one_flipped_bit_is_put_right_and_two_are_not),
        cmocka_unit_test(bitmap_ranges_agree_with_single_bits),
        cmocka_unit_test(htable_finds_what_was_inserted_and_not_what_was_removed),
        cmocka_unit_test(list_splice_keeps_the_order),
        cmocka_unit_test(integers_keep_their_byte_order),
        cmocka_unit_test(the_first_error_sentence_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
