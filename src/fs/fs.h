// SPDX-License-Identifier: MIT
// fs.h - a mounted ext4 volume: superblock, mount and unmount, commit, counters.
//
// One struct fs belongs to one worker. Its members are for the files of this folder; ops uses the
// functions here and in the other headers of fs.
#pragma once

#include "base/err.h"
#include "base/htable.h"
#include "base/list.h"
#include "cache/buf.h"
#include "cache/page.h"
#include "journal/journal.h"
#include "ondisk/super.h"
#include "rt/rt.h"

struct fs_group;
struct inode;
struct system_zone;

struct fs_config {
    struct rt *rt;
    struct shepherd *shep;
    struct buf_cache *bufs;
    struct page_pool *pages;
    bool read_only;
    bool journal_data;          // journal=data
    bool successor;             // only our predecessor died, not the power: its journal is adopted, not replayed
    bool landed;                // of a successor: the predecessor's last writes succeeded, so its commit blocks are stable
    uint64_t committed_hint;    // of a successor: a transaction that the predecessor knew to be committed, or 0
    // Told how far the disk had come (jrn_recovered_tid) before anything is written to it. May be NULL.
    void (*recovered)(void *arg, uint64_t tid);
    void *recovered_arg;
    bool keep_orphans;          // a kernel mount outlived our predecessor: its unlinked inodes may be open
    uint32_t commit_interval_ms;// 0: 5000
    enum { ATIME_RELATIME, ATIME_STRICT, ATIME_NONE } atime;
};

struct fs {
    struct fs_config config;
    struct rt *rt;
    struct buf_cache *bufs;
    struct page_pool *pages;
    struct journal *jrn;
    struct ext4_geo geo;
    struct buf *super;              // block 0, held for the life of the mount
    bool read_only;
    bool shut_down;                 // the shutdown ioctl: every operation answers EIO
    int broken;                     // negative errno after an abort: the volume is read-only

    struct fs_group *groups;        // geo.group_count of them (alloc.h)
    uint64_t free_blocks;           // by the group descriptors in memory
    uint64_t claimed_blocks;        // chosen, not yet in any bitmap
    uint64_t reserved_blocks;       // promised to dirty pages (delayed allocation)
    uint64_t free_inodes, used_dirs;
    uint64_t claimed_inodes;
    uint64_t pending_blocks;        // on pending_frees
    struct list pending_frees;      // freed blocks that may be used again when their tid commits
    struct buf **desc_bufs;         // geo.gdt_blocks of them, held for the life of the mount
    struct list dirty_groups;       // to be encoded by the next commit
    struct system_zone *zones;      // fixed metadata, sorted, merged (alloc_zone.c)
    uint32_t zone_count;
    uint64_t overhead_blocks;       // what statfs does not count
    uint32_t dir_rotor;             // where the next top-level directory looks first
    uint32_t loaded_groups, loaded_groups_max, unload_rotor;    // groups with maps in memory
    uint32_t trims;                 // free runs that a trim holds at the moment
    struct waitq trim_turn;
    uint64_t plan_serial;

    struct htable inodes;           // in memory, by number (inode.h)
    struct list inode_lru;          // unreferenced and clean, oldest first
    uint64_t inode_limit;
    struct list dirty_inodes;       // to be encoded by the next commit
    struct list dirty_data;         // inodes with dirty pages, oldest first
    struct list orphans;            // in memory all orphans, newest first, as on the disk (orphan.h)
    struct list doomed;             // inodes that wait for the deleter fibre (by their lru link)
    uint32_t deleters;              // deleter fibres that run
    struct waitq deleters_done;

    bool super_dirty;               // fs->super is in the running transaction, to be encoded
    bool has_errors;                // damage was met: the superblock will say so when it is written
    bool error_recorded;            // in the superblock, after an abort
    bool committing;                // fs_commit() is past its encode step
    struct waitq commit_done;
    bool checkpointing;
    struct waitq checkpoint_done;
    struct waitq writeback_done;    // a page became clean
    int write_error;                // of write-back, whoever asked for it, reported by the next sync, once
    struct waitq flusher_wake;
    bool flusher_running, flusher_stop;
    bool flusher_dozing;            // it waits without a deadline: nothing was dirty
    bool flusher_urged;             // woken before its time: memory or log runs short
    struct waitq flusher_idle;      // it has ended
    struct list open_inodes, open_groups;       // changed and not yet sealed (guard.c)
    uint32_t seal_every, unsealed_plans;        // plans; a replay changes few blocks very often
    uint32_t geo_seal;              // checksum of `geo`
    struct { uint64_t commits, journal_blocks, writeback_pages; } stats;
};

// Reads the superblock (bytes 1024..2047), verifies it, refuses what is not supported with a
// sentence, replays the journal (or adopts it), loads the group descriptors, deals with orphans, and marks the
// volume as in use (needs_recovery). Waits for the disk.
YIELDS MUST_USE int fs_mount(const struct fs_config *config, struct fs **out, struct err *err);
// Writes back, commits, checkpoints, deletes orphans that nobody holds, marks the volume clean,
// frees everything. An error means that the volume was left to recovery.
YIELDS MUST_USE int fs_unmount(struct fs *fs);
// Frees it without I/O (the power is gone, or the mount failed).
void fs_destroy(struct fs *fs);
// Starts the fibre that writes back old dirty pages, commits at the latest every commit interval
// and checkpoints in good time; fs_unmount() ends it.
void fs_start_flusher(struct fs *fs);

// What must hold before any change: 0, -EROFS (read-only, aborted) or -EIO (shut down).
MUST_USE int fs_writable(const struct fs *fs);
// What plans have changed is sealed against stray stores after every so manieth plan; 1 from the beginning.
void fs_seal_every(struct fs *fs, uint32_t plans);
// Corruption or failure of the journal: the volume is read-only from here on. Logged loudly.
void fs_abort(struct fs *fs, int error, const char *why);

// Damage was met that does not stop the volume: it is marked for e2fsck with the next superblock.
void fs_note_error(struct fs *fs);

// Encodes dirty inodes, group descriptors and the superblock into their buffers and commits; when
// it returns 0, everything applied before the call is on stable storage (data that was written
// back included, dirty pages not). Freed blocks become usable again.
YIELDS MUST_USE int fs_commit(struct fs *fs);
// Makes room in the journal or the page pool, by committing, checkpointing, writing back.
YIELDS MUST_USE int fs_make_room(struct fs *fs, uint32_t credits);
// Writes back every dirty page, commits, flushes.
YIELDS MUST_USE int fs_write_all(struct fs *fs);
// The same on behalf of an application, who is also told of a write-back that failed before.
YIELDS MUST_USE int fs_sync(struct fs *fs);

struct fs_statfs {
    uint64_t blocks, blocks_free, blocks_available, inodes, inodes_free;
    uint8_t uuid[16];
};
void fs_statfs(const struct fs *fs, struct fs_statfs *out);     // as ext4's statfs (minixdf off)

// Apply: the superblock's counters or orphan list will change; counts on one credit of the plan.
void fs_dirty_super(struct fs *fs);

// What time it is for time stamps, in the resolution of the inode at hand.
struct ext4_time;
struct ext4_time fs_now(struct fs *fs);
