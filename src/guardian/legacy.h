// SPDX-License-Identifier: MIT
// legacy.h - the memory that outlives a server: a memfd that the guardian makes and every server maps.
//
//     | header, one page | page arena (descriptors, then content) ... |
//
// Offsets and numbers, never pointers. The guardian reads the two counters and nothing else: what a
// dying server may have written over cannot mislead it. A successor checks magic, version and bounds.
#pragma once

#include <assert.h>

#include "base/types.h"

#define LEGACY_MAGIC 0x6c6567616379ull      // "legacy"
#define LEGACY_VERSION 1u

struct legacy {
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;                  // where the arena begins
    uint64_t bytes;                         // of the whole memfd
    uint64_t arena_bytes;
    uint64_t page_count;                    // pages of file data in the arena
    volatile uint64_t beat_ns;              // moves while the server's loop turns; 0: it has not begun
    volatile uint64_t received, answered;   // requests of the kernel, by all servers together
    uint64_t fuse_agreed[8];                // the FUSE door's own (struct fuse_agreed)
};
static_assert(sizeof(struct legacy) <= BLOCK_BYTES, "the header is one page");
