// SPDX-License-Identifier: MIT
// orphan_file.c - judges and seals blocks of the orphan file.
#include "ondisk/orphan_file.h"

#include <string.h>

#include "ondisk/internal.h"

void orphan_block_init(void *block)
{
    memset(block, 0, BLOCK_BYTES);
    ((struct ext4_orphan_block *)block)->tail.magic = to_le32(EXT4_ORPHAN_MAGIC);
}

// Seeded with the place on the disk too: all blocks of this file look alike.
static uint32_t block_csum(const struct ext4_geo *geo, const struct block_owner *owner, uint64_t block_nr, const struct ext4_orphan_block *block)
{
    struct le64 number = to_le64(block_nr);
    uint32_t crc = crc32c(owner_csum(geo, owner), &number, sizeof(number));
    return crc32c(crc, block->inos, sizeof(block->inos));
}

int orphan_block_verify(const struct ext4_geo *geo, const struct block_owner *owner, uint64_t block_nr, const void *block, const char **why)
{
    const struct ext4_orphan_block *orphans = block;
    if (le32(orphans->tail.magic) != EXT4_ORPHAN_MAGIC) {
        *why = "no block of an orphan file";
        return -EFSCORRUPTED;
    }
    if (geo->has_metadata_csum && le32(orphans->tail.checksum) != block_csum(geo, owner, block_nr, orphans)) {
        *why = "checksum of an orphan file's block is wrong";
        return -EFSBADCRC;
    }
    for (uint32_t i = 0; i < ORPHANS_PER_BLOCK; i++) {
        uint32_t ino = le32(orphans->inos[i]);
        if (ino && (ino < geo->first_ino || ino > geo->inode_count)) {
            *why = "an orphan's number is outside the volume";
            return -EFSCORRUPTED;
        }
    }
    return 0;
}

void orphan_block_seal(const struct ext4_geo *geo, const struct block_owner *owner, uint64_t block_nr, void *block)
{
    struct ext4_orphan_block *orphans = block;
    if (geo->has_metadata_csum)
        orphans->tail.checksum = to_le32(block_csum(geo, owner, block_nr, orphans));
}
