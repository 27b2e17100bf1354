// SPDX-License-Identifier: MIT
// journal_rig.h - a journal that mke2fs made, on a disk in memory: what this folder's tests share.
#pragma once

#include "cache/buf.h"
#include "dev/dev.h"
#include "dev/sim.h"
#include "journal/journal.h"
#include "ondisk/jbd2.h"
#include "ondisk/super.h"
#include "rt/rt_sim.h"

// The tests' own blocks: mke2fs leaves the end of such a volume free.
#define RIG_BLOCKS 4096u
#define RIG_HOME 3000u
#define RIG_HOME_COUNT 256u

struct jrig {
    struct rt *rt;
    struct sim_disk *disk;          // the test's
    struct dev *home, *trace, *dev; // sim, trace on it, fault on that
    struct shepherd *shep;
    struct buf_cache *cache;
    struct journal *jrn;
    struct ext4_geo geo;
    struct jrn_run runs[8];
    uint32_t run_count;
    struct err err;
    int rc;
    void *arg;
};

// A volume by mke2fs with these features ("" for the default), its journal 4 MiB.
struct sim_disk *rig_mkfs(const char *features);
// Reads superblock and journal inode from the disk, then builds everything up to the cache.
void rig_init(struct jrig *rig, struct sim_disk *disk, uint64_t seed);
// Frees all but the disk. The journal is destroyed without I/O if it is still there.
void rig_fini(struct jrig *rig);
// After a power cut: abandons what ran and decides the disk's fate.
void rig_power_cut(struct jrig *rig, uint64_t chance);
// Runs fn(rig) on a fibre until nothing is left to run; returns what rt_run() said.
int rig_run(struct jrig *rig, void (*fn)(void *rig));
// Opens and, where needed, recovers; on the fibre. The first error, with rig->err.
YIELDS int rig_open(struct jrig *rig);
YIELDS int rig_open_as(struct jrig *rig, const struct jrn_config *config);
struct jrn_config rig_config(struct jrig *rig);

// A block of the tests: its number and version all over, with a word that may look like the journal's.
void rig_paint(void *bytes, uint64_t block, uint32_t version);
// The version that was painted, or UINT32_MAX for anything else (0: never written).
uint32_t rig_version(const void *bytes, uint64_t block);
// Modifies one block in the running transaction, as an apply half would. `fresh`: newly allocated.
YIELDS void rig_modify(struct jrig *rig, uint64_t block, uint32_t version, bool fresh);

// The journal's superblock as it is on the disk, and putting it back.
struct jbd2_super rig_super(const struct jrig *rig);
void rig_poke_super(struct jrig *rig, const struct jbd2_super *super);
uint64_t rig_log_block(const struct jrig *rig, uint32_t at);    // of the volume
