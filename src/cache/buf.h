// SPDX-License-Identifier: MIT
// buf.h - metadata blocks in memory, each at most once, found by block number.
//
// A buffer is *referenced* by code that looks at it, and *pinned* by the journal from its first
// modification until it is checkpointed. Neither kind leaves memory; the rest is dropped, least
// recently used first, when the cache is over its limit. The cache knows nothing of transactions:
// the `jrn` member is the journal's own, zero when a buffer is born.
#pragma once

#include "base/htable.h"
#include "base/list.h"
#include "base/types.h"
#include "shepherd/shepherd.h"

struct rt;
struct buf_cache;

struct buf {
    struct hnode node;          // in the cache, by block
    uint64_t block;
    uint8_t *bytes;             // BLOCK_BYTES, aligned
    struct shep_ref ref;        // what it is, remembered for write-back
    uint32_t refs;
    uint32_t pins;
    bool dropped;               // its block was freed: unhashed, lives only for those who hold it
    struct list lru;
    struct {
        struct list txn_link;   // in the running transaction
        struct list ckpt_link;  // committed, not yet written home
        uint64_t running_tid;   // 0: not in the running transaction
        uint64_t committing_tid;// 0: not in the transaction being committed
        uint64_t ckpt_tid;      // 0: home is up to date
        uint64_t forget_tid;    // not 0: freed by this transaction; older ones stay in the log until it commits
    } jrn;
};

// limit_bytes bounds the unpinned, unreferenced share. Borrowed: rt, shep.
struct buf_cache *buf_cache_create(struct rt *rt, struct shepherd *shep, uint64_t limit_bytes);
void buf_cache_destroy(struct buf_cache *cache);    // no buffer may be referenced; pinned ones are dropped (power is gone)
struct shepherd *buf_cache_shepherd(struct buf_cache *cache);

// The block, read and verified if it was not in memory; a reference to be put. Waits only when it
// must be read. Two fibres that want the same block share one read. Errors as shep_read(); a
// failed read leaves nothing in the cache. Asking for a resident block under another `ref.type`
// is damage on the disk (two owners of one block): -EFSCORRUPTED, logged.
YIELDS MUST_USE int buf_get(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block, struct buf **out);
// A block that was just allocated: zeroed, nothing is read, cannot fail and never waits.
struct buf *buf_get_new(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block);
// Only if it is resident and not being read; else NULL. Never waits, and takes no reference: the
// buffer is somebody else's (a plan's, the journal's), or buf_ref() makes it the caller's too.
struct buf *buf_peek(struct buf_cache *cache, uint64_t block);
struct buf *buf_ref(struct buf *buf);
void buf_put(struct buf_cache *cache, struct buf *buf);     // NULL is harmless
void buf_pin(struct buf *buf);
void buf_unpin(struct buf_cache *cache, struct buf *buf);
// The block was freed: its content must never reach the disk again. Called by the journal.
void buf_drop(struct buf_cache *cache, struct buf *buf);
// As buf_drop() of whatever is known of the block, a read of it under way included.
void buf_forget(struct buf_cache *cache, uint64_t block);
// Starts reading blocks that will be wanted soon; errors are left to the buf_get that follows.
void buf_prefetch(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block, uint32_t count);
// Waits until no prefetch is under way; before the cache or the shepherd goes. jrn_close() does it.
YIELDS void buf_cache_quiesce(struct buf_cache *cache);
// Writes one buffer home, from a copy taken at the call, so that it may be modified meanwhile.
YIELDS MUST_USE int buf_write_home(struct buf_cache *cache, struct buf *buf);

struct buf_stats {
    uint64_t bytes, limit, hits, misses;
};
struct buf_stats buf_stats(const struct buf_cache *cache);
