// SPDX-License-Identifier: MIT
// op.c - the frame around every operation: begin, end, and its entry in the P-Log.
//
// Room in the log is promised before anything is held: no gate, no pin, no claim. So waiting for a
// commit there can never be waiting for oneself (README, I3).
#include "ops/internal.h"

#include "base/check.h"
#include "base/log.h"

#define LOG_TRIES_MAX 8u

struct ops *ops_open(const struct ops_config *config)
{
    struct ops *ops = xcalloc(1, sizeof *ops);

    *ops = (struct ops){
        .rt = config->rt, .fs = config->fs, .log = config->plog,
        .is_known = config->is_known, .is_known_arg = config->arg,
    };
    waitq_init(&ops->log_room);
    list_init(&ops->asks);
    htable_init(&ops->known);
    return ops;
}

void ops_tag(struct ops *ops, uint64_t client, uint64_t request, struct ops_answer *answer)
{
    ops->tag = (struct op_tag){.client = client, .request = request, .answer = answer};
}

struct op_tag op_take_tag(struct ops *ops)
{
    struct op_tag tag = ops->tag;
    ops->tag = (struct op_tag){0};
    return tag;
}

// --- room in the log --------------------------------------------------------------------------

// A write is durable when the disk's size covers it: its bytes were written back before that size
// was moved. Bytes inside the old size need no entry at all once their times are committed: their
// pages are in the legacy by themselves. What counts is what has been committed, for a file that is
// always being written to always has something newer, too.
//
// An orphan whose pages are gone was being deleted when the last server died: nobody can ask for its bytes, and
// nothing will ever move its size, for as long as it takes until it is buried.
static bool has_lost_its_pages(const struct ops *ops, const struct inode *inode)
{
    return !ops->redone && inode->d.nlink == 0 && inode->delayed == 0 && inode->pages.dirty_count == 0 && !inode->writing_back;
}

static bool write_is_settled(void *arg, const struct plog_entry *entry)
{
    struct ops *ops = arg;
    struct inode *inode = inode_peek(ops->fs, entry->target[PLOG_SELF].ino);

    if (!inode)
        return true;                // only clean inodes leave memory
    bool settled = inode->d.generation != entry->target[PLOG_SELF].generation || has_lost_its_pages(ops, inode) ||
                   (inode->logged.tid <= jrn_committed_tid(ops->fs->jrn) &&
                    inode->logged.disk >= MIN(entry->off + entry->len, MAX(inode->size, inode->logged.size)));
    inode_put(inode);
    return settled;
}

static bool forced(void *arg, const struct plog_entry *entry)
{
    (void)arg, (void)entry;
    return true;
}

static void trim(struct ops *ops, bool (*settled)(void *arg, const struct plog_entry *entry))
{
    uint64_t committed = jrn_committed_tid(ops->fs->jrn);
    plog_trim(ops->log, committed, &(struct plog_settle){.settled = settled, .arg = ops});
    ops->log_trimmed_tid = committed;
    waitq_wake_all(ops->rt, &ops->log_room);
}

void op_trim_log(struct ops *ops)
{
    if (ops->log && ops->fs->jrn && jrn_committed_tid(ops->fs->jrn) != ops->log_trimmed_tid)
        trim(ops, write_is_settled);
}

// The log is full: makes durable what is at its head, by a commit if that is enough, else by
// writing data back, too. Others may append meanwhile: what counts is that the head moves.
static int empty_the_log(struct ops *ops, uint32_t tries)
{
    uint64_t given_back = ops->log->given_back;

    int rc = fs_commit(ops->fs);
    if (rc < 0)
        return rc;
    trim(ops, write_is_settled);
    if (ops->log->given_back != given_back)
        return 0;
    int data_rc = fs_write_all(ops->fs);
    trim(ops, write_is_settled);
    if (ops->log->given_back != given_back || (data_rc == 0 && tries < LOG_TRIES_MAX))
        return 0;
    // Data that the disk refuses to take is reported by fsync; it must not stop everybody else.
    log_warn("event=plog-forced rc=%d slots=%llu", data_rc, (unsigned long long)plog_used(ops->log));
    trim(ops, forced);
    return 0;
}

int op_promise(struct op *op, size_t spill)
{
    struct ops *ops = op->ops;
    // A name longer than any entry can hold is on its way to being refused.
    uint32_t slots = plog_slots(MIN(spill, (size_t)2 * UINT16_MAX), 0), tries = 0;

    if (!ops->log)
        return 0;
    op_trim_log(ops);
    while (!plog_reserve(ops->log, &op->room, slots)) {
        if (plog_used(ops->log) == 0) {
            waitq_wait(ops->rt, &ops->log_room);    // all of it is promised to others, who will end
            continue;
        }
        int rc = empty_the_log(ops, tries++);
        if (rc < 0)
            return rc;
    }
    return 0;
}

// --- begin and end ------------------------------------------------------------------------------

int op_begin(struct op *op, struct ops *ops, enum op_kind kind, size_t spill)
{
    *op = (struct op){.ops = ops, .fs = ops->fs, .tag = op_take_tag(ops), .redo = ops->redo};
    ops->redo = NULL;
    plan_init(&op->plan, op->fs);
    // What there was room for once, there must be room for again.
    op->plan.privileged = op->redo != NULL;
    if (op->fs->shut_down)
        return -EIO;
    if (kind != OP_CHANGES || op->redo)
        return 0;
    rt_probe(ops->rt, RT_PROBE_PLAN);
    return op_promise(op, spill);
}

// Not in a redo, where the probe of recovery was before.
void op_ready(const struct op *op)
{
    if (!op->redo)
        rt_probe(op->ops->rt, RT_PROBE_APPLY);
}

int op_plan(struct op *op, int (*pass)(struct plan *plan, void *arg), void *arg)
{
    int rc = plan_run(&op->plan, pass, arg);
    if (rc == 0)
        op_ready(op);
    return rc;
}

struct ext4_time op_now(const struct op *op)
{
    if (!op->redo)
        return fs_now(op->fs);
    return (struct ext4_time){.sec = op->redo->entry->time_sec, .nsec = op->redo->entry->time_nsec};
}

int op_answer(int rc)
{
    return rc == -EFSBADCRC ? -EFSCORRUPTED : rc;
}

static bool wants_sync(const struct inode *inode)
{
    uint32_t flags = EXT4_SYNC_FL | (inode_is_dir(inode) ? EXT4_DIRSYNC_FL : 0);
    return inode->d.flags & flags;
}

void op_dirty(struct op *op, struct inode *inode)
{
    inode_dirty(inode, true);
    op->sync |= wants_sync(inode);
}

int op_end(struct op *op, int rc)
{
    struct ops *ops = op->ops;

    plan_end(&op->plan);
    if (ops->log && op->room.slots > 0) {
        plog_unreserve(ops->log, &op->room);
        waitq_wake_all(ops->rt, &ops->log_room);
    }
    if (op->gone) {
        inode_forget(op->gone, 0);
        inode_put(op->gone);
        op->gone = NULL;
    }
    // The change has been made: a commit that fails leaves a volume that says so by itself. A recovery
    // commits once, at its end.
    if (op->sync && !op->redo)
        (void)!fs_commit(op->fs);
    return op_answer(rc);
}

// --- the entry ------------------------------------------------------------------------------------

struct plog_inode op_target(const struct inode *inode)
{
    return (struct plog_inode){.ino = inode->ino, .generation = inode->d.generation};
}

// seq last: from that store on the request counts as applied, whoever looks.
static void fill_answer(const struct op *op, const struct plog_entry *entry, uint64_t seq)
{
    struct ops_answer *answer = op->tag.answer;

    if (!answer)
        return;
    answer->result = entry->result;
    answer->ino = entry->target[PLOG_SELF].ino;
    answer->generation = entry->target[PLOG_SELF].generation;
    __atomic_store_n(&answer->seq, seq, __ATOMIC_RELEASE);
}

void op_log(struct op *op, const struct plog_entry *entry, struct ops_name name, const void *data)
{
    struct ops *ops = op->ops;
    struct plog_entry full = *entry;

    if (!ops->log)
        return;
    full.time_sec = op->now.sec;
    full.time_nsec = op->now.nsec;
    full.name_len = (uint16_t)name.len;
    if (op->redo) {
        op_redone(op, &full, name.bytes, data);
        return;
    }
    full.client = op->tag.client;
    full.request = op->tag.request;
    if (op->tag.client || op->tag.request || op->tag.answer)
        full.bits |= PLOG_ANSWER;
    full.result += op->tag.before;
    full.tid = ops->fs->jrn ? jrn_running_tid(ops->fs->jrn) : 0;
    uint64_t seq = plog_append(ops->log, &op->room, &full, name.bytes, data);
    fill_answer(op, &full, seq);
}
