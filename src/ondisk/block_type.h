// SPDX-License-Identifier: MIT
// block_type.h - what a block is, and whose: travels with every request down to the shepherd.
#pragma once

#include "base/types.h"

enum block_type {
    BLOCK_SUPERBLOCK,
    BLOCK_GROUP_DESC,
    BLOCK_BLOCK_BITMAP,
    BLOCK_INODE_BITMAP,
    BLOCK_INODE_TABLE,
    BLOCK_DIR,
    BLOCK_EXTENT,
    BLOCK_INDIRECT,
    BLOCK_XATTR,
    BLOCK_SYMLINK,
    BLOCK_DATA,
    BLOCK_JOURNAL_SUPER,
    BLOCK_JOURNAL,
    BLOCK_ORPHAN_FILE,
    BLOCK_TYPE_COUNT,
};

// Zero where a block belongs to the volume and not to a file.
struct block_owner {
    uint32_t ino, generation;   // checksums of directory and extent blocks are seeded with them
    uint64_t lblock;            // its place in the file
    uint8_t depth;              // BLOCK_EXTENT: height above the leaves that the parent promised, plus 1; 0 unknown
};

// For log lines and policy files: "inode-table".
const char *block_type_name(enum block_type type);
