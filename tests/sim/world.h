// SPDX-License-Identifier: MIT
// world.h - the whole server core on a simulated disk, booted, crashed and booted again.
#pragma once

#include "base/err.h"
#include "dev/sim.h"
#include "fs/fs.h"
#include "ops/ops.h"
#include "rt/rt_sim.h"

struct world_config {
    uint64_t page_count;
    uint64_t buf_bytes;
    uint32_t commit_interval_ms;
    bool journal_data;
};

struct world {
    struct world_config config;
    struct sim_disk *disk;          // borrowed; survives
    struct rt *rt;
    struct dev *dev;
    struct shepherd *shep;
    struct buf_cache *bufs;
    void *arena;
    struct page_pool *pages;
    struct fs *fs;
    struct ops *ops;
    struct err err;
    int rc;                         // of the last boot or halt
};

// Everything but the mount; `seed` decides every order and delay of this boot.
void world_init(struct world *world, const struct world_config *config, struct sim_disk *disk, uint64_t seed);
// On a fibre. Errors with the sentence in world->err.
YIELDS MUST_USE int world_mount(struct world *world);
YIELDS MUST_USE int world_unmount(struct world *world);
// Outside fibres. After a power cut (rt_run returned -ECANCELED) or a clean unmount.
void world_fini(struct world *world, bool power_was_cut);
