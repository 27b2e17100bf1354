// SPDX-License-Identifier: MIT
// group.h - block group descriptors, and the checksums of the bitmaps that they carry.
#pragma once

#include "base/byteorder.h"
#include "ondisk/super.h"

enum ext4_group_flags {
    EXT4_BG_INODE_UNINIT = 1, EXT4_BG_BLOCK_UNINIT = 2, EXT4_BG_INODE_ZEROED = 4,
};

struct ext4_group_raw {
    struct le32 block_bitmap_lo, inode_bitmap_lo, inode_table_lo;
    struct le16 free_blocks_lo, free_inodes_lo, used_dirs_lo, flags;
    struct le32 exclude_bitmap_lo;
    struct le16 block_bitmap_csum_lo, inode_bitmap_csum_lo, itable_unused_lo, checksum;
    struct le32 block_bitmap_hi, inode_bitmap_hi, inode_table_hi;   // from here on: desc_size >= 64
    struct le16 free_blocks_hi, free_inodes_hi, used_dirs_hi, itable_unused_hi;
    struct le32 exclude_bitmap_hi;
    struct le16 block_bitmap_csum_hi, inode_bitmap_csum_hi;
    struct le32 reserved;
};
static_assert(sizeof(struct ext4_group_raw) == 64, "a 64-bit descriptor has 64 bytes");
static_assert(offsetof(struct ext4_group_raw, block_bitmap_hi) == 32, "a 32-bit descriptor has 32");

struct ext4_group {
    uint64_t block_bitmap, inode_bitmap, inode_table;
    uint32_t free_blocks, free_inodes, used_dirs, itable_unused;
    uint16_t flags;
    uint32_t block_bitmap_csum, inode_bitmap_csum;
};

// raw: geo->desc_size bytes. 0, -EFSBADCRC, -EFSCORRUPTED with the reason.
MUST_USE int group_decode(const struct ext4_geo *geo, uint32_t group, const void *raw, struct ext4_group *out, const char **why);
// Writes the fields into raw, keeping what drover does not know, and its checksum.
void group_encode(const struct ext4_geo *geo, uint32_t group, const struct ext4_group *in, void *raw);

// Checksums of the bitmaps, as the descriptor stores them: 32 bits, or 16 with short descriptors.
uint32_t block_bitmap_csum(const struct ext4_geo *geo, const void *bitmap);
uint32_t inode_bitmap_csum(const struct ext4_geo *geo, const void *bitmap);
