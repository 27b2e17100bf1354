// SPDX-License-Identifier: MIT
// fs_internal.h - what the files about the mount share among themselves.
#pragma once

#include "fs/fs.h"
#include "ondisk/super.h"

static inline struct ext4_super_raw *fs_super_raw(const struct fs *fs)
{
    return (struct ext4_super_raw *)(fs->super->bytes + EXT4_SUPER_OFFSET);
}

// Where the journal is: reads inode 8 and its map past the caches, since what stands there may be
// older than what the journal is about to replay. The runs are allocated, for the caller to free.
struct journal_place {
    struct jrn_run *runs;
    uint32_t run_count, run_capacity;
    uint64_t block_count;
};
YIELDS MUST_USE int journal_find(struct fs *fs, struct journal_place *out, struct err *err);

// One block past the caches, unverified.
YIELDS MUST_USE int fs_read_raw(struct fs *fs, uint64_t block, void *out);

// The volume is taken into use, given back (fs_super.c); 0 when that is on stable storage.
YIELDS MUST_USE int fs_super_take(struct fs *fs);
YIELDS MUST_USE int fs_super_give_back(struct fs *fs);
// Tells the next mount and e2fsck that the volume has errors. Once.
YIELDS void fs_super_record_error(struct fs *fs);
uint64_t fs_super_overhead(const struct fs *fs, uint64_t journal_blocks);

// Counters and orphan list into the superblock's buffer, with its checksum.
void fs_encode_super(struct fs *fs);

// --- guard.c: inodes and blocks in memory are what was last written there ----------------------------
// Called when a plan ends: what it and its predecessors have opened is sealed, if fs->seal_every says that it is time.
void guard_plan_ended(struct fs *fs);
void guard_seal_open(struct fs *fs);
// `d` is being changed; to be compared (at most once a millisecond); is about to be encoded.
void guard_open(struct inode *inode);
void guard_check(struct inode *inode);
void guard_check_now(struct inode *inode);
void guard_before_encode(struct inode *inode);
// The same of the descriptor of a group.
struct fs_group;
void guard_open_group(struct fs *fs, struct fs_group *group);
void guard_seal_group(struct fs_group *group);
void guard_check_group(const struct fs *fs, const struct fs_group *group);
// What the volume is: changed on purpose; about to be written into the superblock, with the counters.
void guard_seal_geo(struct fs *fs);
void guard_before_super(const struct fs *fs);

// Called when a plan ends that has changed something: the flusher looks after it.
void fs_flusher_hint(struct fs *fs);
YIELDS void fs_stop_flusher(struct fs *fs);
// Serialised jrn_checkpoint() that commits where that is in its way.
YIELDS MUST_USE int fs_checkpoint(struct fs *fs, uint64_t blocks);
