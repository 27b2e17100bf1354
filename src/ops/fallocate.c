// SPDX-License-Identifier: MIT
// fallocate.c - fallocate(2): blocks in advance, holes, zeros, ranges taken out or put in.
//
// Plan: the kernel's own order of checks. The change is data_fallocate()'s, in as many transactions as it
// takes; times and the log's entry go into the last (update). Until then a crash leaves steps that a
// repetition finds done, and the request without an answer: it is made again. When it fails in the middle, what
// was done is logged. Every mode counts as a modification of the file, as in ext4 (file_modified).
//
// Moving ranges cannot be repeated. No door offers that; it is committed on both sides, so that
// neither older entries of the log meet a file that has moved, nor its own is ever applied again.
#include "ops/internal.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include "fs/data.h"

struct fallocate_op {
    struct op op;
    uint32_t ino;
    int mode;
    uint64_t off, len;
    struct inode *inode;
};

static int check_mode(const struct fallocate_op *f)
{
    const int kinds = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE;
    int kind = f->mode & kinds;

    if (f->len == 0 || f->off > INT64_MAX || f->len > INT64_MAX)
        return -EINVAL;
    if (f->mode & ~(kinds | FALLOC_FL_KEEP_SIZE))
        return -EOPNOTSUPP;
    if (kind & (kind - 1))
        return -EOPNOTSUPP;
    if (kind == FALLOC_FL_PUNCH_HOLE && !(f->mode & FALLOC_FL_KEEP_SIZE))
        return -EOPNOTSUPP;
    if ((kind == FALLOC_FL_COLLAPSE_RANGE || kind == FALLOC_FL_INSERT_RANGE) && (f->mode & FALLOC_FL_KEEP_SIZE))
        return -EINVAL;
    return 0;
}

static int check_inode(const struct fallocate_op *f)
{
    const struct inode *inode = f->inode;

    if (op_is_append(inode) && (f->mode & ~FALLOC_FL_KEEP_SIZE))
        return -EPERM;
    if (op_is_immutable(inode))
        return -EPERM;
    if (inode_is_dir(inode))
        return -EISDIR;
    if (!inode_is_reg(inode))
        return (inode->d.mode & 0170000) == 0010000 ? -ESPIPE : -ENODEV;
    return f->off + f->len > op_size_max(inode) ? -EFBIG : 0;
}

static int fallocate_pass(struct plan *plan, void *arg)
{
    struct fallocate_op *f = arg;

    int rc = check_mode(f);
    if (rc == 0)
        rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = plan_inode(plan, f->ino, &f->inode);
    return rc < 0 ? rc : check_inode(f);
}

static bool moves(int mode)
{
    return mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE);
}

static void update(struct plan *plan, struct inode *inode, const struct data_done *done, void *arg)
{
    struct fallocate_op *f = arg;

    // A part is not the answer.
    if (done->off != f->off || done->end != f->off + f->len)
        f->op.tag = (struct op_tag){0};
    f->op.now = op_now(&f->op);
    op_stamp(inode, f->op.now, OP_MTIME | OP_CTIME);
    op_dirty(&f->op, inode);
    op_log(&f->op, &(struct plog_entry){
        .op = PLOG_FALLOCATE,
        .mode = (uint32_t)f->mode,
        .target = {[PLOG_SELF] = op_target(inode)},
        .off = done->off,
        .len = done->end - done->off,
    }, (struct ops_name){0}, NULL);
}

int ops_fallocate(struct ops *ops, uint32_t ino, int mode, uint64_t off, uint64_t len)
{
    struct fallocate_op f = {.ino = ino, .mode = mode, .off = off, .len = len};

    int rc = op_begin(&f.op, ops, OP_CHANGES, 0);
    if (rc == 0)
        rc = plan_run(&f.op.plan, fallocate_pass, &f);
    if (rc == 0) {
        struct inode *inode = inode_ref(f.inode);
        plan_end(&f.op.plan);
        if (moves(mode))
            rc = fs_write_all(ops->fs);
        inode_gate_alone(inode);
        if (rc == 0) {
            op_ready(&f.op);
            rc = data_fallocate(inode, mode, off, len, update, &f);
        }
        inode_gate_open(inode);
        inode_put(inode);
        f.op.sync |= moves(mode);
    }
    return op_end(&f.op, rc);
}
