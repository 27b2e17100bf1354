// SPDX-License-Identifier: MIT
// map_internal.h - what extents and indirect blocks share: steps of a removal, spare blocks.
#pragma once

#include "fs/map.h"

#define SECTORS_PER_BLOCK (BLOCK_BYTES / 512)

// A run of data blocks that a removal frees.
struct map_remove_step {
    uint64_t block;
    uint32_t count;
};

// One transaction of a removal frees from so many groups at most: each is a bitmap and a
// descriptor in the journal.
#define MAP_REMOVE_GROUPS 12u
// Where blocks are revoked one by one, a transaction takes no more than this.
#define MAP_REMOVE_REVOKES 4096u

struct map_budget {
    uint32_t groups[MAP_REMOVE_GROUPS];
    uint32_t group_count;
    uint64_t blocks;                // still allowed
};
void map_budget_init(struct map_budget *budget, const struct inode *inode);
// How many of the last blocks of [block, block+count) this transaction may still free.
uint32_t map_budget_take(struct map_budget *budget, const struct fs *fs, uint64_t block, uint32_t count);

void map_remove_add(struct map_remove *remove, uint64_t block, uint32_t count);
// Pins the bitmaps of all steps. -EFSCORRUPTED when two of them overlap, or one holds `tree_blocks`.
YIELDS MUST_USE int map_plan_free_steps(struct plan *plan, struct inode *inode, struct map_remove *remove, const uint64_t *tree_blocks, uint32_t tree_count);
void map_apply_free_steps(struct plan *plan, struct inode *inode, struct map_remove *remove);

// Spare blocks: claimed in a pass, taken in its apply half.
YIELDS MUST_USE int map_plan_spares(struct plan *plan, struct inode *inode, uint64_t goal, uint32_t count);
uint64_t map_take_spare(struct plan *plan, struct inode *inode);    // marked used, counted in d.blocks
// How many changes of maps this pass has planned before this one; counts it.
uint32_t map_count_edit(struct plan *plan);

void map_add_blocks(struct inode *inode, uint64_t blocks);
void map_sub_blocks(struct inode *inode, uint64_t blocks);
// Where a file without any block near is best begun.
uint64_t map_group_goal(const struct inode *inode);
// Logs what is wrong with a map, once where it is found: -EFSCORRUPTED.
MUST_USE int map_corrupt(const struct inode *inode, uint64_t block, const char *why);
