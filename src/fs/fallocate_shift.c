// SPDX-License-Identifier: MIT
// fallocate_shift.c - taking a range out of a file, and making room for one in its middle.
//
// What lies behind moves in the map. Pages behind are written back first and leave memory, since their
// place in the file changes. A small tree moves in one transaction; a larger one takes several, and
// a crash between them leaves the file half moved, as in ext4.
#include "fs/alloc.h"
#include "fs/fallocate.h"

// No page at or behind the range may stay in memory.
static int empty_cache(struct falloc *f)
{
    int rc = data_write_out(f->inode, page_of(f->off), UINT64_MAX);
    if (rc == 0)
        data_drop_pages(f->inode, page_of(f->off), UINT64_MAX);
    return rc;
}

static int shift_pass(struct plan *plan, void *arg)
{
    struct falloc *f = arg;
    return map_plan_shift(plan, f->inode, &f->shift);
}

// --- collapse ---------------------------------------------------------------------------------

// The size follows the last blocks.
static void collapse_apply(struct plan *plan, struct falloc *f)
{
    struct inode *inode = f->inode;
    map_apply_shift(plan, inode, &f->shift);
    if (!f->shift.done)
        return;
    inode->size -= f->end - f->off;
    inode->d.size = inode->size;
    falloc_update(plan, f, &f->asked);
}

int falloc_collapse(struct falloc *f)
{
    if (in_page(f->off) || in_page(f->end) || f->end >= f->inode->size)
        return -EINVAL;
    int rc = empty_cache(f);
    // The caller is told when all is done: his part comes with the new size.
    struct falloc hole = {.inode = f->inode, .off = f->off, .end = f->end};
    if (rc == 0)
        rc = falloc_punch(&hole, page_of(f->off), page_of(f->end) - 1);
    f->shift = (struct map_shift){.start = page_of(f->end), .by = page_of(f->end - f->off)};
    while (rc == 0 && !f->shift.done)
        rc = falloc_step(f, shift_pass, collapse_apply);
    return rc;
}

// --- insert -----------------------------------------------------------------------------------

// The size moves first: blocks must not be moved past the end of the file.
static void insert_apply(struct plan *plan, struct falloc *f)
{
    struct inode *inode = f->inode;
    if (!f->begun) {
        inode->size += f->end - f->off;
        inode->d.size = inode->size;
    }
    f->begun = true;
    map_apply_shift(plan, inode, &f->shift);
    if (f->shift.done)
        falloc_update(plan, f, &f->asked);
}

int falloc_insert(struct falloc *f)
{
    struct inode *inode = f->inode;
    uint64_t len = f->end - f->off;
    if (in_page(f->off) || in_page(f->end) || f->off >= inode->size)
        return -EINVAL;
    if (len > data_size_max(inode) - inode->size)
        return -EFBIG;
    int rc = empty_cache(f);
    f->shift = (struct map_shift){.start = page_of(f->off), .by = page_of(len), .away = true};
    while (rc == 0 && !f->shift.done)
        rc = falloc_step(f, shift_pass, insert_apply);
    return rc;
}
