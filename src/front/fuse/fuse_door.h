// SPDX-License-Identifier: MIT
// fuse_door.h - the door for every program: requests of the kernel's FUSE, answered through ops.
//
// The door reads /dev/fuse from the loop, runs each request on a fibre of its own, and writes the
// answer. It keeps no state that a successor would need, except what INIT agreed on: nodeids are
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

struct fuse_door_config {
    struct rt *rt;
    struct ops *ops;
    int fd;                         // /dev/fuse, mounted, non-blocking; borrowed
    volatile struct fuse_agreed *agreed;    // borrowed; filled by INIT, read by a successor
    bool successor;                 // ask for what a dead predecessor has read and not answered
    // INIT was answered, now or by a predecessor whose unanswered requests have been asked for.
    void (*on_serving)(void *arg);
    // The mount is gone: no request will come any more. error: 0, or why it was cut off.
    void (*on_gone)(void *arg, int error);
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
    void *arg;
    volatile uint64_t *received, *answered;     // count requests and answers, for a watcher
};

// Starts serving. The kernel's descriptor must be mounted.
MUST_USE int fuse_door_create(const struct fuse_door_config *config, struct fuse_door **out, struct err *err);
// Waits until every request that was read is answered. After on_gone().
void fuse_door_drain(struct fuse_door *door);       // YIELDS
void fuse_door_destroy(struct fuse_door *door);     // nothing may be under way

struct fuse_door_stats {
    uint64_t requests, resent, malformed, in_flight;
};
struct fuse_door_stats fuse_door_stats(const struct fuse_door *door);
