// SPDX-License-Identifier: MIT
// sim.h - a disk in memory that forgets, at a power cut, what it was not made to keep.
//
// The disk (struct sim_disk) outlives workers and power cuts; a device on it (dev_sim_create)
// belongs to one worker and dies with it. What the disk promises is what real disks promise:
//
//   read      sees every acknowledged write, and of a write under way all or nothing of each block
//   write     acknowledged after a latency of its own, so in any order; not stable yet
//   DEV_FUA   that write is stable when acknowledged, and nothing else is
//   flush     every write acknowledged before the call began is stable when it returns
//   power cut every other write, acknowledged or under way, was kept, lost or torn between sectors of
//             512 bytes, each block for itself; of several writes to one block any may survive
#pragma once

#include "base/err.h"
#include "dev/dev.h"
#include "rt/prng.h"
#include "rt/rt.h"

struct sim_disk;

// All zeros.
struct sim_disk *sim_disk_create(uint64_t block_count);
void sim_disk_destroy(struct sim_disk *disk);
// Another disk with the stable content of this one: the start of the next of many experiments.
struct sim_disk *sim_disk_clone(const struct sim_disk *disk);
uint64_t sim_disk_block_count(const struct sim_disk *disk);

// An image file, whole blocks of it; holes cost nothing. 0 or -errno.
MUST_USE int sim_disk_load(const char *path, struct sim_disk **out, struct err *err);
// Writes what a read would see now, as a sparse file of the disk's size.
MUST_USE int sim_disk_save(const struct sim_disk *disk, const char *path, struct err *err);

// The content of a block as a read would see it; valid until the disk changes. Never NULL.
const void *sim_disk_peek(const struct sim_disk *disk, uint64_t block);
// Changes the stable content behind everybody's back; writes that are not stable stay so.
void sim_disk_poke(struct sim_disk *disk, uint64_t block, const void *bytes);

// Steps begun since the disk was made: a write, a flush and a discard are one each.
uint64_t sim_disk_write_count(const struct sim_disk *disk);
// The power fails when the `nth` step from now begins (1: the next one): the write is under way
// already, then `halt` of the device is called and does not return. 0: no more.
void sim_disk_cut_after(struct sim_disk *disk, uint64_t nth);
// Called with every step, when it has begun: a test may stop its worker there (rt_sim_halt). NULL: nobody.
void sim_disk_on_step(struct sim_disk *disk, void (*hook)(void *arg), void *arg);
// Decides the fate of everything that is not stable; what is left is stable. Call it after the
// worker stopped (rt_sim_halt, rt_sim_abandon). A fibre that survived gets -EIO for its request.
// The same history and the same chance give the same content.
void sim_disk_power_cut(struct sim_disk *disk, struct prng *chance);
// The process that wrote has died and the disk has not: of its requests under way each is done now, in any
// order, or (when some_lost) perhaps was never handed to the disk. FUA is honoured, no flush ends. What
// was acknowledged stays as it is: a power cut may still take it. Call it where sim_disk_power_cut() would be.
void sim_disk_land(struct sim_disk *disk, struct prng *chance, bool some_lost);
// A power cut keeps or loses writes of this block, but does not tear them: what ext4 assumes of its
// superblock, of which there is no second current copy. UINT64_MAX: no such block (the default).
void sim_disk_keep_whole(struct sim_disk *disk, uint64_t block);
// How many block writes are not stable.
uint64_t sim_disk_unstable(const struct sim_disk *disk);

struct sim_dev_options {
    const char *label;              // NULL: "sim"
    bool read_only;
    uint64_t latency_min_ns;        // both 0: 20 us to 500 us. One request in 64 takes 16 times as long.
    uint64_t latency_max_ns;
    void (*halt)(struct rt *rt);    // rt_sim_halt, where sim_disk_cut_after is used
};
// `disk` is borrowed and outlives the device. `options` may be NULL.
struct dev *dev_sim_create(struct rt *rt, struct sim_disk *disk, const struct sim_dev_options *options);
