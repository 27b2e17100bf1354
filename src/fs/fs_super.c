// SPDX-License-Identifier: MIT
// fs_super.c - the superblock while it is mounted: in use, its counters, errors, statfs.
//
// Outside of transactions it is written in place at three moments only: when the volume is taken into
// use (before the first transaction), when it is given back (after the last), and when an
// abort is recorded. As in the kernel the valid flag stays set meanwhile: with a journal,
// needs_recovery alone says that the volume is in use.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/page.h"
#include "fs/alloc_internal.h"
#include "fs/fs_internal.h"
#include "fs/inode.h"
#include "ondisk/inode.h"

static uint64_t wall_seconds(struct fs *fs)
{
    struct timespec now;
    rt_wall_clock(fs->rt, &now);
    return (uint64_t)now.tv_sec;
}

struct ext4_time fs_now(struct fs *fs)
{
    struct timespec now;
    rt_wall_clock(fs->rt, &now);
    return (struct ext4_time){.sec = now.tv_sec, .nsec = (uint32_t)now.tv_nsec};
}

void fs_dirty_super(struct fs *fs)
{
    jrn_join(fs->jrn, fs->super);
    fs->super_dirty = true;
}

void fs_note_error(struct fs *fs)
{
    fs->has_errors = true;
}

static void mark_error(struct fs *fs, struct ext4_super_raw *raw)
{
    uint64_t now = wall_seconds(fs);
    raw->state = to_le16(le16(raw->state) | EXT4_STATE_ERROR);
    raw->last_error_time = to_le32((uint32_t)now);
    raw->last_error_time_hi = (uint8_t)(now >> 32);
    if (le32(raw->error_count) == 0) {
        raw->first_error_time = raw->last_error_time;
        raw->first_error_time_hi = raw->last_error_time_hi;
    }
    raw->error_count = to_le32(le32(raw->error_count) + 1);
}

void fs_encode_super(struct fs *fs)
{
    struct ext4_super_raw *raw = fs_super_raw(fs);
    uint64_t now = wall_seconds(fs);
    uint32_t first_orphan = 0;
    guard_before_super(fs);
    buf_check_now(fs->bufs, fs->super);
    buf_open(fs->bufs, fs->super);
    if (!list_empty(&fs->orphans))
        first_orphan = LIST_ENTRY(fs->orphans.next, struct inode, orphan_link)->ino;
    raw->last_orphan = to_le32(first_orphan);
    raw->free_blocks_count_lo = to_le32((uint32_t)fs->free_blocks);
    if (fs->geo.has_64bit)
        raw->free_blocks_count_hi = to_le32((uint32_t)(fs->free_blocks >> 32));
    raw->free_inodes_count = to_le32((uint32_t)fs->free_inodes);
    raw->wtime = to_le32((uint32_t)now);
    raw->wtime_hi = (uint8_t)(now >> 32);
    if (fs->has_errors && !(le16(raw->state) & EXT4_STATE_ERROR))
        mark_error(fs, raw);
    super_seal(&fs->geo, raw);
    fs->super_dirty = false;
}

// In place, at once, stable.
static YIELDS int write_now(struct fs *fs)
{
    super_seal(&fs->geo, fs_super_raw(fs));
    buf_seal(fs->bufs, fs->super);
    int rc = buf_write_home(fs->bufs, fs->super);
    return rc < 0 ? rc : data_flush(fs->bufs);
}

int fs_super_take(struct fs *fs)
{
    struct ext4_super_raw *raw = fs_super_raw(fs);
    uint64_t now = wall_seconds(fs);
    raw->mnt_count = to_le16((uint16_t)(le16(raw->mnt_count) + 1));
    raw->mtime = to_le32((uint32_t)now);
    raw->mtime_hi = (uint8_t)(now >> 32);
    raw->wtime = raw->mtime;
    raw->wtime_hi = raw->mtime_hi;
    fs->geo.incompat |= EXT4_INCOMPAT_RECOVER;
    guard_seal_geo(fs);
    raw->feature_incompat = to_le32(fs->geo.incompat);
    if (fs->has_errors && !(le16(raw->state) & EXT4_STATE_ERROR))
        mark_error(fs, raw);
    return write_now(fs);
}

int fs_super_give_back(struct fs *fs)
{
    struct ext4_super_raw *raw = fs_super_raw(fs);
    fs_encode_super(fs);
    fs->geo.incompat &= ~(uint32_t)EXT4_INCOMPAT_RECOVER;
    guard_seal_geo(fs);
    raw->feature_incompat = to_le32(fs->geo.incompat);
    return write_now(fs);
}

// The buffer in memory may hold what never committed, so the flag goes into what the disk has.
void fs_super_record_error(struct fs *fs)
{
    if (!fs->broken || fs->error_recorded || fs->read_only || fs->shut_down)
        return;
    fs->error_recorded = true;
    AUTO_FREE uint8_t *bytes = xblocks(1);
    struct ext4_super_raw *raw = (struct ext4_super_raw *)(bytes + EXT4_SUPER_OFFSET);
    int rc = fs_read_raw(fs, 0, bytes);
    if (rc == 0 && le16(raw->magic) == EXT4_MAGIC) {
        mark_error(fs, raw);
        super_seal(&fs->geo, raw);
        struct block_owner nobody = {0};
        struct iovec iov = {.iov_base = bytes, .iov_len = BLOCK_BYTES};
        rc = data_write_blocks(fs->bufs, &nobody, 0, &iov, 1);
        if (rc == 0)
            rc = data_flush(fs->bufs);
    }
    if (rc < 0)
        log_error("event=error_not_recorded error=%d", rc);
}

// --- statfs ----------------------------------------------------------------------------------------

// What the volume itself takes: as mke2fs has noted it, else counted like the kernel, which leaves
// the blocks reserved for growing the descriptors out.
uint64_t fs_super_overhead(const struct fs *fs, uint64_t journal_blocks)
{
    const struct ext4_geo *geo = &fs->geo;
    uint64_t noted = le32(fs_super_raw(fs)->overhead_blocks);
    if (noted > 0 && noted < geo->block_count)
        return noted;
    uint64_t blocks = journal_blocks;
    for (uint32_t g = 0; g < geo->group_count; g++) {
        uint32_t base = group_overhead(geo, g);
        base -= MIN(base, group_has_super(geo, g) ? geo->reserved_gdt_blocks : 0);
        blocks += base + 2 + geo->itable_blocks;
    }
    return MIN(blocks, geo->block_count);
}

void fs_statfs(const struct fs *fs, struct fs_statfs *out)
{
    uint64_t taken = fs->reserved_blocks + fs->claimed_blocks;
    uint64_t kept = fs->geo.reserved_blocks + alloc_metadata_pool(fs);
    *out = (struct fs_statfs){
        .blocks = fs->geo.block_count - fs->overhead_blocks,
        .blocks_free = fs->free_blocks > taken ? fs->free_blocks - taken : 0,
        .inodes = fs->geo.inode_count,
        .inodes_free = fs->free_inodes > fs->claimed_inodes ? fs->free_inodes - fs->claimed_inodes : 0,
    };
    out->blocks_available = out->blocks_free > kept ? out->blocks_free - kept : 0;
    memcpy(out->uuid, fs->geo.uuid, sizeof out->uuid);
}
