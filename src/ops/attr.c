// SPDX-License-Identifier: MIT
// attr.c - attributes of inodes as clients see them: filling, time stamps, link counts.
#include "ops/internal.h"

#include <string.h>

#include "rt/rt.h"

static struct ops_time to_ops_time(struct ext4_time time)
{
    return (struct ops_time){.sec = time.sec, .nsec = time.nsec};
}

static bool is_device(const struct inode *inode)
{
    uint16_t type = inode->d.mode & 0170000;
    return type == 0020000 || type == 0060000;
}

void op_fill_attr(const struct inode *inode, struct ops_attr *out)
{
    const struct ext4_inode *d = &inode->d;
    bool removed_dir = inode_is_dir(inode) && d->nlink == 0;

    *out = (struct ops_attr){
        .ino = inode->ino,
        .generation = d->generation,
        .size = removed_dir ? 0 : inode->size,
        .blocks = d->blocks + inode->delayed * (BLOCK_BYTES / 512),
        .atime = to_ops_time(d->atime),
        .mtime = to_ops_time(d->mtime),
        .ctime = to_ops_time(d->ctime),
        .btime = d->extra_isize ? to_ops_time(d->crtime) : (struct ops_time){0},     // no room for it in 128 bytes
        .mode = d->mode,
        .nlink = d->nlink,
        .uid = d->uid,
        .gid = d->gid,
        .flags = d->flags & EXT4_FL_USER_VISIBLE,
    };
    if (is_device(inode))
        inode_get_device(d, &out->rdev_major, &out->rdev_minor);
}

void op_stamp(struct inode *inode, struct ext4_time time, unsigned which)
{
    time = inode_clamp_time(&inode->d, time);
    if (which & OP_ATIME)
        inode->d.atime = time;
    if (which & OP_MTIME)
        inode->d.mtime = time;
    if (which & OP_CTIME)
        inode->d.ctime = time;
}

uint16_t op_kill_suidgid(uint16_t mode, bool keeps_plain_sgid)
{
    mode &= (uint16_t)~04000;
    // Without group execute the bit once meant mandatory locking.
    if (mode & 0010 || !keeps_plain_sgid)
        mode &= (uint16_t)~02000;
    return mode;
}

uint64_t op_size_max(const struct inode *inode)
{
    // Twelve direct blocks, then one, two and three levels of blocks of 1024 numbers.
    const uint64_t indirect_blocks = 12 + 1024 + 1024ull * 1024 + 1024ull * 1024 * 1024;

    if (inode->d.flags & EXT4_EXTENTS_FL)
        return (MAP_LBLOCK_MAX + 1) << BLOCK_SHIFT;
    return indirect_blocks << BLOCK_SHIFT;
}

// --- links of directories ---------------------------------------------------------------------

// A directory's count includes the ".." of each subdirectory. With dir_nlink an indexed directory
// may have more than can be counted: its count is then 1 and stays so.
static bool counts_may_overflow(const struct inode *dir)
{
    return dir->fs->geo.has_dir_index && (dir->d.flags & EXT4_INDEX_FL);
}

bool op_dir_is_full_of_links(const struct inode *dir)
{
    bool dir_nlink = dir->fs->geo.ro_compat & EXT4_RO_DIR_NLINK;
    return dir->d.nlink >= EXT4_LINK_MAX && !(dir_nlink && counts_may_overflow(dir));
}

void op_inc_dir_links(struct inode *dir)
{
    dir->d.nlink++;
    // 2 can only have been 1, the mark of an overflow, as a new directory starts with 2.
    if (counts_may_overflow(dir) && (dir->d.nlink > EXT4_LINK_MAX || dir->d.nlink == 2))
        dir->d.nlink = 1;
}

void op_dec_dir_links(struct inode *dir)
{
    if (dir->d.nlink > 2)
        dir->d.nlink--;
}

// --- the access time ----------------------------------------------------------------------------

struct accessed {
    struct op op;
    uint32_t ino;
    struct inode *inode;
    bool due;
};

static bool before_or_same(struct ext4_time a, struct ext4_time b)
{
    return a.sec != b.sec ? a.sec < b.sec : a.nsec <= b.nsec;
}

static bool atime_is_due(const struct fs *fs, const struct inode *inode, struct ext4_time now)
{
    const struct ext4_inode *d = &inode->d;

    now = inode_clamp_time(d, now);
    if (fs->config.atime == ATIME_NONE || fs_writable(fs) < 0 || (d->flags & EXT4_NOATIME_FL))
        return false;
    if (d->atime.sec == now.sec && d->atime.nsec == now.nsec)
        return false;
    if (fs->config.atime == ATIME_STRICT)
        return true;
    return before_or_same(d->atime, d->mtime) || before_or_same(d->atime, d->ctime) ||
           now.sec - d->atime.sec >= 24 * 3600;
}

// Plan: is it due? The answer is the last pass's own.
static int accessed_pass(struct plan *plan, void *arg)
{
    struct accessed *a = arg;

    a->op.now = op_now(&a->op);
    int rc = plan_inode(plan, a->ino, &a->inode);
    if (rc < 0)
        return rc;
    a->due = a->op.redo || atime_is_due(plan->fs, a->inode, a->op.now);
    if (a->due)
        plan_will_dirty_inode(plan, a->inode);
    return 0;
}

// Apply.
static void accessed_apply(struct accessed *a)
{
    op_stamp(a->inode, a->op.now, OP_ATIME);
    inode_dirty(a->inode, false);
    op_log(&a->op, &(struct plog_entry){.op = PLOG_ATIME, .target = {[PLOG_SELF] = op_target(a->inode)}},
           (struct ops_name){0}, NULL);
}

void op_accessed(struct ops *ops, uint32_t ino)
{
    struct accessed a = {.ino = ino};
    struct inode *inode = inode_peek(ops->fs, ino);
    bool due = inode && atime_is_due(ops->fs, inode, fs_now(ops->fs));

    inode_put(inode);
    if (!due)
        return;
    int rc = op_begin(&a.op, ops, OP_READS, 0);
    if (rc == 0 && ops->log && !plog_reserve(ops->log, &a.op.room, 1))
        rc = -EAGAIN;               // an access time is not worth a commit
    if (rc == 0)
        rc = op_plan(&a.op, accessed_pass, &a);
    if (rc == 0 && a.due)
        accessed_apply(&a);
    (void)!op_end(&a.op, rc);
}

int op_accessed_again(struct ops *ops, uint32_t ino)
{
    struct accessed a = {.ino = ino};

    int rc = op_begin(&a.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = op_plan(&a.op, accessed_pass, &a);
    if (rc == 0)
        accessed_apply(&a);
    return op_end(&a.op, rc);
}
