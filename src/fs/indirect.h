// SPDX-License-Identifier: MIT
// indirect.h - files without extents: 12 direct blocks, then trees of one, two and three levels.
#pragma once

#include "fs/map.h"

#define INDIRECT_DIRECT 12u
#define INDIRECT_FANOUT 1024u       // block numbers of 32 bits in a block
#define INDIRECT_LEVELS 3u
#define INDIRECT_LBLOCK_MAX (INDIRECT_DIRECT + INDIRECT_FANOUT + (uint64_t)INDIRECT_FANOUT * INDIRECT_FANOUT + \
                             (uint64_t)INDIRECT_FANOUT * INDIRECT_FANOUT * INDIRECT_FANOUT - 1)

YIELDS MUST_USE int indirect_lookup(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t max, struct map_run *out);
YIELDS MUST_USE int indirect_next(struct plan *plan, struct inode *inode, uint64_t lblock, struct map_run *out);
YIELDS MUST_USE int indirect_goal(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t *goal);
YIELDS MUST_USE int indirect_plan_set(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t count);
void indirect_apply_set(struct plan *plan, struct inode *inode, const struct map_run *run);
YIELDS MUST_USE int indirect_plan_remove(struct plan *plan, struct inode *inode, struct map_remove *remove);
void indirect_apply_remove(struct plan *plan, struct inode *inode, struct map_remove *remove);
