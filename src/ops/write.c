// SPDX-License-Identifier: MIT
// write.c - write: bytes into pages, promised a place on the disk, durable later.
//
// Plan: the file may be written, its pages are there and have blocks promised. Apply: the bytes, the
// size, times, set-id bits. More than OPS_WRITE_STEP bytes are several plans, so that no plan pins
// more than the page pool can spare; what the first steps wrote stays written, as write(2) has it.
//
// The gate is shared while a step is planned and applied, and the log's room was promised before
// (README, I3). An append decides its offset in the pass: nobody can write between pass and apply.
#include "ops/write.h"

#include "fs/data.h"

struct write_op {
    struct op *op;
    struct op_tag tag;          // for the last step
    uint32_t ino;
    const struct ops_write *write;
    uint64_t off;
    const void *bytes;
    size_t done, len;           // by the steps before; of this one
    struct inode *inode;
    struct data_write data;
    uint64_t written_at;
};

// --- plan -----------------------------------------------------------------------------------------

// What the kernel's cache sends late (keep_times) was put at the end when it was written.
static int check_flags(const struct inode *inode, const struct ops_write *write, uint64_t off)
{
    if (op_is_immutable(inode))
        return -EPERM;
    return !write->keep_times && op_is_append(inode) && off < inode->size ? -EPERM : 0;
}

static int write_pass(struct plan *plan, void *arg)
{
    struct write_op *w = arg;

    w->op->now = op_now(w->op);
    int rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = op_file(plan, w->ino, &w->inode);
    if (rc < 0)
        return rc;
    uint64_t off = w->write->append ? w->inode->size : w->off;
    uint64_t max = op_size_max(w->inode);
    rc = check_flags(w->inode, w->write, off);
    if (rc == 0 && off >= max)
        rc = -EFBIG;
    if (rc < 0)
        return rc;
    w->data.off = off;
    w->data.bytes = w->bytes;
    w->data.len = (size_t)MIN((uint64_t)w->len, max - off);
    plan_will_dirty_inode(plan, w->inode);
    return data_plan_write(plan, w->inode, &w->data);
}

// --- apply ----------------------------------------------------------------------------------------

static void write_apply(struct write_op *w)
{
    struct inode *inode = w->inode;
    uint16_t mode = w->write->kill_suidgid ? op_kill_suidgid(inode->d.mode, w->write->gid == inode->d.gid) : inode->d.mode;
    bool changed = !w->write->keep_times || mode != inode->d.mode;

    data_apply_write(&w->op->plan, inode, &w->data);
    inode->d.mode = mode;
    if (!w->write->keep_times)
        op_stamp(inode, w->op->now, OP_MTIME | OP_CTIME);
    if (changed)
        inode_dirty(inode, false);
    op_log(w->op, &(struct plog_entry){
        .op = PLOG_WRITE,
        .bits = PLOG_DATA,
        .result = (int64_t)w->data.len,
        .mode = mode,
        .target = {[PLOG_SELF] = op_target(inode)},
        .off = w->data.off,
        .len = w->data.len,
        .flags = w->write->keep_times,
    }, (struct ops_name){0}, NULL);
}

// No step will follow, for all is written or the file cannot grow any more.
static bool is_last(const struct write_op *w)
{
    return w->data.len < w->len || w->done + w->data.len == w->write->len;
}

static ssize_t write_step(struct write_op *w)
{
    int rc = op_plan(w->op, write_pass, w);
    ssize_t done = 0;

    if (rc == 0 && is_last(w)) {
        w->op->tag = w->tag;
        w->op->tag.before += (int64_t)w->done;
    }
    if (rc == 0) {
        write_apply(w);
        done = (ssize_t)w->data.len;
    }
    data_write_fini(&w->data);
    w->data = (struct data_write){0};
    plan_end(&w->op->plan);
    return rc < 0 ? rc : done;
}

// --- the operation ----------------------------------------------------------------------------------

// Takes the gate for one step. The inode is referenced here and found again by every pass.
static ssize_t gated_step(struct ops *ops, struct write_op *w)
{
    struct inode *inode;
    struct op op;

    int rc = op_begin(&op, ops, OP_CHANGES, 0);
    w->op = &op;
    op.plan.privileged |= w->write->privileged;
    if (rc == 0)
        rc = inode_get(ops->fs, w->ino, &inode);
    if (rc < 0)
        return op_end(&op, rc);
    inode_gate_share(inode);
    ssize_t done = write_step(w);
    inode_gate_unshare(inode);
    if (done > 0 && (inode->d.flags & EXT4_SYNC_FL)) {
        rc = data_fsync(inode, false);
        done = rc < 0 ? rc : done;
    }
    inode_put(inode);
    return done < 0 ? op_end(&op, (int)done) : op_end(&op, 0) + done;
}

ssize_t ops_write(struct ops *ops, uint32_t ino, const struct ops_write *write)
{
    struct op_tag tag = op_take_tag(ops);
    ssize_t done = 0;

    while ((size_t)done < write->len) {
        struct write_op w = {
            .tag = tag, .ino = ino, .write = write, .done = (size_t)done,
            .off = write->off + (uint64_t)done, .bytes = (const char *)write->bytes + done,
            .len = MIN(write->len - (size_t)done, OPS_WRITE_STEP),
        };
        ssize_t step = gated_step(ops, &w);
        if (step < 0)
            return done > 0 ? done : step;
        done += step;
        if (step == 0)
            break;
    }
    return done;
}
