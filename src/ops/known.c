// SPDX-License-Identifier: MIT
// known.c - which inodes the kernel was told of and has not forgotten.
//
// The counts live here and not in inodes, because an inode leaves memory while the kernel still
// knows its number. Only for an inode without links do they matter: it is deleted when the last
// is taken back. Such an inode is an orphan, always in memory, and carries inode->lookups = 1 as
// the mark that somebody knows it (README, I5).
//
// After a take-over (fs keeps its orphans) the table is not complete: the kernel knows inodes that we
// never told it of. Then nothing is deleted on the strength of a missing entry; what cannot be
// decided stays an orphan until unmount.
#include "ops/internal.h"

#include "base/check.h"

struct known *known_find(const struct ops *ops, uint32_t ino)
{
    struct hnode *node = htable_find(&ops->known, ino);
    return node ? CONTAINER_OF(node, struct known, node) : NULL;
}

void known_add(struct ops *ops, struct inode *inode)
{
    struct known *known = known_find(ops, inode->ino);

    if (!known) {
        known = xcalloc(1, sizeof *known);
        known->regular = inode_is_reg(inode);
        htable_insert(&ops->known, &known->node, inode->ino);
    }
    known->count++;
    if (inode->d.nlink == 0)
        inode->lookups = 1;
}

void op_orphan(struct op *op, struct inode *inode)
{
    struct ops *ops = op->ops;
    bool maybe_known = known_find(ops, inode->ino) || ops->fs->config.keep_orphans;

    orphan_apply_add(&op->plan, inode);
    inode->lookups = maybe_known ? 1 : 0;
    if (!maybe_known)
        op->gone = inode_ref(inode);
}

void ops_forget(struct ops *ops, uint32_t ino, uint64_t count)
{
    struct known *known = known_find(ops, ino);

    if (!known)
        return;                     // told by a predecessor
    known->count -= MIN(known->count, count);
    if (known->count > 0)
        return;
    htable_remove(&ops->known, &known->node);
    free(known);

    struct inode *inode = inode_peek(ops->fs, ino);
    if (inode && inode->d.nlink == 0 && inode->lookups > 0)
        inode_forget(inode, inode->lookups);
    inode_put(inode);
}

// An orphan is always in memory.
static bool is_orphan(struct ops *ops, uint32_t ino)
{
    struct inode *inode = inode_peek(ops->fs, ino);
    bool orphan = inode && inode->d.nlink == 0;

    inode_put(inode);
    return orphan;
}

void ops_each_known_file(struct ops *ops, void (*each)(void *arg, uint32_t ino, bool orphan), void *arg)
{
    HTABLE_EACH(node, &ops->known)
        if (CONTAINER_OF(node, struct known, node)->regular)
            each(arg, (uint32_t)node->key, is_orphan(ops, (uint32_t)node->key));
}

// What is left of orphans is fs_unmount()'s to delete: nobody knows anything any more.
void ops_close(struct ops *ops)
{
    HTABLE_EACH(node, &ops->known) {
        htable_remove(&ops->known, node);
        free(CONTAINER_OF(node, struct known, node));
    }
    htable_fini(&ops->known);
    free(ops);
}
