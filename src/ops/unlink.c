// SPDX-License-Identifier: MIT
// unlink.c - unlink, rmdir: a name goes away, and with the last one the inode.
//
// Plan: the entry and its inode; may it be deleted; is the directory empty.
// Apply: the entry is removed, link counts and times follow. An inode without links is an orphan
// from here on; it is deleted when nobody knows it any more, at once if nobody does (op_orphan).
#include "ops/internal.h"

struct unlink {
    struct op op;
    uint32_t parent_ino;
    struct ops_name name;
    bool as_dir;

    struct inode *parent, *victim;
    struct dir_entry entry;
};

// --- plan -----------------------------------------------------------------------------------------

static int check_dots(const struct unlink *u)
{
    if (!op_name_is_dots(u->name))
        return 0;
    if (!u->as_dir)
        return -EISDIR;
    return u->name.len == 1 ? -EINVAL : -ENOTEMPTY;
}

static int check_empty(struct plan *plan, struct inode *dir)
{
    bool empty;
    int rc = dir_is_empty(plan, dir, &empty);
    return rc < 0 ? rc : empty ? 0 : -ENOTEMPTY;
}

static int unlink_pass(struct plan *plan, void *arg)
{
    struct unlink *u = arg;

    u->op.now = op_now(&u->op);
    int rc = op_check_name(u->name);
    if (rc == 0)
        rc = check_dots(u);
    if (rc == 0)
        rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = op_dir(plan, u->parent_ino, &u->parent);
    if (rc == 0)
        rc = op_child(plan, u->parent, u->name, &u->entry, &u->victim);
    if (rc == 0)
        rc = op_may_delete(u->parent, u->victim, u->as_dir);
    if (rc == 0 && u->as_dir)
        rc = check_empty(plan, u->victim);
    if (rc < 0)
        return rc;
    dir_plan_change(plan, u->parent, &u->entry);
    plan_will_dirty_inode(plan, u->parent);
    plan_will_dirty_inode(plan, u->victim);
    orphan_plan(plan);
    return 0;
}

// --- apply ----------------------------------------------------------------------------------------

static void unlink_apply(struct unlink *u)
{
    dir_apply_remove(&u->op.plan, u->parent, &u->entry);
    if (u->as_dir) {
        op_dec_dir_links(u->parent);
        u->victim->d.nlink = 0;
    } else {
        u->victim->d.nlink--;
    }
    op_stamp(u->parent, u->op.now, OP_MTIME | OP_CTIME);
    op_stamp(u->victim, u->op.now, OP_CTIME);
    op_dirty(&u->op, u->parent);
    op_dirty(&u->op, u->victim);
    if (u->victim->d.nlink == 0)
        op_orphan(&u->op, u->victim);
    op_log(&u->op, &(struct plog_entry){
        .op = u->as_dir ? PLOG_RMDIR : PLOG_UNLINK,
        .target = {[PLOG_SELF] = op_target(u->victim), [PLOG_PARENT] = op_target(u->parent)},
    }, u->name, NULL);
}

static int run(struct ops *ops, struct unlink *u)
{
    int rc = op_begin(&u->op, ops, OP_CHANGES, u->name.len);
    if (rc == 0)
        rc = op_plan(&u->op, unlink_pass, u);
    if (rc == 0)
        unlink_apply(u);
    return op_end(&u->op, rc);
}

int ops_unlink(struct ops *ops, uint32_t parent, struct ops_name name)
{
    struct unlink u = {.parent_ino = parent, .name = name};
    return run(ops, &u);
}

int ops_rmdir(struct ops *ops, uint32_t parent, struct ops_name name)
{
    struct unlink u = {.parent_ino = parent, .name = name, .as_dir = true};
    return run(ops, &u);
}
