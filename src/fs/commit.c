// SPDX-License-Identifier: MIT
// commit.c - from the truth in memory to a transaction on the disk, and room for the next one.
//
// One commit at a time. Between the first line of encode() and the copy that jrn_commit() takes
// nothing waits, so a transaction holds every inode, descriptor and counter exactly as the same
// moment saw them (I4). Fibres that want the same transaction share its commit.
#include "base/check.h"
#include "base/log.h"
#include "cache/page.h"
#include "fs/alloc.h"
#include "fs/data.h"
#include "fs/fs_internal.h"
#include "fs/inode_internal.h"

static void encode(struct fs *fs)
{
    guard_seal_open(fs);            // all that is compared is compared with what was meant
    inode_encode_all(fs);
    alloc_encode(fs);
    if (fs->super_dirty)
        fs_encode_super(fs);
}

// Pages that waited for their transaction may be given up, and so may their inodes.
static void let_settled_go(struct fs *fs)
{
    struct page_map *map;
    while ((map = page_pool_next_settled(fs->pages)))
        inode_settle(CONTAINER_OF(map, struct inode, pages));
}

// A page that was changed while nothing else was has no transaction that would ever commit for it.
static void settle_without_commit(struct fs *fs)
{
    if (!jrn_running_empty(fs->jrn) || fs->committing)
        return;
    page_pool_all_committed(fs->pages);
    let_settled_go(fs);
}

static YIELDS int commit_running(struct fs *fs)
{
    fs->committing = true;
    encode(fs);
    int rc = jrn_commit(fs->jrn);
    fs->committing = false;
    if (rc == 0) {
        alloc_committed(fs, jrn_committed_tid(fs->jrn));
        page_pool_committed(fs->pages, jrn_committed_tid(fs->jrn));
        let_settled_go(fs);
        fs->stats.commits++;
    } else {
        fs_abort(fs, rc, "a transaction could not be committed");
    }
    waitq_wake_all(fs->rt, &fs->commit_done);
    return rc;
}

int fs_commit(struct fs *fs)
{
    if (fs->read_only)
        return 0;
    bool empty = jrn_running_empty(fs->jrn);
    uint64_t want = jrn_running_tid(fs->jrn) - empty;
    while (fs->committing && jrn_committed_tid(fs->jrn) < want)
        waitq_wait(fs->rt, &fs->commit_done);
    int rc = fs_writable(fs);
    if (rc < 0)
        return rc;
    // Nothing of ours to commit, but data may have been written since the last flush.
    if (empty) {
        settle_without_commit(fs);
        return data_flush(fs->bufs);
    }
    return jrn_committed_tid(fs->jrn) >= want ? 0 : commit_running(fs);
}

// How often a checkpoint may be held up by blocks that the running transaction has again.
#define CHECKPOINT_TRIES 16

static YIELDS int checkpoint_alone(struct fs *fs, uint64_t blocks)
{
    for (int tries = 0; tries < CHECKPOINT_TRIES; tries++) {
        int rc = jrn_checkpoint(fs->jrn, blocks);
        if (rc != -EAGAIN)
            return rc;
        rc = fs_commit(fs);
        if (rc < 0)
            return rc;
    }
    return 0;                       // some room was made; whoever needs more comes again
}

int fs_checkpoint(struct fs *fs, uint64_t blocks)
{
    while (fs->checkpointing)
        waitq_wait(fs->rt, &fs->checkpoint_done);
    int rc = fs_writable(fs);
    if (rc < 0)
        return rc;
    fs->checkpointing = true;
    rc = checkpoint_alone(fs, blocks);
    fs->checkpointing = false;
    waitq_wake_all(fs->rt, &fs->checkpoint_done);
    if (rc < 0)
        fs_abort(fs, rc, "committed blocks could not be written home");
    return rc;
}

int fs_make_room(struct fs *fs, uint32_t credits)
{
    if (credits == 0) {
        int written = data_writeback_some(fs, page_pool_size(fs->pages) / 4);
        return written < 0 ? written : fs_commit(fs);
    }
    int rc = fs_commit(fs);
    if (rc < 0)
        return rc;
    rc = jrn_reserve(fs->jrn, credits);
    if (rc != -EAGAIN)
        return rc;
    return fs_checkpoint(fs, jrn_size_blocks(fs->jrn) / 2);
}

int fs_write_all(struct fs *fs)
{
    int written = data_writeback_some(fs, 0);
    int rc = fs_commit(fs);
    return rc < 0 ? rc : written;
}

int fs_sync(struct fs *fs)
{
    int rc = fs_write_all(fs);
    if (rc == 0)
        rc = fs->write_error;
    fs->write_error = 0;
    return rc;
}
