// SPDX-License-Identifier: MIT
// gate.c - the inode's gate: many readers and writers of data, or one who moves its blocks.
//
// Whoever wants to be alone is not overtaken: while one waits, newcomers wait behind him. A fibre
// never asks for a gate that it holds.
#include "base/check.h"
#include "fs/inode.h"

void inode_gate_share(struct inode *inode)
{
    while (inode->gate_alone || inode->gate_wanted > 0)
        waitq_wait(inode->fs->rt, &inode->gate_wait);
    inode->gate_shared++;
}

void inode_gate_unshare(struct inode *inode)
{
    CHECK(inode->gate_shared > 0);
    if (--inode->gate_shared == 0)
        waitq_wake_all(inode->fs->rt, &inode->gate_wait);
}

void inode_gate_alone(struct inode *inode)
{
    inode->gate_wanted++;
    while (inode->gate_alone || inode->gate_shared > 0)
        waitq_wait(inode->fs->rt, &inode->gate_wait);
    inode->gate_wanted--;
    inode->gate_alone = true;
}

void inode_gate_open(struct inode *inode)
{
    CHECK(inode->gate_alone);
    inode->gate_alone = false;
    waitq_wake_all(inode->fs->rt, &inode->gate_wait);
}
