// SPDX-License-Identifier: MIT
// data.c - pages of files: into memory, dirty, out of it again.
//
// Pages are in memory because they were written, and stay as a cache until the pool wants them back.
#include "fs/data.h"

#include <string.h>

#include "base/check.h"
#include "fs/alloc.h"
#include "fs/data_internal.h"
#include "fs/fs_internal.h"

// --- dirty and clean --------------------------------------------------------------------------

void data_page_dirty(struct inode *inode, struct page *page, bool promised)
{
    struct fs *fs = inode->fs;
    page_touch(fs->pages, page, PAGE_DIRTY | (promised ? PAGE_RESERVED : 0), 0, jrn_running_tid(fs->jrn));
    data_page_dirtied(inode, promised);
}

void data_page_dirtied(struct inode *inode, bool promised)
{
    struct fs *fs = inode->fs;
    inode->delayed += promised;
    if (list_linked(&inode->data_link))
        return;
    inode->dirtied_ns = rt_now_ns(fs->rt);
    list_push_back(&fs->dirty_data, &inode->data_link);
    fs_flusher_hint(fs);
}

void data_page_unpromise(struct inode *inode, struct page *page)
{
    CHECK(inode->delayed > 0);
    inode->delayed--;
    page_set_flags(inode->fs->pages, page, 0, PAGE_RESERVED);
}

void data_drop_pages(struct inode *inode, uint64_t first, uint64_t last)
{
    struct fs *fs = inode->fs;
    uint64_t promised = 0;
    for (struct page *page; (page = page_next(&inode->pages, first, 0)) && page->index <= last;) {
        first = page->index + 1;
        CHECK(!(page_flags(page) & PAGE_WRITEBACK));
        if (page_flags(page) & PAGE_RESERVED) {
            data_page_unpromise(inode, page);
            promised++;
        }
        page_drop(fs->pages, page);
    }
    if (promised)
        alloc_unreserve(fs, promised);
    if (inode->pages.dirty_count == 0 && !inode->writing_back)
        list_remove(&inode->data_link);
}

void data_forget(struct inode *inode)
{
    data_drop_pages(inode, 0, UINT64_MAX);
}

// --- into memory ------------------------------------------------------------------------------

// D2: what stands behind the end of the file in its last block is not the file's. It may be left
// from a crash, or from another system; when the file grows it must not come to light, so the
// cleaned page goes back to the disk.
static void clean_tail(struct inode *inode, struct page *page)
{
    uint64_t start = page->index << BLOCK_SHIFT;
    if (start + BLOCK_BYTES <= inode->size)
        return;
    uint32_t from = inode->size > start ? in_page(inode->size) : 0;
    bool dirty = false;
    for (uint32_t i = from; i < BLOCK_BYTES && !dirty; i++)
        dirty = page->bytes[i] != 0;
    memset(page->bytes + from, 0, BLOCK_BYTES - from);
    if (dirty && !inode->fs->read_only)
        data_page_dirty(inode, page, false);
}

// Reads into memory of its own, so that nobody sees a page before it is filled. 0 or -EAGAIN when
// the block may have been written meanwhile.
static int load_block(struct inode *inode, uint64_t index, uint64_t block)
{
    struct fs *fs = inode->fs;
    struct block_owner owner = {.ino = inode->ino, .generation = inode->d.generation, .lblock = index};
    uint64_t seq = inode->writeback_seq;
    AUTO_FREE uint8_t *bytes = xblocks(1);
    struct iovec iov = {.iov_base = bytes, .iov_len = BLOCK_BYTES};

    int rc = data_read_blocks(fs->bufs, &owner, block, &iov, 1);
    if (rc < 0 || page_find(fs->pages, &inode->pages, index))
        return rc;
    if (inode->writeback_seq != seq)
        return -EAGAIN;
    struct page *page = page_pool_room(fs->pages) > 0 ? page_add(fs->pages, &inode->pages, index) : NULL;
    if (!page)
        return data_make_room(inode);
    memcpy(page->bytes, bytes, BLOCK_BYTES);
    clean_tail(inode, page);
    page_filled(fs->pages, page);
    return 0;
}

int data_load_page(struct plan *plan, struct inode *inode, uint64_t index, bool *written)
{
    struct map_run run;
    int rc = map_lookup(plan, inode, index, 1, &run);
    if (rc < 0)
        return rc;
    *written = run.state == MAP_WRITTEN;
    if (!*written || page_find(inode->fs->pages, &inode->pages, index))
        return 0;
    return load_block(inode, index, run.block);
}

// --- edges ------------------------------------------------------------------------------------

void data_edges_init(struct data_edges *edges, uint64_t off, uint64_t end)
{
    uint64_t first = page_of(off), last = page_of(end);
    edges->count = 0;
    if (first == last && off < end) {
        edges->edge[edges->count].index = first;
        edges->edge[edges->count].from = in_page(off);
        edges->edge[edges->count++].to = in_page(end);
        return;
    }
    if (in_page(off)) {
        edges->edge[edges->count].index = first;
        edges->edge[edges->count].from = in_page(off);
        edges->edge[edges->count++].to = BLOCK_BYTES;
    }
    if (in_page(end)) {
        edges->edge[edges->count].index = last;
        edges->edge[edges->count].from = 0;
        edges->edge[edges->count++].to = in_page(end);
    }
}

int data_plan_edges(struct plan *plan, struct inode *inode, struct data_edges *edges)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < edges->count; i++)
        rc = data_load_page(plan, inode, edges->edge[i].index, &edges->edge[i].written);
    // Reading the second may have cost the first its place in a very small pool.
    struct page_pool *pool = inode->fs->pages;
    uint32_t idle = 0;
    for (uint32_t i = 0; rc == 0 && i < edges->count; i++) {
        struct page *page = page_find(pool, &inode->pages, edges->edge[i].index);
        if (edges->edge[i].written && !page)
            rc = data_make_room(inode);
        idle += page && !page_is_busy(page);
    }
    return rc == 0 && idle > page_pool_room(pool) ? data_make_room(inode) : rc;
}

void data_apply_edges(struct inode *inode, const struct data_edges *edges)
{
    for (uint32_t i = 0; i < edges->count; i++) {
        struct page *page = page_find(inode->fs->pages, &inode->pages, edges->edge[i].index);
        if (!page)
            continue;               // a hole, or unwritten: zero already
        if (edges->edge[i].written || (page_flags(page) & PAGE_DIRTY))
            data_page_dirty(inode, page, false);
        memset(page->bytes + edges->edge[i].from, 0, edges->edge[i].to - edges->edge[i].from);
    }
}
