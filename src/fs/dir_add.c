// SPDX-License-Identifier: MIT
// dir_add.c - adding a name: into room that is there, or by one of three ways to make room.
//
//   in place     a leaf has room behind or instead of an entry
//   append       a linear directory gets another block
//   make index   a linear directory of one full block becomes a root and two leaves
//   split        the leaf that the hash tree names parts in two, and full nodes above it, too
//
// The pass decides which, computes what moves where, and claims the new blocks, three at most: a leaf, a
// node, and the copy of a root that grows. The apply half carries it out.
#include "fs/dir.h"

#include "base/check.h"
#include "fs/htree.h"

#define ADD_BLOCKS_MAX 3u
// Without large_dir the size of a directory has 32 bits on the disk, and older kernels take it as signed.
#define DIR_SIZE_MAX 0x7fffffffull

struct add_steps {
    enum { ADD_IN_PLACE, ADD_APPEND, ADD_MAKE_INDEX, ADD_SPLIT } kind;
    struct buf *leaf;                   // in place, split; make index: block 0
    uint32_t offset;                    // in place: where the room is
    bool drop_index;                    // the tree is of an unknown kind: from now on linear
    struct htree tree;                  // split
    struct leaf_split split;            // split, make index
    struct map_append appends[ADD_BLOCKS_MAX];
    uint32_t append_count;
    struct buf *parted[2];              // applied, split and make index: the leaves with the names of `leaf`
};

static int plan_linear(struct plan *plan, struct inode *dir, struct dir_name name, struct add_steps *steps);
static int plan_indexed(struct plan *plan, struct inode *dir, struct dir_name name, struct add_steps *steps);

int dir_plan_add(struct plan *plan, struct inode *dir, struct dir_add *add)
{
    if (!inode_is_dir(dir))
        return -ENOTDIR;
    if (add->name.len == 0)
        return -EINVAL;
    if (add->name.len > DIR_NAME_MAX)
        return -ENAMETOOLONG;
    dir_add_fini(add);                  // of an earlier pass
    struct add_steps *steps = add->steps = xcalloc(1, sizeof *steps);
    if (!dir_is_indexed(dir))
        return plan_linear(plan, dir, add->name, steps);
    int rc = plan_indexed(plan, dir, add->name, steps);
    if (rc != HTREE_UNKNOWN)
        return rc;
    // Index blocks would have to become leaves, with checksums of another kind: as the kernel, refuse.
    if (dir->fs->geo.has_metadata_csum)
        return dir_damaged(plan, dir, 0, "index of an unknown kind");
    steps->drop_index = true;
    plan_will_dirty_inode(plan, dir);
    return plan_linear(plan, dir, add->name, steps);
}

void dir_add_fini(struct dir_add *add)
{
    struct add_steps *steps = add->steps;
    if (steps)
        leaf_split_fini(&steps->split);
    free(steps);
    add->steps = NULL;
}

// --- the pass -----------------------------------------------------------------------------------------

// Claims `count` blocks behind the last. None may be a block that the plan already reads: a bitmap
// that calls a block of this directory free would have us write over it.
static int claim_blocks(struct plan *plan, struct inode *dir, uint32_t count, struct add_steps *steps)
{
    CHECK(count <= ADD_BLOCKS_MAX);
    uint64_t first = dir_block_count(dir);
    uint64_t size = (first + count) << BLOCK_SHIFT;
    if (size > DIR_SIZE_MAX && !(dir->fs->geo.incompat & EXT4_INCOMPAT_LARGEDIR))
        return -ENOSPC;
    if (first + count > DX_BLOCK_MASK)
        return -ENOSPC;
    uint32_t held = plan->buf_count;
    for (uint32_t i = 0; i < count; i++) {
        int rc = map_plan_append(plan, dir, first + i, &steps->appends[i]);
        if (rc < 0)
            return rc;
        for (uint32_t b = 0; b < held; b++) {
            if (plan->bufs[b]->block == steps->appends[i].block)
                return dir_damaged(plan, dir, first + i, "free block is in use");
        }
    }
    steps->append_count = count;
    plan_credits(plan, count);
    plan_will_dirty_inode(plan, dir);
    return 0;
}

static bool take_room(struct plan *plan, struct inode *dir, struct dir_name name, struct buf *leaf, struct add_steps *steps)
{
    uint32_t offset = dir_leaf_room(&dir->fs->geo, leaf->bytes, dirent_size((uint32_t)name.len));
    if (offset == DIR_NOT_FOUND)
        return false;
    steps->kind = ADD_IN_PLACE;
    steps->leaf = leaf;
    steps->offset = offset;
    plan_credits(plan, 1);
    return true;
}

static int plan_make_index(struct plan *plan, struct inode *dir, struct dir_name name, struct buf *first, struct add_steps *steps)
{
    uint32_t self_ino, parent_ino;
    struct dx_hash hash;
    struct htree tree = {.hash_version = dir->fs->geo.hash_version};
    int rc = dir_dots(plan, dir, first, &self_ino, &parent_ino);
    if (rc == 0)
        rc = htree_hash(dir, &tree, name, &hash);
    if (rc < 0)
        return rc;
    struct leaf_split_spec spec = {.from = DIR_DOTDOT_AT + 1, .lblock = 0, .range = {.lo = 0, .hi = HTREE_END}, .new_hash = hash};
    rc = leaf_split_plan(plan, dir, &tree, first, &spec, &steps->split);
    if (rc < 0)
        return rc;
    steps->kind = ADD_MAKE_INDEX;
    steps->leaf = first;
    plan_credits(plan, 1);
    return claim_blocks(plan, dir, 2, steps);
}

static int plan_linear(struct plan *plan, struct inode *dir, struct dir_name name, struct add_steps *steps)
{
    uint64_t count = dir_block_count(dir);
    struct buf *first;
    int rc = dir_block_need(plan, dir, 0, &first);
    uint64_t hole = 0;
    for (uint64_t lblock = 0; rc == 0 && lblock < count;) {
        struct buf *buf;
        rc = dir_block_get(plan, dir, lblock, &buf, &hole);
        if (rc < 0)
            break;
        if (buf && !dir_block_is_leaf(dir, buf))
            return dir_damaged(plan, dir, lblock, "index block in a linear directory");
        if (buf && take_room(plan, dir, name, buf, steps))
            return 0;
        lblock += buf ? 1 : hole;
    }
    if (rc < 0)
        return rc;
    if (count == 1 && dir->fs->geo.has_dir_index && !steps->drop_index)
        return plan_make_index(plan, dir, name, first, steps);
    steps->kind = ADD_APPEND;
    return claim_blocks(plan, dir, 1, steps);
}

static int plan_split(struct plan *plan, struct inode *dir, struct dx_hash hash, struct add_steps *steps)
{
    uint32_t nodes;
    struct leaf_split_spec spec = {.lblock = htree_leaf_lblock(&steps->tree), .range = htree_range(&steps->tree), .new_hash = hash};
    int rc = leaf_split_plan(plan, dir, &steps->tree, steps->leaf, &spec, &steps->split);
    if (rc == 0)
        rc = htree_growth(dir, &steps->tree, &nodes);
    if (rc < 0)
        return rc;
    steps->kind = ADD_SPLIT;
    plan_credits(plan, 1 + steps->tree.last + 1);
    return claim_blocks(plan, dir, nodes + 1, steps);
}

static int plan_indexed(struct plan *plan, struct inode *dir, struct dir_name name, struct add_steps *steps)
{
    struct dx_hash hash;
    struct htree *tree = &steps->tree;
    int rc = htree_open(plan, dir, tree);
    if (rc != 0)
        return rc;
    rc = htree_hash(dir, tree, name, &hash);
    if (rc == 0)
        rc = htree_descend(plan, dir, hash.major, tree);
    if (rc == 0)
        rc = htree_leaf(plan, dir, tree, &steps->leaf);
    if (rc < 0)
        return rc;
    if (take_room(plan, dir, name, steps->leaf, steps))
        return 0;
    return plan_split(plan, dir, hash, steps);
}

// --- the apply half ---------------------------------------------------------------------------------

static void append_blocks(struct plan *plan, struct inode *dir, struct add_steps *steps, struct htree_new *out)
{
    for (uint32_t i = 0; i < steps->append_count; i++) {
        struct buf *buf = map_apply_append(plan, dir, &steps->appends[i], BLOCK_DIR);
        out[i] = (struct htree_new){.buf = buf, .lblock = (uint32_t)steps->appends[i].lblock};
        plan_hold_buf(plan, buf);
        dir->size += BLOCK_BYTES;
    }
    if (steps->append_count > 0 || steps->drop_index) {
        dir->d.size = dir->size;
        inode_dirty(dir, true);
    }
}

// Returns the leaf for the new name.
static struct buf *apply_make_index(struct inode *dir, struct add_steps *steps, const struct htree_new *blocks)
{
    struct dx_view root;
    leaf_split_apply(dir, &steps->split, blocks[0].buf, blocks[1].buf);
    steps->parted[0] = blocks[0].buf;
    steps->parted[1] = blocks[1].buf;
    dx_root_init(&dir->fs->geo, steps->leaf->bytes, blocks[0].lblock, &root);
    dx_insert(&root, 0, steps->split.hash, blocks[1].lblock);
    jrn_dirty(dir->fs->jrn, steps->leaf);
    dir->d.flags |= EXT4_INDEX_FL;
    return steps->split.new_goes_right ? blocks[1].buf : blocks[0].buf;
}

static struct buf *apply_split(struct inode *dir, struct add_steps *steps, const struct htree_new *blocks)
{
    struct htree *tree = &steps->tree;
    const struct htree_new *right = &blocks[steps->append_count - 1];
    htree_grow(dir, tree, blocks);

    struct htree_frame *last = &tree->frames[tree->last];
    leaf_split_apply(dir, &steps->split, steps->leaf, right->buf);
    steps->parted[0] = steps->leaf;
    steps->parted[1] = right->buf;
    dx_insert(&last->view, last->at, steps->split.hash, right->lblock);
    jrn_dirty(dir->fs->jrn, last->buf);
    return steps->split.new_goes_right ? right->buf : steps->leaf;
}

void dir_apply_add(struct plan *plan, struct inode *dir, struct dir_add *add, uint32_t ino, uint8_t file_type)
{
    const struct ext4_geo *geo = &dir->fs->geo;
    struct add_steps *steps = add->steps;
    struct htree_new blocks[ADD_BLOCKS_MAX];
    CHECK(steps != NULL);
    if (steps->drop_index)
        dir->d.flags &= ~(uint32_t)EXT4_INDEX_FL;
    append_blocks(plan, dir, steps, blocks);

    struct buf *leaf = steps->leaf;
    if (steps->kind == ADD_APPEND) {
        leaf = blocks[0].buf;
        dir_leaf_init(geo, leaf->bytes);
    } else if (steps->kind == ADD_MAKE_INDEX) {
        leaf = apply_make_index(dir, steps, blocks);
    } else if (steps->kind == ADD_SPLIT) {
        leaf = apply_split(dir, steps, blocks);
    }

    uint32_t offset = steps->offset;
    if (steps->kind != ADD_IN_PLACE)
        offset = dir_leaf_room(geo, leaf->bytes, dirent_size((uint32_t)add->name.len));
    CHECK(offset != DIR_NOT_FOUND);
    dir_leaf_put(geo, leaf->bytes, offset, &(struct dir_put){.name = add->name.bytes, .len = add->name.len, .ino = ino, .file_type = file_type});
    jrn_dirty(dir->fs->jrn, leaf);
}

void dir_apply_find(const struct dir_add *add, struct inode *dir, struct dir_name name, struct dir_entry *entry)
{
    const struct add_steps *steps = add->steps;
    if (!steps->parted[0] || entry->buf != steps->leaf)
        return;
    for (uint32_t i = 0; i < ARRAY_LEN(steps->parted); i++) {
        entry->buf = steps->parted[i];
        entry->offset = dir_leaf_find(&dir->fs->geo, entry->buf->bytes, name.bytes, name.len);
        if (entry->offset != DIR_NOT_FOUND)
            return;
    }
    CHECK(!"a split keeps every name");
}
