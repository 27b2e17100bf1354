// SPDX-License-Identifier: MIT
// inode.h - inodes in memory: the truth while they are there.
//
// Life of an inode: inode_get() finds it or reads its table block; code that holds a reference
// may look at it; an apply half changes it and calls inode_dirty(); the next fs_commit() encodes it
// into its table block, which stays referenced as long as the inode is in memory. Unreferenced
// inodes without dirty pages and not waiting for a commit are dropped, least recently used first.
// An inode whose last link went away lives on as an orphan (orphan.h) while the kernel or a
// client looks at it (`lookups`), then inode_delete() frees its blocks and its number.
#pragma once

#include "cache/page.h"
#include "fs/fs.h"
#include "fs/plan.h"
#include "ondisk/inode.h"

struct inode {
    struct hnode node;              // in fs->inodes
    struct fs *fs;
    uint32_t ino;
    uint32_t refs;
    struct buf *table;              // its inode-table block, referenced
    struct ext4_inode d;            // decoded. d.size is what the disk may say: only bytes already
                                    // written back; `size` is what applications see
    uint64_t size;
    uint64_t tid;                   // newest transaction that holds a change of it
    uint64_t datasync_tid;          // the same, of changes that fdatasync must not lose
    struct {
        uint64_t tid, disk, size;   // the newest transaction that says something of it; d.size and `size` as it does
    } logged;                       // tid 0: none since it was read
    bool dirty;                     // in fs->dirty_inodes
    bool fresh;                     // made since mount and never read from the disk
    bool deleting;                  // from when on nobody new may have it (inode_delete.c)
    bool doomed;                    // waits for the deleter fibre
    bool gone;                      // out of fs->inodes: its number may have a new owner
    bool special;                   // reserved: only the mount code may have it
    bool sealed;                    // `seal` is the checksum of `d` as it was last changed on purpose (guard.c)
    uint32_t seal;
    uint64_t checked_ns;
    struct list open_link;          // changed, to be sealed
    struct list lru, dirty_link, data_link, orphan_link;
    uint64_t lookups;               // how often the kernel was told of it and has not yet forgotten
    uint64_t dirtied_ns;            // when its oldest dirty page became so
    int write_error;                // of write-back, reported by the next fsync, once

    struct page_map pages;
    uint64_t delayed;               // dirty pages for which a block is promised
    uint64_t writeback_seq;         // moves whenever pages have become clean
    uint64_t unflushed_tid;         // data was written while this transaction was running: on stable
                                    // storage when that has committed, or after a flush. 0: none
    // The gate: reads and writes of data share it; truncation, punching and moving of extents
    // hold it alone, so that no block is freed while somebody reads or writes it.
    uint32_t gate_shared;
    bool gate_alone;
    uint32_t gate_wanted;           // fibres waiting to be alone: newcomers queue behind them
    bool writing_back;              // one write-back of an inode at a time
    struct waitq gate_wait;
};

// 0; -ESTALE when the number is out of range or the inode is free; -EFSCORRUPTED, -EFSBADCRC, -EIO.
YIELDS MUST_USE int inode_get(struct fs *fs, uint32_t ino, struct inode **out);
struct inode *inode_peek(struct fs *fs, uint32_t ino);      // referenced, or NULL if not in memory
struct inode *inode_ref(struct inode *inode);
void inode_put(struct inode *inode);                        // NULL is harmless

// Apply: `inode` was changed. datasync: a change that fdatasync must make durable too (size, map).
void inode_dirty(struct inode *inode, bool datasync);
// Apply: an inode for a claimed number, referenced, with times, generation and owner set, links 0,
// extents root empty (or none for symlinks and devices). The plan pinned its table block.
struct inode_new {
    uint32_t ino;
    uint16_t mode;
    uint32_t uid, gid;
    uint32_t flags;                 // inherited, of the parent
    uint32_t project;
    uint32_t generation;            // drawn by the plan (pinned: replay must give the same)
    uint32_t rdev_major, rdev_minor;
};
struct inode *inode_apply_new(struct plan *plan, const struct inode_new *spec);
YIELDS MUST_USE int inode_plan_new(struct plan *plan, uint32_t ino);    // pins, counts credits

// Frees an inode without links that nobody holds: its blocks, in as many transactions as it
// takes, its attribute block, its number. Takes the caller's reference, also when it fails (then
// the inode stays an orphan until the next mount). Waits until nobody else has it; one that meanwhile
// got a link or a lookup lives on.
YIELDS MUST_USE int inode_delete(struct inode *inode);
// The kernel forgot `count` of its lookups; when none is left and there is no link, it is deleted
// (in a fibre of its own).
void inode_forget(struct inode *inode, uint64_t count);

// The gate. Waiting for it counts as waiting (plan_run runs the pass again).
YIELDS void inode_gate_share(struct inode *inode);
void inode_gate_unshare(struct inode *inode);
YIELDS void inode_gate_alone(struct inode *inode);
void inode_gate_open(struct inode *inode);

// Used by fs_commit(): encodes every dirty inode into its table block and dirties that.
void inode_encode_all(struct fs *fs);
void inode_cache_trim(struct fs *fs);
void inode_cache_destroy(struct fs *fs);

static inline bool inode_is_dir(const struct inode *inode) { return (inode->d.mode & 0170000) == 0040000; }
static inline bool inode_is_reg(const struct inode *inode) { return (inode->d.mode & 0170000) == 0100000; }
static inline bool inode_is_symlink(const struct inode *inode) { return (inode->d.mode & 0170000) == 0120000; }
