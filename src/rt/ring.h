// SPDX-License-Identifier: MIT
// ring.h - internal to rt: a mapped ring of the guardian's, and the fence behind a dead server.
#pragma once

#include "rt/rt_uring.h"

#include <liburing.h>

struct ring {
    struct io_uring uring;      // mapped by liburing; its descriptor is borrowed
};

// What was found in a ring that somebody used before.
struct ring_fence {
    uint32_t in_flight;         // submitted by the predecessor, not completed when we looked
    uint32_t unread;            // completed, not read by it
    uint32_t dropped;           // prepared by it, never submitted; they never will be
    uint32_t failed;            // of those that completed: with an error
    bool fresh;                 // nobody has used the ring: of a predecessor's writes it knows nothing
    uint64_t waited_ns;
};

MUST_USE int ring_map(struct ring *ring, const struct rt_ring *from, struct err *err);
void ring_unmap(struct ring *ring);

// Returns when no request of a dead predecessor can reach the disk any more. The predecessor must
// make no more system calls. Blocks the thread, as long as the disk takes.
MUST_USE int ring_fence(struct ring *ring, struct ring_fence *out, struct err *err);
