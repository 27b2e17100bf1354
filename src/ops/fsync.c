// SPDX-License-Identifier: MIT
// fsync.c - fsync, sync: what was applied becomes durable, and the P-Log forgets it.
//
// Nothing is planned or applied here; the work is fs's. An entry of the log goes once the
// transaction that holds its changes has committed.
#include "ops/internal.h"

#include "fs/data.h"

struct fsync_op {
    struct op op;
    uint32_t ino;
    struct inode *inode;
};

static int fsync_pass(struct plan *plan, void *arg)
{
    struct fsync_op *f = arg;
    return plan_inode(plan, f->ino, &f->inode);
}

int ops_fsync(struct ops *ops, uint32_t ino, bool datasync)
{
    struct fsync_op f = {.ino = ino};

    int rc = op_begin(&f.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = plan_run(&f.op.plan, fsync_pass, &f);
    if (rc == 0)
        rc = data_fsync(f.inode, datasync);
    rc = op_end(&f.op, rc);
    op_trim_log(ops);
    return rc;
}

int ops_sync(struct ops *ops)
{
    if (ops->fs->shut_down)
        return -EIO;
    int rc = fs_sync(ops->fs);
    op_trim_log(ops);
    return op_answer(rc);
}
