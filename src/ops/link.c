// SPDX-License-Identifier: MIT
// link.c - one more name for an inode; the first one for what ops_tmpfile() made.
//
// Plan: the inode may have a name more, the name is free, the directory has room.
// Apply: the entry, the link count, times; an inode that had no link is no orphan any more.
#include "ops/internal.h"

struct link_op {
    struct op op;
    uint32_t ino, parent_ino;
    struct ops_name name;

    struct inode *inode, *parent;
    struct dir_add add;
};

// --- plan -----------------------------------------------------------------------------------------

// An inode without links may get one only if it was made so. After a take-over nobody remembers
// which were; the kernel asks for no other.
static bool may_be_named(const struct op *op, const struct inode *inode)
{
    const struct known *known = known_find(op->ops, inode->ino);
    return known ? known->linkable : op->redo || op->fs->config.keep_orphans;
}

static int check_inode(const struct link_op *l)
{
    const struct inode *inode = l->inode;

    if (op_is_immutable(inode) || op_is_append(inode))
        return -EPERM;
    if (inode_is_dir(inode))
        return -EPERM;
    if (inode->d.nlink == 0 && !may_be_named(&l->op, inode))
        return -ENOENT;
    if (inode->d.nlink >= EXT4_LINK_MAX)
        return -EMLINK;
    if ((l->parent->d.flags & EXT4_PROJINHERIT_FL) && l->parent->d.project != inode->d.project)
        return -EXDEV;
    return 0;
}

static int check_name_free(struct plan *plan, struct link_op *l)
{
    struct dir_entry entry;

    int rc = op_check_name(l->name);
    if (rc < 0)
        return rc;
    if (op_name_is_dots(l->name))
        return -EEXIST;
    rc = dir_lookup(plan, l->parent, op_dir_name(l->name), &entry);
    return rc == 0 ? -EEXIST : rc == -ENOENT ? 0 : rc;
}

static int link_pass(struct plan *plan, void *arg)
{
    struct link_op *l = arg;

    l->op.now = op_now(&l->op);
    int rc = plan_inode(plan, l->ino, &l->inode);
    if (rc == 0)
        rc = op_dir(plan, l->parent_ino, &l->parent);
    if (rc == 0)
        rc = check_name_free(plan, l);
    if (rc == 0)
        rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = op_may_create(l->parent);
    if (rc == 0)
        rc = check_inode(l);
    l->add.name = op_dir_name(l->name);
    if (rc == 0)
        rc = dir_plan_add(plan, l->parent, &l->add);
    if (rc < 0)
        return rc;
    plan_will_dirty_inode(plan, l->parent);
    plan_will_dirty_inode(plan, l->inode);
    orphan_plan(plan);
    return 0;
}

// --- apply ----------------------------------------------------------------------------------------

static void link_apply(struct link_op *l)
{
    struct plan *plan = &l->op.plan;
    struct inode *inode = l->inode;

    if (inode->d.nlink == 0) {
        orphan_apply_remove(plan, inode);
        inode->lookups = 0;
        struct known *known = known_find(l->op.ops, inode->ino);
        if (known)
            known->linkable = false;
    }
    inode->d.nlink++;
    dir_apply_add(plan, l->parent, &l->add, inode->ino, dir_type_of_mode(inode->d.mode));
    op_stamp(inode, l->op.now, OP_CTIME);
    op_stamp(l->parent, l->op.now, OP_MTIME | OP_CTIME);
    op_dirty(&l->op, inode);
    op_dirty(&l->op, l->parent);
    op_log(&l->op, &(struct plog_entry){
        .op = PLOG_LINK,
        .target = {[PLOG_SELF] = op_target(inode), [PLOG_PARENT] = op_target(l->parent)},
    }, l->name, NULL);
}

int ops_link(struct ops *ops, uint32_t ino, uint32_t parent, struct ops_name name, struct ops_attr *out)
{
    struct link_op l = {.ino = ino, .parent_ino = parent, .name = name};

    int rc = op_begin(&l.op, ops, OP_CHANGES, name.len);
    if (rc == 0)
        rc = op_plan(&l.op, link_pass, &l);
    if (rc == 0) {
        link_apply(&l);
        if (!l.op.redo)
            known_add(ops, l.inode);
        op_fill_attr(l.inode, out);
    }
    dir_add_fini(&l.add);
    return op_end(&l.op, rc);
}
