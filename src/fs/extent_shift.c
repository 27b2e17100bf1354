// SPDX-License-Identifier: MIT
// extent_shift.c - moving extents along the file: collapsing and inserting ranges.
//
// Leaf after leaf, in the order in which nothing is moved onto something else: from the front when
// moving towards the start, from the back when moving away. Keys stay in order after every leaf,
// so each transaction leaves a sound tree; a crash in between leaves the file half moved, as it
// does in ext4.
#include "fs/extent.h"
#include "fs/map_internal.h"

#define SHIFT_LEAVES_MAX 32u

// --- pass -------------------------------------------------------------------------------------

// An extent that lies across `start` becomes two, in a step of its own.
static int plan_split(struct plan *plan, struct inode *inode, struct map_shift *shift)
{
    struct extent_path path;
    int rc = extent_find(plan, inode, shift->start, &path);
    if (rc < 0)
        return rc;
    const struct ext4_extent *e = extent_at(&path, shift->start);
    shift->split = e && le32(e->lblock) < shift->start;
    return shift->split ? extent_plan_edit(plan, inode, &path, 1) : 0;
}

static int check_room(struct plan *plan, struct inode *inode, const struct map_shift *shift)
{
    struct extent_path path;
    int rc = extent_find(plan, inode, MAP_LBLOCK_MAX, &path);
    if (rc < 0 || extent_count(extent_leaf(&path)->node) == 0)
        return rc;
    const struct ext4_extent *last = extent_entries(extent_leaf(&path)->node) + extent_count(extent_leaf(&path)->node) - 1;
    uint64_t end = extent_end(last);
    return end > shift->start && shift->by > EXTENT_LBLOCK_END - end ? -EINVAL : 0;
}

// Where the leaf behind (before) this one is found; false when this was the last one to move.
static bool step_on(const struct map_shift *shift, struct extent_path *path, uint64_t *cursor)
{
    void *node = extent_leaf(path)->node;
    if (!shift->away) {
        *cursor = path->limit;
        return path->limit != EXTENT_LBLOCK_END;
    }
    if (extent_is_leftmost(path) || le32(extent_entries(node)[0].lblock) <= shift->start)
        return false;
    *cursor = le32(extent_entries(node)[0].lblock) - 1u;
    return true;
}

int extent_plan_shift(struct plan *plan, struct inode *inode, struct map_shift *shift)
{
    int rc = 0;
    shift->split = false;
    if (!shift->begun && shift->away)
        rc = check_room(plan, inode, shift);
    if (rc == 0 && !shift->begun)
        rc = plan_split(plan, inode, shift);
    if (rc < 0 || shift->split)
        return rc;

    uint64_t cursor = shift->begun ? shift->next : shift->away ? MAP_LBLOCK_MAX : shift->start;
    shift->ends = false;
    for (shift->leaves = 0; shift->leaves < SHIFT_LEAVES_MAX && !shift->ends; shift->leaves++) {
        struct extent_path path;
        rc = extent_find(plan, inode, cursor, &path);
        if (rc < 0)
            return rc;
        plan_credits(plan, path.depth);
        shift->ends = !step_on(shift, &path, &cursor);
    }
    shift->after = cursor;
    return 0;
}

// --- apply ------------------------------------------------------------------------------------

static void apply_split(struct plan *plan, struct inode *inode, struct map_shift *shift)
{
    struct extent_path path;
    extent_find_pinned(inode, shift->start, &path);
    const struct ext4_extent *e = extent_at(&path, shift->start);
    uint32_t first = le32(e->lblock), front = (uint32_t)shift->start - first;
    bool unwritten = extent_is_unwritten(e);
    struct extent_edit edit = {.slot = (uint32_t)extent_leaf(&path)->slot, .remove = 1, .add = 2};
    extent_set(&edit.with[0], first, front, unwritten, extent_block(e));
    extent_set(&edit.with[1], (uint32_t)shift->start, extent_len(e) - front, unwritten, extent_block(e) + front);
    extent_apply_edit(plan, inode, &path, &edit);
}

static void move_leaf(struct inode *inode, struct extent_path *path, const struct map_shift *shift)
{
    struct extent_level *leaf = extent_leaf(path);
    struct ext4_extent *e = extent_entries(leaf->node);
    uint32_t count = extent_count(leaf->node);
    bool moved = false;
    for (uint32_t i = 0; i < count; i++, e++) {
        uint32_t lblock = le32(e->lblock);
        if (lblock < shift->start)
            continue;
        e->lblock = to_le32(shift->away ? lblock + (uint32_t)shift->by : lblock - (uint32_t)shift->by);
        moved = true;
    }
    if (!moved)
        return;
    extent_touch(inode, leaf);
    extent_fix_keys(inode, path, path->depth);
}

void extent_apply_shift(struct plan *plan, struct inode *inode, struct map_shift *shift)
{
    if (shift->split) {
        apply_split(plan, inode, shift);
        return;
    }
    uint64_t cursor = shift->begun ? shift->next : shift->away ? MAP_LBLOCK_MAX : shift->start;
    for (uint32_t i = 0; i < shift->leaves; i++) {
        struct extent_path path;
        uint64_t next = 0;
        extent_find_pinned(inode, cursor, &path);
        step_on(shift, &path, &next);
        move_leaf(inode, &path, shift);
        cursor = next;
    }
    shift->begun = true;
    shift->next = shift->after;
    shift->done = shift->ends;
}
