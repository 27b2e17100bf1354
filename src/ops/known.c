// SPDX-License-Identifier: MIT
// known.c - which inodes the kernel was told of and has not forgotten.
//
// The counts live here and not in inodes, because an inode leaves memory while the kernel still
// knows its number. Only for an inode without links do they matter: it is deleted when the last
// is taken back. Such an inode is an orphan, always in memory, and carries inode->lookups = 1 as
// the mark that somebody knows it (README, I5).
//
// After a take-over (fs keeps its orphans) the table is not complete: the kernel knows inodes that a predecessor
// told it of, or knows them more often than we told it. Then nothing is deleted on the strength of the
// table: the kernel itself is asked (is_known), by one fibre, one inode after the other. It cannot come
// to know again an inode without a name that it has forgotten, but by a file handle, which ends in the table.
#include "ops/internal.h"

#include "base/check.h"
#include "base/log.h"
#include "rt/rt.h"

struct ask {
    struct list link;               // in ops->asks
    uint32_t ino, generation;
};

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

// --- asking the kernel ----------------------------------------------------------------------------

static void bury(struct ops *ops, const struct ask *ask)
{
    struct inode *inode = inode_peek(ops->fs, ask->ino);

    if (inode && inode->d.generation == ask->generation && inode->d.nlink == 0 && !known_find(ops, ask->ino))
        inode_forget(inode, inode->lookups);
    inode_put(inode);
}

static void drop_asks(struct ops *ops)
{
    struct list *link;
    while ((link = list_pop_front(&ops->asks)))
        free(LIST_ENTRY(link, struct ask, link));
}

static void asker(void *arg)
{
    struct ops *ops = arg;
    struct list *link;

    while (!ops->closed && (link = list_pop_front(&ops->asks))) {
        struct ask *ask = LIST_ENTRY(link, struct ask, link);
        bool known = known_find(ops, ask->ino) || ops->is_known(ops->is_known_arg, ask->ino);
        if (!known && !ops->closed)
            bury(ops, ask);
        free(ask);
    }
    ops->asking = false;
    if (ops->closed) {
        drop_asks(ops);
        free(ops);
    }
}

static void ask_for(struct ops *ops, const struct inode *inode)
{
    if (!ops->is_known)
        return;                     // nobody can say: it stays until unmount
    struct ask *ask = xcalloc(1, sizeof *ask);
    ask->ino = inode->ino;
    ask->generation = inode->d.generation;
    list_push_back(&ops->asks, &ask->link);
    if (ops->asking)
        return;
    ops->asking = true;
    rt_spawn(ops->rt, "asker", asker, ops);
}

void ops_bury_unknown(struct ops *ops)
{
    LIST_EACH(link, &ops->fs->orphans) {
        struct inode *inode = LIST_ENTRY(link, struct inode, orphan_link);
        if (inode->d.nlink == 0 && !known_find(ops, inode->ino))
            ask_for(ops, inode);
    }
}

// --- orphans --------------------------------------------------------------------------------------

// During a recovery the kernel cannot be asked yet: ops_bury_unknown() does that for all of them.
void op_orphan(struct op *op, struct inode *inode)
{
    struct ops *ops = op->ops;
    bool known = known_find(ops, inode->ino), incomplete = ops->fs->config.keep_orphans || op->redo;

    orphan_apply_add(&op->plan, inode);
    inode->lookups = known || incomplete ? 1 : 0;
    if (!known && incomplete && !op->redo)
        ask_for(ops, inode);
    if (!known && !incomplete)
        op->gone = inode_ref(inode);
}

static void forget_orphan(struct ops *ops, struct inode *inode, bool sure)
{
    if (sure || !ops->is_known) {
        if (inode->lookups > 0)
            inode_forget(inode, inode->lookups);
    } else {
        ask_for(ops, inode);
    }
}

void ops_forget(struct ops *ops, uint32_t ino, uint64_t count)
{
    struct known *known = known_find(ops, ino);
    bool sure = !ops->fs->config.keep_orphans || (known && known->complete);

    if (!known && (sure || !ops->is_known))
        return;                     // told by a predecessor
    if (known) {
        known->count -= MIN(known->count, count);
        if (known->count > 0)
            return;
        htable_remove(&ops->known, &known->node);
        free(known);
    }
    struct inode *inode = inode_peek(ops->fs, ino);
    if (inode && inode->d.nlink == 0)
        forget_orphan(ops, inode, sure);
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
    htable_init(&ops->known);
    ops->closed = true;
    if (!ops->asking)
        free(ops);                  // else the fibre that asks does, when it has its answer
}
