// SPDX-License-Identifier: MIT
// indirect_internal.h - paths through indirect blocks, for the files that map and unmap them.
#pragma once

#include "base/byteorder.h"
#include "fs/indirect.h"

// The way to one block: arrays of numbers, the first in the inode, and the slot taken in each.
struct indirect_path {
    uint32_t depth;                 // indirect blocks that the way has when it is complete
    uint32_t found;                 // arrays that exist: found == depth + 1 when it is complete
    uint64_t span[INDIRECT_LEVELS + 1];         // blocks of the file below one slot
    uint32_t slot[INDIRECT_LEVELS + 1];
    struct buf *buf[INDIRECT_LEVELS + 1];       // [0] is NULL: the inode
    struct le32 *numbers[INDIRECT_LEVELS + 1];
};

// Verified as far as numbers go. Without a plan the path holds references: indirect_path_fini().
YIELDS MUST_USE int indirect_find(struct plan *plan, struct inode *inode, uint64_t lblock, struct indirect_path *path);
void indirect_path_fini(struct plan *plan, struct inode *inode, struct indirect_path *path);
// In an apply half, where a pass has been: every block is in memory.
void indirect_find_pinned(struct inode *inode, uint64_t lblock, struct indirect_path *path);

// The slots of the array at this level: of the inode's own, the direct ones or just the one in use.
uint32_t indirect_slots_first(const struct indirect_path *path, uint32_t at);
uint32_t indirect_slots_end(const struct indirect_path *path, uint32_t at);
// The first block of the file that is below the array at this level.
uint64_t indirect_array_first(const struct indirect_path *path, uint64_t lblock, uint32_t at);
