// SPDX-License-Identifier: MIT
// page_pool.h - what the files about pages share: the arena's layout and the pool's own state.
#pragma once

#include "base/htable.h"
#include "cache/page.h"

// --- the arena (page_arena.c) ---------------------------------------------------------------------

// The descriptor that is being written, before it is: one that a death has left half written is taken from here.
struct page_slot {
    uint64_t page;
    struct page_desc desc;
    uint32_t crc;               // of the two, chained on desc.crc
    uint32_t spare;
};

// The pool's own block in the arena.
struct page_head {
    uint64_t replaying;         // all bits set: PAGE_REPLAYED pages are to be thrown away. Most bits decide
    uint64_t looked_at, inverse;// clean pages from this number on may be out of date; inverse: ~looked_at
    struct page_slot slot;
};

struct page_arena {
    struct page_desc *descs;
    struct page_head *head;
    uint64_t *busy[2];          // bitmaps; one flipped bit adds a candidate, it never loses a page
    uint8_t *bytes;
    uint64_t count;
    uint32_t mended;            // descriptors
};

void page_arena_open(struct page_arena *arena, void *memory, uint64_t count);
void page_arena_clear(struct page_arena *arena);
// In place, so that a death at any moment leaves the old one or the new one; sealed.
void page_arena_write(struct page_arena *arena, uint64_t page, const struct page_desc *desc);
void page_arena_finish_write(struct page_arena *arena);         // what the predecessor was writing
void page_arena_set_busy(struct page_arena *arena, uint64_t page, bool busy);
uint64_t page_arena_next_busy(const struct page_arena *arena, uint64_t from);   // a candidate, or count
// Is the descriptor whole? One flipped bit is put right. One that was never written is free.
bool page_arena_check(struct page_arena *arena, uint64_t page);
uint64_t page_arena_looked_at(const struct page_arena *arena);
void page_arena_set_looked_at(struct page_arena *arena, uint64_t count);
bool page_arena_replaying(const struct page_arena *arena);
void page_arena_set_replaying(struct page_arena *arena, bool on);

// --- the pool ----------------------------------------------------------------------------------------

#define PAGE_STATE (PAGE_DIRTY | PAGE_WRITEBACK | PAGE_RESERVED)

enum page_place {
    PLACE_BUSY,                 // a flag or a pin; or a predecessor's that nobody has claimed
    PLACE_FREE,
    PLACE_CLEAN,
    PLACE_KEPT,                 // clean, but its inode is not in memory: page.settle links it with its like
    PLACE_SETTLING,             // nothing but its transaction keeps it
};

// Pages of an inode that is not in memory; or, while not all descriptors have been looked at, the note that the
// inode has been in memory since the take-over, so that what is found of it later may be out of date.
struct page_kin {
    struct hnode node;          // by inode number
    struct list pages;
    bool seen;
};

struct page_pool {
    struct page_arena arena;
    struct page *pages;         // those from `scanned` on are untouched memory unless a predecessor had them busy
    uint64_t size;
    struct list free_pages;
    struct list clean;          // least recently used first
    struct list settling;       // by transaction, oldest first, dirty or not
    struct list settled;        // maps
    uint64_t committed, newest_tid;
    uint64_t free_count, clean_count, settling_count, dirty_count, writeback_count;
    uint64_t scanned;           // descriptors looked at, from the first
    uint64_t unscanned;         // pages behind that can be had
    uint64_t trusted;           // clean ones from this number on are thrown away

    bool adopted;
    bool decided;               // page_pool_committed() has told busy pages from settled ones
    bool replaying;             // until the last busy page has its owner
    struct page **busy;         // of the predecessor; by inode and index once decided
    uint64_t busy_count, busy_capacity, busy_next;
    struct htable kin;
    uint64_t damaged;           // descriptors of clean pages that had to be thrown away
};

struct page_pool *page_pool_make(void *memory, uint64_t page_count);
static inline uint64_t page_number(const struct page_pool *pool, const struct page *page)
{
    return (uint64_t)(page - pool->pages);
}
struct page *page_begin(struct page_pool *pool, uint64_t number);   // first use of that struct page; it is BUSY then
void page_enlist(struct page_pool *pool, struct page *page, enum page_place place);
void page_unlist(struct page_pool *pool, struct page *page);
void page_make_free(struct page_pool *pool, struct page *page);     // it is in no map and in no list
void page_enter_map(struct page_map *map, struct page *page, uint64_t index);
// Its flags are another's from now on, for marks and counts.
void page_account(struct page_pool *pool, struct page *page, uint32_t before, uint32_t after);
// A predecessor's page, in its map and in no list, has this state from now on; it was busy all the time.
void page_claimed(struct page_pool *pool, struct page *page, uint32_t state, uint64_t tid);
// page_adopt.c
void page_adopt_decide(struct page_pool *pool);
void page_adopt_scan(struct page_pool *pool, uint64_t count);
void page_adopt_let_go(struct page_pool *pool, struct page *page);  // a kept page becomes free
void page_adopt_fini(struct page_pool *pool);
