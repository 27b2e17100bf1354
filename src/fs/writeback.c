// SPDX-License-Identifier: MIT
// writeback.c - dirty pages reach the disk, then the map and the size follow.
//
//   DIRTY ──collect──▶ WRITEBACK ──write──▶ (map, d.size: one plan) ──▶ clean
//                          │ written to meanwhile                  └──▶ DIRTY still: again
//                          └──▶ WRITEBACK|DIRTY ───────────────────────▲
//
// An inode's dirty pages are taken as runs that lie together in the file and on the disk; a batch of runs
// is under way at once, and when all of a batch are on the disk, their maps change in the order of
// the file. Blocks of holes are claimed before the write and are nobody's until that change; so what
// a transaction names has been written. Under journal=data nothing is written here: the pages are
// copied into buffers of the transaction that maps them.
//
// What is clean then still settles until the transaction that names its block has committed (page.h).
//
// A write that fails is reported by the next fsync; its pages are clean afterwards, as in ext4.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/alloc.h"
#include "fs/data_internal.h"
#include "fs/map_internal.h"

#define RUN_PAGES_MAX 256u          // 1 MiB: one write of the device
#define RUN_PAGES_JOURNALLED 64u    // so many blocks of data in one transaction's credits
#define RUNS_MAX 16u

struct wb_run {
    struct inode *inode;
    bool journalled;
    int rc;
    int state;                      // MAP_*, as it was found
    uint64_t lblock, block;
    uint32_t count;
    uint32_t promised;              // of the pages
    bool claimed;                   // the blocks are ours to give back
    uint64_t size;                  // of the file, when the pages were taken
    struct page *pages[RUN_PAGES_MAX];
    struct iovec iov[RUN_PAGES_MAX];
    int iovcnt;
};

struct writeback {
    struct inode *inode;
    uint64_t next, last;            // pages still to look at
    uint64_t goal_lblock, goal;     // where the run behind the last one is best put
    struct wb_run *runs;
    uint32_t run_count, run_capacity;
    int rc;                         // the first error
};

// --- taking pages -----------------------------------------------------------------------------

// How many pages from `index` on are dirty, in a row, and alike in having a promise.
static uint32_t dirty_row(struct inode *inode, uint64_t index, uint64_t max)
{
    uint32_t count = 0, promise = 0;
    while (count < max) {
        struct page *page = page_next(&inode->pages, index + count, PAGE_DIRTY);
        if (!page || page->index != index + count)
            break;
        if (count == 0)
            promise = page_flags(page) & PAGE_RESERVED;
        if ((page_flags(page) & PAGE_RESERVED) != promise)
            break;
        count++;
    }
    return count;
}

static int claim_blocks(struct writeback *wb, uint64_t lblock, uint32_t want, bool promised, struct map_run *run)
{
    struct inode *inode = wb->inode;
    uint64_t goal = wb->goal;
    uint32_t got = 0;
    int rc = 0;
    if (lblock != wb->goal_lblock)
        rc = map_goal(NULL, inode, lblock, &goal);
    if (rc < 0)
        return rc;
    do {
        struct plan plan;
        plan_init(&plan, inode->fs);
        plan.draws_reserve = true;
        rc = alloc_claim_run(&plan, goal, want, promised, &run->block, &got);
        if (rc == 0)
            alloc_keep(&plan, run->block, got);
        plan_end(&plan);
    } while (rc == -EAGAIN);
    if (rc < 0)
        return rc;
    run->count = got;
    wb->goal_lblock = lblock + got;
    wb->goal = run->block + got;
    return 0;
}

static void collect(struct wb_run *run)
{
    struct inode *inode = run->inode;
    struct page_pool *pool = inode->fs->pages;
    run->size = inode->size;
    for (uint32_t i = 0; i < run->count; i++) {
        struct page *page = page_find(pool, &inode->pages, run->lblock + i);
        CHECK(page);
        run->pages[i] = page;
        run->promised += (page_flags(page) & PAGE_RESERVED) != 0;
        page_set_flags(pool, page, PAGE_WRITEBACK, PAGE_DIRTY);
        struct iovec *iov = run->iovcnt ? &run->iov[run->iovcnt - 1] : NULL;
        if (iov && (uint8_t *)iov->iov_base + iov->iov_len == page->bytes)
            iov->iov_len += BLOCK_BYTES;
        else
            run->iov[run->iovcnt++] = (struct iovec){.iov_base = page->bytes, .iov_len = BLOCK_BYTES};
    }
}

// The next run of dirty pages into `run`; false when there is none.
static bool take_run(struct writeback *wb, struct wb_run *run)
{
    struct inode *inode = wb->inode;
    struct page *page = page_next(&inode->pages, wb->next, PAGE_DIRTY);
    if (!page || page->index > wb->last)
        return false;
    uint64_t lblock = page->index;
    bool journalled = map_is_journalled(inode);
    uint64_t max = MIN((journalled ? RUN_PAGES_JOURNALLED : RUN_PAGES_MAX) - 1ull, wb->last - lblock) + 1;
    struct map_run map = {.state = MAP_WRITTEN, .count = max};

    int rc = fs_writable(inode->fs);
    if (rc == 0)
        rc = map_lookup(NULL, inode, lblock, max, &map);
    // Only write-back makes pages clean, and there is one: what is dirty stays so while we wait.
    bool promised = page_flags(page) & PAGE_RESERVED;
    uint32_t count = dirty_row(inode, lblock, rc < 0 ? max : map.count);
    bool claims = rc == 0 && map.state == MAP_HOLE;
    if (claims)
        rc = claim_blocks(wb, lblock, count, promised, &map);
    if (rc == 0)
        count = (uint32_t)MIN((uint64_t)count, map.count);
    *run = (struct wb_run){.inode = inode, .journalled = journalled, .rc = rc, .state = map.state, .lblock = lblock,
                           .block = map.block, .count = count, .claimed = claims && rc == 0};
    collect(run);
    wb->next = lblock + count;
    return true;
}

// --- the write --------------------------------------------------------------------------------

static int write_run(void *arg)
{
    struct wb_run *run = arg;
    struct inode *inode = run->inode;
    struct block_owner owner = {.ino = inode->ino, .generation = inode->d.generation, .lblock = run->lblock};
    if (run->rc == 0 && !run->journalled)
        run->rc = data_write_blocks(inode->fs->bufs, &owner, run->block, run->iov, run->iovcnt);
    return 0;
}

static void write_runs(struct writeback *wb)
{
    if (wb->run_count == 1) {
        (void)write_run(&wb->runs[0]);
        return;
    }
    struct rt_group group;
    rt_group_init(&group, wb->inode->fs->rt);
    for (uint32_t i = 0; i < wb->run_count; i++)
        rt_group_go(&group, "writeback", write_run, &wb->runs[i]);
    int rc = rt_group_wait(&group);
    CHECK(rc == 0);                 // each run keeps its own error
}

// --- the map ----------------------------------------------------------------------------------

// How much of the file is on the disk with this run.
static uint64_t size_of(const struct wb_run *run)
{
    return MIN(run->size, (run->lblock + run->count) << BLOCK_SHIFT);
}

// A hole may come in parts by now: earlier runs of the batch have made arrays of indirect blocks in it.
static bool is_as_taken(const struct wb_run *run, const struct map_run *now)
{
    if ((int)now->state != run->state)
        return false;
    return now->state == MAP_HOLE || (now->block == run->block && now->count == run->count);
}

// From taking the pages to mapping them nobody else maps blocks of this file: the gate is held. But on a
// damaged volume two files may have one tree, and what the other mapped meanwhile must not be mapped over.
static int check_map(struct plan *plan, const struct wb_run *run)
{
    struct map_run now;
    for (uint64_t at = 0; at < run->count; at += now.count) {
        int rc = map_lookup(plan, run->inode, run->lblock + at, run->count - at, &now);
        if (rc < 0)
            return rc;
        if (!is_as_taken(run, &now))
            return plan_has_waited(plan) ? -EAGAIN : map_corrupt(run->inode, run->block, "the map changed while its blocks were written");
    }
    return 0;
}

static int map_pass(struct plan *plan, void *arg)
{
    struct wb_run *run = arg;
    int rc = check_map(plan, run);
    if (rc < 0)
        return rc;
    plan->draws_reserve = true;
    if (run->state != MAP_WRITTEN)
        rc = map_plan_set(plan, run->inode, run->lblock, run->count);
    else
        plan_will_dirty_inode(plan, run->inode);
    if (rc == 0 && run->claimed)
        rc = alloc_plan_use(plan, run->block, run->count);
    if (run->journalled)
        plan_credits(plan, run->count);
    return rc;
}

// The pages as they are at this moment: changes made since they were taken come along.
static void log_pages(struct wb_run *run)
{
    struct fs *fs = run->inode->fs;
    for (uint32_t i = 0; i < run->count; i++) {
        struct shep_ref ref = {.type = BLOCK_DATA, .owner = {.ino = run->inode->ino, .generation = run->inode->d.generation,
                                                             .lblock = run->lblock + i}};
        struct buf *buf = buf_get_new(fs->bufs, &ref, run->block + i);
        memcpy(buf->bytes, run->pages[i]->bytes, BLOCK_BYTES);
        jrn_dirty(fs->jrn, buf);
        buf_put(fs->bufs, buf);
    }
}

// Their blocks, or the size that they give the file, belong to this transaction; promises are used up.
static void touch_pages(const struct wb_run *run)
{
    struct inode *inode = run->inode;
    struct fs *fs = inode->fs;
    bool promised = run->claimed && run->promised > 0;
    CHECK(!promised || inode->delayed >= run->count);
    for (uint32_t i = 0; i < run->count; i++)
        page_touch(fs->pages, run->pages[i], 0, promised ? PAGE_RESERVED : 0, jrn_running_tid(fs->jrn));
    inode->delayed -= promised ? run->count : 0;
}

static void map_apply(struct plan *plan, struct wb_run *run)
{
    struct inode *inode = run->inode;
    struct map_run map = {.state = MAP_WRITTEN, .lblock = run->lblock, .count = run->count, .block = run->block};
    touch_pages(run);
    if (run->claimed) {
        alloc_apply_use(plan, run->block, run->count, run->promised);
        run->promised = 0;
        run->claimed = false;
    }
    if (run->state != MAP_WRITTEN)
        map_apply_set(plan, inode, &map);
    if (run->journalled)
        log_pages(run);
    inode->d.size = MAX(inode->d.size, size_of(run));
    inode_dirty(inode, true);
}

static int map_run(struct wb_run *run)
{
    if (run->state == MAP_WRITTEN && !run->journalled && size_of(run) <= run->inode->d.size)
        return 0;
    struct plan plan;
    plan_init(&plan, run->inode->fs);
    int rc = plan_run(&plan, map_pass, run);
    if (rc == 0)
        map_apply(&plan, run);
    plan_end(&plan);
    return rc;
}

// --- afterwards -------------------------------------------------------------------------------

static void note_error(struct inode *inode, const struct wb_run *run)
{
    inode->fs->write_error = inode->fs->write_error ? inode->fs->write_error : run->rc;
    if (inode->write_error == 0) {
        inode->write_error = run->rc;
        log_error("event=writeback_failed ino=%u lblock=%llu count=%u block=%llu error=%d", inode->ino,
                  (unsigned long long)run->lblock, run->count, (unsigned long long)run->block, run->rc);
    }
}

// Promises that were not used: because the block is there already, or because the page is given up.
static void return_promises(struct wb_run *run)
{
    struct inode *inode = run->inode;
    uint64_t unused = 0;
    for (uint32_t i = 0; run->promised && i < run->count; i++) {
        uint32_t flags = page_flags(run->pages[i]);
        if (!(flags & PAGE_RESERVED) || (run->rc < 0 && (flags & PAGE_DIRTY)))
            continue;
        data_page_unpromise(inode, run->pages[i]);
        unused++;
    }
    alloc_unreserve(inode->fs, unused);
}

static void finish_run(struct writeback *wb, struct wb_run *run)
{
    struct inode *inode = run->inode;
    struct fs *fs = inode->fs;
    if (run->rc == 0)
        run->rc = map_run(run);
    if (run->rc < 0) {
        note_error(inode, run);
        wb->rc = wb->rc ? wb->rc : run->rc;
    }
    if (run->claimed)
        alloc_release(fs, run->block, run->count);
    return_promises(run);
    for (uint32_t i = 0; i < run->count; i++)
        page_set_flags(fs->pages, run->pages[i], 0, PAGE_WRITEBACK);
    inode->writeback_seq++;
    if (!run->journalled)
        inode->unflushed_tid = jrn_running_tid(fs->jrn);
    fs->stats.writeback_pages += run->count;
    waitq_wake_all(fs->rt, &fs->writeback_done);
}

static void settle(struct inode *inode)
{
    struct fs *fs = inode->fs;
    list_remove(&inode->data_link);
    if (inode->pages.dirty_count == 0)
        return;
    inode->dirtied_ns = rt_now_ns(fs->rt);
    list_push_back(&fs->dirty_data, &inode->data_link);
}

static void write_batches(struct writeback *wb)
{
    do {
        wb->run_count = 0;
        while (wb->run_count < wb->run_capacity && take_run(wb, &wb->runs[wb->run_count]))
            wb->run_count++;
        if (wb->run_count > 0)
            write_runs(wb);
        for (uint32_t i = 0; i < wb->run_count; i++)
            finish_run(wb, &wb->runs[i]);
    } while (wb->run_count == wb->run_capacity);
}

static int size_pass(struct plan *plan, void *arg)
{
    plan_will_dirty_inode(plan, arg);
    return 0;
}

// In the life of one server the last dirty page takes the size along. But a page that the gap had dropped (zeroed by
// fallocate) is not there for a successor, which knows the size from the log alone.
int data_settle_size(struct inode *inode)
{
    if (inode->size <= inode->d.size || inode->pages.dirty_count > 0 || inode->write_error || inode->d.nlink == 0)
        return 0;
    struct plan plan;
    plan_init(&plan, inode->fs);
    int rc = plan_run(&plan, size_pass, inode);
    if (rc == 0 && inode->size > inode->d.size && inode->pages.dirty_count == 0) {
        inode->d.size = inode->size;
        inode_dirty(inode, true);
    }
    plan_end(&plan);
    return rc;
}

int data_write_out(struct inode *inode, uint64_t first, uint64_t last)
{
    struct fs *fs = inode->fs;
    while (inode->writing_back)
        waitq_wait(fs->rt, &fs->writeback_done);
    if (inode->pages.dirty_count == 0)
        return 0;
    inode_ref(inode);
    inode->writing_back = true;
    // When the size on the disk is to move, the page that held its end goes with it: it may have been
    // zeroed behind that end since.
    if (last >= page_of(inode->d.size))
        first = MIN(first, page_of(inode->d.size));
    struct writeback wb = {.inode = inode, .next = first, .last = last, .goal_lblock = UINT64_MAX,
                           .run_capacity = (uint32_t)MIN(inode->pages.dirty_count, (uint64_t)RUNS_MAX)};
    wb.runs = xcalloc(wb.run_capacity, sizeof *wb.runs);
    write_batches(&wb);
    free(wb.runs);
    inode->writing_back = false;
    if (inode->pages.dirty_count == 0 || last == UINT64_MAX)
        settle(inode);
    waitq_wake_all(fs->rt, &fs->writeback_done);
    int rc = wb.rc < 0 ? wb.rc : data_settle_size(inode);
    inode_put(inode);
    return rc;
}

int data_writeback(struct inode *inode, uint64_t off, uint64_t len)
{
    if (len == 0)
        return 0;
    uint64_t last = len - 1 > UINT64_MAX - off ? UINT64_MAX : off + len - 1;
    inode_gate_share(inode);
    int rc = data_write_out(inode, page_of(off), last == UINT64_MAX ? UINT64_MAX : page_of(last));
    inode_gate_unshare(inode);
    return rc;
}
