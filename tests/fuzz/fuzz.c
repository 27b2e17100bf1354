// SPDX-License-Identifier: MIT
// fuzz.c - buffers and volumes for the fuzz targets.
#include "fuzz.h"

#include <string.h>

uint8_t *fuzz_bytes(const uint8_t *data, size_t size, size_t room)
{
    uint8_t *bytes = xcalloc(1, room);
    memcpy(bytes, data, MIN(size, room));
    return bytes;
}

struct ext4_geo fuzz_volume(uint32_t variant)
{
    bool has_64bit = variant & 2;
    return (struct ext4_geo){
        .block_count = 4096, .inode_count = 4096, .group_count = 2, .blocks_per_group = 2048, .inodes_per_group = 2048,
        .inode_size = has_64bit ? 256 : 128, .desc_size = has_64bit ? 64 : 32, .inodes_per_block = has_64bit ? 16 : 32,
        .itable_blocks = has_64bit ? 128 : 64, .desc_per_block = has_64bit ? 64 : 128, .gdt_blocks = 1, .first_ino = 11,
        .incompat = EXT4_INCOMPAT_FILETYPE | EXT4_INCOMPAT_EXTENTS | EXT4_INCOMPAT_FLEX_BG | (has_64bit ? EXT4_INCOMPAT_64BIT : 0),
        .has_metadata_csum = variant & 1, .has_64bit = has_64bit, .has_extents = true, .has_dir_index = true,
        .has_filetype = true, .has_huge_file = true, .csum_seed = 1, .hash_version = 1, .want_extra_isize = has_64bit ? 32 : 0,
    };
}
