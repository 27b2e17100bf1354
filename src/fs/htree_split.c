// SPDX-License-Identifier: MIT
// htree_split.c - how a hash tree makes room: a full leaf parts by hash, a full node in the middle, a
// full root moves into a node of its own below it.
//
// What is decided and judged is done by the pass (leaf_split_plan, htree_growth); the apply half then
// moves bytes between blocks that it holds, and nothing in it can fail.
#include "fs/htree.h"

#include <string.h>

#include "base/check.h"
#include "base/log.h"

// --- leaves -----------------------------------------------------------------------------------------

// Equal hashes keep their order in the leaf, so that every run of the same history gives the same bytes.
static int by_hash(const void *a, const void *b)
{
    const struct leaf_name *one = a, *two = b;
    if (one->hash != two->hash)
        return one->hash < two->hash ? -1 : 1;
    return (int)one->offset - (int)two->offset;
}

static int collect_names(const struct plan *plan, const struct inode *dir, const struct htree *tree, const struct leaf_split_spec *spec, struct leaf_split *out)
{
    struct dir_walk walk = dir_walk_start(&dir->fs->geo, out->bytes);
    const struct ext4_dirent_raw *entry;
    while ((entry = dir_walk_next(&walk))) {
        if (le32(entry->ino) == 0 || walk.offset < spec->from)
            continue;
        struct dx_hash hash;
        struct dir_name name = {entry->name, entry->name_len};
        int rc = htree_hash(dir, tree, name, &hash);
        if (rc < 0)
            return rc;
        if (hash.major < (spec->range.lo & ~1u) || hash.major >= spec->range.hi)
            return dir_damaged(plan, dir, spec->lblock, "name in a leaf that is not its own");
        out->names[out->count++] = (struct leaf_name){
            .hash = hash.major, .offset = (uint16_t)walk.offset, .size = (uint16_t)dirent_size(entry->name_len)};
    }
    if (walk.why)
        return dir_damaged(plan, dir, spec->lblock, walk.why);
    return 0;
}

// As the kernel: the upper names move as long as they fill no more than half a block; when all of
// them fit in that, they part by number.
static uint32_t split_point(const struct leaf_split *split)
{
    uint32_t moved = 0, size = 0;
    while (moved < split->count) {
        uint32_t next = split->names[split->count - 1 - moved].size;
        if (size + next / 2 > BLOCK_BYTES / 2)
            break;
        size += next;
        moved++;
    }
    return moved + 1 < split->count ? split->count - moved : split->count / 2;
}

int leaf_split_plan(const struct plan *plan, const struct inode *dir, const struct htree *tree, const struct buf *leaf, const struct leaf_split_spec *spec, struct leaf_split *out)
{
    *out = (struct leaf_split){.bytes = xmalloc(BLOCK_BYTES),
                               .names = xcalloc(BLOCK_BYTES / EXT4_DIRENT_MIN, sizeof *out->names)};
    memcpy(out->bytes, leaf->bytes, BLOCK_BYTES);
    int rc = collect_names(plan, dir, tree, spec, out);
    if (rc < 0)
        return rc;
    // A leaf without room has at least seven names, as each leaves less than a name's room behind it.
    if (out->count < 2)
        return dir_damaged(plan, dir, spec->lblock, "leaf without names and without room");
    qsort(out->names, out->count, sizeof *out->names, by_hash);
    out->at = split_point(out);
    uint32_t hash = out->names[out->at].hash;
    out->hash = hash | (hash == out->names[out->at - 1].hash);
    out->new_goes_right = spec->new_hash.major >= hash;
    return 0;
}

void leaf_split_fini(struct leaf_split *split)
{
    free(split->bytes);
    free(split->names);
    *split = (struct leaf_split){0};
}

// Makes `to` a leaf of the names [first, first + count), packed, with all its room behind the last.
static void pack_leaf(const struct inode *dir, const struct leaf_split *split, uint32_t first, uint32_t count, struct buf *to)
{
    const struct ext4_geo *geo = &dir->fs->geo;
    dir_leaf_init(geo, to->bytes);
    uint32_t offset = 0;
    for (uint32_t i = first; i < first + count; i++) {
        const struct leaf_name *name = &split->names[i];
        bool is_last = i + 1 == first + count;
        struct ext4_dirent_raw *entry = dirent_at(to->bytes, offset);
        memcpy(entry, split->bytes + name->offset, name->size);
        entry->rec_len = to_le16((uint16_t)(is_last ? dir_leaf_end(geo) - offset : name->size));
        offset += name->size;
    }
}

void leaf_split_apply(const struct inode *dir, const struct leaf_split *split, struct buf *left, struct buf *right)
{
    pack_leaf(dir, split, 0, split->at, left);
    pack_leaf(dir, split, split->at, split->count - split->at, right);
    jrn_dirty(dir->fs->jrn, left);
    jrn_dirty(dir->fs->jrn, right);
}

// --- nodes ------------------------------------------------------------------------------------------

static bool frame_is_full(const struct htree_frame *frame)
{
    return frame->view.count >= frame->view.limit;
}

// The first level, from the root, below which every node is full; 0 when the root is full itself.
static uint32_t first_full_level(const struct htree *tree)
{
    uint32_t level = tree->last + 1;
    while (level > 0 && frame_is_full(&tree->frames[level - 1]))
        level--;
    return level;
}

int htree_growth(const struct inode *dir, const struct htree *tree, uint32_t *blocks)
{
    uint32_t full = first_full_level(tree);
    if (full > 0) {
        *blocks = tree->last + 1 - full;
        return 0;
    }
    if (tree->last >= dx_levels_max(&dir->fs->geo)) {
        log_warn("event=directory_full ino=%u levels=%u", dir->ino, tree->last);
        return -ENOSPC;
    }
    *blocks = tree->last + 1;       // the root's copy has room again; the nodes below it split
    return 0;
}

// All entries of the root move into a new node, to which its only entry then leads.
static void move_root_down(struct inode *dir, struct htree *tree, const struct htree_new *block)
{
    CHECK(tree->last + 1 < HTREE_FRAMES_MAX);
    struct htree_frame *root = &tree->frames[0];
    struct htree_frame node = {.buf = block->buf, .lblock = block->lblock, .at = root->at};
    dx_node_init(&dir->fs->geo, block->buf->bytes, 0, &node.view);
    dx_fill(&node.view, &root->view, 0, root->view.count);

    dx_truncate(&root->view, 1);
    dx_set_block(&root->view, 0, block->lblock);
    dx_root_set_levels(&root->view, (uint8_t)(tree->last + 1));
    root->at = 0;
    memmove(&tree->frames[2], &tree->frames[1], tree->last * sizeof tree->frames[0]);
    tree->frames[1] = node;
    tree->last++;
    jrn_dirty(dir->fs->jrn, root->buf);
    jrn_dirty(dir->fs->jrn, node.buf);
}

// The upper half of a full node moves into a new one; the path follows the entry it had taken.
static void split_node(struct inode *dir, struct htree *tree, uint32_t level, const struct htree_new *block)
{
    struct htree_frame *frame = &tree->frames[level], *above = &tree->frames[level - 1];
    uint32_t kept = frame->view.count / 2;
    uint32_t hash = dx_hash_at(&frame->view, kept);
    struct htree_frame right = {.buf = block->buf, .lblock = block->lblock};
    dx_node_init(&dir->fs->geo, block->buf->bytes, 0, &right.view);
    dx_fill(&right.view, &frame->view, kept, frame->view.count - kept);
    dx_truncate(&frame->view, kept);
    dx_insert(&above->view, above->at, hash, block->lblock);
    jrn_dirty(dir->fs->jrn, above->buf);
    jrn_dirty(dir->fs->jrn, frame->buf);
    jrn_dirty(dir->fs->jrn, right.buf);
    if (frame->at >= kept) {
        right.at = frame->at - kept;
        *frame = right;
        above->at++;
    }
}

void htree_grow(struct inode *dir, struct htree *tree, const struct htree_new *blocks)
{
    uint32_t level = first_full_level(tree);
    if (level == 0) {
        move_root_down(dir, tree, blocks++);
        level = 2;      // the copy of the root is node level 1, and has room
    }
    for (; level <= tree->last; level++)
        split_node(dir, tree, level, blocks++);
}
