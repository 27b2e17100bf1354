// SPDX-License-Identifier: MIT
// sim_disk.h - internal to the simulated disk: what its parts (content, device, image files) share.
#pragma once

#include "base/htable.h"
#include "base/list.h"
#include "dev/sim.h"

// A block that was ever written. The newest acknowledged write is what a read sees; without one,
// `stable` is; without that, zeros.
struct sim_block {
    struct hnode node;          // key: block number
    uint8_t *stable;            // NULL: zeros
    struct list writes;         // its unstable writes, in the order they began
};

// One unstable write of one block.
//
//     begin ──▶ under way ──ack──▶ acknowledged ──flush──▶ stable (freed)
//                   │                    │
//                   └── FUA: stable      └── superseded by an acknowledged FUA write (freed)
struct sim_write {
    struct list of_block;       // in block->writes
    struct list of_disk;        // in disk->under_way, or disk->acked in order of acknowledgement
    struct sim_block *block;
    uint64_t ack_nr;            // 0: under way
    uint8_t *bytes;             // NULL: zeros (a discard)
    uint64_t request;           // the step that it is part of
    bool fua;
};

struct sim_disk {
    uint64_t block_count;
    struct htable blocks;
    struct list under_way, acked;
    uint64_t unstable;
    uint64_t ack_nr;            // of the last acknowledgement
    uint64_t steps;
    uint64_t cut_at;            // the value of `steps` at which the power fails; 0: never
    void (*on_step)(void *arg);
    void *on_step_arg;
    uint64_t whole_block;       // never torn; UINT64_MAX: there is none
    uint64_t cuts;              // a request that began before a power cut must not end after it
};

struct sim_block *sim_block_find(const struct sim_disk *disk, uint64_t block);
struct sim_block *sim_block_get(struct sim_disk *disk, uint64_t block);    // made when it is new
// Counts one step; true when the power fails with it.
bool sim_disk_step(struct sim_disk *disk);
// `bytes` (NULL: zeros) becomes the write's.
struct sim_write *sim_write_begin_take(struct sim_disk *disk, uint64_t block, uint8_t *bytes);
void sim_write_ack(struct sim_disk *disk, struct sim_write *write, bool stable);
// Makes stable what was acknowledged up to number `ack_nr`.
void sim_disk_settle(struct sim_disk *disk, uint64_t ack_nr);
