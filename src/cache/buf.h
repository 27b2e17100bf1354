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
    bool sealed;                // `seal` is the checksum of the bytes as they were last changed on purpose
    uint32_t seal;
    uint64_t checked_ns;        // when bytes and seal were last compared
    struct list open_link;      // changed, to be sealed
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

// --- guarding against stray stores (guard.c) --------------------------------------------------------
// A block that was read is sealed: its checksum is kept. Who changes it opens it, and it is sealed again
// soon after. A sealed block whose bytes do not fit their checksum was changed by nobody who may: memory is
// damaged, and the process ends (damage_found) before the block can reach the journal.
void buf_cache_set_guard(struct buf_cache *cache, bool on);     // on from the beginning
void buf_open(struct buf_cache *cache, struct buf *buf);        // it is changed, now
void buf_check(struct buf_cache *cache, struct buf *buf);       // not more often than every BUF_CHECK_NS
void buf_check_now(struct buf_cache *cache, struct buf *buf);
void buf_seal(struct buf_cache *cache, struct buf *buf);
bool buf_any_open(const struct buf_cache *cache);
bool buf_cache_guards(const struct buf_cache *cache);
void buf_seal_open(struct buf_cache *cache);                    // all that are open
#define BUF_CHECK_NS 1000000u

// --- the overlay: blocks whose newest content is not at home (overlay.c) -----------------------------
// A journal that was taken over is not written home first: its newest copies are read where they are. An entry
// says so for one block and is its owner's memory; who asks for the block, as metadata or as data, gets
// the copy. Entries are added before the first read, and only removed after that.
struct buf_overlay {
    struct hnode node;          // in the cache, by block
    uint64_t from;              // the block of the disk that holds the copy
};
struct buf_overlay_source {
    struct shep_ref ref;        // what the blocks are that hold copies
    // Turns what was read into the block's content, in place. 0, or -EFSBADCRC (logged): never the old home copy.
    int (*restore)(void *arg, const struct buf_overlay *entry, void *bytes);
    void *arg;
};
void buf_overlay_open(struct buf_cache *cache, const struct buf_overlay_source *source);
void buf_overlay_add(struct buf_cache *cache, struct buf_overlay *entry, uint64_t block);
struct buf_overlay *buf_overlay_find(struct buf_cache *cache, uint64_t block);      // or NULL
// Home is up to date, or has a new owner. Harmless for one that was removed.
void buf_overlay_remove(struct buf_cache *cache, struct buf_overlay *entry);

// Visits every resident buffer, in an order that depends on their numbers and history only.
void buf_each(const struct buf_cache *cache, void (*visit)(void *arg, struct buf *buf), void *arg);

struct buf_stats {
    uint64_t bytes, limit, hits, misses;
};
struct buf_stats buf_stats(const struct buf_cache *cache);
