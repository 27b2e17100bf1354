// SPDX-License-Identifier: MIT
// fs_rig.h - for tests: a volume made by the real mke2fs, mounted in the simulator, judged by e2fsck.
//
//   struct fs_rig rig;
//   fs_rig_init(&rig, &(struct fs_rig_options){.mke2fs = "-O ^extent", .blocks = 16384});
//   fs_rig_run(&rig, body, &arg);      // mount; body(&rig, arg) on a fibre; unmount
//   fs_rig_fsck(&rig);                 // e2fsck -fn must find nothing
//   fs_rig_fini(&rig);
//
// A test is skipped where e2fsprogs is not installed. Body may use cmocka's assertions.
#pragma once

#include "base/types.h"
#include "dev/sim.h"
#include "fs/fs.h"

struct fs_rig_options {
    const char *mke2fs;         // more options for mke2fs -t ext4 -b 4096, or NULL
    const char *debugfs;        // commands for debugfs -w, one a line, before the disk is loaded; or NULL
    uint64_t blocks;            // of the volume; 0: 16384 (64 MiB)
    uint64_t seed;              // of the simulator; 0: 1
    uint64_t pages;             // of the page pool; 0: 4096 (16 MiB)
    uint64_t buf_bytes;         // of the buffer cache; 0: 8 MiB
    bool garbage;               // the disk holds junk where mke2fs writes nothing
    bool read_only, journal_data, keep_orphans, no_flusher, disk_read_only;
    bool fast_disk;             // 1 us a request, in place of 20 us to 500 us
};

struct fs_rig {
    struct fs_rig_options options;      // may be changed between two mounts (not the first four)
    char image[64];             // the file that mke2fs and e2fsck see
    struct sim_disk *disk;
    struct rt *rt;
    struct dev *sim, *dev;      // dev: a fault filter (dev/fault.h) on sim
    struct shepherd *shep;
    struct buf_cache *bufs;
    void *arena;
    bool inherits;              // the arena is a dead process's, whose successor mounts next
    struct page_pool *pages;
    struct fs *fs;              // while it is mounted
    struct err err;             // of the last mount
    uint64_t mounts;            // so far; each has a seed of its own
};

typedef void fs_rig_body(struct fs_rig *rig, void *arg);

void fs_rig_init(struct fs_rig *rig, const struct fs_rig_options *options);
void fs_rig_fini(struct fs_rig *rig);

// Mounts, runs body, unmounts; both must succeed.
void fs_rig_run(struct fs_rig *rig, fs_rig_body *body, void *arg);
// As fs_rig_run(), but the mount must be refused: returns its error, rig->err has the sentence.
int fs_rig_refused(struct fs_rig *rig);
// As fs_rig_run(), but the process stops after body as if killed: nothing more is written.
void fs_rig_run_killed(struct fs_rig *rig, fs_rig_body *body, void *arg);
// As fs_rig_run_killed(), but the power stays: the next mount is a successor's, which adopts journal and pages. Its
// body gives the pages back (data_adopt_busy). No flusher runs in a successor.
void fs_rig_run_crashed(struct fs_rig *rig, fs_rig_body *body, void *arg);
// As fs_rig_run(), but the power fails when the nth write, flush or discard begins. True when it
// did; false when all went through before. Afterwards the disk holds what survived.
bool fs_rig_run_cut(struct fs_rig *rig, uint64_t nth, fs_rig_body *body, void *arg);
// Body runs on a fibre without a mount; rig->bufs and the rest are there.
void fs_rig_run_raw(struct fs_rig *rig, fs_rig_body *body, void *arg);
// Writes, flushes and discards so far: the difference of two says what lay between.
uint64_t fs_rig_steps(const struct fs_rig *rig);

// Saves the disk into rig->image; e2fsck -fn must call it clean.
void fs_rig_fsck(struct fs_rig *rig);
// Runs a debugfs command on the saved image; what it prints is for the caller to free.
char *fs_rig_debugfs(struct fs_rig *rig, const char *command);
