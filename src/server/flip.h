// SPDX-License-Identifier: MIT
// flip.h - flips bits of this very process, as a cosmic ray or a stray store would.
//
// Which bits is drawn from a seed, every byte of the region being as likely as any other; the same seed in
// the same state flips the same bits. Each is told in the log: event=flip.
#pragma once

#include "base/types.h"
#include "guardian/control.h"

struct buf_cache;
struct page_pool;
struct plog;
struct rt;

#define FLIP_MAX 100000u

// All borrowed. What is NULL (or -1) has no bits.
struct flip_world {
    int maps_fd;                    // /proc/self/maps, opened when that was still possible
    const struct rt *rt;            // stacks of fibres that wait, and of this thread
    struct buf_cache *bufs;         // metadata: bytes of its buffers
    struct page_pool *pages;        // data: bytes of pages in use; descriptors: of those pages
    const struct plog *plog;        // its head, and the part of the ring that is in use
};

// How many were flipped: `count`, or 0 when nothing of the region is in use.
uint32_t flip_bits(const struct flip_world *world, enum control_region region, uint32_t count, uint64_t seed);
