// SPDX-License-Identifier: MIT
// alloc.h - which blocks and inode numbers are free: group descriptors, bitmaps, claims.
//
// A *claim* is a block range or an inode number that a plan has chosen: nobody else can choose
// it, but no bitmap on the disk knows. The apply half turns claims into use; unused claims go
// back. In memory every group that was ever asked has a map of what is busy: in use on the disk, or
// claimed, or freed by a transaction that has not committed (such a block must not be written
// over before the commit that frees it, or a crash would find the new owner's bytes in the old
// owner's file).
#pragma once

#include "fs/plan.h"
#include "ondisk/group.h"

struct inode;

struct fs_group {
    struct ext4_group desc;     // the truth; encoded into the descriptor block at commit
    uint8_t *busy;              // BLOCK_BYTES bytes, NULL until the group was first asked
    uint8_t *promised;          // of the claimed blocks those that fs->reserved_blocks counts; or NULL
    uint8_t *inode_busy;        // as `busy`, of the group's inode numbers
    struct buf *block_bitmap, *inode_bitmap;    // referenced as long as the maps above exist
    uint32_t free_claimable;    // clear bits in `busy`; valid once it is loaded
    uint32_t run_max;           // no free run in `busy` is longer than this
    uint32_t promised_count;
    uint32_t inodes_claimed;
    uint32_t holds;             // claimed or pending: while not 0 the maps stay in memory
    uint64_t block_serial, inode_serial;        // the pass that has counted our credits
    bool desc_dirty;            // in fs's running transaction, to be encoded
    bool blocks_dirty, inodes_dirty;            // the bitmap's checksum is to be made anew
    bool bad;                   // its bitmap is damaged: skipped, never allocated from
    bool inodes_bad;
    bool padded, inodes_padded; // behind the last block or inode the bitmaps are all ones, as they should be
    struct list dirty_link;
    bool sealed;                // `seal` is the checksum of `desc` as it was last changed on purpose (guard.c)
    uint32_t seal;
    struct list open_link;
};

struct claim {
    enum { CLAIM_BLOCKS, CLAIM_INODE } kind;
    uint64_t first;             // block, or inode number
    uint32_t count;
};

// --- promises to dirty pages (delayed allocation) --------------------------------------------
// ENOSPC is found here, when the data is accepted; never later. `blocks` of data; the share of
// metadata to map them comes from the reserve pool that alloc keeps back (as the kernel's
// s_resv_clusters: 2 % of the volume, 4096 blocks at most).
MUST_USE int alloc_reserve(struct fs *fs, uint64_t blocks, bool privileged);
void alloc_unreserve(struct fs *fs, uint64_t blocks);
// The same for pages of a predecessor, to which it had promised the blocks: not refused.
void alloc_reserve_again(struct fs *fs, uint64_t blocks);

// --- claims, in a plan's pass ------------------------------------------------------------------
// One block for metadata, as near `goal` as can be. Counts its credits (bitmap, descriptor).
YIELDS MUST_USE int alloc_claim_block(struct plan *plan, uint64_t goal, uint64_t *block);
// A run of up to `want` blocks for data, contiguous, at `goal` if that is free, else the best run
// near it. from_reservation: alloc_reserve() has promised them, and each claimed block takes one
// promise when it is used. -ENOSPC only without a promise.
YIELDS MUST_USE int alloc_claim_run(struct plan *plan, uint64_t goal, uint32_t want, bool from_reservation, uint64_t *block, uint32_t *got);
// An inode number: directories are spread (Orlov), others stay near their parent's group.
YIELDS MUST_USE int alloc_claim_inode(struct plan *plan, const struct inode *parent, uint16_t mode, uint32_t *ino);

// This very number (a replayed operation): -EEXIST when it is in use or claimed.
YIELDS MUST_USE int alloc_claim_this_inode(struct plan *plan, uint32_t ino);

// Claims that outlive their plan, while data is being written (data.c). The taker gives them back
// by alloc_release() or uses them in a later plan after alloc_adopt().
void alloc_keep(struct plan *plan, uint64_t block, uint32_t count);      // the plan forgets the claim
void alloc_release(struct fs *fs, uint64_t block, uint32_t count);
YIELDS MUST_USE int alloc_plan_use(struct plan *plan, uint64_t block, uint32_t count); // pins bitmaps, counts credits, for kept claims

// --- apply -----------------------------------------------------------------------------------
// Marks claimed blocks used in the bitmap and counts them. The claim is gone from the plan.
// `promised` of them were reserved.
void alloc_apply_use(struct plan *plan, uint64_t block, uint32_t count, uint32_t promised);
void alloc_apply_use_inode(struct plan *plan, uint32_t ino, bool is_dir);

// Freeing: the pass pins the bitmaps of the groups (and counts credits), apply clears the bits.
// Metadata blocks and blocks logged by journal=data are revoked too.
YIELDS MUST_USE int alloc_plan_free(struct plan *plan, uint64_t block, uint64_t count);
void alloc_apply_free(struct plan *plan, uint64_t block, uint64_t count, bool revoke);
YIELDS MUST_USE int alloc_plan_free_inode(struct plan *plan, uint32_t ino);
void alloc_apply_free_inode(struct plan *plan, uint32_t ino, bool is_dir);

// Used by fs_commit(): before the copy is taken, and when `tid` has committed.
void alloc_encode(struct fs *fs);
void alloc_committed(struct fs *fs, uint64_t tid);
// Used by fs_mount() and fs_destroy().
YIELDS MUST_USE int alloc_load(struct fs *fs, struct err *err);
void alloc_unload(struct fs *fs);
// FITRIM over [first, first+count) blocks, ranges of at least `min` blocks; adds up in *trimmed.
YIELDS MUST_USE int alloc_trim(struct fs *fs, uint64_t first, uint64_t count, uint64_t min, uint64_t *trimmed);
// Is every block of the range inside the volume and no part of its fixed metadata (superblocks,
// descriptors, bitmaps, inode tables)? What an extent points at is checked by this.
bool alloc_is_data_range(const struct fs *fs, uint64_t block, uint64_t count);
