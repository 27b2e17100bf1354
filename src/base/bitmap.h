// SPDX-License-Identifier: MIT
// bitmap.h - bits in bytes, lowest bit first: the order of ext4's block and inode bitmaps.
#pragma once

#include "base/types.h"

static inline bool bitmap_test(const uint8_t *map, uint32_t bit)
{
    return map[bit >> 3] & (1u << (bit & 7));
}
static inline void bitmap_set(uint8_t *map, uint32_t bit)
{
    map[bit >> 3] |= (uint8_t)(1u << (bit & 7));
}
static inline void bitmap_clear(uint8_t *map, uint32_t bit)
{
    map[bit >> 3] &= (uint8_t)~(1u << (bit & 7));
}

void bitmap_set_range(uint8_t *map, uint32_t first, uint32_t count);
void bitmap_clear_range(uint8_t *map, uint32_t first, uint32_t count);
bool bitmap_all_set(const uint8_t *map, uint32_t first, uint32_t count);
bool bitmap_all_clear(const uint8_t *map, uint32_t first, uint32_t count);
// The first clear (set) bit in [from, end), or `end`.
uint32_t bitmap_next_clear(const uint8_t *map, uint32_t from, uint32_t end);
uint32_t bitmap_next_set(const uint8_t *map, uint32_t from, uint32_t end);
// How many bits of [0, end) are clear.
uint32_t bitmap_count_clear(const uint8_t *map, uint32_t end);
