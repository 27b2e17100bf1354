// SPDX-License-Identifier: MIT
// bitmap.c - range work on bitmaps, a machine word at a time where it can.
#include "base/bitmap.h"

#include <string.h>

#include "base/byteorder.h"

static uint64_t word_at(const uint8_t *map, uint32_t bit)
{
    uint64_t word;
    memcpy(&word, map + (bit >> 3), sizeof(word));
    return le64toh(word);
}

void bitmap_set_range(uint8_t *map, uint32_t first, uint32_t count)
{
    uint32_t bit = first, end = first + count;
    for (; bit < end && (bit & 7); bit++)
        bitmap_set(map, bit);
    if (end - bit >= 8) {
        memset(map + (bit >> 3), 0xff, (end - bit) >> 3);
        bit += (end - bit) & ~7u;
    }
    for (; bit < end; bit++)
        bitmap_set(map, bit);
}

void bitmap_clear_range(uint8_t *map, uint32_t first, uint32_t count)
{
    uint32_t bit = first, end = first + count;
    for (; bit < end && (bit & 7); bit++)
        bitmap_clear(map, bit);
    if (end - bit >= 8) {
        memset(map + (bit >> 3), 0, (end - bit) >> 3);
        bit += (end - bit) & ~7u;
    }
    for (; bit < end; bit++)
        bitmap_clear(map, bit);
}

// The first bit in [from, end) that differs from those of `skip` (all ones or all zeros).
static uint32_t next_unlike(const uint8_t *map, uint32_t from, uint32_t end, uint64_t skip)
{
    uint32_t bit = from;
    for (; bit < end && (bit & 7); bit++)
        if (bitmap_test(map, bit) != (skip & 1))
            return bit;
    for (; end - bit >= 64 && bit < end; bit += 64) {
        uint64_t unlike = word_at(map, bit) ^ skip;
        if (unlike)
            return bit + (uint32_t)__builtin_ctzll(unlike);
    }
    for (; bit < end; bit++)
        if (bitmap_test(map, bit) != (skip & 1))
            return bit;
    return end;
}

uint32_t bitmap_next_clear(const uint8_t *map, uint32_t from, uint32_t end)
{
    return next_unlike(map, from, end, ~0ull);
}

uint32_t bitmap_next_set(const uint8_t *map, uint32_t from, uint32_t end)
{
    return next_unlike(map, from, end, 0);
}

bool bitmap_all_set(const uint8_t *map, uint32_t first, uint32_t count)
{
    return bitmap_next_clear(map, first, first + count) == first + count;
}

bool bitmap_all_clear(const uint8_t *map, uint32_t first, uint32_t count)
{
    return bitmap_next_set(map, first, first + count) == first + count;
}

uint32_t bitmap_count_clear(const uint8_t *map, uint32_t end)
{
    uint32_t set = 0, bit = 0;
    for (; end - bit >= 64; bit += 64)
        set += (uint32_t)__builtin_popcountll(word_at(map, bit));
    for (; bit < end; bit++)
        set += bitmap_test(map, bit);
    return end - set;
}
