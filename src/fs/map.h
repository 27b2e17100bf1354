// SPDX-License-Identifier: MIT
// map.h - where the blocks of a file are: the extent tree, or indirect blocks in older files.
//
// Both kinds answer the same calls. A mapping is written (its blocks hold the file's bytes) or
// unwritten (allocated, reads as zeros; extents only); what is neither is a hole.
#pragma once

#include "fs/inode.h"

#define MAP_LBLOCK_MAX 0xfffffffeull    // the last block a file can have: 16 TiB - 4 KiB
#define MAP_RUN_MAX 32768u              // blocks that one mapping can have; one less when unwritten

// The last block that this file can have: less than MAP_LBLOCK_MAX with indirect blocks.
uint64_t map_lblock_max(const struct inode *inode);
// Its blocks go through the journal: directories, symlinks, and files under journal=data.
bool map_is_journalled(const struct inode *inode);

struct map_run {
    enum { MAP_HOLE, MAP_WRITTEN, MAP_UNWRITTEN } state;
    uint64_t lblock, count;         // for a hole: at least so many blocks of it
    uint64_t block;                 // on the disk; 0 for a hole
};

// The run that holds `lblock`, cut to start there and to at most `max` blocks. Damaged nodes:
// -EFSCORRUPTED. Also outside plans (reading): plan may be NULL, then nothing stays pinned.
YIELDS MUST_USE int map_lookup(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t max, struct map_run *out);
// The first written or unwritten run at or after lblock; count 0 when there is none.
YIELDS MUST_USE int map_next(struct plan *plan, struct inode *inode, uint64_t lblock, struct map_run *out);

// Change of one run [lblock, lblock+count), which lies within one run of map_lookup() and has at most
// MAP_RUN_MAX blocks: map a hole to `block`, or turn unwritten into written or back (same block). The
// pass pins the path, claims spare blocks for the tree to grow, counts credits (the inode's too).
// The apply half adds to d.blocks, but does not claim or mark the data blocks: that is the
// caller's (alloc_apply_use).
YIELDS MUST_USE int map_plan_set(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t count);
void map_apply_set(struct plan *plan, struct inode *inode, const struct map_run *run);

// Unmaps part of [first, last], from its end backwards, as much as one transaction takes. The pass
// says in `from` what will be gone: [from, last]; the caller repeats, with last = from - 1, until
// from == first. Apply frees the blocks and the tree's own. The struct starts zeroed but for
// first and last, and serves any number of passes and steps until map_remove_fini().
struct map_remove {
    uint64_t first, last;           // in
    uint64_t from;                  // out of the pass
    struct map_remove_step *steps;  // private
    uint32_t step_count, step_capacity;
};
YIELDS MUST_USE int map_plan_remove(struct plan *plan, struct inode *inode, struct map_remove *remove);
void map_apply_remove(struct plan *plan, struct inode *inode, struct map_remove *remove);
void map_remove_fini(struct map_remove *remove);

// A good place for the block at `lblock`: behind its neighbour, else in the inode's group.
YIELDS MUST_USE int map_goal(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t *goal);

// Directories and long symlinks: adds one block at the end / at 0, in a plan of the caller's.
// The pass claims; apply maps, marks used, dirties inode and block and returns the new, zeroed
// buffer, referenced for the caller (buf_put). It does not move the size. For an inode that is
// only being made the pass claims by itself (alloc_claim_block, two credits) and fills the struct.
struct map_append {
    uint64_t lblock, block;
};
YIELDS MUST_USE int map_plan_append(struct plan *plan, struct inode *inode, uint64_t lblock, struct map_append *append);
struct buf *map_apply_append(struct plan *plan, struct inode *inode, const struct map_append *append, enum block_type type);

// Moves what is mapped at or after `start` by `by` blocks, towards the start of the file (the range
// that it moves over must be a hole) or away from it. As many leaves a transaction as it takes:
// repeat until `done`. Extents only. -EINVAL when a block would move past the largest file.
struct map_shift {
    uint64_t start, by;             // in: as before the move
    bool away;
    bool done;                      // out
    bool begun, split;              // private, as the rest
    bool ends;
    uint32_t leaves;
    uint64_t next, after;
};
YIELDS MUST_USE int map_plan_shift(struct plan *plan, struct inode *inode, struct map_shift *shift);
void map_apply_shift(struct plan *plan, struct inode *inode, struct map_shift *shift);

void map_init_root(struct inode *inode);    // an empty extent root
