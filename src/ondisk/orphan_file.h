// SPDX-License-Identifier: MIT
// orphan_file.h - blocks of the orphan file: inode numbers, 0 where free, and a tail.
//
// Source of the format: kernel Documentation/filesystems/ext4/orphan.rst.
#pragma once

#include "base/byteorder.h"
#include "ondisk/block_type.h"
#include "ondisk/super.h"

#define EXT4_ORPHAN_MAGIC 0x0b10ca04u
#define ORPHANS_PER_BLOCK ((BLOCK_BYTES - 8) / 4)

struct ext4_orphan_tail {
    struct le32 magic, checksum;
};
struct ext4_orphan_block {
    struct le32 inos[ORPHANS_PER_BLOCK];
    struct ext4_orphan_tail tail;
};
static_assert(sizeof(struct ext4_orphan_block) == BLOCK_BYTES, "fills a block");

// An empty block.
void orphan_block_init(void *block);
// Magic, checksum (where the volume has them), every number inside the volume. owner: the orphan
// file; block_nr: where the block stands on the disk. 0, -EFSBADCRC, -EFSCORRUPTED.
MUST_USE int orphan_block_verify(const struct ext4_geo *geo, const struct block_owner *owner, uint64_t block_nr, const void *block, const char **why);
void orphan_block_seal(const struct ext4_geo *geo, const struct block_owner *owner, uint64_t block_nr, void *block);
