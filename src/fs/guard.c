// SPDX-License-Identifier: MIT
// guard.c - stray stores into inodes are found, and what operations open is sealed again.
//
// An inode in memory is the truth until a commit encodes it. Like a block in the buffer cache it carries the
// checksum of what it was when it was last changed on purpose: who changes it says inode_dirty(), which opens
// it; the end of the plan seals it. Before it is used (at most once a millisecond) and before it is encoded,
// fields and checksum are compared; then it must also make sense as an inode. Group descriptors likewise;
// bitmaps are counted against them. The superblock's counters must be the sums of its groups'.
#include "base/check.h"
#include "base/crc32c.h"
#include "fs/alloc.h"
#include "fs/fs_internal.h"
#include "fs/inode_internal.h"

static uint32_t checksum(const struct inode *inode)
{
    const struct ext4_inode *d = &inode->d;
    uint32_t crc = crc32c(~0u, d, offsetof(struct ext4_inode, body));
    return d->body ? crc32c(crc, d->body, d->body_size) : crc;
}

static void seal(struct inode *inode)
{
    list_remove(&inode->open_link);
    inode->seal = checksum(inode);
    inode->sealed = true;
    inode->checked_ns = rt_now_ns(inode->fs->rt);
}

void guard_open(struct inode *inode)
{
    inode->sealed = false;
    if (buf_cache_guards(inode->fs->bufs) && !list_linked(&inode->open_link))
        list_push_back(&inode->fs->open_inodes, &inode->open_link);
}

void guard_check_now(struct inode *inode)
{
    if (!inode->sealed)
        return;
    inode->checked_ns = rt_now_ns(inode->fs->rt);
    if (checksum(inode) != inode->seal)
        damage_found("what=inode inode=%u why=\"changed by nobody who may\"", inode->ino);
}

void guard_check(struct inode *inode)
{
    if (inode->sealed && rt_now_ns(inode->fs->rt) - inode->checked_ns >= BUF_CHECK_NS)
        guard_check_now(inode);
}

// An inode that is being deleted has neither type nor map any more.
static const char *what_is_wrong(const struct inode *inode)
{
    const struct ext4_inode *d = &inode->d;
    const char *why = d->mode && !inode->special && !inode->gone ? inode_judge(inode->fs, d) : NULL;
    if (why)
        return why;
    if (d->atime.nsec > 999999999 || d->mtime.nsec > 999999999 || d->ctime.nsec > 999999999 || d->crtime.nsec > 999999999)
        return "a time with more than a second of nanoseconds";
    if (d->nlink == 0 && d->dtime == 0 && d->mode && !list_linked(&inode->orphan_link) && !inode->gone && !inode->deleting && !inode->special)
        return "no links, but neither deleted nor among the orphans";
    if (inode->size < d->size)
        return "the disk's size is larger than the file's";
    return NULL;
}

void guard_before_encode(struct inode *inode)
{
    if (!buf_cache_guards(inode->fs->bufs))
        return;
    guard_check_now(inode);
    buf_check_now(inode->fs->bufs, inode->table);
    const char *why = what_is_wrong(inode);
    if (why)
        damage_found("what=inode inode=%u mode=%#o nlink=%u size=%llu why=\"%s\"", inode->ino, inode->d.mode, inode->d.nlink,
                     (unsigned long long)inode->size, why);
}

// --- groups -----------------------------------------------------------------------------------------

static uint32_t group_checksum(const struct fs_group *group)
{
    return crc32c(~0u, &group->desc, sizeof(group->desc));
}

void guard_seal_group(struct fs_group *group)
{
    list_remove(&group->open_link);
    group->seal = group_checksum(group);
    group->sealed = true;
}

void guard_open_group(struct fs *fs, struct fs_group *group)
{
    group->sealed = false;
    if (!list_linked(&group->open_link))
        list_push_back(&fs->open_groups, &group->open_link);
}

void guard_check_group(const struct fs *fs, const struct fs_group *group)
{
    if (group->sealed && buf_cache_guards(fs->bufs) && group_checksum(group) != group->seal)
        damage_found("what=group group=%u why=\"its descriptor was changed by nobody who may\"", (uint32_t)(group - fs->groups));
}

// --- the superblock -----------------------------------------------------------------------------------

static uint32_t geo_checksum(const struct fs *fs)
{
    return crc32c(~0u, &fs->geo, sizeof(fs->geo));
}

void guard_seal_geo(struct fs *fs)
{
    fs->geo_seal = geo_checksum(fs);
}

void guard_before_super(const struct fs *fs)
{
    if (!buf_cache_guards(fs->bufs))
        return;
    if (geo_checksum(fs) != fs->geo_seal)
        damage_found("what=super why=\"what the volume is was changed by nobody who may\"");
    uint64_t free_blocks = 0, free_inodes = 0;
    for (uint32_t g = 0; g < fs->geo.group_count; g++) {
        const struct fs_group *group = &fs->groups[g];
        free_blocks += group->bad ? 0 : group->desc.free_blocks;
        free_inodes += group->inodes_bad ? 0 : group->desc.free_inodes;
    }
    if (free_blocks != fs->free_blocks || free_inodes != fs->free_inodes)
        damage_found("what=super free_blocks=%llu of_groups=%llu free_inodes=%llu of_groups=%llu why=\"its counters are not its groups'\"",
                     (unsigned long long)fs->free_blocks, (unsigned long long)free_blocks,
                     (unsigned long long)fs->free_inodes, (unsigned long long)free_inodes);
}

// --- sealing ----------------------------------------------------------------------------------------

void guard_plan_ended(struct fs *fs)
{
    if (++fs->unsealed_plans >= fs->seal_every)
        guard_seal_open(fs);
}

void fs_seal_every(struct fs *fs, uint32_t plans)
{
    fs->seal_every = plans;
    guard_seal_open(fs);
}

void guard_seal_open(struct fs *fs)
{
    fs->unsealed_plans = 0;
    buf_seal_open(fs->bufs);
    while (!list_empty(&fs->open_inodes))
        seal(LIST_ENTRY(fs->open_inodes.next, struct inode, open_link));
    while (!list_empty(&fs->open_groups))
        guard_seal_group(LIST_ENTRY(fs->open_groups.next, struct fs_group, open_link));
}
