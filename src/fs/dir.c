// SPDX-License-Identifier: MIT
// dir.c - directories: finding a name, changing what it leads to, the first block, emptiness.
//
// A name is looked for in the hash tree where there is one (htree.c) and block by block where there is
// not. "." and ".." always stand at the start of block 0, in a leaf or in the root of the tree. Every
// block was verified when it was read; what only holds for a directory as a whole is verified here,
// where it is used.
#include "fs/dir.h"

#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/alloc.h"
#include "fs/htree.h"

uint64_t dir_block_count(const struct inode *dir)
{
    return dir->size >> BLOCK_SHIFT;
}

int dir_damaged(const struct plan *plan, const struct inode *dir, uint64_t lblock, const char *why)
{
    if (plan && plan_has_waited(plan))
        return -EAGAIN;
    log_error("event=damaged type=dir ino=%u lblock=%llu why=\"%s\"", dir->ino, (unsigned long long)lblock, why);
    return -EFSCORRUPTED;
}

int dir_block_get(struct plan *plan, struct inode *dir, uint64_t lblock, struct buf **out, uint64_t *hole)
{
    *out = NULL;
    // A directory larger than the volume would keep us walking for hours.
    if (dir_block_count(dir) > dir->fs->geo.block_count)
        return dir_damaged(plan, dir, lblock, "larger than the volume");
    struct map_run run;
    int rc = map_lookup(plan, dir, lblock, hole ? UINT32_MAX : 1, &run);
    if (rc < 0)
        return rc;
    if (run.state == MAP_HOLE) {
        if (hole)
            *hole = MAX(run.count, (uint64_t)1);
        return 0;
    }
    if (run.state != MAP_WRITTEN)
        return dir_damaged(plan, dir, lblock, "unwritten block");
    struct block_owner owner = {.ino = dir->ino, .generation = dir->d.generation, .lblock = lblock};
    rc = plan_buf(plan, BLOCK_DIR, &owner, run.block, out);
    // One block in two places of the tree of names, and a change of one would be a change of the other.
    if (rc == 0 && ((*out)->ref.owner.ino != dir->ino || (*out)->ref.owner.lblock != lblock))
        return dir_damaged(plan, dir, lblock, "block has two owners");
    return rc;
}

int dir_block_need(struct plan *plan, struct inode *dir, uint64_t lblock, struct buf **out)
{
    if (lblock >= dir_block_count(dir))
        return dir_damaged(plan, dir, lblock, "block behind the end");
    int rc = dir_block_get(plan, dir, lblock, out, NULL);
    if (rc == 0 && !*out)
        return dir_damaged(plan, dir, lblock, "hole");
    return rc;
}

bool dir_block_is_leaf(const struct inode *dir, const struct buf *buf)
{
    const struct ext4_geo *geo = &dir->fs->geo;
    return !geo->has_metadata_csum || dir_block_kind(geo, buf->bytes) == DIR_LEAF;
}

static bool dirent_is(const struct ext4_dirent_raw *entry, const char *name, size_t len)
{
    return entry->name_len == len && memcmp(entry->name, name, len) == 0;
}

int dir_dots(const struct plan *plan, const struct inode *dir, const struct buf *first, uint32_t *self_ino, uint32_t *parent_ino)
{
    const struct ext4_dirent_raw *self = dirent_at(first->bytes, 0);
    const struct ext4_dirent_raw *parent = dirent_at(first->bytes, DIR_DOTDOT_AT);
    if (le16(self->rec_len) != DIR_DOTDOT_AT || !dirent_is(self, ".", 1) || le32(self->ino) != dir->ino)
        return dir_damaged(plan, dir, 0, "no \".\" at the start");
    if (le16(parent->rec_len) < 12 || !dirent_is(parent, "..", 2) || le32(parent->ino) == 0)
        return dir_damaged(plan, dir, 0, "no \"..\" behind \".\"");
    *self_ino = le32(self->ino);
    *parent_ino = le32(parent->ino);
    return 0;
}

// --- looking up -----------------------------------------------------------------------------------

static int entry_found(const struct plan *plan, struct inode *dir, struct buf *buf, uint32_t offset, struct dir_entry *out)
{
    const struct ext4_geo *geo = &dir->fs->geo;
    const struct ext4_dirent_raw *raw = dirent_at(buf->bytes, offset);
    uint32_t ino = le32(raw->ino);
    if (ino > geo->inode_count || (ino < geo->first_ino && ino != EXT4_ROOT_INO))
        return dir_damaged(plan, dir, buf->ref.owner.lblock, "inode number out of range");
    uint8_t file_type = geo->has_filetype ? raw->file_type : EXT4_FT_UNKNOWN;
    *out = (struct dir_entry){.ino = ino, .file_type = file_type, .buf = buf, .offset = offset};
    return 0;
}

static int find_in_leaf(const struct plan *plan, struct inode *dir, struct buf *buf, struct dir_name name, struct dir_entry *out)
{
    uint32_t offset = dir_leaf_find(&dir->fs->geo, buf->bytes, name.bytes, name.len);
    if (offset == DIR_NOT_FOUND)
        return -ENOENT;
    return entry_found(plan, dir, buf, offset, out);
}

static bool is_dot_or_dotdot(struct dir_name name)
{
    return name.len >= 1 && name.len <= 2 && name.bytes[0] == '.' && name.bytes[name.len - 1] == '.';
}

static int find_dots(struct plan *plan, struct inode *dir, struct dir_name name, struct dir_entry *out)
{
    struct buf *first;
    uint32_t self_ino, parent_ino;
    int rc = dir_block_need(plan, dir, 0, &first);
    if (rc == 0)
        rc = dir_dots(plan, dir, first, &self_ino, &parent_ino);
    if (rc < 0)
        return rc;
    return entry_found(plan, dir, first, name.len == 1 ? 0 : DIR_DOTDOT_AT, out);
}

static int find_linear(struct plan *plan, struct inode *dir, struct dir_name name, struct dir_entry *out)
{
    uint64_t count = dir_block_count(dir);
    uint64_t hole = 0;
    for (uint64_t lblock = 0; lblock < count;) {
        struct buf *buf;
        int rc = dir_block_get(plan, dir, lblock, &buf, &hole);
        if (rc < 0)
            return rc;
        lblock += buf ? 1 : hole;
        if (!buf || !dir_block_is_leaf(dir, buf))
            continue;
        rc = find_in_leaf(plan, dir, buf, name, out);
        if (rc != -ENOENT)
            return rc;
    }
    return -ENOENT;
}

static int find_indexed(struct plan *plan, struct inode *dir, struct dir_name name, struct dir_entry *out)
{
    struct htree tree;
    struct dx_hash hash;
    int rc = htree_open(plan, dir, &tree);
    if (rc == HTREE_UNKNOWN)
        return find_linear(plan, dir, name, out);
    if (rc == 0)
        rc = htree_hash(dir, &tree, name, &hash);
    if (rc == 0)
        rc = htree_descend(plan, dir, hash.major, &tree);
    for (bool more = true; rc == 0;) {
        struct buf *leaf;
        rc = htree_leaf(plan, dir, &tree, &leaf);
        if (rc < 0)
            break;
        rc = find_in_leaf(plan, dir, leaf, name, out);
        if (rc != -ENOENT)
            break;
        if ((htree_range(&tree).hi & ~1ull) != hash.major)
            return -ENOENT;
        rc = htree_continue(plan, dir, &tree, &more);
        if (rc == 0 && !more)
            rc = -ENOENT;
    }
    return rc;
}

static int find(struct plan *plan, struct inode *dir, struct dir_name name, struct dir_entry *out)
{
    if (is_dot_or_dotdot(name))
        return find_dots(plan, dir, name, out);
    if (dir_is_indexed(dir))
        return find_indexed(plan, dir, name, out);
    return find_linear(plan, dir, name, out);
}

struct lookup_args {
    struct inode *dir;
    struct dir_name name;
    struct dir_entry *out;
};

static int lookup_pass(struct plan *plan, void *arg)
{
    struct lookup_args *args = arg;
    return find(plan, args->dir, args->name, args->out);
}

int dir_lookup(struct plan *plan, struct inode *dir, struct dir_name name, struct dir_entry *out)
{
    *out = (struct dir_entry){0};
    if (!inode_is_dir(dir))
        return -ENOTDIR;
    if (name.len > DIR_NAME_MAX)
        return -ENAMETOOLONG;
    if (dir_is_gone(dir))
        return -ENOENT;
    if (plan)
        return find(plan, dir, name, out);

    // While a block is read a split may move the name from a leaf not yet seen into one already seen;
    // so a lookup without a plan needs a pass that saw everything at one moment, too.
    struct plan own;
    struct lookup_args args = {.dir = dir, .name = name, .out = out};
    plan_init(&own, dir->fs);
    int rc = plan_run(&own, lookup_pass, &args);
    plan_end(&own);
    out->buf = NULL;
    return rc;
}

// --- changing an entry ----------------------------------------------------------------------------

void dir_plan_change(struct plan *plan, struct inode *dir, const struct dir_entry *entry)
{
    CHECK(entry->buf != NULL);
    plan_credits(plan, 1);
}

void dir_apply_remove(struct plan *plan, struct inode *dir, const struct dir_entry *entry)
{
    dir_leaf_remove(&dir->fs->geo, entry->buf->bytes, entry->offset);
    jrn_dirty(dir->fs->jrn, entry->buf);
}

void dir_apply_redirect(struct plan *plan, struct inode *dir, const struct dir_entry *entry, uint32_t ino, uint8_t file_type)
{
    struct ext4_dirent_raw *raw = dirent_at(entry->buf->bytes, entry->offset);
    raw->ino = to_le32(ino);
    if (dir->fs->geo.has_filetype)
        raw->file_type = file_type;
    jrn_dirty(dir->fs->jrn, entry->buf);
}

// --- the first block --------------------------------------------------------------------------------

int dir_plan_make(struct plan *plan, uint32_t parent_ino, uint64_t goal_hint, struct map_append *append)
{
    *append = (struct map_append){.lblock = 0};
    plan_credits(plan, 2);
    return alloc_claim_block(plan, goal_hint, &append->block);
}

void dir_apply_make(struct plan *plan, struct inode *dir, const struct map_append *append, uint32_t parent_ino)
{
    struct buf *first = map_apply_append(plan, dir, append, BLOCK_DIR);
    plan_hold_buf(plan, first);
    dir_first_init(&dir->fs->geo, first->bytes, dir->ino, parent_ino);
    jrn_dirty(dir->fs->jrn, first);
    dir->size = dir->d.size = BLOCK_BYTES;
    inode_dirty(dir, true);
}

int dir_plan_parent(struct plan *plan, struct inode *dir, uint32_t *parent_ino)
{
    struct buf *first;
    uint32_t self_ino;
    int rc = dir_block_need(plan, dir, 0, &first);
    if (rc == 0)
        rc = dir_dots(plan, dir, first, &self_ino, parent_ino);
    if (rc == 0)
        plan_credits(plan, 1);
    return rc;
}

void dir_apply_parent(struct plan *plan, struct inode *dir, uint32_t parent_ino)
{
    uint64_t waits = rt_waits(dir->fs->rt);
    struct buf *first = NULL;
    int rc = dir_block_need(plan, dir, 0, &first);
    CHECK(rc == 0);
    CHECK(rt_waits(dir->fs->rt) == waits);
    dirent_at(first->bytes, DIR_DOTDOT_AT)->ino = to_le32(parent_ino);
    jrn_dirty(dir->fs->jrn, first);
}

// --- emptiness --------------------------------------------------------------------------------------

static int leaf_is_empty(const struct plan *plan, const struct inode *dir, const struct buf *buf, uint64_t lblock, bool *empty)
{
    *empty = true;
    if (!dir_block_is_leaf(dir, buf))
        return 0;
    struct dir_walk walk = dir_walk_start(&dir->fs->geo, buf->bytes);
    const struct ext4_dirent_raw *entry;
    while ((entry = dir_walk_next(&walk))) {
        bool is_dots = lblock == 0 && walk.offset <= DIR_DOTDOT_AT;
        if (le32(entry->ino) != 0 && !is_dots) {
            *empty = false;
            return 0;
        }
    }
    return walk.why ? dir_damaged(plan, dir, lblock, walk.why) : 0;
}

int dir_is_empty(struct plan *plan, struct inode *dir, bool *empty)
{
    struct buf *first;
    uint32_t self_ino, parent_ino;
    *empty = false;
    int rc = dir_block_need(plan, dir, 0, &first);
    if (rc == 0)
        rc = dir_dots(plan, dir, first, &self_ino, &parent_ino);
    if (rc < 0)
        return rc;

    uint64_t count = dir_block_count(dir);
    uint64_t hole = 0;
    for (uint64_t lblock = 0; lblock < count;) {
        struct buf *buf;
        rc = dir_block_get(plan, dir, lblock, &buf, &hole);
        if (rc < 0)
            return rc;
        if (buf)
            rc = leaf_is_empty(plan, dir, buf, lblock, empty);
        if (rc < 0 || (buf && !*empty))
            return rc;
        lblock += buf ? 1 : hole;
    }
    *empty = true;
    return 0;
}

uint8_t dir_type_of_mode(uint16_t mode)
{
    switch (mode & 0170000) {
    case 0100000: return EXT4_FT_REG_FILE;
    case 0040000: return EXT4_FT_DIR;
    case 0020000: return EXT4_FT_CHRDEV;
    case 0060000: return EXT4_FT_BLKDEV;
    case 0010000: return EXT4_FT_FIFO;
    case 0140000: return EXT4_FT_SOCK;
    case 0120000: return EXT4_FT_SYMLINK;
    default: return EXT4_FT_UNKNOWN;
    }
}
