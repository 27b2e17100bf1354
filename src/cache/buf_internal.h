// SPDX-License-Identifier: MIT
// buf_internal.h - the buffer cache's own state, for buf.c, buf_read.c and data_io.c.
#pragma once

#include "cache/buf.h"
#include "rt/rt.h"

struct buf_cache {
    struct rt *rt;                  // borrowed
    struct shepherd *shep;          // borrowed
    uint64_t limit;                 // bytes
    struct htable bufs;             // resident ones by block: complete, never half read
    struct htable reads;            // reads under way by block (struct buf_read)
    struct list all_reads;          // those and the cancelled ones
    struct list lru;                // unreferenced and unpinned, oldest first
    struct list dropped;            // unhashed, still held by somebody
    struct list open;               // changed and not yet sealed
    bool guard;                     // seals are kept and compared
    struct htable overlay;          // blocks whose newest content is not at home (struct buf_overlay)
    struct buf_overlay_source overlay_source;
    uint64_t idle_count;            // in lru
    uint64_t data_count;            // resident ones of type BLOCK_DATA
    uint32_t prefetches;            // fibres under way
    struct waitq prefetch_done;
    uint64_t hits, misses;
};

// A block on its way from the disk. The buffer is published when it is complete, so a failed read
// leaves nothing; whoever wants the same block waits here.
struct buf_read {
    struct hnode node;              // in reads, unless cancelled
    struct list all;
    struct buf_cache *cache;
    struct buf *buf;                // not yet published
    struct waitq waiters;
    uint32_t holders;               // the reader and those who wait
    bool cancelled;                 // the block was freed or made new meanwhile: the bytes are worthless
    int rc;
};

struct buf *buf_create(const struct shep_ref *ref, uint64_t block);
void buf_free(struct buf *buf);
void buf_publish(struct buf_cache *cache, struct buf *buf);
void buf_idle_or_gone(struct buf_cache *cache, struct buf *buf);    // refs or pins fell to zero
struct buf_read *buf_read_find(struct buf_cache *cache, uint64_t block);
void buf_read_cancel(struct buf_cache *cache, uint64_t block);
// overlay.c: the newest committed content, verified by type as shep_read() does.
YIELDS MUST_USE int buf_read_newest(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block, void *bytes);
// The copy that `entry` tells of, restored. -EAGAIN: it is no more the newest, look again.
YIELDS MUST_USE int buf_overlay_read(struct buf_cache *cache, struct buf_overlay *entry, void *bytes);
void buf_reads_abandon(struct buf_cache *cache);                    // their fibres are gone
