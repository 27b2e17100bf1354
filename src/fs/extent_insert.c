// SPDX-License-Identifier: MIT
// extent_insert.c - changing a leaf, and what follows: nodes that split, a tree that grows.
//
// Every change of the tree is one *edit* of one leaf: some neighbouring entries give way to others.
// Too many for the leaf: it splits in two, its parent gets one entry more and may split likewise;
// when even the root is full, its entries move into a block of their own and the root gets that block
// as its only child, which is how a tree becomes deeper. The pass has claimed a spare block for
// every level that was full.
#include <string.h>

#include "base/check.h"
#include "fs/alloc.h"
#include "fs/extent.h"
#include "fs/map_internal.h"

void extent_touch(struct inode *inode, const struct extent_level *level)
{
    if (level->buf)
        jrn_dirty(inode->fs->jrn, level->buf);
    else
        inode_dirty(inode, true);
}

// --- pass -------------------------------------------------------------------------------------

int extent_plan_edit(struct plan *plan, struct inode *inode, const struct extent_path *path, uint32_t grow)
{
    // Changes that this pass has planned before may have filled what still looks empty.
    uint32_t before = 2 * map_count_edit(plan);
    uint32_t spares = 0;
    uint64_t goal = 0;
    for (uint32_t at = path->depth + 1; at-- > 0;) {
        const struct extent_level *level = &path->level[at];
        if (extent_count(level->node) + before + grow <= extent_max(level->node))
            break;
        spares++;
        grow = 1;
        if (level->buf)
            goal = level->buf->block;
        if (at == 0 && path->depth == EXT4_EXTENT_DEPTH_MAX)
            return -ENOSPC;
    }
    plan_credits(plan, path->depth + 1);    // the path, and one right of it whose key may move
    return map_plan_spares(plan, inode, goal, spares);
}

int extent_plan_set(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t count)
{
    struct extent_path path;
    int rc = extent_find(plan, inode, lblock, &path);
    if (rc < 0)
        return rc;
    const struct ext4_extent *e = extent_at(&path, lblock);
    if (!e)
        return extent_plan_edit(plan, inode, &path, 1);
    uint32_t grow = (lblock > le32(e->lblock)) + (lblock + count < extent_end(e));
    return extent_plan_edit(plan, inode, &path, grow);
}

// --- apply: the keys above --------------------------------------------------------------------

void extent_fix_keys(struct inode *inode, struct extent_path *path, uint32_t from)
{
    for (uint32_t at = from; at > 0; at--) {
        struct le32 key = extent_entries(path->level[at].node)[0].lblock;
        struct extent_level *parent = &path->level[at - 1];
        struct ext4_extent_index *index = extent_indexes(parent->node) + parent->slot;
        if (le32(index->lblock) == le32(key))
            return;
        index->lblock = key;
        extent_touch(inode, parent);
        if (parent->slot > 0)
            return;
    }
}

// --- apply: splitting -------------------------------------------------------------------------

static struct buf *new_node(struct plan *plan, struct inode *inode, uint32_t depth)
{
    struct fs *fs = inode->fs;
    struct shep_ref ref = {.type = BLOCK_EXTENT, .owner = {.ino = inode->ino, .generation = inode->d.generation, .depth = (uint8_t)(depth + 1)}};
    struct buf *buf = buf_get_new(fs->bufs, &ref, map_take_spare(plan, inode));
    extent_node_init(buf->bytes, EXT4_EXTENT_BLOCK_MAX, depth);
    jrn_dirty(fs->jrn, buf);
    buf_put(fs->bufs, buf);         // the journal holds it
    return buf;
}

static void fill(void *node, const struct ext4_extent *entries, uint32_t count)
{
    memcpy(extent_entries(node), entries, count * sizeof *entries);
    extent_set_count(node, count);
}

// The root's entries move into a block; the root keeps one entry, which leads there.
static void grow(struct plan *plan, struct inode *inode, struct extent_path *path)
{
    void *root = path->level[0].node;
    uint32_t depth = extent_depth(root), count = extent_count(root);
    struct buf *buf = new_node(plan, inode, depth);
    fill(buf->bytes, extent_entries(root), count);

    uint32_t key = count ? le32(extent_entries(root)[0].lblock) : 0;
    extent_node_init(root, extent_max(root), depth + 1);
    extent_set_count(root, 1);
    extent_index_set(extent_indexes(root), key, buf->block);
    inode_dirty(inode, true);

    memmove(&path->level[2], &path->level[1], path->depth * sizeof path->level[0]);
    path->level[1] = (struct extent_level){.buf = buf, .node = buf->bytes, .slot = path->level[0].slot};
    path->level[0].slot = 0;
    path->depth++;
}

static void insert_entry(void *node, uint32_t at, const struct ext4_extent *entry)
{
    uint32_t count = extent_count(node);
    struct ext4_extent *entries = extent_entries(node);
    memmove(&entries[at + 1], &entries[at], (count - at) * sizeof *entries);
    entries[at] = *entry;
    extent_set_count(node, count + 1);
}

// A new child `block` with first key `key` goes behind the entry that level[at] shows.
static void insert_index(struct plan *plan, struct inode *inode, struct extent_path *path, uint32_t at, uint32_t key, uint64_t block)
{
    struct ext4_extent_index index;
    extent_index_set(&index, key, block);
    for (;;) {
        if (at == 0 && extent_count(path->level[0].node) >= extent_max(path->level[0].node)) {
            grow(plan, inode, path);
            at = 1;
        }
        struct extent_level *level = &path->level[at];
        uint32_t count = extent_count(level->node), place = (uint32_t)level->slot + 1;
        extent_touch(inode, level);
        if (count < extent_max(level->node)) {
            insert_entry(level->node, place, (const struct ext4_extent *)&index);
            return;
        }
        // A tree that grows at its end leaves full nodes behind, one that grows inside halves.
        uint32_t keep = place == count ? count : count / 2;
        struct buf *right = new_node(plan, inode, extent_depth(level->node));
        fill(right->bytes, extent_entries(level->node) + keep, count - keep);
        extent_set_count(level->node, keep);
        if (place > keep || keep == count)
            insert_entry(right->bytes, place - keep, (const struct ext4_extent *)&index);
        else
            insert_entry(level->node, place, (const struct ext4_extent *)&index);
        extent_index_set(&index, le32(extent_entries(right->bytes)[0].lblock), right->block);
        at--;
    }
}

static void split_leaf(struct plan *plan, struct inode *inode, struct extent_path *path, const struct ext4_extent *entries, uint32_t count, bool at_end)
{
    if (path->depth == 0) {
        extent_set_count(path->level[0].node, 0);
        grow(plan, inode, path);
        fill(path->level[1].node, entries, count);
        extent_fix_keys(inode, path, 1);
        return;
    }
    struct extent_level *leaf = extent_leaf(path);
    uint32_t keep = at_end ? count - 1 : count / 2;
    struct buf *right = new_node(plan, inode, 0);
    fill(right->bytes, entries + keep, count - keep);
    fill(leaf->node, entries, keep);
    extent_touch(inode, leaf);
    extent_fix_keys(inode, path, path->depth);
    insert_index(plan, inode, path, path->depth - 1, le32(entries[keep].lblock), right->block);
}

// --- apply: the edit --------------------------------------------------------------------------

void extent_apply_edit(struct plan *plan, struct inode *inode, struct extent_path *path, const struct extent_edit *edit)
{
    struct extent_level *leaf = extent_leaf(path);
    struct ext4_extent all[EXT4_EXTENT_BLOCK_MAX + ARRAY_LEN(edit->with)];
    const struct ext4_extent *old = extent_entries(leaf->node);
    uint32_t count = extent_count(leaf->node), behind = edit->slot + edit->remove;
    CHECK(behind <= count);

    memcpy(all, old, edit->slot * sizeof *all);
    memcpy(all + edit->slot, edit->with, edit->add * sizeof *all);
    memcpy(all + edit->slot + edit->add, old + behind, (count - behind) * sizeof *all);
    count = count - edit->remove + edit->add;

    if (count > extent_max(leaf->node)) {
        split_leaf(plan, inode, path, all, count, edit->at_end);
        return;
    }
    if (count == 0 && leaf->buf) {
        extent_drop_leaf(plan, inode, path);
        return;
    }
    fill(leaf->node, all, count);
    extent_touch(inode, leaf);
    if (count > 0)
        extent_fix_keys(inode, path, path->depth);
}

// --- apply: mapping ---------------------------------------------------------------------------

static bool joins(const struct ext4_extent *a, const struct ext4_extent *b)
{
    bool unwritten = extent_is_unwritten(a);
    uint32_t max = unwritten ? EXT4_EXTENT_UNWRITTEN_LEN_MAX : EXT4_EXTENT_LEN_MAX;
    return unwritten == extent_is_unwritten(b) && extent_end(a) == le32(b->lblock) &&
           extent_block(a) + extent_len(a) == extent_block(b) && extent_len(a) + extent_len(b) <= max;
}

static void add_entry(struct extent_edit *edit, uint64_t lblock, uint64_t end, bool unwritten, uint64_t block)
{
    struct ext4_extent e;
    if (lblock == end)
        return;
    extent_set(&e, (uint32_t)lblock, (uint32_t)(end - lblock), unwritten, block);
    struct ext4_extent *last = edit->add ? &edit->with[edit->add - 1] : NULL;
    if (last && joins(last, &e))
        extent_set(last, le32(last->lblock), extent_len(last) + extent_len(&e), unwritten, extent_block(last));
    else
        edit->with[edit->add++] = e;
}

static void add_old(struct extent_edit *edit, const struct ext4_extent *e)
{
    add_entry(edit, le32(e->lblock), extent_end(e), extent_is_unwritten(e), extent_block(e));
    edit->remove++;
}

void extent_apply_set(struct plan *plan, struct inode *inode, const struct map_run *run)
{
    struct extent_path path;
    extent_find_pinned(inode, run->lblock, &path);
    struct extent_level *leaf = extent_leaf(&path);
    const struct ext4_extent *entries = extent_entries(leaf->node), *e = extent_at(&path, run->lblock);
    uint32_t count = extent_count(leaf->node), left = (uint32_t)(leaf->slot + 1), right = left;
    uint64_t end = run->lblock + run->count;
    bool unwritten = run->state == MAP_UNWRITTEN;
    if (e)
        left--;

    // The neighbours take part, in case they become one with what is between them.
    struct extent_edit edit = {.slot = left, .at_end = !e && right == count};
    if (left > 0) {
        edit.slot--;
        add_old(&edit, &entries[left - 1]);
    }
    if (e) {
        uint64_t first = le32(e->lblock), block = extent_block(e);
        CHECK(end <= extent_end(e));
        edit.remove++;
        add_entry(&edit, first, run->lblock, extent_is_unwritten(e), block);
        add_entry(&edit, run->lblock, end, unwritten, block + (run->lblock - first));
        add_entry(&edit, end, extent_end(e), extent_is_unwritten(e), block + (end - first));
    } else {
        CHECK(right == count || end <= le32(entries[right].lblock));
        add_entry(&edit, run->lblock, end, unwritten, run->block);
        map_add_blocks(inode, run->count);
    }
    if (right < count)
        add_old(&edit, &entries[right]);
    extent_apply_edit(plan, inode, &path, &edit);
}
