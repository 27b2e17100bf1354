// SPDX-License-Identifier: MIT
// volume_image.h - a volume to be damaged, and a map of what each of its metadata blocks is.
#pragma once

#include "dev/sim.h"
#include "ondisk/block_type.h"
#include "ondisk/super.h"

enum piece_kind {
    PIECE_SUPER, PIECE_DESC, PIECE_BLOCK_BITMAP, PIECE_INODE_BITMAP, PIECE_INODE, PIECE_DIR, PIECE_EXTENT, PIECE_INDIRECT,
    PIECE_XATTR, PIECE_SYMLINK, PIECE_ORPHAN_FILE, PIECE_JOURNAL, PIECE_KINDS,
};

// One thing on the disk that can be damaged: a block, or a part of one.
struct piece {
    enum piece_kind kind;
    uint64_t block;
    uint32_t offset, size;          // within the block
    uint32_t number;                // of the group or inode
    struct block_owner owner;
};

struct volume {
    struct sim_disk *disk;
    struct ext4_geo geo;
    struct piece *pieces;           // by kind
    size_t piece_count, piece_capacity;
    size_t first[PIECE_KINDS + 1];  // pieces of kind k: first[k] .. first[k + 1] - 1
};

// Loads what make-volumes.sh made, adds what debugfs cannot make, and maps it. Ends the process when
// the image is not what it should be.
void volume_load(struct volume *volume, const char *path);
void volume_fini(struct volume *volume);
// Fixed metadata, that file data must never be written to (the journal is not counted).
bool volume_is_fixed(const struct volume *volume, uint64_t block);
// Writes the checksum of a piece as its bytes are now; bitmaps before descriptors. Bytes that
// have no place for one are left alone.
void piece_seal(const struct volume *volume, const struct piece *piece);
// A copy of the block as it is now, in `bytes`.
void volume_read(const struct volume *volume, uint64_t block, void *bytes);
