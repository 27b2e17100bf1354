// SPDX-License-Identifier: MIT
// indirect_remove.c - unmapping blocks of a file without extents: one array of numbers a transaction.
//
// From the end of the range backwards, as with extents. Holes are passed over as large as they are;
// an array that becomes empty goes, and what that leaves empty above it.
#include "base/check.h"
#include "fs/alloc.h"
#include "fs/indirect_internal.h"
#include "fs/map_internal.h"

static bool is_empty_but(const struct indirect_path *path, uint32_t at, uint32_t first, uint32_t last)
{
    for (uint32_t slot = 0; slot < INDIRECT_FANOUT; slot++)
        if ((slot < first || slot > last) && le32(path->numbers[at][slot]) != 0)
            return false;
    return true;
}

// Takes runs from the array that holds `last`, backwards; says down to which slot.
static int choose_runs(struct inode *inode, const struct indirect_path *path, struct map_remove *remove, uint32_t low, uint32_t *from)
{
    uint32_t at = path->depth, slot = path->slot[at] + 1;
    struct map_budget budget;
    map_budget_init(&budget, inode);
    while (slot > low) {
        uint32_t block = le32(path->numbers[at][slot - 1]), n = 1;
        if (block == 0) {
            slot--;
            continue;
        }
        while (slot - n > low && block - n > 0 && le32(path->numbers[at][slot - 1 - n]) == block - n)
            n++;
        if (!alloc_is_data_range(inode->fs, block - (n - 1), n))
            return map_corrupt(inode, block, "a file holds blocks that no file may own");
        uint32_t take = map_budget_take(&budget, inode->fs, block - (n - 1), n);
        if (take > 0)
            map_remove_add(remove, block - (take - 1), take);
        slot -= take;
        if (take < n)
            break;
    }
    *from = slot;
    return 0;
}

static uint64_t last_of(const struct map_remove *remove)
{
    return MIN(remove->last, INDIRECT_LBLOCK_MAX);
}

// The slots [*low, path.slot] of the array at `depth` are what the range covers of it.
static uint32_t low_slot(const struct indirect_path *path, const struct map_remove *remove, uint64_t last)
{
    uint32_t at = path->depth;
    uint64_t first = indirect_array_first(path, last, at);
    return indirect_slots_first(path, at) + (uint32_t)(MAX(remove->first, first) - first);
}

int indirect_plan_remove(struct plan *plan, struct inode *inode, struct map_remove *remove)
{
    uint64_t last = last_of(remove);
    struct indirect_path path;
    for (;;) {
        int rc = indirect_find(plan, inode, last, &path);
        if (rc < 0)
            return rc;
        if (path.found == path.depth + 1)
            break;
        // A hole: go to the nearest number before it in the same array, or before the array.
        uint32_t at = path.found - 1, slot = path.slot[at];
        uint64_t first = indirect_array_first(&path, last, at);
        while (slot > indirect_slots_first(&path, at) && le32(path.numbers[at][slot - 1]) == 0)
            slot--;
        uint64_t before = first + (slot - indirect_slots_first(&path, at)) * path.span[at];
        if (before <= remove->first)
            return 0;               // `from` is first already: nothing is mapped any more
        last = before - 1;
    }

    uint32_t low = low_slot(&path, remove, last), from = low;
    int rc = choose_runs(inode, &path, remove, low, &from);
    if (rc < 0)
        return rc;
    remove->from = indirect_array_first(&path, last, path.depth) + (from - indirect_slots_first(&path, path.depth));
    plan_credits(plan, path.depth);
    uint64_t tree[INDIRECT_LEVELS];
    for (uint32_t i = 0; i < path.depth; i++)
        tree[i] = path.buf[i + 1]->block;
    return map_plan_free_steps(plan, inode, remove, tree, path.depth);
}

void indirect_apply_remove(struct plan *plan, struct inode *inode, struct map_remove *remove)
{
    struct fs *fs = inode->fs;
    struct indirect_path path;
    if (last_of(remove) < remove->from)
        return;
    map_apply_free_steps(plan, inode, remove);

    // The array that the pass chose: the one that `from` is in.
    indirect_find_pinned(inode, remove->from, &path);
    if (path.found <= path.depth)
        return;                     // the pass found nothing but holes
    uint32_t at = path.depth, first = path.slot[at];
    uint32_t last = (uint32_t)MIN((uint64_t)indirect_slots_end(&path, at) - 1, first + (last_of(remove) - remove->from));
    while (at > 0 && is_empty_but(&path, at, first, last)) {
        alloc_apply_free(plan, path.buf[at]->block, 1, true);
        map_sub_blocks(inode, 1);
        at--;
        first = last = path.slot[at];
    }
    for (uint32_t slot = first; slot <= last; slot++)
        path.numbers[at][slot] = to_le32(0);
    if (path.buf[at])
        jrn_dirty(fs->jrn, path.buf[at]);
    else
        inode_dirty(inode, true);
}
