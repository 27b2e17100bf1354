// SPDX-License-Identifier: MIT
// redo.c - operations of a predecessor's log, applied again (ops_redo).
//
// There is no second way of changing the volume: an entry becomes the call that made it, and the frame (op.c) takes
// along what the entry pins. The disk is as it was when the original ran, so every check of the plan must come
// out as it did; and at its end the apply half compares what it would log with what was logged. A difference is
// damage, of log or volume or of our own making, and ends the recovery.
//
// Only writes are not the original calls, for their bytes are in pages that have no inode yet.
#include "ops/make.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/data.h"
#include "rt/rt.h"

// A replay changes the same few blocks very often. They are sealed (cache/guard.c) every 2 ms or so, before a
// commit, and at the end.
#define REDOS_A_SEAL 1024u

// An inode whose size in memory alone is larger than on the disk: it must not leave memory before its pages
// are back.
struct held {
    struct hnode node;              // by number
    struct inode *inode;
};

struct redo_state {
    struct htable held;
    bool differs;                   // the last redo did something else than the original
    bool sync;                      // a redone operation had promised to be durable when it is answered
};

void ops_redo_begin(struct ops *ops)
{
    CHECK(!ops->redone && ops->log);
    ops->redone = xcalloc(1, sizeof *ops->redone);
    htable_init(&ops->redone->held);
    fs_seal_every(ops->fs, REDOS_A_SEAL);
}

static void hold(struct ops *ops, struct inode *inode)
{
    if (htable_find(&ops->redone->held, inode->ino))
        return;
    struct held *held = xcalloc(1, sizeof *held);
    held->inode = inode_ref(inode);
    htable_insert(&ops->redone->held, &held->node, inode->ino);
}

static void let_go(struct ops *ops, uint32_t ino)
{
    struct hnode *node = htable_find(&ops->redone->held, ino);
    if (!node)
        return;
    struct held *held = CONTAINER_OF(node, struct held, node);
    htable_remove(&ops->redone->held, node);
    inode_put(held->inode);
    free(held);
}

static void let_all_go(struct ops *ops)
{
    HTABLE_EACH(node, &ops->redone->held)
        let_go(ops, (uint32_t)node->key);
    htable_fini(&ops->redone->held);
}

int ops_redo_end(struct ops *ops, int rc)
{
    bool sync = ops->redone->sync;

    let_all_go(ops);
    free(ops->redone);
    ops->redone = NULL;
    fs_seal_every(ops->fs, 1);
    if (rc == 0 && sync)
        rc = fs_write_all(ops->fs);
    if (rc == 0)
        op_trim_log(ops);
    return rc;
}

int ops_redo_room(struct ops *ops, bool always)
{
    if (!always && plog_redo_has_room(ops->log))
        return 0;
    int rc = fs_commit(ops->fs);
    op_trim_log(ops);
    return rc;
}

int ops_redo_pages(struct ops *ops, uint64_t *pages)
{
    int rc = data_adopt_busy(ops->fs, pages);
    HTABLE_EACH(node, &ops->redone->held) {
        if (rc == 0)
            rc = data_settle_size(CONTAINER_OF(node, struct held, node)->inode);
    }
    return rc;
}

// --- the comparison -----------------------------------------------------------------------------

static struct plog_entry as_logged(const struct plog_entry *now, const struct plog_entry *then)
{
    struct plog_entry entry = *now;

    entry.crc = then->crc;
    entry.bits = then->bits;
    entry.seq = then->seq;
    entry.client = then->client;
    entry.request = then->request;
    entry.result = then->result;
    entry.tid = then->tid;
    return entry;
}

void op_redone(struct op *op, const struct plog_entry *entry, const void *name, const void *data)
{
    struct ops *ops = op->ops;
    const struct plog_view *view = op->redo;
    struct plog_entry now = as_logged(entry, view->entry);

    ops->redone->sync |= op->sync;
    if (memcmp(&now, view->entry, sizeof now) != 0 || memcmp(name ? name : "", view->name, now.name_len) != 0 ||
        memcmp(data ? data : "", view->data, now.data_len) != 0)
        ops->redone->differs = true;
    else
        plog_redone(ops->log, view->entry->seq, jrn_running_tid(ops->fs->jrn));
}

// --- writes -------------------------------------------------------------------------------------

struct rewrite {
    const struct plog_entry *entry;
    struct inode *inode;
};

static bool touches(const struct inode *inode, const struct plog_entry *entry)
{
    return !entry->flags || inode->d.mode != entry->mode;
}

static int judge_write(const struct inode *inode, const struct plog_entry *entry)
{
    if (inode->d.generation != entry->target[PLOG_SELF].generation || !inode_is_reg(inode))
        return -ESTALE;
    return (inode->d.mode ^ entry->mode) & 0170000 ? -EFSCORRUPTED : 0;
}

static int rewrite_pass(struct plan *plan, void *arg)
{
    struct rewrite *w = arg;

    int rc = plan_inode(plan, w->entry->target[PLOG_SELF].ino, &w->inode);
    if (rc == 0)
        rc = judge_write(w->inode, w->entry);
    if (rc == 0)
        plan_will_dirty_inode(plan, w->inode);
    return rc;
}

static void rewrite_apply(struct ops *ops, struct inode *inode, const struct plog_entry *entry)
{
    uint64_t end = entry->off + entry->len;
    bool touched = touches(inode, entry);

    if (end > inode->size) {
        inode->size = end;
        hold(ops, inode);
    }
    inode->d.mode = (uint16_t)entry->mode;
    if (!entry->flags)
        op_stamp(inode, (struct ext4_time){.sec = entry->time_sec, .nsec = entry->time_nsec}, OP_MTIME | OP_CTIME);
    if (touched)
        inode_dirty(inode, false);
    ops->redone->sync |= inode->d.flags & EXT4_SYNC_FL;
    plog_redone(ops->log, entry->seq, jrn_running_tid(ops->fs->jrn));
}

// An inode that the running transaction has already can be changed without a plan: its block needs no room any
// more. Most writes come here, and take no memory.
static bool rewrite_at_once(struct ops *ops, const struct plog_entry *entry)
{
    struct fs *fs = ops->fs;
    struct inode *inode = inode_peek(fs, entry->target[PLOG_SELF].ino);
    bool can = inode && !inode->deleting && !inode->special && judge_write(inode, entry) == 0 && fs_writable(fs) == 0 &&
               (!touches(inode, entry) || (inode->dirty && inode->tid == jrn_running_tid(fs->jrn)));

    if (can)
        rewrite_apply(ops, inode, entry);
    inode_put(inode);
    return can;
}

static int rewrite(struct ops *ops, const struct plog_entry *entry)
{
    struct rewrite w = {.entry = entry};
    struct plan plan;

    if (entry->off + entry->len < entry->off)
        return -EFSCORRUPTED;
    if (rewrite_at_once(ops, entry))
        return 0;
    plan_init(&plan, ops->fs);
    int rc = plan_run(&plan, rewrite_pass, &w);
    if (rc == 0)
        rewrite_apply(ops, w.inode, entry);
    plan_end(&plan);
    return rc;
}

int ops_redo_size(struct ops *ops, uint32_t ino, uint32_t generation, uint64_t size)
{
    struct inode *inode;

    int rc = inode_get(ops->fs, ino, &inode);
    if (rc == -ESTALE)
        return 0;
    if (rc < 0)
        return rc;
    if (inode->d.generation == generation && inode_is_reg(inode) && size > inode->size) {
        inode->size = size;
        hold(ops, inode);
    }
    inode_put(inode);
    return 0;
}

// --- everything else: from entry to call ----------------------------------------------------------

// What a CREATE and its like have logged of the caller.
static struct ops_caller maker(const struct plog_entry *entry)
{
    return (struct ops_caller){.uid = entry->uid, .gid = entry->gid, .umask = entry->flags};
}

static uint16_t asked_mode(const struct plog_entry *entry)
{
    return (uint16_t)(entry->mode >> 16);
}

static int remake(struct ops *ops, const struct plog_view *view, struct ops_name name, struct ops_name data)
{
    const struct plog_entry *entry = view->entry;
    const struct ops_caller caller = maker(entry);
    uint32_t parent = entry->target[PLOG_PARENT].ino;
    struct ops_attr attr;
    bool created;

    switch (entry->op) {
    case PLOG_CREATE:
        return ops_create(ops, &caller, parent, name, asked_mode(entry), true, &attr, &created);
    case PLOG_TMPFILE:
        return ops_tmpfile(ops, &caller, parent, asked_mode(entry), &attr);
    case PLOG_MKNOD:
        return ops_mknod(ops, &caller, parent, name, asked_mode(entry), (uint32_t)(entry->off >> 32),
                         (uint32_t)entry->off, &attr);
    case PLOG_MKDIR:
        return ops_mkdir(ops, &caller, parent, name, asked_mode(entry), &attr);
    default:
        return ops_symlink(ops, &caller, parent, name, data, &attr);
    }
}

static int reset(struct ops *ops, const struct plog_view *view)
{
    const struct plog_entry *entry = view->entry;
    const struct ops_caller caller = {.uid = entry->uid, .gid = entry->gid};
    struct ops_setattr set = {.set = entry->flags, .mode = entry->mode, .uid = entry->uid, .gid = entry->gid, .size = entry->off};
    struct ops_attr attr;

    if (entry->data_len != sizeof(struct plog_times))
        return -EFSCORRUPTED;
    return ops_setattr(ops, &caller, entry->target[PLOG_SELF].ino, &set, &attr);
}

static int reset_xattr(struct ops *ops, const struct plog_view *view)
{
    const struct plog_entry *entry = view->entry;
    AUTO_FREE char *name = xcalloc(1, entry->name_len + 1u);

    memcpy(name, view->name, entry->name_len);
    if (entry->op == PLOG_REMOVEXATTR)
        return ops_removexattr(ops, entry->target[PLOG_SELF].ino, name);
    return ops_setxattr(ops, entry->target[PLOG_SELF].ino, name, view->data, entry->data_len, (int)entry->flags, false);
}

static int call(struct ops *ops, const struct plog_view *view)
{
    const struct plog_entry *entry = view->entry;
    struct ops_name name = {view->name, entry->name_len}, data = {view->data, entry->data_len};
    uint32_t self = entry->target[PLOG_SELF].ino, parent = entry->target[PLOG_PARENT].ino;
    struct ops_caller caller = {.uid = entry->uid, .gid = entry->gid};
    uint32_t project = (uint32_t)entry->len;
    struct ops_attr attr;

    switch (entry->op) {
    case PLOG_CREATE: case PLOG_TMPFILE: case PLOG_MKNOD: case PLOG_MKDIR: case PLOG_SYMLINK:
        return remake(ops, view, name, data);
    case PLOG_LINK:
        return ops_link(ops, self, parent, name, &attr);
    case PLOG_UNLINK:
        return ops_unlink(ops, parent, name);
    case PLOG_RMDIR:
        return ops_rmdir(ops, parent, name);
    case PLOG_RENAME:
        return ops_rename(ops, &caller, parent, name, entry->target[PLOG_DST_PARENT].ino, data, entry->flags);
    case PLOG_SETATTR:
        return reset(ops, view);
    case PLOG_SETXATTR: case PLOG_REMOVEXATTR:
        return reset_xattr(ops, view);
    case PLOG_SETFLAGS:
        return ops_set_flags(ops, self, entry->flags & EXT4_FL_USER_VISIBLE, &project);
    case PLOG_FALLOCATE:
        return ops_fallocate(ops, self, (int)entry->mode, entry->off, entry->len);
    case PLOG_ATIME:
        return op_accessed_again(ops, self);
    default:
        return -EFSCORRUPTED;
    }
}

// A redo that did nothing, or something else.
static int judge(struct ops *ops, const struct plog_entry *entry)
{
    if (!ops->redone->differs && plog_redo_done(ops->log) == entry->seq)
        return 0;
    log_error("event=redo-differs seq=%" PRIu64 " op=%u ino=%u", entry->seq, entry->op, entry->target[PLOG_SELF].ino);
    return -EFSCORRUPTED;
}

int ops_redo(struct ops *ops, const struct plog_view *view)
{
    CHECK(ops->redone);
    if (view->entry->op == PLOG_WRITE)
        return rewrite(ops, view->entry);
    ops->redone->differs = false;
    ops->redo = view;
    int rc = call(ops, view);
    ops->redo = NULL;
    return rc < 0 ? rc : judge(ops, view->entry);
}

// --- numbers ------------------------------------------------------------------------------------

enum ops_holder ops_redo_holder(struct ops *ops, uint32_t ino)
{
    struct inode *inode = inode_peek(ops->fs, ino);
    enum ops_holder holder = !inode ? OPS_HOLDER_NONE : inode->d.nlink == 0 ? OPS_HOLDER_ORPHAN : OPS_HOLDER_ALIVE;

    inode_put(inode);
    return holder;
}

int ops_redo_bury(struct ops *ops, uint32_t ino)
{
    let_go(ops, ino);
    struct inode *inode = inode_peek(ops->fs, ino);
    if (!inode || inode->d.nlink > 0) {
        inode_put(inode);
        return -ESTALE;
    }
    inode->lookups = 0;
    return op_answer(inode_delete(inode));
}
