// SPDX-License-Identifier: MIT
// seek.c - where a file holds data and where holes. Unwritten blocks are holes; dirty pages are data.
#include "fs/data_internal.h"

// The next place at or after index, below `end`, that holds data (or, hole: that holds none).
static int seek_block(struct inode *inode, uint64_t index, uint64_t end, bool hole, uint64_t *found)
{
    while (index < end) {
        struct map_run run;
        int rc = map_lookup(NULL, inode, index, end - index, &run);
        if (rc < 0)
            return rc;
        uint64_t next = index + run.count;
        if (run.state != MAP_WRITTEN) {
            // Dirty pages are data already, also those that are being written.
            struct page *page = page_next(&inode->pages, index, PAGE_DIRTY | PAGE_WRITEBACK);
            bool dirty = page && page->index == index;
            if (page && page->index > index)
                next = MIN(next, page->index);
            if (dirty)
                next = index + 1;
            if (dirty != hole)
                break;
        } else if (!hole) {
            break;
        }
        index = next;
    }
    *found = MIN(index, end);
    return 0;
}

int64_t data_seek(struct inode *inode, uint64_t off, int whence)
{
    inode_gate_share(inode);
    bool hole = whence == SEEK_HOLE;
    uint64_t size = inode->size, end = DIV_ROUND_UP(size, BLOCK_BYTES), found;
    int64_t rc = -ENXIO;
    if (off < size)
        rc = seek_block(inode, page_of(off), end, hole, &found);
    inode_gate_unshare(inode);
    if (rc < 0)
        return rc;
    if (found == end)
        return hole ? (int64_t)size : -ENXIO;
    return (int64_t)MAX(off, found << BLOCK_SHIFT);
}
