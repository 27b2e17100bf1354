// SPDX-License-Identifier: MIT
// flusher.c - the fibre that makes things durable when nobody asks.
//
//   dozing ──(first change)──▶ waiting for the interval ──▶ write back what is old, commit ──┐
//      ▲                              ▲   └──(memory or log runs short: at once)             │
//      └──(nothing dirty)─────────────┴──────────────────(still dirty)───────────────────────┘
//
// While it dozes no timer runs: an idle mount costs nothing.
#include "base/check.h"
#include "base/log.h"
#include "cache/page.h"
#include "fs/data_internal.h"
#include "fs/fs_internal.h"
#include "fs/inode.h"

#define BATCH 16u
#define PAUSE_NS 20000000u

static uint64_t interval_ns(const struct fs *fs)
{
    return (uint64_t)fs->config.commit_interval_ms * 1000000u;
}

static bool pages_run_short(const struct fs *fs)
{
    return page_pool_dirty(fs->pages) > page_pool_size(fs->pages) / 4;
}

// Is a commit all that is missing, for pages that were written already?
static bool needs_commit(const struct fs *fs)
{
    return !jrn_running_empty(fs->jrn) || page_pool_settling(fs->pages) > 0;
}

static bool log_runs_short(const struct fs *fs)
{
    return jrn_free_blocks(fs->jrn) < jrn_size_blocks(fs->jrn) / 2;
}

static bool has_error_to_record(const struct fs *fs)
{
    return fs->broken && !fs->error_recorded && !fs->shut_down && !fs->read_only;
}

static bool is_urgent(const struct fs *fs)
{
    if (fs_writable(fs) < 0)
        return has_error_to_record(fs);
    return pages_run_short(fs) || data_settling_is_much(fs) || log_runs_short(fs);
}

static bool has_work(const struct fs *fs)
{
    if (fs_writable(fs) < 0)
        return has_error_to_record(fs);
    return needs_commit(fs) || !list_empty(&fs->dirty_data) || log_runs_short(fs);
}

void fs_flusher_hint(struct fs *fs)
{
    if (!fs->flusher_running || fs->flusher_urged)
        return;
    bool urgent = is_urgent(fs);
    if (!urgent && !(fs->flusher_dozing && has_work(fs)))
        return;
    fs->flusher_urged = urgent;
    fs->flusher_dozing = false;
    waitq_wake_one(fs->rt, &fs->flusher_wake);
}

// --- old data ----------------------------------------------------------------------------------------

static YIELDS int write_one(void *arg)
{
    return data_writeback(arg, 0, UINT64_MAX);
}

// Inodes whose oldest dirty page is older than the interval, several at a time. Returns their number.
static YIELDS uint32_t write_old_batch(struct fs *fs, uint64_t born_before)
{
    struct inode *inodes[BATCH];
    struct rt_group group;
    uint32_t count = 0;
    LIST_EACH(link, &fs->dirty_data) {
        struct inode *inode = LIST_ENTRY(link, struct inode, data_link);
        if (inode->dirtied_ns > born_before || count == BATCH)
            break;
        inodes[count++] = inode_ref(inode);
    }
    rt_group_init(&group, fs->rt);
    for (uint32_t i = 0; i < count; i++)
        rt_group_go(&group, "writeback", write_one, inodes[i]);
    int rc = rt_group_wait(&group);     // each inode keeps its own error for the next fsync
    for (uint32_t i = 0; i < count; i++)
        inode_put(inodes[i]);
    return rc < 0 ? 0 : count;
}

static YIELDS void write_old_data(struct fs *fs)
{
    uint64_t now = rt_now_ns(fs->rt);
    uint64_t born_before = now > interval_ns(fs) ? now - interval_ns(fs) : 0;
    while (!fs->flusher_stop && write_old_batch(fs, born_before) == BATCH)
        ;
}

// --- the fibre -----------------------------------------------------------------------------------------

// Failures are kept where they belong: in the inode, or as the abort of the volume.
static YIELDS void flush_once(struct fs *fs, bool commit)
{
    int rc = 0;
    if (fs->broken)
        fs_super_record_error(fs);
    if (fs_writable(fs) < 0)
        return;
    if (pages_run_short(fs))
        rc = data_writeback_some(fs, page_pool_size(fs->pages) / 8);
    if (commit) {
        write_old_data(fs);
        if (needs_commit(fs) && fs_writable(fs) == 0)
            rc = fs_commit(fs);
    }
    if (fs_writable(fs) == 0 && data_settling_is_much(fs) && !fs->committing)
        rc = fs_commit(fs);
    if (fs_writable(fs) == 0 && log_runs_short(fs))
        rc = fs_checkpoint(fs, jrn_size_blocks(fs->jrn) / 4 * 3);
    if (rc < 0)
        log_debug("event=flush_failed error=%d", rc);
}

static YIELDS void doze(struct fs *fs)
{
    fs->flusher_dozing = true;
    while (fs->flusher_dozing && !fs->flusher_stop && !has_work(fs))
        waitq_wait(fs->rt, &fs->flusher_wake);
    fs->flusher_dozing = false;
}

// True when the interval is over. What the last round could not relieve is not tried again at
// once: a disk that refuses must not cost a processor.
static YIELDS bool wait_for_work(struct fs *fs, uint64_t deadline)
{
    uint64_t until = deadline;
    if (is_urgent(fs))
        until = MIN(deadline, rt_now_ns(fs->rt) + PAUSE_NS);
    fs->flusher_urged = false;
    (void)waitq_wait_until(fs->rt, &fs->flusher_wake, until);
    return rt_now_ns(fs->rt) >= deadline;
}

static void flusher(void *arg)
{
    struct fs *fs = arg;
    while (!fs->flusher_stop) {
        doze(fs);
        uint64_t deadline = rt_now_ns(fs->rt) + interval_ns(fs);
        bool commit = false;
        while (!fs->flusher_stop && !commit) {
            commit = wait_for_work(fs, deadline);
            flush_once(fs, commit);
        }
    }
    fs->flusher_running = false;
    waitq_wake_all(fs->rt, &fs->flusher_idle);
}

void fs_start_flusher(struct fs *fs)
{
    CHECK(!fs->flusher_running);
    if (fs->read_only)
        return;
    fs->flusher_running = true;
    fs->flusher_stop = false;
    rt_spawn(fs->rt, "flusher", flusher, fs);
}

void fs_stop_flusher(struct fs *fs)
{
    fs->flusher_stop = true;
    waitq_wake_all(fs->rt, &fs->flusher_wake);
    while (fs->flusher_running)
        waitq_wait(fs->rt, &fs->flusher_idle);
}
