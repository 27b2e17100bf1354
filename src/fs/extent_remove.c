// SPDX-License-Identifier: MIT
// extent_remove.c - unmapping: one leaf a transaction, from the end of the range backwards.
//
// Backwards, because then whatever a crash leaves behind is a shorter file. The pass decides how much
// of the leaf's end is taken (a bounded number of groups to free from); apply frees those runs,
// edits the leaf, and takes nodes that are left without entries out of the tree.
#include <string.h>

#include "base/check.h"
#include "fs/alloc.h"
#include "fs/extent.h"
#include "fs/map_internal.h"

static uint64_t last_of(const struct map_remove *remove)
{
    return MIN(remove->last, MAP_LBLOCK_MAX);
}

// --- pass -------------------------------------------------------------------------------------

// Fills the steps and `from` with what this transaction takes of the leaf.
static int choose_runs(struct inode *inode, struct extent_path *path, struct map_remove *remove)
{
    struct fs *fs = inode->fs;
    const struct ext4_extent *entries = extent_entries(extent_leaf(path)->node);
    struct map_budget budget;
    map_budget_init(&budget, inode);
    uint64_t end = last_of(remove) + 1;

    for (int32_t i = extent_leaf(path)->slot; i >= 0; i--) {
        const struct ext4_extent *e = &entries[i];
        uint64_t first = MAX(remove->first, (uint64_t)le32(e->lblock)), behind = MIN(end, extent_end(e));
        if (behind <= first)
            break;
        if (!alloc_is_data_range(fs, extent_block(e), extent_len(e)))
            return map_corrupt(inode, extent_block(e), "an extent holds blocks that no file may own");
        uint32_t count = (uint32_t)(behind - first);
        uint64_t block = extent_block(e) + (first - le32(e->lblock));
        uint32_t take = map_budget_take(&budget, fs, block, count);
        if (take > 0)
            map_remove_add(remove, block + count - take, take);
        remove->from = behind - take;
        if (take < count)
            return 0;
        if (i == 0 && !extent_is_leftmost(path))
            return 0;               // more may be in the leaf before
    }
    remove->from = remove->first;
    return 0;
}

// The entries [*low, slot] of the leaf lose blocks; front and tail of them may stay.
static void span_of(struct extent_path *path, const struct map_remove *remove, struct extent_edit *edit)
{
    const struct ext4_extent *entries = extent_entries(extent_leaf(path)->node);
    uint32_t high = (uint32_t)extent_leaf(path)->slot, low = high;
    while (low > 0 && extent_end(&entries[low - 1]) > remove->from)
        low--;
    *edit = (struct extent_edit){.slot = low, .remove = high - low + 1};

    const struct ext4_extent *a = &entries[low], *b = &entries[high];
    uint64_t end = last_of(remove) + 1, first = le32(a->lblock);
    if (first < remove->from)
        extent_set(&edit->with[edit->add++], (uint32_t)first, (uint32_t)(remove->from - first), extent_is_unwritten(a), extent_block(a));
    if (extent_end(b) > end)
        extent_set(&edit->with[edit->add++], (uint32_t)end, (uint32_t)(extent_end(b) - end), extent_is_unwritten(b),
                   extent_block(b) + (end - le32(b->lblock)));
}

int extent_plan_remove(struct plan *plan, struct inode *inode, struct map_remove *remove)
{
    struct extent_path path;
    int rc = extent_find(plan, inode, last_of(remove), &path);
    if (rc == 0)
        rc = choose_runs(inode, &path, remove);
    if (rc < 0 || remove->step_count == 0)
        return rc;

    uint64_t tree[EXTENT_LEVELS];
    for (uint32_t i = 0; i < path.depth; i++)
        tree[i] = path.level[i + 1].buf->block;
    rc = map_plan_free_steps(plan, inode, remove, tree, path.depth);
    if (rc < 0)
        return rc;
    struct extent_edit edit;
    span_of(&path, remove, &edit);
    return extent_plan_edit(plan, inode, &path, edit.add > edit.remove ? 1 : 0);
}

// --- apply ------------------------------------------------------------------------------------

static void free_node(struct plan *plan, struct inode *inode, const struct extent_level *level)
{
    alloc_apply_free(plan, level->buf->block, 1, true);
    map_sub_blocks(inode, 1);
}

void extent_drop_leaf(struct plan *plan, struct inode *inode, struct extent_path *path)
{
    uint32_t at = path->depth;
    do {
        free_node(plan, inode, &path->level[at]);
        at--;
        struct extent_level *parent = &path->level[at];
        struct ext4_extent_index *index = extent_indexes(parent->node) + parent->slot;
        uint32_t count = extent_count(parent->node) - 1;
        memmove(index, index + 1, (count - (uint32_t)parent->slot) * sizeof *index);
        extent_set_count(parent->node, count);
    } while (at > 0 && extent_count(path->level[at].node) == 0);

    if (extent_count(path->level[at].node) == 0)
        extent_node_init(path->level[0].node, extent_max(path->level[0].node), 0);
    else if (path->level[at].slot == 0)
        extent_fix_keys(inode, path, at);
    extent_touch(inode, &path->level[at]);
}

void extent_pull_up(struct plan *plan, struct inode *inode, struct extent_path *path)
{
    void *root = path->level[0].node;
    while (path->depth > 0 && extent_count(root) == 1) {
        struct extent_level child = path->level[1];
        uint32_t count = extent_count(child.node);
        if (count > extent_max(root))
            return;
        free_node(plan, inode, &child);
        extent_node_init(root, extent_max(root), extent_depth(child.node));
        memcpy(extent_entries(root), extent_entries(child.node), count * sizeof(struct ext4_extent));
        extent_set_count(root, count);
        path->level[0].slot = child.slot;
        path->depth--;
        memmove(&path->level[1], &path->level[2], path->depth * sizeof path->level[0]);
        inode_dirty(inode, true);
    }
}

void extent_apply_remove(struct plan *plan, struct inode *inode, struct map_remove *remove)
{
    if (remove->step_count == 0)
        return;
    struct extent_path path;
    struct extent_edit edit;
    extent_find_pinned(inode, last_of(remove), &path);
    span_of(&path, remove, &edit);
    uint32_t left = extent_count(extent_leaf(&path)->node) - edit.remove + edit.add;
    bool stays = left > 0 && left <= extent_max(extent_leaf(&path)->node);

    map_apply_free_steps(plan, inode, remove);
    extent_apply_edit(plan, inode, &path, &edit);
    if (stays)
        extent_pull_up(plan, inode, &path);
}
