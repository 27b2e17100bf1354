// SPDX-License-Identifier: MIT
// extent.h - the extent tree of a file, for map.c: paths through it and changes to it.
//
// A path leads from the root in the inode to the leaf that holds, or would hold, a block. In a pass
// its buffers are pinned by the plan; in an apply half they are found in memory again
// (extent_find_pinned), so a plan hands nothing over but the certainty that they are there.
#pragma once

#include "fs/map.h"
#include "ondisk/extent.h"

#define EXTENT_LEVELS (EXT4_EXTENT_DEPTH_MAX + 1)
#define EXTENT_LBLOCK_END (MAP_LBLOCK_MAX + 1)

struct extent_level {
    struct buf *buf;                // NULL: the root
    void *node;
    int32_t slot;                   // entry whose key is the last one <= the block; in a leaf -1: none
};

struct extent_path {
    uint32_t depth;                 // level[depth] is the leaf
    uint64_t limit;                 // the key behind this leaf, or EXTENT_LBLOCK_END
    struct extent_level level[EXTENT_LEVELS];
};

static inline uint32_t extent_count(const void *node) { return le16(((const struct ext4_extent_header *)node)->entries); }
static inline uint32_t extent_max(const void *node) { return le16(((const struct ext4_extent_header *)node)->max); }
static inline uint32_t extent_depth(const void *node) { return le16(((const struct ext4_extent_header *)node)->depth); }
static inline void extent_set_count(void *node, uint32_t count) { ((struct ext4_extent_header *)node)->entries = to_le16((uint16_t)count); }
static inline struct extent_level *extent_leaf(struct extent_path *path) { return &path->level[path->depth]; }
static inline uint64_t extent_end(const struct ext4_extent *e) { return (uint64_t)le32(e->lblock) + extent_len(e); }

// Verified: depths fall, keys agree with their parents, blocks are blocks a file may own. Without a
// plan the path holds references: extent_path_fini().
YIELDS MUST_USE int extent_find(struct plan *plan, struct inode *inode, uint64_t lblock, struct extent_path *path);
void extent_path_fini(struct plan *plan, struct inode *inode, struct extent_path *path);
// In an apply half, where a pass has been: every node is in memory.
void extent_find_pinned(struct inode *inode, uint64_t lblock, struct extent_path *path);
// The extent of the leaf that holds lblock, or NULL.
struct ext4_extent *extent_at(struct extent_path *path, uint64_t lblock);
// Is there no entry at all before this leaf?
bool extent_is_leftmost(const struct extent_path *path);
struct buf *extent_pinned(struct inode *inode, uint64_t block);

YIELDS MUST_USE int extent_lookup(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t max, struct map_run *out);
YIELDS MUST_USE int extent_next(struct plan *plan, struct inode *inode, uint64_t lblock, struct map_run *out);
YIELDS MUST_USE int extent_goal(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t *goal);

YIELDS MUST_USE int extent_plan_set(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t count);
void extent_apply_set(struct plan *plan, struct inode *inode, const struct map_run *run);
YIELDS MUST_USE int extent_plan_remove(struct plan *plan, struct inode *inode, struct map_remove *remove);
void extent_apply_remove(struct plan *plan, struct inode *inode, struct map_remove *remove);

// Entries [slot, slot + remove) of the path's leaf give way to `add` others. The leaf may split and
// the tree grow by the plan's spares, or the leaf vanish; keys above are kept right. The path is
// of no use afterwards.
struct extent_edit {
    uint32_t slot, remove, add;
    bool at_end;                    // the last of `with` starts a new leaf alone: files grow at their end
    struct ext4_extent with[5];
};
void extent_apply_edit(struct plan *plan, struct inode *inode, struct extent_path *path, const struct extent_edit *edit);
// In a pass: pins and claims what an edit that adds up to `grow` entries can need.
YIELDS MUST_USE int extent_plan_edit(struct plan *plan, struct inode *inode, const struct extent_path *path, uint32_t grow);
// The first key of level[from] has changed: makes those above agree.
void extent_fix_keys(struct inode *inode, struct extent_path *path, uint32_t from);
// Apply: this node is modified.
void extent_touch(struct inode *inode, const struct extent_level *level);
// extent_remove.c: a leaf without entries goes, with what it leaves empty above it; and a small only
// child moves into the root.
void extent_drop_leaf(struct plan *plan, struct inode *inode, struct extent_path *path);
void extent_pull_up(struct plan *plan, struct inode *inode, struct extent_path *path);

YIELDS MUST_USE int extent_plan_shift(struct plan *plan, struct inode *inode, struct map_shift *shift);
void extent_apply_shift(struct plan *plan, struct inode *inode, struct map_shift *shift);
