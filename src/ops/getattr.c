// SPDX-License-Identifier: MIT
// getattr.c - attributes of one inode, and numbers of the whole volume.
//
// Plan: the inode. There is nothing to apply.
#include "ops/internal.h"

struct getattr {
    struct op op;
    uint32_t ino;
    struct inode *inode;
};

static int getattr_pass(struct plan *plan, void *arg)
{
    struct getattr *g = arg;
    return plan_inode(plan, g->ino, &g->inode);
}

int ops_getattr(struct ops *ops, uint32_t ino, struct ops_attr *out)
{
    struct getattr g = {.ino = ino};

    int rc = op_begin(&g.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = plan_run(&g.op.plan, getattr_pass, &g);
    if (rc == 0)
        op_fill_attr(g.inode, out);
    return op_end(&g.op, rc);
}

int ops_get_flags(struct ops *ops, uint32_t ino, uint32_t *flags, uint32_t *project)
{
    struct getattr g = {.ino = ino};

    int rc = op_begin(&g.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = plan_run(&g.op.plan, getattr_pass, &g);
    if (rc == 0) {
        *flags = g.inode->d.flags & EXT4_FL_USER_VISIBLE;
        if (inode_is_reg(g.inode))
            *flags &= ~(uint32_t)EXT4_PROJINHERIT_FL;
        *project = g.inode->d.project;
    }
    return op_end(&g.op, rc);
}

int ops_statfs(struct ops *ops, struct ops_statfs *out)
{
    struct fs_statfs fs;

    if (ops->fs->shut_down)
        return -EIO;
    fs_statfs(ops->fs, &fs);
    *out = (struct ops_statfs){
        .blocks = fs.blocks, .blocks_free = fs.blocks_free, .blocks_available = fs.blocks_available,
        .inodes = fs.inodes, .inodes_free = fs.inodes_free,
    };
    return 0;
}
