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
};

// In the arena. A free descriptor has ino 0.
struct page_desc {
    uint32_t ino, generation;
    uint64_t index;             // offset in the file / BLOCK_BYTES
    uint32_t flags;             // enum page_flags
    uint32_t crc;               // of the fields above; sealed by page_* functions
    uint64_t spare;
};

struct page_map;
struct page {
    struct page_desc *desc;
    uint8_t *bytes;
    struct page_map *map;       // NULL while free
    struct list lru;            // of clean pages, or of free ones
    uint64_t index;
    uint32_t pins;              // in use across a wait: neither given up nor handed out again
};

// An inode's pages: a radix tree over the index, with bits for dirty ones (and the other flags) in
// every node, so that no walk visits what it does not look for.
struct page_map {
    struct page_node *root;
    uint32_t height;
    uint32_t ino, generation;
    uint64_t page_count, dirty_count;   // dirty_count: PAGE_DIRTY set
};

// How many bytes of arena `page_count` pages take (descriptors, then content, page aligned).
size_t page_arena_bytes(uint64_t page_count);
// `arena` is borrowed, BLOCK_BYTES aligned; its content is ignored and all pages start free.
struct page_pool *page_pool_create(void *arena, uint64_t page_count);
void page_pool_destroy(struct page_pool *pool);
uint64_t page_pool_free(const struct page_pool *pool);      // free or clean: can be had at once
uint64_t page_pool_dirty(const struct page_pool *pool);
uint64_t page_pool_size(const struct page_pool *pool);

void page_map_init(struct page_map *map, uint32_t ino, uint32_t generation);
void page_map_fini(struct page_pool *pool, struct page_map *map);   // drops all pages, dirty ones too

struct page *page_find(struct page_pool *pool, struct page_map *map, uint64_t index);   // or NULL; marks it used
// A new page for an index that has none; content undefined, state clean. NULL when every page of
// the pool is dirty or under write-back: the caller starts write-back, waits, and tries again.
struct page *page_add(struct page_pool *pool, struct page_map *map, uint64_t index);
// The first page at or after `index` with any of `flags` set (0: any page at all), or NULL.
struct page *page_next(struct page_map *map, uint64_t index, uint32_t flags);
void page_set_flags(struct page_pool *pool, struct page *page, uint32_t set, uint32_t clear);
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
