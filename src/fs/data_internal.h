// SPDX-License-Identifier: MIT
// data_internal.h - what the files about content share: pages in and out of memory.
//
// Invariants (README): D1 a dirty page over a hole carries a promise, no other does; D2 bytes past the
// end of the file are zero in every page; D3 a page in memory is as new as the disk or newer;
// D4 who holds a gate never waits for another; D5 who changes a page, or maps its block, says so with the
// running transaction before he does it (a new page: after it was filled).
#pragma once

#include "fs/data.h"

static inline uint64_t page_of(uint64_t off) { return off >> BLOCK_SHIFT; }
static inline uint32_t in_page(uint64_t off) { return (uint32_t)(off & (BLOCK_BYTES - 1)); }

// The largest size that this file can have, in bytes.
static inline uint64_t data_size_max(const struct inode *inode) { return (map_lblock_max(inode) + 1) << BLOCK_SHIFT; }

// Apply: the page is about to be changed (a new one: was filled). `promised`: a block was promised for it just now.
void data_page_dirty(struct inode *inode, struct page *page, bool promised);
// The same of a page that is dirty already: only the inode has to know.
void data_page_dirtied(struct inode *inode, bool promised);
// Pages [first, last] leave memory, dirty or not, and give their promises back.
void data_drop_pages(struct inode *inode, uint64_t first, uint64_t last);
// Takes the promise from a page: it is the caller's to give back or to use.
void data_page_unpromise(struct inode *inode, struct page *page);

// Brings a page into memory if its block holds data. *written: whether it does (a page of a hole may be
// in memory too). The caller holds the gate. -EAGAIN: waited for room, run the pass again.
YIELDS MUST_USE int data_load_page(struct plan *plan, struct inode *inode, uint64_t index, bool *written);
// The pool has no page to give: writes some back, or commits, and waits. -EAGAIN, or what fs_writable() says.
// `inode`: whose gate the caller holds.
YIELDS MUST_USE int data_make_room(struct inode *inode);
// So many pages wait for a commit that it is time for one.
bool data_settling_is_much(const struct fs *fs);
// Write-back by one who holds the gate, shared or alone, of pages [first, last].
YIELDS MUST_USE int data_write_out(struct inode *inode, uint64_t first, uint64_t last);
// Before the file grows without a write: the rest of its last block is zero, in memory and on the
// disk. The caller holds the gate alone.
YIELDS MUST_USE int data_settle_tail(struct inode *inode);

// Parts of at most two pages that become zero: the ragged ends of a range of bytes.
struct data_edges {
    uint32_t count;
    struct { uint64_t index; uint32_t from, to; bool written; } edge[2];
};
void data_edges_init(struct data_edges *edges, uint64_t off, uint64_t end);
YIELDS MUST_USE int data_plan_edges(struct plan *plan, struct inode *inode, struct data_edges *edges);
void data_apply_edges(struct inode *inode, const struct data_edges *edges);
