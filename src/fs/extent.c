// SPDX-License-Identifier: MIT
// extent.c - finding the way through an extent tree, and what is found there.
//
//      inode: root   depth 2   [ 0 | 900 ]
//                              |         |
//      index blocks  depth 1  [0|340]   [900|...]
//                             |   |       |
//      leaves        depth 0  ...  ...    ...          key of an entry == first key of its child
//
// What is inside a node was judged when it was read (ondisk, by the shepherd). Here the node is
// judged against its parent: its depth is one less, so a walk ends whatever the disk says; its first
// key is the parent's and its last block stays below the parent's next key; and what an entry
// points at is a block that files may own.
#include "fs/extent.h"

#include "base/check.h"
#include "fs/alloc.h"
#include "fs/map_internal.h"

// The last entry whose key is <= lblock; -1 when there is none. Keys of both kinds of entries stand
// at the same place.
static int32_t search(const void *node, uint64_t lblock)
{
    const struct ext4_extent *entries = extent_entries((void *)(uintptr_t)node);
    uint32_t low = 0, high = extent_count(node);
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (le32(entries[mid].lblock) <= lblock)
            low = mid + 1;
        else
            high = mid;
    }
    return (int32_t)low - 1;
}

static int read_node(struct plan *plan, struct inode *inode, uint64_t block, uint32_t depth, struct buf **out)
{
    struct fs *fs = inode->fs;
    struct shep_ref ref = {.type = BLOCK_EXTENT, .owner = {.ino = inode->ino, .generation = inode->d.generation, .depth = (uint8_t)(depth + 1)}};
    if (!alloc_is_data_range(fs, block, 1))
        return map_corrupt(inode, block, "an extent node is not in a data block");
    if (plan)
        return plan_buf(plan, BLOCK_EXTENT, &ref.owner, block, out);
    return buf_get(fs->bufs, &ref, block, out);
}

static int judge_root(const struct inode *inode)
{
    const char *why = NULL;
    if (extent_node_verify(&inode->fs->geo, inode->d.block, sizeof inode->d.block, -1, &why) < 0)
        return map_corrupt(inode, 0, why);
    return 0;
}

static int judge_child(const struct inode *inode, const struct buf *buf, uint32_t depth, uint32_t key, uint64_t limit)
{
    void *node = buf->bytes;
    uint32_t count = extent_count(node), max = extent_max(node);
    const struct ext4_extent *entries = extent_entries(node);
    if (extent_depth(node) != depth)
        return map_corrupt(inode, buf->block, "unexpected depth of an extent node");
    if (max > EXT4_EXTENT_BLOCK_MAX || count > max)
        return map_corrupt(inode, buf->block, "more extent entries than fit");
    if (count == 0)
        return map_corrupt(inode, buf->block, "an extent node without entries");
    if (le32(entries[0].lblock) != key)
        return map_corrupt(inode, buf->block, "an extent node begins elsewhere than its parent says");
    uint64_t end = depth ? (uint64_t)le32(entries[count - 1].lblock) + 1 : extent_end(&entries[count - 1]);
    if (end > limit)
        return map_corrupt(inode, buf->block, "an extent node ends behind the next one's begin");
    return 0;
}

// Chooses the entry of level[at] that leads to lblock, and narrows the limit.
static struct ext4_extent_index *choose(struct extent_path *path, uint32_t at, uint64_t lblock)
{
    struct extent_level *level = &path->level[at];
    level->slot = MAX(search(level->node, lblock), 0);
    struct ext4_extent_index *index = extent_indexes(level->node) + level->slot;
    if ((uint32_t)level->slot + 1 < extent_count(level->node))
        path->limit = le32(index[1].lblock);
    return index;
}

static int descend(struct plan *plan, struct inode *inode, uint64_t lblock, struct extent_path *path)
{
    int rc = judge_root(inode);
    *path = (struct extent_path){.limit = EXTENT_LBLOCK_END, .level[0].node = inode->d.block};
    if (rc < 0)
        return rc;
    uint32_t depth = extent_depth(inode->d.block);
    uint64_t waits = rt_waits(inode->fs->rt);
    for (uint32_t at = 0; at < depth; at++) {
        const struct ext4_extent_index *index = choose(path, at, lblock);
        uint32_t key = le32(index->lblock);
        struct buf *buf;
        rc = read_node(plan, inode, extent_index_block(index), depth - at - 1, &buf);
        if (rc < 0)
            break;
        path->depth = at + 1;
        path->level[at + 1] = (struct extent_level){.buf = buf, .node = buf->bytes};
        if (rt_waits(inode->fs->rt) != waits)
            return -EAGAIN;         // what was seen above may have changed meanwhile
        rc = judge_child(inode, buf, depth - at - 1, key, path->limit);
        if (rc < 0)
            break;
    }
    if (rc == 0)
        extent_leaf(path)->slot = search(extent_leaf(path)->node, lblock);
    return rc;
}

int extent_find(struct plan *plan, struct inode *inode, uint64_t lblock, struct extent_path *path)
{
    uint64_t waits = rt_waits(inode->fs->rt);
    int rc = descend(plan, inode, lblock, path);
    // -EAGAIN without a wait is plan_buf()'s: the whole pass must run again, another descent would end the same.
    while (rc == -EAGAIN && rt_waits(inode->fs->rt) != waits) {
        // What was read stays referenced until the next descent has found it.
        struct extent_path waited = *path;
        waits = rt_waits(inode->fs->rt);
        rc = descend(plan, inode, lblock, path);
        extent_path_fini(plan, inode, &waited);
    }
    if (rc < 0)
        extent_path_fini(plan, inode, path);
    return rc;
}

void extent_path_fini(struct plan *plan, struct inode *inode, struct extent_path *path)
{
    for (uint32_t i = 1; !plan && i <= path->depth; i++)
        buf_put(inode->fs->bufs, path->level[i].buf);
    path->depth = 0;
}

struct buf *extent_pinned(struct inode *inode, uint64_t block)
{
    struct buf *buf = buf_peek(inode->fs->bufs, block);
    CHECK(buf);
    return buf;
}

void extent_find_pinned(struct inode *inode, uint64_t lblock, struct extent_path *path)
{
    *path = (struct extent_path){.limit = EXTENT_LBLOCK_END, .level[0].node = inode->d.block};
    path->depth = extent_depth(inode->d.block);
    for (uint32_t at = 0; at < path->depth; at++) {
        struct buf *buf = extent_pinned(inode, extent_index_block(choose(path, at, lblock)));
        path->level[at + 1] = (struct extent_level){.buf = buf, .node = buf->bytes};
    }
    extent_leaf(path)->slot = search(extent_leaf(path)->node, lblock);
}

bool extent_is_leftmost(const struct extent_path *path)
{
    for (uint32_t at = 0; at < path->depth; at++)
        if (path->level[at].slot > 0)
            return false;
    return true;
}

struct ext4_extent *extent_at(struct extent_path *path, uint64_t lblock)
{
    struct extent_level *leaf = extent_leaf(path);
    if (leaf->slot < 0)
        return NULL;
    struct ext4_extent *e = extent_entries(leaf->node) + leaf->slot;
    return lblock < extent_end(e) ? e : NULL;
}

static int run_of(const struct inode *inode, const struct ext4_extent *e, uint64_t lblock, uint64_t max, struct map_run *out)
{
    uint64_t skip = lblock - le32(e->lblock);
    *out = (struct map_run){.state = extent_is_unwritten(e) ? MAP_UNWRITTEN : MAP_WRITTEN,
                            .lblock = lblock,
                            .count = MIN(extent_len(e) - skip, max),
                            .block = extent_block(e) + skip};
    if (!alloc_is_data_range(inode->fs, extent_block(e), extent_len(e)))
        return map_corrupt(inode, extent_block(e), "an extent holds blocks that no file may own");
    return 0;
}

// The first key behind the place that the path shows, in this leaf or the next.
static uint64_t key_behind(struct extent_path *path)
{
    struct extent_level *leaf = extent_leaf(path);
    uint32_t next = (uint32_t)(leaf->slot + 1);
    return next < extent_count(leaf->node) ? le32(extent_entries(leaf->node)[next].lblock) : path->limit;
}

int extent_lookup(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t max, struct map_run *out)
{
    struct extent_path path;
    int rc = extent_find(plan, inode, lblock, &path);
    if (rc < 0)
        return rc;
    const struct ext4_extent *e = extent_at(&path, lblock);
    if (e)
        rc = run_of(inode, e, lblock, max, out);
    else
        *out = (struct map_run){.state = MAP_HOLE, .lblock = lblock, .count = MIN(key_behind(&path) - lblock, max)};
    extent_path_fini(plan, inode, &path);
    return rc;
}

int extent_next(struct plan *plan, struct inode *inode, uint64_t lblock, struct map_run *out)
{
    // At most twice: the key behind a leaf is the first key of the next.
    for (;;) {
        struct extent_path path;
        int rc = extent_find(plan, inode, lblock, &path);
        if (rc < 0)
            return rc;
        const struct ext4_extent *e = extent_at(&path, lblock);
        uint64_t behind = key_behind(&path);
        bool last = !e && behind == EXTENT_LBLOCK_END;
        if (e)
            rc = run_of(inode, e, lblock, UINT64_MAX, out);
        extent_path_fini(plan, inode, &path);
        if (last)
            *out = (struct map_run){.state = MAP_HOLE, .lblock = lblock};
        if (e || last)
            return rc;
        lblock = behind;
    }
}

// As ext4: where the block would be if the nearest extent went on to it, else near the leaf.
int extent_goal(struct plan *plan, struct inode *inode, uint64_t lblock, uint64_t *goal)
{
    struct extent_path path;
    int rc = extent_find(plan, inode, lblock, &path);
    if (rc < 0)
        return rc;
    struct extent_level *leaf = extent_leaf(&path);
    *goal = leaf->buf ? leaf->buf->block : 0;
    if (extent_count(leaf->node) > 0) {
        const struct ext4_extent *e = extent_entries(leaf->node) + MAX(leaf->slot, 0);
        uint64_t first = le32(e->lblock), block = extent_block(e);
        if (lblock >= first)
            *goal = block + (lblock - first);
        else
            *goal = block > first - lblock ? block - (first - lblock) : 0;
    }
    extent_path_fini(plan, inode, &path);
    return 0;
}
