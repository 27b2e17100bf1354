// SPDX-License-Identifier: MIT
// plan.h - the first half of every change: find, check, reserve; and the rule that makes it safe.
//
// A plan reads. It may wait for blocks, and while it waits the world changes; so plan_run() runs
// it again from its beginning until it went through *without waiting*. What that last pass saw is
// true when it returns, and the apply half that follows at once (it cannot wait) changes exactly
// what was seen. No locks, no unwinding. Everything a pass touched stays pinned until plan_end(),
// so the next pass finds it in memory and the loop ends.
//
//   struct plan plan;
//   plan_init(&plan, fs);
//   int rc = plan_run(&plan, my_plan, &args);      // YIELDS
//   if (rc == 0)
//       my_apply(&plan, &args);                    // cannot fail, cannot wait
//   plan_end(&plan);
#pragma once

#include "cache/buf.h"

struct fs;
struct inode;

// Blocks claimed so that a file's map can grow in the apply half; belong to one pass (map.c).
#define PLAN_SPARES_MAX 32u
struct plan_spares {
    uint64_t serial;                // of that pass; another pass starts with none
    uint32_t count, used;
    uint32_t edits;                 // changes of maps that the pass has planned so far
    uint64_t blocks[PLAN_SPARES_MAX];
};

// Most plans touch so little that they take no memory for it. Such a plan points into itself: never copy one.
#define PLAN_FEW_BUFS 12u
#define PLAN_FEW_INODES 6u

struct plan {
    struct fs *fs;
    struct buf **bufs;              // references, put by plan_end
    uint32_t buf_count, buf_capacity;
    struct inode **inodes;          // references, put by plan_end
    uint32_t inode_count, inode_capacity;
    struct claim *claims;           // blocks and inode numbers chosen but not yet used (alloc.h)
    uint32_t claim_count, claim_capacity;
    uint32_t credits;               // blocks that the apply half may dirty
    uint64_t serial;                // of the pass: what alloc has already counted for it
    uint64_t waits;                 // rt_waits() when the pass began
    bool privileged;                // may use the blocks reserved for root
    bool draws_reserve;             // may use the blocks kept back for write-back's metadata
    // Not cleared when a plan begins:
    struct plan_spares spares;
    struct buf *few_bufs[PLAN_FEW_BUFS];        // where bufs and inodes point at first
    struct inode *few_inodes[PLAN_FEW_INODES];
};

void plan_init(struct plan *plan, struct fs *fs);
void plan_end(struct plan *plan);       // also gives back claims that were not used

// Runs `pass` until it went through without waiting, then reserves plan->credits in the journal
// (committing or checkpointing first where it must, and running the pass again after that).
// Returns what the last pass returned; I/O errors and corruption end the loop at once. A pass may
// return -EAGAIN after having waited for a condition by itself: it is simply run again.
YIELDS MUST_USE int plan_run(struct plan *plan, int (*pass)(struct plan *plan, void *arg), void *arg);

// Has this pass given up the processor? Then what it read before and what it read after may never
// have been true together, and a contradiction between them proves no damage: it answers -EAGAIN.
bool plan_has_waited(const struct plan *plan);
// For passes. The buffer stays until plan_end(); does not count as a credit.
YIELDS MUST_USE int plan_buf(struct plan *plan, enum block_type type, const struct block_owner *owner, uint64_t block, struct buf **out);
YIELDS MUST_USE int plan_inode(struct plan *plan, uint32_t ino, struct inode **out);
// Hands a reference of the caller's over to the plan: put by plan_end().
void plan_hold_buf(struct plan *plan, struct buf *buf);
void plan_hold_inode(struct plan *plan, struct inode *inode);
// The apply half will dirty this inode (its table block) or this many more blocks.
void plan_will_dirty_inode(struct plan *plan, struct inode *inode);
void plan_credits(struct plan *plan, uint32_t blocks);
