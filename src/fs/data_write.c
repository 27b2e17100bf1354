// SPDX-License-Identifier: MIT
// data_write.c - a write: what it needs is found in the pass, the pages change in apply.
//
// The pass adds no page but those it must read in. A page whose content is still to come would be
// visible to readers while the plan waits; so the pass makes sure that the pool can give as many as
// apply will take, which stays true because nothing waits in between.
#include <string.h>

#include "base/check.h"
#include "fs/alloc_internal.h"
#include "fs/data_internal.h"

static uint64_t end_of(const struct data_write *write)
{
    return write->off + write->len;
}

static void give_back(struct data_write *write)
{
    if (write->promised > 0)
        alloc_unreserve(write->fs, write->promised);
    write->promised = 0;
}

void data_write_fini(struct data_write *write)
{
    give_back(write);
    free(write->takes);
    write->takes = NULL;
}

// --- pass -------------------------------------------------------------------------------------

// Does the write leave bytes of the page as they are that belong to the file?
static bool keeps_bytes(const struct inode *inode, const struct data_write *write, uint64_t index)
{
    uint64_t start = index << BLOCK_SHIFT, end = MIN(start + BLOCK_BYTES, inode->size);
    return start < end && (write->off > start || end_of(write) < end);
}

// Pages whose old content is needed: ends of the range, and the old last page when the file grows
// past it, whose tail must be known to be zero.
static int load_pages(struct plan *plan, struct inode *inode, const struct data_write *write)
{
    uint64_t first = page_of(write->off), last = page_of(end_of(write) - 1), eof = page_of(inode->size);
    bool written = false;
    int rc = 0;
    if (write->off > inode->size && in_page(inode->size) && eof < first)
        rc = data_load_page(plan, inode, eof, &written);
    if (rc == 0 && keeps_bytes(inode, write, first))
        rc = data_load_page(plan, inode, first, &written);
    if (rc == 0 && last != first && keeps_bytes(inode, write, last))
        rc = data_load_page(plan, inode, last, &written);
    return rc;
}

// Which pages have neither a block nor a promise.
static int count_promises(struct plan *plan, struct inode *inode, struct data_write *write, uint32_t *needed)
{
    uint64_t first = page_of(write->off), end = first + write->page_count;
    struct map_run run;
    *needed = 0;
    for (uint64_t index = first; index < end; index += run.count) {
        int rc = map_lookup(plan, inode, index, end - index, &run);
        if (rc < 0)
            return rc;
        for (uint64_t i = index; i < index + run.count; i++) {
            struct page *page = run.state == MAP_HOLE ? page_find(inode->fs->pages, &inode->pages, i) : NULL;
            bool takes = run.state == MAP_HOLE && !(page && (page_flags(page) & PAGE_RESERVED));
            write->takes[i - first] = takes;
            *needed += takes;
        }
    }
    return 0;
}

// Clean pages of the range count too: adding the others could push them out.
static bool has_room(struct inode *inode, const struct data_write *write)
{
    struct page_pool *pool = inode->fs->pages;
    uint64_t first = page_of(write->off), busy = 0;
    for (uint32_t i = 0; i < write->page_count; i++) {
        struct page *page = page_find(pool, &inode->pages, first + i);
        busy += page && page_is_busy(page);
    }
    return write->page_count - busy <= page_pool_room(pool);
}

// Nothing may have pushed out what was read in.
static bool is_loaded(struct inode *inode, const struct data_write *write, uint64_t index)
{
    struct page_pool *pool = inode->fs->pages;
    return write->takes[index - page_of(write->off)] || !keeps_bytes(inode, write, index) ||
           page_find(pool, &inode->pages, index);
}

static int check_ends(struct plan *plan, struct inode *inode, const struct data_write *write)
{
    uint64_t ends[2] = {page_of(write->off), page_of(end_of(write) - 1)};
    for (uint32_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct map_run run;
        if (is_loaded(inode, write, ends[i]))
            continue;
        int rc = map_lookup(plan, inode, ends[i], 1, &run);
        if (rc < 0)
            return rc;
        if (run.state == MAP_WRITTEN)
            return data_make_room(inode);
    }
    return 0;
}

int data_plan_write(struct plan *plan, struct inode *inode, struct data_write *write)
{
    struct fs *fs = plan->fs;
    write->fs = fs;
    give_back(write);
    int rc = fs_writable(fs);
    if (rc < 0 || write->len == 0)
        return rc;
    if (write->off >= data_size_max(inode) || write->len > data_size_max(inode) - write->off)
        return -EFBIG;
    write->page_count = (uint32_t)(page_of(end_of(write) - 1) - page_of(write->off) + 1);
    if (write->page_count > page_pool_size(fs->pages) / 2)
        return -ENOMEM;             // more than the pool could ever hold at once
    write->takes = xrealloc(write->takes, write->page_count * sizeof *write->takes);

    uint32_t needed = 0;
    rc = load_pages(plan, inode, write);
    if (rc == 0)
        rc = count_promises(plan, inode, write, &needed);
    if (rc < 0)
        return rc;
    if (!has_room(inode, write))
        return data_make_room(inode);
    rc = check_ends(plan, inode, write);
    if (rc < 0 || needed == 0)
        return rc;
    rc = alloc_reserve(fs, needed, plan->privileged);
    if (rc == -ENOSPC)
        return alloc_wait_for_frees(fs);
    if (rc == 0)
        write->promised = needed;
    return rc;
}

// --- apply ------------------------------------------------------------------------------------

static void fill_page(struct data_write *write, struct page *page)
{
    uint64_t start = page->index << BLOCK_SHIFT;
    uint64_t from = MAX(start, write->off), end = MIN(start + BLOCK_BYTES, end_of(write));
    memcpy(page->bytes + in_page(from), (const uint8_t *)write->bytes + (from - write->off), end - from);
}

static void mark_page(struct inode *inode, struct data_write *write, struct page *page)
{
    bool takes = write->takes[page->index - page_of(write->off)];
    data_page_dirty(inode, page, takes);
    write->promised -= takes;
}

// D5, in both: a death at any moment leaves a page that is known to be newer than the disk, or none.
static void write_page(struct inode *inode, struct data_write *write, struct page *page)
{
    mark_page(inode, write, page);
    fill_page(write, page);
}

// What the write leaves of a page that was not in memory is a hole, unwritten, or past the end.
static void write_new_page(struct inode *inode, struct data_write *write, uint64_t index)
{
    struct page *page = page_add(inode->fs->pages, &inode->pages, index);
    CHECK(page);
    uint64_t start = index << BLOCK_SHIFT;
    if (write->off > start || end_of(write) < start + BLOCK_BYTES)
        memset(page->bytes, 0, BLOCK_BYTES);
    fill_page(write, page);
    mark_page(inode, write, page);
}

void data_apply_write(struct plan *plan, struct inode *inode, struct data_write *write)
{
    if (write->len == 0)
        return;
    uint64_t first = page_of(write->off), end = first + write->page_count;
    // First those that are there: dirty pages cannot be pushed out by those that are added.
    for (struct page *page; (page = page_next(&inode->pages, first, 0)) && page->index < end;) {
        write_page(inode, write, page);
        first = page->index + 1;
    }
    for (uint64_t index = page_of(write->off); index < end; index++)
        if (!page_find(inode->fs->pages, &inode->pages, index))
            write_new_page(inode, write, index);
    CHECK(write->promised == 0);
    if (end_of(write) > inode->size)
        inode->size = end_of(write);
}
