// SPDX-License-Identifier: MIT
// fallocate.c - allocating, zeroing and punching ranges.
//
// Each works in steps of one transaction that are sound by themselves: a crash or a full disk in the
// middle leaves the steps that were done, as in ext4. Whole blocks change in the map, the ragged
// ends of a range are zeroed in their pages. Moving ranges is in fallocate_shift.c.
#include <linux/falloc.h>

#include "fs/alloc.h"
#include "fs/data_internal.h"
#include "fs/fallocate.h"

#define FILE_END_MAX ((MAP_LBLOCK_MAX + 1) << BLOCK_SHIFT)

void falloc_update(struct plan *plan, struct falloc *f, const struct data_done *done)
{
    if (f->update && !f->updated)
        f->update(plan, f->inode, done, f->arg);
    f->updated = true;
}

int falloc_step(struct falloc *f, int (*pass)(struct plan *plan, void *arg), void (*apply)(struct plan *plan, struct falloc *f))
{
    struct plan plan;
    plan_init(&plan, f->inode->fs);
    int rc = plan_run(&plan, pass, f);
    if (rc == 0)
        apply(&plan, f);
    plan_end(&plan);
    return rc;
}

// --- allocating and zeroing -------------------------------------------------------------------

// What the step does with [block, block + run.count), cut to what is still wanted.
static int choose(struct plan *plan, struct falloc *f)
{
    struct inode *inode = f->inode;
    uint64_t goal, left = f->block_end - f->block;
    int rc = map_lookup(plan, inode, f->block, MIN(left, MAP_RUN_MAX - 1ull), &f->run);
    if (rc < 0)
        return rc;
    f->sets = f->run.state == MAP_HOLE;
    f->claims = f->sets;
    if (f->run.state == MAP_WRITTEN && f->zeroes && f->block >= f->whole_first && f->block < f->whole_end) {
        f->run.count = MIN(f->run.count, f->whole_end - f->block);
        f->sets = true;
    } else if (f->run.state == MAP_WRITTEN && f->zeroes && f->block < f->whole_first) {
        f->run.count = MIN(f->run.count, f->whole_first - f->block);
    }
    if (f->claims) {
        uint32_t got;
        rc = map_goal(plan, inode, f->block, &goal);
        if (rc == 0)
            rc = alloc_claim_run(plan, goal, (uint32_t)f->run.count, false, &f->run.block, &got);
        if (rc < 0)
            return rc;
        f->run.count = got;
    }
    f->run.state = MAP_UNWRITTEN;
    return f->sets ? map_plan_set(plan, inode, f->run.lblock, f->run.count) : 0;
}

static int fill_pass(struct plan *plan, void *arg)
{
    struct falloc *f = arg;
    plan_will_dirty_inode(plan, f->inode);
    int rc = 0;
    if (!f->begun)
        rc = data_plan_edges(plan, f->inode, &f->edges);
    if (rc == 0 && f->block < f->block_end)
        rc = choose(plan, f);
    return rc;
}

// The size follows the blocks, so that a full disk leaves a file as long as what it got.
static void extend(struct falloc *f)
{
    struct inode *inode = f->inode;
    uint64_t end = MIN(f->block << BLOCK_SHIFT, f->size_end);
    if (end > inode->size)
        inode->size = end;
    if (f->size_end > 0 && inode->d.size < MIN(end, inode->size))
        inode->d.size = MIN(end, inode->size);
}

static void fill_apply(struct plan *plan, struct falloc *f)
{
    struct inode *inode = f->inode;
    if (!f->begun) {
        data_apply_edges(inode, &f->edges);
        if (f->zeroes && f->whole_first < f->whole_end)
            data_drop_pages(inode, f->whole_first, f->whole_end - 1);
    }
    if (f->block < f->block_end) {
        if (f->claims)
            alloc_apply_use(plan, f->run.block, (uint32_t)f->run.count, 0);
        if (f->sets)
            map_apply_set(plan, inode, &f->run);
        f->block += f->run.count;
    }
    extend(f);
    f->begun = true;
    f->done = (struct data_done){f->off, MIN(f->end, f->block << BLOCK_SHIFT)};
    if (f->block >= f->block_end)
        falloc_update(plan, f, &f->asked);
    inode_dirty(inode, true);
}

static int fill(struct falloc *f)
{
    struct inode *inode = f->inode;
    // Promises are for holes only (D1), so nothing in the range may be waiting for its block.
    int ignored = data_write_out(inode, f->block, f->block_end - 1);
    (void)ignored;                  // waits in the inode for its fsync
    int rc = f->size_end > inode->size ? data_settle_tail(inode) : 0;
    do {
        if (rc == 0)
            rc = falloc_step(f, fill_pass, fill_apply);
    } while (rc == 0 && f->block < f->block_end);
    return rc;
}

static int allocate(struct falloc *f, int mode)
{
    f->block = page_of(f->off);
    f->block_end = DIV_ROUND_UP(f->end, BLOCK_BYTES);
    if (!(mode & FALLOC_FL_KEEP_SIZE) && f->end > f->inode->size)
        f->size_end = f->end;
    return fill(f);
}

static int zero_range(struct falloc *f, int mode)
{
    f->zeroes = true;
    f->whole_first = DIV_ROUND_UP(f->off, BLOCK_BYTES);
    f->whole_end = page_of(f->end);
    data_edges_init(&f->edges, f->off, f->end);
    return allocate(f, mode);
}

// --- punching ---------------------------------------------------------------------------------

static int punch_pass(struct plan *plan, void *arg)
{
    struct falloc *f = arg;
    int rc = 0;
    plan_will_dirty_inode(plan, f->inode);
    if (!f->begun)
        rc = data_plan_edges(plan, f->inode, &f->edges);
    return rc == 0 ? map_plan_remove(plan, f->inode, &f->remove) : rc;
}

static void punch_apply(struct plan *plan, struct falloc *f)
{
    struct inode *inode = f->inode;
    if (!f->begun) {
        data_apply_edges(inode, &f->edges);
        // The pages that would have moved the size on the disk may be among those that go.
        if (f->end >= inode->size)
            inode->d.size = inode->size;
    }
    if (f->remove.first <= f->remove.last) {
        data_drop_pages(inode, f->remove.from, f->remove.last);
        map_apply_remove(plan, inode, &f->remove);
    }
    f->begun = true;
    f->done = (struct data_done){MAX(f->off, f->remove.from << BLOCK_SHIFT), f->end};
    if (f->remove.from == f->remove.first)
        falloc_update(plan, f, &f->asked);
    inode_dirty(inode, true);
}

int falloc_punch(struct falloc *f, uint64_t first, uint64_t last)
{
    f->remove = (struct map_remove){.first = first, .last = last};
    int rc = falloc_step(f, punch_pass, punch_apply);
    while (rc == 0 && f->remove.from != f->remove.first) {
        f->remove.last = f->remove.from - 1;
        rc = falloc_step(f, punch_pass, punch_apply);
    }
    map_remove_fini(&f->remove);
    return rc;
}

static int punch_hole(struct falloc *f)
{
    uint64_t size = f->inode->size;
    if (f->off >= size) {
        f->end = f->off;
        return falloc_punch(f, 1, 0);       // nothing but the times
    }
    if (f->end >= size)
        f->end = ROUND_UP(size, BLOCK_BYTES);
    data_edges_init(&f->edges, f->off, f->end);
    uint64_t first = DIV_ROUND_UP(f->off, BLOCK_BYTES), end = page_of(f->end);
    return first < end ? falloc_punch(f, first, end - 1) : falloc_punch(f, 1, 0);
}

// --- a failure in the middle ------------------------------------------------------------------

static int leave_pass(struct plan *plan, void *arg)
{
    plan_will_dirty_inode(plan, ((struct falloc *)arg)->inode);
    return 0;
}

static void leave_apply(struct plan *plan, struct falloc *f)
{
    falloc_update(plan, f, &f->done);
    inode_dirty(f->inode, true);
}

// What was done stays done, as in ext4: the caller's part comes with that much.
static int leave(struct falloc *f, int rc)
{
    if (rc < 0 && f->begun && !f->updated && f->done.end > f->done.off)
        (void)!falloc_step(f, leave_pass, leave_apply);
    return rc;
}

// --- the call ---------------------------------------------------------------------------------

int data_fallocate(struct inode *inode, int mode, uint64_t off, uint64_t len, void (*update)(struct plan *plan, struct inode *inode, const struct data_done *done, void *arg), void *arg)
{
    struct falloc f = {.inode = inode, .off = off, .end = off + len, .asked = {off, off + len}, .update = update, .arg = arg};
    bool extents = inode->d.flags & EXT4_EXTENTS_FL;
    if (len == 0)
        return -EINVAL;
    if (off > FILE_END_MAX || len > FILE_END_MAX - off)
        return -EFBIG;
    int rc = fs_writable(inode->fs);
    if (rc < 0)
        return rc;
    switch (mode) {
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
        return leave(&f, punch_hole(&f));
    case 0:
    case FALLOC_FL_KEEP_SIZE:
        return extents ? leave(&f, allocate(&f, mode)) : -EOPNOTSUPP;
    case FALLOC_FL_ZERO_RANGE:
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
        return extents ? leave(&f, zero_range(&f, mode)) : -EOPNOTSUPP;
    case FALLOC_FL_COLLAPSE_RANGE:
        return extents ? falloc_collapse(&f) : -EOPNOTSUPP;
    case FALLOC_FL_INSERT_RANGE:
        return extents ? falloc_insert(&f) : -EOPNOTSUPP;
    default:
        return -EOPNOTSUPP;
    }
}
