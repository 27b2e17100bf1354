// SPDX-License-Identifier: MIT
// data_adopt.c - recovery's last step: the bytes that a dead server had taken and not made durable.
//
// The replay has brought sizes, names and maps to where applications had them; the pages hold the content
// as it was at the end. So each page goes over whatever the replay read or zeroed at its place, and
// is dirty: a block is promised where the map has a hole. That block had been promised by the predecessor too,
// so it is not refused now. Pages come file by file, in order; a file's gate is held alone meanwhile.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/alloc.h"
#include "fs/data_internal.h"
#include "fs/fs_internal.h"

// The file that a page belongs to, or NULL: then the page is of no use any more.
// *out: NULL where nobody owns the page any more. A disk that cannot be read now may be read by the next
// successor; a damaged inode is damaged for good.
static YIELDS int find_owner(struct fs *fs, const struct page_busy *busy, struct inode **out)
{
    int rc = inode_get(fs, busy->ino, out);
    if (rc == 0 && (*out)->d.generation == busy->generation && inode_is_reg(*out))
        return 0;
    if (rc == 0)
        inode_put(*out);
    *out = NULL;
    if (rc == -EFSCORRUPTED || rc == -EFSBADCRC)
        log_error("event=pages_lost ino=%u error=%d why=\"their inode is damaged\"", busy->ino, rc);
    else if (rc < 0 && rc != -ESTALE)
        return rc;
    return 0;
}

// What replay made at the page's place is not needed, nor the block that was promised for it.
static void give_way(struct inode *inode, uint64_t index)
{
    struct page *replayed = page_find(inode->fs->pages, &inode->pages, index);
    if (!replayed)
        return;
    CHECK(!(page_flags(replayed) & PAGE_WRITEBACK));
    if (page_flags(replayed) & PAGE_RESERVED) {
        data_page_unpromise(inode, replayed);
        alloc_unreserve(inode->fs, 1);
    }
    page_drop(inode->fs->pages, replayed);
}

static void take_page(struct inode *inode, uint64_t index, bool hole)
{
    struct fs *fs = inode->fs;
    uint64_t start = index << BLOCK_SHIFT;
    give_way(inode, index);
    struct page *page = page_pool_claim_busy(fs->pages, &inode->pages, hole ? PAGE_RESERVED : 0, jrn_running_tid(fs->jrn));
    if (inode->size < start + BLOCK_BYTES)      // D2: a write that was never finished may have been here
        memset(page->bytes + in_page(inode->size), 0, BLOCK_BYTES - in_page(inode->size));
    if (hole)
        alloc_reserve_again(fs, 1);
    data_page_dirtied(inode, hole);
}

static bool is_of(const struct page_busy *busy, uint32_t ino, uint32_t generation)
{
    return busy->ino == ino && busy->generation == generation;
}

// All busy pages of one file, the first of which is `busy`. Where the map cannot be read the page is taken all the
// same, without a promise: its write-back meets the damage, and the next fsync tells.
static YIELDS void take_pages(struct inode *inode, struct page_busy *busy, uint64_t *pages)
{
    struct fs *fs = inode->fs;
    struct map_run run = {.count = 0};
    uint32_t ino = busy->ino, generation = busy->generation;
    for (bool more = true; more && is_of(busy, ino, generation); more = page_pool_next_busy(fs->pages, busy)) {
        if (busy->index >= DIV_ROUND_UP(inode->size, BLOCK_BYTES)) {
            page_pool_drop_busy(fs->pages);
            continue;
        }
        if (busy->index - run.lblock >= run.count && map_lookup(NULL, inode, busy->index, MAP_RUN_MAX, &run) < 0)
            run = (struct map_run){.state = MAP_WRITTEN, .lblock = busy->index, .count = 1};
        take_page(inode, busy->index, run.state == MAP_HOLE);
        ++*pages;
    }
}

int data_adopt_busy(struct fs *fs, uint64_t *pages)
{
    struct page_busy busy;
    *pages = 0;
    while (page_pool_next_busy(fs->pages, &busy)) {
        struct inode *inode;
        int rc = fs_writable(fs);
        if (rc == 0)
            rc = find_owner(fs, &busy, &inode);
        if (rc < 0)
            return rc;
        if (!inode) {
            page_pool_drop_busy(fs->pages);
            continue;
        }
        inode_gate_alone(inode);
        take_pages(inode, &busy, pages);
        inode_gate_open(inode);
        inode_put(inode);
    }
    fs_flusher_hint(fs);
    return 0;
}
