// SPDX-License-Identifier: MIT
// journal_place.c - where the journal is: reads its inode and its map before anything is replayed.
//
// Everything is read past the caches and verified by hand: what the caches would keep may be older
// than what the journal is about to write. Trees are walked no deeper than the format allows, and
// no more blocks are gathered than the volume has.
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/page.h"
#include "fs/fs_internal.h"
#include "ondisk/extent.h"
#include "ondisk/group.h"
#include "ondisk/inode.h"
#include "ondisk/verify.h"

struct walk {
    struct fs *fs;
    struct journal_place *place;
    struct block_owner owner;
    const char *why;
};

int fs_read_raw(struct fs *fs, uint64_t block, void *out)
{
    struct block_owner nobody = {0};
    struct iovec iov = {.iov_base = out, .iov_len = BLOCK_BYTES};
    return data_read_blocks(fs->bufs, &nobody, block, &iov, 1);
}

// Adds [block, block+count) as the next blocks of the journal.
static int add_run(struct walk *walk, uint64_t lblock, uint64_t block, uint64_t count)
{
    struct journal_place *place = walk->place;
    uint64_t volume = walk->fs->geo.block_count;
    if (lblock != place->block_count) {
        walk->why = "it has a hole";
        return -EFSCORRUPTED;
    }
    if (block == 0 || block >= volume || count > volume - block || count > volume - place->block_count) {
        walk->why = "it lies outside the volume";
        return -EFSCORRUPTED;
    }
    place->block_count += count;
    struct jrn_run *last = place->run_count ? &place->runs[place->run_count - 1] : NULL;
    if (last && last->block + last->count == block) {
        last->count += count;
        return 0;
    }
    if (place->run_count == place->run_capacity) {
        place->run_capacity = place->run_capacity ? 2 * place->run_capacity : 8;
        place->runs = xrealloc(place->runs, place->run_capacity * sizeof *place->runs);
    }
    place->runs[place->run_count++] = (struct jrn_run){block, count};
    return 0;
}

// --- extents -------------------------------------------------------------------------------------

static YIELDS int walk_extents(struct walk *walk, void *node, uint32_t capacity, int depth);

static int add_leaf(struct walk *walk, void *node)
{
    const struct ext4_extent *entries = extent_entries(node);
    uint32_t count = le16(((struct ext4_extent_header *)node)->entries);
    for (uint32_t i = 0; i < count; i++) {
        int rc = add_run(walk, le32(entries[i].lblock), extent_block(&entries[i]), extent_len(&entries[i]));
        if (rc < 0)
            return rc;
    }
    return 0;
}

static YIELDS int walk_child(struct walk *walk, uint64_t block, int depth)
{
    struct fs *fs = walk->fs;
    AUTO_FREE void *child = xblocks(1);
    int rc = fs_read_raw(fs, block, child);
    if (rc < 0)
        return rc;
    rc = block_verify(&fs->geo, BLOCK_EXTENT, &walk->owner, block, child, &walk->why);
    return rc < 0 ? rc : walk_extents(walk, child, BLOCK_BYTES, depth);
}

// Recursion is bounded: extent_node_verify() holds every child to one level less.
static YIELDS int walk_extents(struct walk *walk, void *node, uint32_t capacity, int depth)
{
    int rc = extent_node_verify(&walk->fs->geo, node, capacity, depth, &walk->why);
    if (rc < 0)
        return rc;
    const struct ext4_extent_header *header = node;
    depth = le16(header->depth);
    if (depth == 0)
        return add_leaf(walk, node);
    const struct ext4_extent_index *indexes = extent_indexes(node);
    for (uint32_t i = 0; rc == 0 && i < le16(header->entries); i++)
        rc = walk_child(walk, extent_index_block(&indexes[i]), depth - 1);
    return rc;
}

// --- indirect blocks -------------------------------------------------------------------------------

// `level` 0: a block of the journal itself; 3: the treble indirect block.
static YIELDS int walk_indirect(struct walk *walk, uint64_t block, uint32_t level, uint64_t blocks_wanted)
{
    if (walk->place->block_count >= blocks_wanted)
        return 0;
    if (level == 0 || block == 0)
        return add_run(walk, walk->place->block_count, block, 1);
    if (block >= walk->fs->geo.block_count) {
        walk->why = "an indirect block lies outside the volume";
        return -EFSCORRUPTED;
    }
    AUTO_FREE struct le32 *children = xblocks(1);
    int rc = fs_read_raw(walk->fs, block, children);
    for (uint32_t i = 0; rc == 0 && i < BLOCK_BYTES / sizeof *children; i++)
        rc = walk_indirect(walk, le32(children[i]), level - 1, blocks_wanted);
    return rc;
}

static YIELDS int walk_old_map(struct walk *walk, const struct ext4_inode *inode)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < 15; i++) {
        struct le32 slot;
        memcpy(&slot, inode->block + 4 * i, sizeof slot);
        rc = walk_indirect(walk, le32(slot), i < 12 ? 0 : i - 11, inode->size / BLOCK_BYTES);
    }
    return rc;
}

// --- the inode ---------------------------------------------------------------------------------------

static YIELDS int read_group(struct fs *fs, uint32_t g, struct ext4_group *out, const char **why)
{
    AUTO_FREE uint8_t *bytes = xblocks(1);
    int rc = fs_read_raw(fs, group_desc_block(&fs->geo, g / fs->geo.desc_per_block), bytes);
    if (rc < 0)
        return rc;
    return group_decode(&fs->geo, g, bytes + (size_t)(g % fs->geo.desc_per_block) * fs->geo.desc_size, out, why);
}

static YIELDS int read_journal_inode(struct fs *fs, struct ext4_inode *out, const char **why)
{
    uint32_t ino = fs->geo.journal_ino, index = (ino - 1) % fs->geo.inodes_per_group;
    struct ext4_group group;
    int rc = read_group(fs, inode_group(&fs->geo, ino), &group, why);
    if (rc < 0)
        return rc;
    AUTO_FREE uint8_t *bytes = xblocks(1);
    rc = fs_read_raw(fs, group.inode_table + index / fs->geo.inodes_per_block, bytes);
    if (rc < 0)
        return rc;
    uint32_t offset = index % fs->geo.inodes_per_block * fs->geo.inode_size;
    return inode_decode(&fs->geo, ino, bytes + offset, out, why);
}

static YIELDS int find(struct walk *walk)
{
    struct fs *fs = walk->fs;
    struct ext4_inode inode;
    int rc = read_journal_inode(fs, &inode, &walk->why);
    if (rc < 0)
        return rc;
    walk->owner = (struct block_owner){.ino = fs->geo.journal_ino, .generation = inode.generation};
    if ((inode.mode & 0170000) != 0100000 || inode.nlink == 0 || inode.size > INT64_MAX) {
        walk->why = "its inode is not that of a file";
        rc = -EFSCORRUPTED;
    } else if (inode.flags & EXT4_EXTENTS_FL) {
        rc = walk_extents(walk, inode.block, EXT4_EXTENT_ROOT_BYTES, -1);
    } else {
        rc = walk_old_map(walk, &inode);
    }
    if (rc == 0 && walk->place->block_count < inode.size / BLOCK_BYTES) {
        walk->why = "it has fewer blocks than its size says";
        rc = -EFSCORRUPTED;
    }
    inode_fini(&inode);
    return rc;
}

int journal_find(struct fs *fs, struct journal_place *out, struct err *err)
{
    *out = (struct journal_place){0};
    struct walk walk = {.fs = fs, .place = out};
    int rc = find(&walk);
    if (rc == 0)
        return 0;
    const char *why = walk.why ? walk.why : "it cannot be read";
    log_error("event=journal_not_found ino=%u error=%d why=\"%s\"", fs->geo.journal_ino, rc, why);
    free(out->runs);
    *out = (struct journal_place){0};
    return err_set(err, -rc, "the journal cannot be found: %s (run e2fsck)", why);
}
