// SPDX-License-Identifier: MIT
// truncate.c - a new size.
//
// Shrinking: the first transaction sets the size, zeros the rest of the last page and frees what it can;
// when that is not all, the inode is an orphan until a later one has freed the rest, so that a crash
// goes on with it. Growing moves the size alone; what stood behind the old end is zero (D2), on
// the disk too before the size on the disk passes it.
#include "fs/alloc.h"
#include "fs/data_internal.h"
#include "fs/orphan.h"

struct truncate {
    struct inode *inode;
    uint64_t size;
    bool started;                   // the first apply is done
    struct data_edges tail;
    struct map_remove remove;
    void (*update)(struct plan *plan, struct inode *inode, void *arg);
    void *arg;
};

static int step_pass(struct plan *plan, void *arg)
{
    struct truncate *t = arg;
    int rc = 0;
    plan_will_dirty_inode(plan, t->inode);
    orphan_plan(plan);
    if (!t->started)
        rc = data_plan_edges(plan, t->inode, &t->tail);
    return rc == 0 ? map_plan_remove(plan, t->inode, &t->remove) : rc;
}

static void first_apply(struct plan *plan, struct truncate *t)
{
    struct inode *inode = t->inode;
    inode->size = inode->d.size = t->size;
    data_apply_edges(inode, &t->tail);
    data_drop_pages(inode, t->remove.first, UINT64_MAX);
    if (t->update)
        t->update(plan, inode, t->arg);
    t->started = true;
}

static void step_apply(struct plan *plan, struct truncate *t)
{
    struct inode *inode = t->inode;
    bool done = t->remove.from == t->remove.first;
    if (!t->started)
        first_apply(plan, t);
    map_apply_remove(plan, inode, &t->remove);
    if (!done)
        orphan_apply_add(plan, inode);
    else if (inode->d.nlink > 0)
        orphan_apply_remove(plan, inode);
    inode_dirty(inode, true);
}

static int step(struct truncate *t)
{
    struct plan plan;
    plan_init(&plan, t->inode->fs);
    int rc = plan_run(&plan, step_pass, t);
    if (rc == 0)
        step_apply(&plan, t);
    plan_end(&plan);
    return rc;
}

// What cannot be freed stays behind the end of the file for e2fsck; as in ext4 the inode is no orphan
// any more, which nothing would ever finish with.
static int leave_pass(struct plan *plan, void *arg)
{
    struct truncate *t = arg;
    plan_will_dirty_inode(plan, t->inode);
    orphan_plan(plan);
    return 0;
}

static void give_up(struct truncate *t)
{
    struct plan plan;
    if (!t->started || t->inode->d.nlink == 0)
        return;
    plan_init(&plan, t->inode->fs);
    if (plan_run(&plan, leave_pass, t) == 0) {
        orphan_apply_remove(&plan, t->inode);
        inode_dirty(t->inode, true);
    }
    plan_end(&plan);
}

static int shrink(struct truncate *t)
{
    struct inode *inode = t->inode;
    t->remove = (struct map_remove){.first = DIV_ROUND_UP(t->size, BLOCK_BYTES), .last = MAP_LBLOCK_MAX};
    if (in_page(t->size) && t->size < inode->size)
        data_edges_init(&t->tail, t->size, ROUND_UP(t->size, BLOCK_BYTES));
    int rc = step(t);
    while (rc == 0 && t->remove.from != t->remove.first) {
        t->remove.last = t->remove.from - 1;
        rc = step(t);
    }
    if (rc < 0)
        give_up(t);
    map_remove_fini(&t->remove);
    return rc;
}

// --- growing ----------------------------------------------------------------------------------

static int load_pass(struct plan *plan, void *arg)
{
    struct inode *inode = arg;
    bool written;
    return data_load_page(plan, inode, page_of(inode->size), &written);
}

int data_settle_tail(struct inode *inode)
{
    struct plan plan;
    uint64_t index = page_of(inode->size);
    if (in_page(inode->size) == 0)
        return 0;
    plan_init(&plan, inode->fs);
    int rc = plan_run(&plan, load_pass, inode);
    plan_end(&plan);
    struct page *page = rc == 0 ? page_find(inode->fs->pages, &inode->pages, index) : NULL;
    if (page && (page_flags(page) & PAGE_DIRTY))
        rc = data_write_out(inode, index, index);
    return rc;
}

static int grow_pass(struct plan *plan, void *arg)
{
    struct truncate *t = arg;
    plan_will_dirty_inode(plan, t->inode);
    return 0;
}

static int grow(struct truncate *t)
{
    struct inode *inode = t->inode;
    int rc = data_settle_tail(inode);
    if (rc < 0)
        return rc;
    struct plan plan;
    plan_init(&plan, inode->fs);
    rc = plan_run(&plan, grow_pass, t);
    if (rc == 0) {
        inode->size = inode->d.size = t->size;
        if (t->update)
            t->update(&plan, inode, t->arg);
        inode_dirty(inode, true);
    }
    plan_end(&plan);
    return rc;
}

int data_truncate(struct inode *inode, uint64_t size, void (*update)(struct plan *plan, struct inode *inode, void *arg), void *arg)
{
    struct truncate t = {.inode = inode, .size = size, .update = update, .arg = arg};
    if (size > data_size_max(inode) && size > inode->size)
        return -EFBIG;
    return size > inode->size ? grow(&t) : shrink(&t);
}
