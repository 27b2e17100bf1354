// SPDX-License-Identifier: MIT
// htree.c - the way down a directory's hash tree: from the root in block 0 to a leaf.
//
// The tree orders leaves by the hashes of their names. A path keeps, for the root and each node, the
// block and the entry taken. Every index block is judged each time a path goes through it: that it
// was verified when it was read says only that it was sane as *some* block of a directory, and a
// hostile volume may use one block in two places.
#include "fs/htree.h"

#include "base/check.h"

bool dir_is_indexed(const struct inode *dir)
{
    return dir->fs->geo.has_dir_index && (dir->d.flags & EXT4_INDEX_FL);
}

// Hashes that we cannot compute, or a root of a later format.
static bool root_is_unknown(const struct buf *buf)
{
    const struct ext4_dx_root_info *info = (const void *)(buf->bytes + DX_ROOT_ENTRIES_AT - sizeof *info);
    return info->hash_version > DX_HASH_TEA || (info->unused_flags & 1);
}

int htree_open(struct plan *plan, struct inode *dir, struct htree *tree)
{
    *tree = (struct htree){0};
    struct htree_frame *root = &tree->frames[0];
    int rc = dir_block_need(plan, dir, 0, &root->buf);
    if (rc < 0)
        return rc;
    if (root_is_unknown(root->buf))
        return HTREE_UNKNOWN;
    const char *why = "";
    rc = dx_root_view(&dir->fs->geo, root->buf->bytes, &root->view, &why);
    if (rc < 0)
        return dir_damaged(plan, dir, 0, why);
    if (root->view.levels >= HTREE_FRAMES_MAX)
        return dir_damaged(plan, dir, 0, "too many levels");
    tree->hash_version = root->view.hash_version;
    return 0;
}

int htree_hash(const struct inode *dir, const struct htree *tree, struct dir_name name, struct dx_hash *out)
{
    return dx_hash_name(tree->hash_version, dir->fs->geo.hash_seed, name.bytes, name.len, out);
}

static bool is_on_path(const struct htree *tree, uint32_t frame_count, const struct buf *buf)
{
    for (uint32_t i = 0; i < frame_count; i++) {
        if (tree->frames[i].buf == buf)
            return true;
    }
    return false;
}

// Reads the node below frames[level - 1] into frames[level], at its first entry.
static int enter_node(struct plan *plan, struct inode *dir, struct htree *tree, uint32_t level)
{
    const struct htree_frame *above = &tree->frames[level - 1];
    struct htree_frame *frame = &tree->frames[level];
    *frame = (struct htree_frame){.lblock = dx_block_at(&above->view, above->at)};
    int rc = dir_block_need(plan, dir, frame->lblock, &frame->buf);
    if (rc < 0)
        return rc;
    if (is_on_path(tree, level, frame->buf))
        return dir_damaged(plan, dir, frame->lblock, "index runs in a circle");
    const char *why = "";
    rc = dx_node_view(&dir->fs->geo, frame->buf->bytes, &frame->view, &why);
    return rc < 0 ? dir_damaged(plan, dir, frame->lblock, why) : 0;
}

int htree_descend(struct plan *plan, struct inode *dir, uint32_t major, struct htree *tree)
{
    struct htree_frame *root = &tree->frames[0];
    root->at = dx_search(&root->view, major);
    tree->last = root->view.levels;
    for (uint32_t level = 1; level <= tree->last; level++) {
        int rc = enter_node(plan, dir, tree, level);
        if (rc < 0)
            return rc;
        tree->frames[level].at = dx_search(&tree->frames[level].view, major);
    }
    return 0;
}

uint32_t htree_leaf_lblock(const struct htree *tree)
{
    const struct htree_frame *last = &tree->frames[tree->last];
    return dx_block_at(&last->view, last->at);
}

int htree_leaf(struct plan *plan, struct inode *dir, const struct htree *tree, struct buf **out)
{
    uint32_t lblock = htree_leaf_lblock(tree);
    int rc = dir_block_need(plan, dir, lblock, out);
    if (rc < 0)
        return rc;
    if (is_on_path(tree, tree->last + 1, *out))
        return dir_damaged(plan, dir, lblock, "index block as a leaf");
    if (!dir_block_is_leaf(dir, *out))
        return dir_damaged(plan, dir, lblock, "no leaf where the index leads");
    return 0;
}

struct htree_range htree_range(const struct htree *tree)
{
    struct htree_range range = {.lo = 0, .hi = HTREE_END};
    for (uint32_t i = 0; i <= tree->last; i++) {
        const struct htree_frame *frame = &tree->frames[i];
        range.lo = MAX(range.lo, dx_hash_at(&frame->view, frame->at));
        if (frame->at + 1 < frame->view.count)
            range.hi = MIN(range.hi, (uint64_t)dx_hash_at(&frame->view, frame->at + 1));
    }
    return range;
}

int htree_continue(struct plan *plan, struct inode *dir, struct htree *tree, bool *more)
{
    *more = false;
    uint32_t level = tree->last;
    while (level > 0 && tree->frames[level].at + 1 >= tree->frames[level].view.count)
        level--;
    struct htree_frame *frame = &tree->frames[level];
    if (frame->at + 1 >= frame->view.count || !(dx_hash_at(&frame->view, frame->at + 1) & 1))
        return 0;
    if (++tree->continued > dir_block_count(dir))
        return dir_damaged(plan, dir, frame->lblock, "more leaves than blocks");
    frame->at++;
    for (level++; level <= tree->last; level++) {
        int rc = enter_node(plan, dir, tree, level);
        if (rc < 0)
            return rc;
    }
    *more = true;
    return 0;
}
