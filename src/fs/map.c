// SPDX-License-Identifier: MIT
// map.c - one answer for both kinds of maps, and what they share: budgets, spares, counting.
//
// A map is changed in one apply half by what its pass has pinned and claimed. A *spare* is a block
// claimed for a tree that may have to grow; the pass claims for the worst case, and what the
// apply half did not need goes back with the plan. Several changes in one plan are allowed for by
// counting each earlier change as entries that are already there.
#include "fs/map.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/alloc.h"
#include "fs/extent.h"
#include "fs/indirect.h"
#include "fs/map_internal.h"

static bool has_extents(const struct inode *inode)
{
    return inode->d.flags & EXT4_EXTENTS_FL;
}

uint64_t map_lblock_max(const struct inode *inode)
{
    return has_extents(inode) ? MAP_LBLOCK_MAX : INDIRECT_LBLOCK_MAX;
}

bool map_is_journalled(const struct inode *inode)
{
    return !inode_is_reg(inode) || inode->fs->config.journal_data || (inode->d.flags & EXT4_JOURNAL_DATA_FL);
}

int map_corrupt(const struct inode *inode, uint64_t block, const char *why)
{
    log_error("event=map_damaged ino=%u block=%llu why=\"%s\"", inode->ino, (unsigned long long)block, why);
    return -EFSCORRUPTED;
}

int map_lookup(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t max, struct map_run *out)
{
    if (lblock > map_lblock_max(inode)) {
        *out = (struct map_run){.state = MAP_HOLE, .lblock = lblock, .count = max};
        return 0;
    }
    if (has_extents(inode))
        return extent_lookup(plan, inode, lblock, max, out);
    return indirect_lookup(plan, inode, lblock, max, out);
}

int map_next(struct plan *plan, struct inode *inode, uint64_t lblock, struct map_run *out)
{
    if (lblock > map_lblock_max(inode)) {
        *out = (struct map_run){.state = MAP_HOLE, .lblock = lblock};
        return 0;
    }
    if (has_extents(inode))
        return extent_next(plan, inode, lblock, out);
    return indirect_next(plan, inode, lblock, out);
}

int map_plan_set(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t count)
{
    CHECK(count > 0);
    CHECK(count <= MAP_RUN_MAX);
    if (lblock + count - 1 > map_lblock_max(inode))
        return -EFBIG;
    plan_will_dirty_inode(plan, inode);
    if (has_extents(inode))
        return extent_plan_set(plan, inode, lblock, count);
    return indirect_plan_set(plan, inode, lblock, count);
}

void map_apply_set(struct plan *plan, struct inode *inode, const struct map_run *run)
{
    CHECK(run->state != MAP_HOLE);
    if (has_extents(inode))
        extent_apply_set(plan, inode, run);
    else
        indirect_apply_set(plan, inode, run);
    inode_dirty(inode, true);
}

int map_plan_remove(struct plan *plan, struct inode *inode, struct map_remove *remove)
{
    remove->step_count = 0;
    remove->from = remove->first;
    uint64_t last = MIN(remove->last, map_lblock_max(inode));
    if (remove->first > last)
        return 0;
    plan_will_dirty_inode(plan, inode);
    if (has_extents(inode))
        return extent_plan_remove(plan, inode, remove);
    return indirect_plan_remove(plan, inode, remove);
}

void map_apply_remove(struct plan *plan, struct inode *inode, struct map_remove *remove)
{
    if (remove->first > map_lblock_max(inode))
        return;
    if (has_extents(inode))
        extent_apply_remove(plan, inode, remove);
    else
        indirect_apply_remove(plan, inode, remove);
    inode_dirty(inode, true);
}

void map_remove_fini(struct map_remove *remove)
{
    free(remove->steps);
    remove->steps = NULL;
    remove->step_count = remove->step_capacity = 0;
}

// --- where to put blocks ----------------------------------------------------------------------

// Flex groups keep their metadata in their first group: files begin in the next, as ext4 does.
uint64_t map_group_goal(const struct inode *inode)
{
    const struct ext4_geo *geo = &inode->fs->geo;
    uint32_t group = inode_group(geo, inode->ino);
    if (geo->flex_bg_groups >= 4) {
        group -= group % geo->flex_bg_groups;
        if (inode_is_reg(inode) && group + 1 < geo->group_count)
            group++;
    }
    return group_first_block(geo, group);
}

int map_goal(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t *goal)
{
    int rc = has_extents(inode) ? extent_goal(plan, inode, lblock, goal) : indirect_goal(plan, inode, lblock, goal);
    if (rc == 0 && (*goal == 0 || *goal >= inode->fs->geo.block_count))
        *goal = map_group_goal(inode);
    return rc;
}

// A claimed block that somebody holds in memory is in use, whatever a damaged bitmap says: made new
// it would be wiped under his hands.
static int check_unused(const struct inode *inode, uint64_t block)
{
    const struct buf *buf = buf_peek(inode->fs->bufs, block);
    return buf && (buf->refs || buf->pins) ? map_corrupt(inode, block, "a block that is in use is marked free") : 0;
}

int map_plan_append(struct plan *plan, struct inode *inode, uint64_t lblock, struct map_append *append)
{
    uint64_t goal;
    struct map_run there;
    int rc = map_lookup(plan, inode, lblock, 1, &there);
    if (rc == 0 && there.state != MAP_HOLE)
        rc = plan_has_waited(plan) ? -EAGAIN : map_corrupt(inode, there.block, "a block stands behind the end");
    if (rc == 0)
        rc = map_goal(plan, inode, lblock, &goal);
    if (rc == 0)
        rc = alloc_claim_block(plan, goal, &append->block);
    if (rc == 0)
        rc = check_unused(inode, append->block);
    if (rc < 0)
        return rc;
    append->lblock = lblock;
    plan_credits(plan, 1);
    return map_plan_set(plan, inode, lblock, 1);
}

struct buf *map_apply_append(struct plan *plan, struct inode *inode, const struct map_append *append, enum block_type type)
{
    struct fs *fs = inode->fs;
    struct map_run run = {.state = MAP_WRITTEN, .lblock = append->lblock, .count = 1, .block = append->block};
    alloc_apply_use(plan, append->block, 1, 0);
    map_apply_set(plan, inode, &run);

    struct shep_ref ref = {.type = type, .owner = {.ino = inode->ino, .generation = inode->d.generation, .lblock = append->lblock}};
    struct buf *buf = buf_get_new(fs->bufs, &ref, append->block);
    jrn_dirty(fs->jrn, buf);
    return buf;
}

int map_plan_shift(struct plan *plan, struct inode *inode, struct map_shift *shift)
{
    if (!has_extents(inode))
        return -EOPNOTSUPP;
    plan_will_dirty_inode(plan, inode);
    return extent_plan_shift(plan, inode, shift);
}

void map_apply_shift(struct plan *plan, struct inode *inode, struct map_shift *shift)
{
    extent_apply_shift(plan, inode, shift);
    inode_dirty(inode, true);
}

void map_init_root(struct inode *inode)
{
    for (uint32_t i = 0; i < sizeof inode->d.block; i++)
        inode->d.block[i] = 0;
    extent_node_init(inode->d.block, EXT4_EXTENT_ROOT_MAX, 0);
}

// --- counting ---------------------------------------------------------------------------------

void map_add_blocks(struct inode *inode, uint64_t blocks)
{
    inode->d.blocks += blocks * SECTORS_PER_BLOCK;
}

// A damaged inode may have counted less than it owns.
void map_sub_blocks(struct inode *inode, uint64_t blocks)
{
    inode->d.blocks -= MIN(inode->d.blocks, blocks * SECTORS_PER_BLOCK);
}

// --- spares -----------------------------------------------------------------------------------

static struct plan_spares *spares_of_pass(struct plan *plan)
{
    if (plan->spares.serial != plan->serial)
        plan->spares = (struct plan_spares){.serial = plan->serial};
    return &plan->spares;
}

uint32_t map_count_edit(struct plan *plan)
{
    return spares_of_pass(plan)->edits++;
}

int map_plan_spares(struct plan *plan, struct inode *inode, uint64_t goal, uint32_t count)
{
    struct plan_spares *spares = spares_of_pass(plan);
    for (uint32_t i = 0; i < count; i++) {
        if (spares->count == PLAN_SPARES_MAX)
            return -ENOSPC;
        int rc = alloc_claim_block(plan, goal ? goal : map_group_goal(inode), &spares->blocks[spares->count]);
        if (rc == 0)
            rc = check_unused(inode, spares->blocks[spares->count]);
        if (rc < 0)
            return rc;
        spares->count++;
        plan_credits(plan, 1);
    }
    return 0;
}

uint64_t map_take_spare(struct plan *plan, struct inode *inode)
{
    struct plan_spares *spares = &plan->spares;
    CHECK(spares->serial == plan->serial);
    CHECK(spares->used < spares->count);
    uint64_t block = spares->blocks[spares->used++];
    alloc_apply_use(plan, block, 1, 0);
    map_add_blocks(inode, 1);
    return block;
}

// --- removal ----------------------------------------------------------------------------------

void map_budget_init(struct map_budget *budget, const struct inode *inode)
{
    *budget = (struct map_budget){.blocks = map_is_journalled(inode) ? MAP_REMOVE_REVOKES : UINT64_MAX};
}

static bool take_group(struct map_budget *budget, uint32_t group)
{
    for (uint32_t i = 0; i < budget->group_count; i++)
        if (budget->groups[i] == group)
            return true;
    if (budget->group_count == MAP_REMOVE_GROUPS)
        return false;
    budget->groups[budget->group_count++] = group;
    return true;
}

uint32_t map_budget_take(struct map_budget *budget, const struct fs *fs, uint64_t block, uint32_t count)
{
    uint32_t taken = 0;
    while (taken < count && budget->blocks > 0) {
        uint64_t last = block + count - taken - 1;
        uint32_t group = block_group(&fs->geo, last);
        if (!take_group(budget, group))
            break;
        uint64_t in_group = last - group_first_block(&fs->geo, group) + 1;
        uint64_t left = MIN((uint64_t)(count - taken), budget->blocks), take = MIN(left, in_group);
        taken += (uint32_t)take;
        budget->blocks -= take;
    }
    return taken;
}

void map_remove_add(struct map_remove *remove, uint64_t block, uint32_t count)
{
    if (remove->step_count == remove->step_capacity) {
        remove->step_capacity = remove->step_capacity ? 2 * remove->step_capacity : 8;
        remove->steps = xrealloc(remove->steps, remove->step_capacity * sizeof *remove->steps);
    }
    remove->steps[remove->step_count++] = (struct map_remove_step){.block = block, .count = count};
}

static int compare_steps(const void *a, const void *b)
{
    const struct map_remove_step *x = a, *y = b;
    return x->block < y->block ? -1 : x->block > y->block;
}

// One block named twice by a damaged map would be freed twice: the second time it may be somebody's.
static int check_disjoint(struct inode *inode, struct map_remove *remove, const uint64_t *tree_blocks, uint32_t tree_count)
{
    if (remove->step_count > 1)
        qsort(remove->steps, remove->step_count, sizeof *remove->steps, compare_steps);
    for (uint32_t i = 0; i < remove->step_count; i++) {
        const struct map_remove_step *step = &remove->steps[i];
        if (i > 0 && step->block < step[-1].block + step[-1].count)
            return map_corrupt(inode, step->block, "a block is mapped twice");
        for (uint32_t k = 0; k < tree_count; k++)
            if (tree_blocks[k] >= step->block && tree_blocks[k] < step->block + step->count)
                return map_corrupt(inode, tree_blocks[k], "a block of the map is mapped as data");
    }
    for (uint32_t i = 1; i < tree_count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (tree_blocks[i] == tree_blocks[k])
                return map_corrupt(inode, tree_blocks[i], "a block of the map is there twice");
    return 0;
}

int map_plan_free_steps(struct plan *plan, struct inode *inode, struct map_remove *remove, const uint64_t *tree_blocks, uint32_t tree_count)
{
    int rc = check_disjoint(inode, remove, tree_blocks, tree_count);
    for (uint32_t i = 0; rc == 0 && i < remove->step_count; i++)
        rc = alloc_plan_free(plan, remove->steps[i].block, remove->steps[i].count);
    for (uint32_t i = 0; rc == 0 && i < tree_count; i++)
        rc = alloc_plan_free(plan, tree_blocks[i], 1);
    return rc;
}

void map_apply_free_steps(struct plan *plan, struct inode *inode, struct map_remove *remove)
{
    bool revoke = map_is_journalled(inode);
    for (uint32_t i = 0; i < remove->step_count; i++) {
        alloc_apply_free(plan, remove->steps[i].block, remove->steps[i].count, revoke);
        map_sub_blocks(inode, remove->steps[i].count);
    }
    remove->step_count = 0;
}
