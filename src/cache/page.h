// SPDX-License-Identifier: MIT
// page.h - pages of file data: a pool of 4 KiB pages and, in every inode, a map of those it has.
//
// Content and descriptors live in one arena that the caller provides (memory that outlives the
// server), so a descriptor holds numbers only: inode, generation, index, state. Maps are
// private memory and are rebuilt from the descriptors by a successor.
//
// A page is CLEAN (as on disk), DIRTY (newer than the disk), and besides may be under WRITEBACK. It
// may be modified during write-back: then it is DIRTY again and is written once more. Only clean
// pages are given up, least recently used first; write-back itself is fs's work.
//
// A page that was written back is still not what a crash would find on the disk, as long as the
// transaction that maps its block, or in which its content was changed, has not committed: it
// *settles*, and is not given up. So a successor finds every page that the state gap has touched.
//
// A server may be killed between any two instructions. So whoever changes the bytes of a page that has an
// owner marks it dirty *before*, and a new page is nobody's, as far as a successor can see, until its first
// page_touch() or page_filled(): fill it, then say so.
#pragma once

#include "base/list.h"
#include "base/types.h"
#include "shepherd/shepherd.h"

struct buf_cache;
struct page_pool;

enum page_flags {
    PAGE_DIRTY = 1 << 0,
    PAGE_WRITEBACK = 1 << 1,
    PAGE_RESERVED = 1 << 2,     // a block is reserved for it (delayed allocation)
    PAGE_REPLAYED = 1 << 3,     // private: made while a predecessor's pages were still to be given back
};

// In the arena. A free descriptor has ino 0.
struct page_desc {
    uint32_t ino, generation;
    uint64_t index;             // offset in the file / BLOCK_BYTES
    uint32_t flags;             // enum page_flags
    uint32_t crc;               // of all other fields; sealed by page_* functions
    uint64_t tid;               // 0, or: its content was changed, or mapped, by this transaction. Until that has
                                // committed the page stays in memory, clean or not (*settling*)
};

struct page_map;
struct page {
    struct page_desc *desc;
    uint8_t *bytes;
    struct page_map *map;       // NULL while free
    struct list lru;            // of clean pages, or of free ones
    struct list settle;         // while it settles; of an adopted page without a map: with those of its inode
    uint64_t index;
    uint32_t pins;              // in use across a wait: neither given up nor handed out again
    uint8_t place;              // private: which of the pool's counts it is in
    bool claimed;               // private: it was a predecessor's, and is not REPLAYED
};

// An inode's pages: a radix tree over the index, with bits for dirty ones (and the other flags) in
// every node, so that no walk visits what it does not look for.
struct page_map {
    struct page_node *root;
    uint32_t height;
    uint32_t ino, generation;
    uint64_t page_count, dirty_count;   // dirty_count: PAGE_DIRTY set
    uint64_t settle_count;              // whose transaction has not committed, dirty or not
    struct list settled;                // in the pool's list: the last one of these has settled
};

#define PAGE_DESC_BYTES 32

// The arena: descriptors, a block for the pool's own use, two bitmaps of busy pages, content; each of them begins
// a block.
static inline uint64_t page_arena_descs(uint64_t page_count) { return DIV_ROUND_UP(page_count * PAGE_DESC_BYTES, BLOCK_BYTES); }
static inline uint64_t page_arena_bitmap(uint64_t page_count) { return DIV_ROUND_UP(page_count, 8ull * BLOCK_BYTES); }
// How many bytes of arena `page_count` pages take.
static inline size_t page_arena_bytes(uint64_t page_count)
{
    return (page_arena_descs(page_count) + 1 + 2 * page_arena_bitmap(page_count) + page_count) * BLOCK_BYTES;
}
// `arena` is borrowed, BLOCK_BYTES aligned; its content is ignored and all pages start free.
struct page_pool *page_pool_create(void *arena, uint64_t page_count);
// A predecessor's arena, with all its pages. Work is proportional to the *busy* ones (dirty, under
// write-back, or settling), which the arena lists; clean ones are adopted little by little, when
// memory is wanted or their inode is loaded. Damaged descriptors: one flipped bit is put right,
// a worse one of a busy page makes this fail with -EFSCORRUPTED (logged). Busy pages belong to nobody until
// page_pool_claim_busy().
// The pool is made before the disk is read: which pages have settled it learns by page_pool_committed(), which
// fs_mount() calls as soon as the journal says what was committed, before any inode is loaded and before anything
// is written. Until page_pool_next_busy() has said false, pages that become busy are the replay's: should this
// process die, its successor throws them away.
MUST_USE int page_pool_adopt(void *arena, uint64_t page_count, struct page_pool **out);
// An inode comes into memory: clean pages of it (same generation) that were adopted become its own.
void page_map_adopt(struct page_pool *pool, struct page_map *map);
// Recovery's last step: tells of the busy pages one after the other, by inode, then index (false: no more; the
// replay is over). The page goes into `map` in place of whatever is there, unless that is under write-back; or is
// dropped (its inode is gone, or it lies behind the end).
struct page_busy {
    uint32_t ino, generation;
    uint64_t index;
};
bool page_pool_next_busy(struct page_pool *pool, struct page_busy *out);
// The one that next told of, DIRTY and `set`, as if page_touch() had done it in transaction `tid`. The map has no
// page at that place (page_drop()).
struct page *page_pool_claim_busy(struct page_pool *pool, struct page_map *map, uint32_t set, uint64_t tid);
void page_pool_drop_busy(struct page_pool *pool);
// A little of the adoption that is left; false when there is none. For a fibre in the background.
bool page_pool_adopt_some(struct page_pool *pool);
uint32_t page_pool_mended(const struct page_pool *pool);    // descriptors with one flipped bit
void page_pool_destroy(struct page_pool *pool);
uint64_t page_pool_free(const struct page_pool *pool);      // free or clean: can be had at once
// How many of these may become busy: a few are kept for the replay of a successor, which may find no other.
uint64_t page_pool_room(const struct page_pool *pool);
uint64_t page_pool_dirty(const struct page_pool *pool);
uint64_t page_pool_size(const struct page_pool *pool);
struct page *page_pool_page(struct page_pool *pool, uint64_t number);   // below page_pool_size(); free or not

void page_map_init(struct page_map *map, uint32_t ino, uint32_t generation);
void page_map_fini(struct page_pool *pool, struct page_map *map);   // drops all pages, dirty ones too

struct page *page_find(struct page_pool *pool, struct page_map *map, uint64_t index);   // or NULL; marks it used
// A new page for an index that has none; content undefined, state clean. NULL when every page of
// the pool is dirty, under write-back or settling: the caller starts write-back or commits, and tries again.
struct page *page_add(struct page_pool *pool, struct page_map *map, uint64_t index);
// The first page at or after `index` with any of `flags` set (0: any page at all), or NULL.
struct page *page_next(struct page_map *map, uint64_t index, uint32_t flags);
void page_set_flags(struct page_pool *pool, struct page *page, uint32_t set, uint32_t clear);
// The bytes of a page that page_add() made are there, and as on the disk: a successor may have it.
void page_filled(struct page_pool *pool, struct page *page);
// As page_set_flags(), and its content or mapping was changed by the running transaction `tid`, which never falls.
void page_touch(struct page_pool *pool, struct page *page, uint32_t set, uint32_t clear, uint64_t tid);
// Transactions up to `tid` have committed: pages that settled are clean, or merely dirty.
void page_pool_committed(struct page_pool *pool, uint64_t tid);
// All that ran has committed and nothing runs: no page settles, whatever transaction it was to wait for.
void page_pool_all_committed(struct page_pool *pool);
// A map that has just lost its last settling page, each once; or NULL.
struct page_map *page_pool_next_settled(struct page_pool *pool);
uint64_t page_pool_settling(const struct page_pool *pool);  // clean but for their transaction: a commit frees them
uint64_t page_pool_writeback(const struct page_pool *pool);
// Can it be neither given up nor handed out? Then it needs no room when it becomes dirty.
bool page_is_busy(const struct page *page);
static inline uint32_t page_flags(const struct page *page) { return page->desc->flags; }
// Whatever its state. A pinned one leaves its map at once (map is NULL then) and is reused only
// when the last pin is gone.
void page_drop(struct page_pool *pool, struct page *page);
// For whoever keeps a page pointer across a wait. Pages with any flag set are not given up either.
void page_pin(struct page_pool *pool, struct page *page);
void page_unpin(struct page_pool *pool, struct page *page);

// File data goes past the buffer cache: fs asks for it here, the shepherd answers.
// iov as in dev.h. Blocks that journal=data has logged and not yet written home are answered from
// the buffer cache by the read.
YIELDS MUST_USE int data_read_blocks(struct buf_cache *cache, const struct block_owner *owner, uint64_t block, const struct iovec *iov, int iovcnt);
YIELDS MUST_USE int data_write_blocks(struct buf_cache *cache, const struct block_owner *owner, uint64_t block, const struct iovec *iov, int iovcnt);
YIELDS MUST_USE int data_flush(struct buf_cache *cache);
YIELDS MUST_USE int data_discard(struct buf_cache *cache, uint64_t block, uint64_t count);
