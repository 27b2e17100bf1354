// SPDX-License-Identifier: MIT
// world.h - the whole server core on a simulated disk: booted, killed, crashed and booted again.
//
// Three things outlive a server. The disk outlives everything. The legacy (page arena, P-Log) outlives
// the process, as the guardian's memory does, but neither a power cut nor a clean end. The worker's
// clock (rt) outlives all, too: time does not go back.
#pragma once

#include "base/err.h"
#include "dev/sim.h"
#include "fs/fs.h"
#include "ops/ops.h"
#include "plog/plog.h"
#include "recover/recover.h"
#include "rt/rt_sim.h"

struct world_config {
    uint64_t page_count;
    uint64_t buf_bytes;
    uint64_t log_slots;
    uint32_t commit_interval_ms;
    bool journal_data;
    bool no_flusher;                // nothing happens that nobody asked for
    int atime;                      // of fs_config
    uint64_t latency_min_ns, latency_max_ns;    // of the disk; both 0: as it is
};

// What a dead server leaves behind. `sequence` and the progress of recoveries are the header's.
struct legacy_sim {
    void *arena;
    uint64_t page_count;
    void *log;
    size_t log_bytes;
    uint64_t sequence;
    struct recover_progress progress;
    bool inherited;                 // a server has died over it
};
void legacy_init(struct legacy_sim *legacy, const struct world_config *config);
void legacy_fini(struct legacy_sim *legacy);

// The door's side of a take-over: what it can say of requests and of the kernel's knowledge.
struct world_door {
    bool (*is_known)(void *arg, uint32_t ino);
    void (*applied)(void *arg, const struct plog_entry *entry);
    void *arg;
};

struct world {
    struct world_config config;
    struct world_door door;
    struct sim_disk *disk;          // borrowed; survives
    struct rt *rt;                  // borrowed; survives
    struct legacy_sim *legacy;      // borrowed; survives a process crash
    struct dev *sim_dev, *dev;      // dev: the fault filter on top
    struct shepherd *shep;
    struct buf_cache *bufs;
    struct page_pool *pages;
    struct fs *fs;
    struct plog plog;
    struct ops *ops;
    struct recover_stats recovered;
    int redo_rc;
    struct err err;
};

// Everything but the mount. A successor when legacy->inherited. May fail only then (err).
MUST_USE int world_init(struct world *world, const struct world_config *config, const struct world_door *door, struct rt *rt,
                        struct sim_disk *disk, struct legacy_sim *legacy);
// On a fibre. A successor recovers: afterwards the door may open, and world_take_over() ends the take-over.
// Errors with the sentence in world->err.
YIELDS MUST_USE int world_mount(struct world *world);
void world_take_over(struct world *world);
YIELDS MUST_USE int world_unmount(struct world *world);
// Outside fibres, after a clean unmount. A server that died is simply left: nothing of it is touched again, and
// its memory is the price of a seed's process.
void world_fini(struct world *world);
