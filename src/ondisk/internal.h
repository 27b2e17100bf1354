// SPDX-License-Identifier: MIT
// internal.h - shared inside ondisk/ only.
#pragma once

#include "base/byteorder.h"
#include "base/crc32c.h"
#include "ondisk/block_type.h"
#include "ondisk/dir.h"
#include "ondisk/super.h"

// Where checksums of a file's own blocks start: volume, inode number, generation. A block that was
// written for another file, or for an earlier life of this inode number, thus fails its checksum.
static inline uint32_t owner_csum(const struct ext4_geo *geo, const struct block_owner *owner)
{
    struct le32 ino = to_le32(owner->ino), generation = to_le32(owner->generation);
    uint32_t crc = crc32c(geo->csum_seed, &ino, sizeof(ino));
    return crc32c(crc, &generation, sizeof(generation));
}

// dirent_at() for bytes that are only read; what comes back is not to be written through then.
static inline struct ext4_dirent_raw *dirent_in(const void *block, uint32_t offset)
{
    return (struct ext4_dirent_raw *)((uintptr_t)block + offset);
}
// dir.c: are the last 12 bytes the tail of a leaf?
bool dir_has_tail(const void *block);
// dirindex.c, for volumes with checksums. Any bytes; and a block that passed dx_*_view().
bool dx_csum_is_right(const struct ext4_geo *geo, const struct block_owner *owner, const void *block);
void dx_seal(const struct ext4_geo *geo, const struct block_owner *owner, void *block);
