// SPDX-License-Identifier: MIT
// rt_uring.h - what only the real loop has: kernel I/O, readiness of descriptors, its constructor.
//
// The ring comes from the guardian, which holds it open: completions of a dead server then stay
// readable for its successor (the fence; kernel-facts, section 4). Included by dev/uring, front
// and server, by nothing that the simulator links.
#pragma once

#include <linux/io_uring.h>

#include "base/err.h"
#include "rt/rt.h"

// A ring as it is handed from process to process: the descriptor and what the kernel said of it.
struct rt_ring {
    int fd;
    struct io_uring_params params;
};

// Makes a ring fit for hand-over: `entries` deep, only READ(V), WRITE(V), FSYNC, FALLOCATE
// allowed (IORING_REGISTER_RESTRICTIONS), and enabled. Never DEFER_TASKRUN or SINGLE_ISSUER.
MUST_USE int rt_ring_create(uint32_t entries, struct rt_ring *out, struct err *err);

// A worker over `ring` (borrowed descriptor). Waits for whatever a dead predecessor still has in
// flight in the ring, drops what it had not submitted, and logs how many and how long.
MUST_USE int rt_create(const struct rt_ring *ring, struct rt **out, struct err *err);
// The same in two steps, for a standby, whose predecessor still lives and uses the ring: descriptors may be
// watched and fibres started, but nothing may run the loop before rt_fence().
MUST_USE int rt_create_waiting(const struct rt_ring *ring, struct rt **out, struct err *err);
// *landed (may be NULL): all that was under way has come to its end without an error, so of the predecessor's
// writes those that were to be stable when they return (FUA) are. False also where nobody can know.
MUST_USE int rt_fence(struct rt *rt, bool *landed, struct err *err);

// One operation through the ring; yields until it completed. Result as of the system call:
// bytes, or a negative errno. Waits by itself when the ring is full.
struct rt_io {
    enum { RT_READ, RT_WRITE, RT_FSYNC, RT_PUNCH, RT_ZERO } op;
    int fd;
    const struct iovec *iov;    // RT_READ, RT_WRITE; must stay valid until the call returns
    int iovcnt;
    uint64_t off, len;          // len: RT_PUNCH and RT_ZERO (fallocate) only
    bool dsync;                 // RT_WRITE: as if opened O_DSYNC; RT_FSYNC: fdatasync
};
YIELDS MUST_USE ssize_t rt_io(struct rt *rt, const struct rt_io *io);

// Calls fn(arg, events) from the loop, outside any fibre, each time that `fd` has EPOLL* `events`
// (level triggered).
MUST_USE int rt_watch(struct rt *rt, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events), void *arg);
void rt_unwatch(struct rt *rt, int fd);
// Called once each loop turn, before the loop sleeps; true from it means "there was work, do not
// sleep yet". The FUSE door reads its requests here. At most one.
void rt_set_source(struct rt *rt, bool (*fn)(void *arg), void *arg);
// How long the loop keeps asking its source before it sleeps, since the last work. 0: not at all.
void rt_set_spin_ns(struct rt *rt, uint64_t ns);
// Written by the loop at every turn (monotonic ns), so that a watcher can see it move. Borrowed.
void rt_set_heartbeat(struct rt *rt, volatile uint64_t *beat_ns);
