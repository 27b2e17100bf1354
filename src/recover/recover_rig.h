// SPDX-License-Identifier: MIT
// recover_rig.h - for tests: lives of a server on one volume, with a legacy that outlives each.
//
//   struct recover_rig rig;
//   recover_rig_init(&rig, &base);                   // a copy of base's disk, empty log and arena
//   recover_rig_live(&rig, body, arg, LIFE_CRASHES); // mount, body on a fibre, sudden death
//   recover_rig_live(&rig, body, arg, LIFE_ENDS);    // successor: mount, recover_run(), body, unmount
//   recover_rig_fini(&rig);
//
// A death loses everything but the disk (requests under way land in any order, or never were handed over), the page
// arena and the P-Log.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/fs_rig.h"
#include "ops/ops.h"
#include "plog/plog.h"
#include "recover/recover.h"

struct recover_rig {
    struct sim_disk *disk;
    struct prng chance;
    void *arena, *plog_memory;
    size_t plog_bytes;
    uint64_t page_count, sequence;
    struct recover_progress progress;
    uint64_t lives;
    bool flusher;                   // background write-back and commits
    uint64_t die_at;                // the next recovery dies at its so manieth redo; 0: never
    uint64_t commit_every;          // it commits before every so manieth redo; 0: only at need
    bool any_blocks;                // pictures without st_blocks: a map may take a block more or less when it is made again
    uint64_t recover_ns;            // processor time of the last recovery
    bool (*is_known)(void *arg, uint32_t ino);      // asked with the rig
    uint64_t probes;                // redos that the last recovery began
    uint64_t answers;               // entries with PLOG_ANSWER that it told of
    struct recover_stats stats;
    struct err err;

    // Of the life that goes on.
    struct rt *rt;
    struct fs *fs;
    struct ops *ops;
    struct plog plog;
    struct ops_caller caller;
    uint32_t held[32];              // inodes that somebody has open: they are looked at, too
    uint32_t held_count;
    void *arg;
};

typedef void recover_rig_body(struct recover_rig *rig);
enum life_end { LIFE_CRASHES, LIFE_ENDS };

void recover_rig_init(struct recover_rig *rig, const struct fs_rig *base);
void recover_rig_fini(struct recover_rig *rig);
// 0; 1 when it died in its recovery (die_at); or what recover_run() returned.
int recover_rig_live(struct recover_rig *rig, recover_rig_body *body, void *arg, enum life_end end);
void recover_rig_hold(struct recover_rig *rig, uint32_t ino);

// Everything that a client can see of the volume, as text to compare: freed by the caller.
char *recover_rig_picture(struct recover_rig *rig);
// Fails with the first line that differs.
void recover_rig_expect(const char *name, const char *before, const char *after);
