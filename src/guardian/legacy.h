// SPDX-License-Identifier: MIT
// legacy.h - the memory that outlives a server: a memfd that the guardian makes and every server maps.
//
//     | header, one page | request records | P-Log | page arena |      each part page aligned
//
// Offsets and numbers, never pointers. The guardian believes nothing in it but its own parts of the header, which a
// dying server may have written over, so it checks them. A successor checks magic, version and bounds, and
// each part's own checks do the rest.
#pragma once

#include <assert.h>

#include "base/types.h"

#define LEGACY_MAGIC 0x6c6567616379ull      // "legacy"
#define LEGACY_VERSION 2u
#define LEGACY_RECORDS 512u
#define LEGACY_RECORD_BYTES 256u            // front's struct fuse_record fits

// Who holds the mount. The kernel itself sets FUTEX_OWNER_DIED in `word` and wakes the standby when that
// thread has ended (guardian/deathwatch.h).
struct legacy_owner {
    uint32_t word;                          // FUTEX_TID_MASK: the owner's thread; FUTEX_WAITERS, FUTEX_OWNER_DIED
    uint32_t generation;                    // of the server that owns
};

enum legacy_death {
    DEATH_SILENT,                           // killed from outside, as far as anybody knows
    DEATH_CRASHED,                          // it said so itself: the crash report is written
    DEATH_HUNG,                             // the guardian killed it for standing still
};

// Faults on purpose that must survive the server which they kill (drover inject).
struct legacy_inject {
    uint32_t point;                         // enum rt_probe + 1; 0: none
    uint32_t after;                         // so many passes of the point later
    uint32_t poison_op;                     // FUSE opcode; 0: none
    uint32_t poison_ino;
};

struct legacy {
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;                  // one page
    uint64_t bytes;                         // of the whole memfd
    uint64_t records_at, plog_at, arena_at; // offsets
    uint64_t plog_bytes;                    // 0: protection is off (plog=off)
    uint64_t arena_bytes, page_count;       // pages of file data in the arena

    volatile uint64_t beat_ns;              // moves while the server's loop turns; 0: it has not begun
    volatile uint64_t received, answered;   // requests of the kernel, by all servers together
    uint64_t fuse_agreed[8];                // the FUSE door's own (struct fuse_agreed)

    struct legacy_owner owner;
    volatile uint32_t mounted;              // a successor need not wait to be told to go
    volatile uint32_t kernel_dirty_kib;
    volatile uint32_t ended;                // the server ended in order: no standby takes over
    volatile uint32_t death;                // enum legacy_death, of the last owner; the successor sets it back
    volatile uint32_t distrust;             // the next server must start from the disk alone, and say so loudly
    volatile uint32_t epoch;                // how often that has happened: handles of older epochs are stale
    volatile uint64_t running;              // request on the processor (rt_set_tag_word)
    uint64_t sequence;                      // numbers the entries of all workers' logs
    uint64_t recover_progress[2];           // struct recover_progress
    struct legacy_inject inject;

    // Counted by successors, for drover status.
    uint64_t recoveries, aim_act, aim_ignore, aim_modify, pages_recovered, distrusted, poisoned, mended;
    // Counted by the crash handler of whoever died.
    uint64_t crashes, damage;               // damage: of those, memory that nobody wrote to had changed
};
static_assert(sizeof(struct legacy) <= BLOCK_BYTES, "the header is one page");
