// SPDX-License-Identifier: MIT
// alloc_internal.h - what the allocator's files share among themselves.
#pragma once

#include "fs/alloc.h"
#include "fs/fs.h"

// Fixed metadata: nothing that a file may own.
struct system_zone {
    uint64_t first, last;
};
void zones_build(struct fs *fs);
void zones_add(struct fs *fs, uint64_t first, uint64_t count);
// Sorts and merges what was added. False when one block was added twice: no two of these may share one.
MUST_USE bool zones_finish(struct fs *fs);
uint32_t zone_at_or_after(const struct fs *fs, uint64_t block);

// The maps of a group, read and verified once. 0; -EFSCORRUPTED and the like when it is bad.
YIELDS MUST_USE int group_load_blocks(struct fs *fs, uint32_t group);
YIELDS MUST_USE int group_load_inodes(struct fs *fs, uint32_t group);
void group_unload(struct fs *fs, uint32_t group);
// The bitmaps as they are where the descriptor says that nobody has written them yet.
void group_make_block_bitmap(const struct fs *fs, uint32_t group, uint8_t *bitmap);
void group_make_inode_bitmap(const struct fs *fs, uint8_t *bitmap);
void group_mark_bad(struct fs *fs, uint32_t group, bool inodes, const char *why);

// Pins the bitmap and counts the credits (bitmap, descriptor), once a pass and group.
void group_pin_blocks(struct plan *plan, uint32_t group);
void group_pin_inodes(struct plan *plan, uint32_t group);
// Apply: the descriptor (and bitmap) change.
void group_dirty_blocks(struct fs *fs, uint32_t group);
void group_dirty_inodes(struct fs *fs, uint32_t group);

// Blocks that somebody may still take: what is free less what was promised, claimed and kept back.
uint64_t alloc_available(const struct fs *fs, bool privileged, bool draws_reserve);
uint64_t alloc_metadata_pool(const struct fs *fs);
// Nothing left but blocks that a commit will free: commits. -EAGAIN after that, else -ENOSPC.
YIELDS MUST_USE int alloc_wait_for_frees(struct fs *fs);

void alloc_push_claim(struct plan *plan, const struct claim *claim);
void alloc_drop_claims(struct plan *plan);
void alloc_unclaim_inode(struct fs *fs, uint32_t ino);
void alloc_free_pending(struct list *link);      // frees the list node, nothing else
