// SPDX-License-Identifier: MIT
// data_sync.c - who is written back when: on fsync, on sync, and when pages run short.
#include "base/check.h"
#include "fs/data_internal.h"

#define ROOM_WAIT_NS 10000000ull

// --- many inodes ------------------------------------------------------------------------------

// Those that are dirty now, oldest first, each referenced.
static struct inode **list_dirty(struct fs *fs, uint32_t *count)
{
    uint32_t capacity = 0;
    struct inode **inodes = NULL;
    *count = 0;
    LIST_EACH(link, &fs->dirty_data) {
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            inodes = xrealloc(inodes, capacity * sizeof(struct inode *));
        }
        inodes[(*count)++] = inode_ref(LIST_ENTRY(link, struct inode, data_link));
    }
    return inodes;
}

int data_writeback_some(struct fs *fs, uint64_t dirty_max)
{
    uint32_t count;
    AUTO_FREE struct inode **inodes = list_dirty(fs, &count);
    int first_rc = 0;
    for (uint32_t i = 0; i < count; i++) {
        int rc = 0;
        if (dirty_max == 0 || page_pool_dirty(fs->pages) > dirty_max)
            rc = data_writeback(inodes[i], 0, UINT64_MAX);
        first_rc = first_rc ? first_rc : rc;
        inode_put(inodes[i]);
    }
    return first_rc;
}

// An inode whose gate can be shared at once and whose pages nobody is writing.
static struct inode *find_idle(struct fs *fs)
{
    LIST_EACH(link, &fs->dirty_data) {
        struct inode *inode = LIST_ENTRY(link, struct inode, data_link);
        if (!inode->gate_alone && inode->gate_wanted == 0 && !inode->writing_back && inode->pages.dirty_count > 0)
            return inode;
    }
    return NULL;
}

bool data_settling_is_much(const struct fs *fs)
{
    return 2 * page_pool_settling(fs->pages) >= page_pool_size(fs->pages);
}

// A commit needs neither gate nor page, so it may be made by whoever holds some.
static int commit_settling(struct fs *fs)
{
    if (!fs->committing)
        return fs_commit(fs);
    waitq_wait(fs->rt, &fs->commit_done);       // that one frees pages, too
    return 0;
}

// D4: the caller holds a gate. He writes what is behind it, or what is behind one that is open; if there is
// neither, whoever holds the gates of the dirty pages makes progress, and we wait for that. What has been
// written waits for the commit; one is made when it is half of all pages, or when nothing else is left to do.
int data_make_room(struct inode *inode)
{
    struct fs *fs = inode->fs;
    struct inode *other = NULL;
    int rc = fs_writable(fs);
    if (rc < 0)
        return rc;
    if (data_settling_is_much(fs)) {
        rc = commit_settling(fs);
    } else if (inode->pages.dirty_count > 0 && !inode->writing_back) {
        rc = data_write_out(inode, 0, UINT64_MAX);
    } else if ((other = find_idle(fs))) {
        inode_ref(other);
        inode_gate_share(other);
        rc = data_write_out(other, 0, UINT64_MAX);
        inode_gate_unshare(other);
        inode_put(other);
    } else if (page_pool_settling(fs->pages) > 0 && page_pool_writeback(fs->pages) == 0) {
        rc = commit_settling(fs);
    } else {
        waitq_wait_until(fs->rt, &fs->writeback_done, rt_now_ns(fs->rt) + ROOM_WAIT_NS);
    }
    (void)rc;                       // an error waits in the inode for its fsync, or has stopped the volume
    return -EAGAIN;
}

// --- fsync ------------------------------------------------------------------------------------

static int commit_inode(struct inode *inode, bool datasync)
{
    struct fs *fs = inode->fs;
    uint64_t tid = datasync ? inode->datasync_tid : inode->tid;
    if (tid <= jrn_committed_tid(fs->jrn))
        return 0;
    return tid == jrn_running_tid(fs->jrn) ? fs_commit(fs) : jrn_wait(fs->jrn, tid);
}

// What was written in place and has seen neither a commit nor a flush since.
static int flush_inode(struct inode *inode)
{
    struct fs *fs = inode->fs;
    uint64_t seq = inode->writeback_seq;
    if (inode->unflushed_tid <= jrn_committed_tid(fs->jrn))
        return 0;
    int rc = data_flush(fs->bufs);
    if (rc == 0 && inode->writeback_seq == seq)
        inode->unflushed_tid = 0;
    return rc;
}

int data_fsync(struct inode *inode, bool datasync)
{
    struct fs *fs = inode->fs;
    int rc = 0;
    if (!fs->config.read_only)
        rc = data_writeback(inode, 0, UINT64_MAX);
    if (inode->write_error)
        rc = inode->write_error;
    inode->write_error = 0;
    if (rc == 0 && !fs->config.read_only)
        rc = fs_writable(fs);
    if (rc == 0)
        rc = commit_inode(inode, datasync);
    return rc == 0 ? flush_inode(inode) : rc;
}
