// SPDX-License-Identifier: MIT
// fuse_door.h - the door for every program: requests of the kernel's FUSE, answered through ops.
//
// The door reads /dev/fuse from the loop, runs each request on a fibre of its own, and writes the
// answer. What a successor needs lies in memory that outlives the server: what INIT agreed on, and a
// record of each request under way (fuse_record.h). Beyond that there is nothing to know: nodeids are
// inode numbers, there are no open-file handles, and the kernel keeps the locks.
#pragma once

#include "base/err.h"
#include "base/types.h"

struct fuse_door;
struct ops;
struct rt;

// What INIT agreed on. It lies in memory that outlives the server, for the kernel never asks again.
struct fuse_agreed {
    uint64_t flags;
    uint32_t max_write;
    uint32_t minor;                 // 0: nothing agreed yet; stored last
};

#define FUSE_SLOT_BYTES ((1u << 20) + 2 * BLOCK_BYTES)

struct fuse_door_config {
    struct rt *rt;
    struct ops *ops;
    int fd;                         // /dev/fuse, mounted, non-blocking; borrowed
    volatile struct fuse_agreed *agreed;    // borrowed; filled by INIT, read by a successor
    bool successor;                 // ask for what a dead predecessor has read and not answered
    // What predecessors had told may be lost: names are looked up again, and what was recorded as applied is
    // not believed. False when recovery was complete.
    bool distrusted;
    uint32_t epoch;                 // inodes that were told of in another one are stale, but for the root
    void *records;                  // struct fuse_record[record_count], outliving the server; borrowed. NULL: nothing does
    uint32_t record_count;
    // INIT was answered, now or by a predecessor whose unanswered requests have been asked for.
    void (*on_serving)(void *arg);
    // The mount is gone: no request will come any more. error: 0, or why it was cut off.
    void (*on_gone)(void *arg, int error);
    // Memory for the first slots that are needed, whose pages exist already: FUSE_SLOT_BYTES each, from mmap(2). It
    // becomes the door's. NULL, 0: the door makes all by itself, when it needs them.
    uint8_t *slot_memory;
    uint32_t slot_memory_count;
    // Writes notifications (up to 100, one behind the other) to the kernel from another process, and
    // waits until the kernel has dealt with them, which may need answers from this very worker.
    // -EPIPE: that process is gone. NULL: not possible.
    int (*notify)(void *arg, const void *bytes, size_t len);
    // The same without waiting. NULL: not possible.
    int (*post)(void *arg, const void *bytes, size_t len);
    // How many dirty bytes the kernel may hold for this mount. 0: not known, then running out of
    // space is found only when the kernel writes them.
    uint64_t kernel_dirty_max;
    // Has a process of the number below call syncfs(2) for the mount, and waits for its end, as long
    // as more(of), asked once a second, says so. NULL: not possible.
    int (*sync_kernel)(void *arg, bool (*more)(void *of), void *of);
    uint32_t sync_kernel_pid;
    // A request begins to be executed; what comes after is blamed on it. NULL: nobody wants to know.
    void (*on_request)(void *arg, uint32_t opcode, uint32_t ino);
    void *arg;
    volatile uint64_t *poisoned;    // counts requests that were refused as deadly; may be NULL
    volatile uint64_t *received, *answered;     // count requests and answers, for a watcher
};

// Starts serving. The kernel's descriptor must be mounted.
MUST_USE int fuse_door_create(const struct fuse_door_config *config, struct fuse_door **out, struct err *err);
// Waits until every request that was read is answered. After on_gone().
void fuse_door_drain(struct fuse_door *door);       // YIELDS
void fuse_door_destroy(struct fuse_door *door);     // nothing may be under way
// Reads no more requests: a successor is about to. Those that wait for other requests do not end any more;
// like all that are not answered they come again to the successor.
void fuse_door_stop(struct fuse_door *door);
// Does the kernel know the inode, or will it by an answer that is due? Yields, and asks it. True when that
// is not to be found out. For ops_config.is_known.
YIELDS bool fuse_door_knows(struct fuse_door *door, uint32_t ino);

struct fuse_door_stats {
    uint64_t requests, resent, malformed, in_flight;
    uint64_t from_records, poisoned;        // answered by what a predecessor had done; refused as deadly
};
struct fuse_door_stats fuse_door_stats(const struct fuse_door *door);
