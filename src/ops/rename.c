// SPDX-License-Identifier: MIT
// rename.c - an entry moves, replaces another, changes places with it, or leaves a whiteout behind.
//
// Plan: both entries and their inodes, the order of checks as in the kernel (VFS, then ext4); a directory
// must not become its own ancestor, so the way from the new parent up to the root is walked.
// Apply, which any reader sees as one step: the new entry (added, or the old one redirected), then
// the old entry (removed, redirected to the whiteout, or to the other inode), "..", counts, times.
//
// An entry is known by its place in a block, and adding one may move others (a leaf is split). So
// in a rename within one directory the old entry is looked up again after the add (README, I6).
#include "ops/make.h"

#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "rt/rt.h"

struct side {
    uint32_t dir_ino;
    struct ops_name name;
    struct inode *dir, *inode;      // inode: NULL where the name is free
    struct dir_entry entry;
};

struct rename_op {
    struct op op;
    uint32_t flags;
    struct side from, to;
    struct dir_add add;
    struct make whiteout;
    struct inode *made;             // the whiteout

    bool nothing;                   // both names are the same inode's already
};

static bool exchanges(const struct rename_op *r) { return r->flags & RENAME_EXCHANGE; }
static bool side_is_dir(const struct side *side) { return side->inode && inode_is_dir(side->inode); }

// --- plan: what is there -------------------------------------------------------------------------

static int check_flags(const struct rename_op *r)
{
    if (r->flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
        return -EINVAL;
    if (exchanges(r) && (r->flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)))
        return -EINVAL;
    int rc = op_check_name(r->from.name);
    if (rc == 0)
        rc = op_check_name(r->to.name);
    if (rc < 0)
        return rc;
    if (op_name_is_dots(r->from.name))
        return -EBUSY;
    if (op_name_is_dots(r->to.name))
        return r->flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
    return 0;
}

static int find_entries(struct plan *plan, struct rename_op *r)
{
    int rc = op_dir(plan, r->from.dir_ino, &r->from.dir);
    if (rc == 0)
        rc = op_dir(plan, r->to.dir_ino, &r->to.dir);
    if (rc == 0 && (r->from.dir->d.nlink == 0 || r->to.dir->d.nlink == 0))
        rc = -ENOENT;
    if (rc == 0)
        rc = op_child(plan, r->from.dir, r->from.name, &r->from.entry, &r->from.inode);
    if (rc < 0)
        return rc;
    rc = op_child(plan, r->to.dir, r->to.name, &r->to.entry, &r->to.inode);
    if (rc == -ENOENT) {
        r->to.inode = NULL;
        return exchanges(r) ? -ENOENT : 0;
    }
    if (rc == 0 && (r->flags & RENAME_NOREPLACE))
        return -EEXIST;
    return rc;
}

// Is `ino` the directory itself or above it? A damaged volume may have directories in a ring;
// the hare that meets its tortoise ends the walk.
static int is_or_contains(struct plan *plan, uint32_t ino, struct inode *dir, bool *out)
{
    uint32_t tortoise = 0, steps = 0, limit = 1;

    *out = true;
    while (dir->ino != ino) {
        uint32_t parent_ino;
        if (dir->ino == EXT4_ROOT_INO) {
            *out = false;
            return 0;
        }
        int rc = op_parent_of(plan, dir, &parent_ino);
        if (rc == 0)
            rc = op_dir(plan, parent_ino, &dir);
        if (rc == -ESTALE || rc == -ENOTDIR || (rc == 0 && parent_ino == tortoise)) {
            log_error("event=corruption type=dir ino=%u reason=\"the way to the root is broken\"", parent_ino);
            return -EFSCORRUPTED;
        }
        if (rc < 0)
            return rc;
        if (++steps == limit) {
            tortoise = parent_ino;
            steps = 0;
            limit *= 2;
        }
    }
    return 0;
}

static int check_ancestors(struct plan *plan, struct rename_op *r)
{
    bool inside = false;
    int rc = 0;

    if (side_is_dir(&r->from) && r->from.dir != r->to.dir)
        rc = is_or_contains(plan, r->from.inode->ino, r->to.dir, &inside);
    if (rc < 0 || inside)
        return rc < 0 ? rc : -EINVAL;
    if (side_is_dir(&r->to) && r->from.dir != r->to.dir)
        rc = is_or_contains(plan, r->to.inode->ino, r->from.dir, &inside);
    if (rc < 0 || inside)
        return rc < 0 ? rc : exchanges(r) ? -EINVAL : -ENOTEMPTY;
    return 0;
}

// --- plan: may it be ----------------------------------------------------------------------------

static int check_replaced(struct plan *plan, struct rename_op *r)
{
    bool empty;

    if (!r->to.inode)
        return op_may_create(r->to.dir);
    bool as_dir = exchanges(r) ? side_is_dir(&r->to) : side_is_dir(&r->from);
    int rc = op_may_delete(r->to.dir, r->to.inode, as_dir);
    if (rc < 0 || exchanges(r) || !side_is_dir(&r->to))
        return rc;
    rc = dir_is_empty(plan, r->to.inode, &empty);
    return rc < 0 ? rc : empty ? 0 : -ENOTEMPTY;
}

static bool leaves_project(const struct inode *dir, const struct inode *inode)
{
    return inode && (dir->d.flags & EXT4_PROJINHERIT_FL) && dir->d.project != inode->d.project;
}

// Subdirectories that a side's directory wins (1) or loses (-1). Within one directory nothing
// changes, but that a replaced directory goes.
static int gain(const struct rename_op *r, const struct side *side)
{
    const struct side *other = side == &r->to ? &r->from : &r->to;
    int comes = side == &r->to || exchanges(r) ? side_is_dir(other) : 0;
    int goes = side_is_dir(side);

    if (r->from.dir == r->to.dir)
        return side == &r->to && !exchanges(r) && side_is_dir(&r->to) ? -1 : 0;
    return comes - goes;
}

static int check_limits(const struct rename_op *r)
{
    if (leaves_project(r->to.dir, r->from.inode))
        return -EXDEV;
    if (exchanges(r) && leaves_project(r->from.dir, r->to.inode))
        return -EXDEV;
    if (gain(r, &r->to) > 0 && op_dir_is_full_of_links(r->to.dir))
        return -EMLINK;
    if (gain(r, &r->from) > 0 && op_dir_is_full_of_links(r->from.dir))
        return -EMLINK;
    return 0;
}

// --- plan: what will be changed -----------------------------------------------------------------

// ".." of a directory that moves must name the parent that it leaves.
static int plan_dotdot(struct plan *plan, const struct side *side, const struct side *other)
{
    uint32_t parent_ino;

    if (!side_is_dir(side) || side->dir == other->dir)
        return 0;
    int rc = dir_plan_parent(plan, side->inode, &parent_ino);
    if (rc == 0 && parent_ino != side->dir->ino) {
        log_error("event=corruption type=dir ino=%u parent=%u reason=\"'..' leads to %u\"",
                  side->inode->ino, side->dir->ino, parent_ino);
        return -EFSCORRUPTED;
    }
    return rc;
}

static int plan_entries(struct plan *plan, struct rename_op *r)
{
    int rc = 0;

    dir_plan_change(plan, r->from.dir, &r->from.entry);
    if (r->to.inode) {
        dir_plan_change(plan, r->to.dir, &r->to.entry);
    } else {
        r->add.name = op_dir_name(r->to.name);
        rc = dir_plan_add(plan, r->to.dir, &r->add);
    }
    if (rc == 0 && (r->flags & RENAME_WHITEOUT))
        rc = make_plan(plan, r->from.dir, &r->whiteout);
    return rc;
}

static void plan_inodes(struct plan *plan, struct rename_op *r)
{
    plan_will_dirty_inode(plan, r->from.dir);
    plan_will_dirty_inode(plan, r->to.dir);
    plan_will_dirty_inode(plan, r->from.inode);
    if (!r->to.inode)
        return;
    plan_will_dirty_inode(plan, r->to.inode);
    orphan_plan(plan);
}

static int rename_pass(struct plan *plan, void *arg)
{
    struct rename_op *r = arg;

    r->op.now = op_now(&r->op);
    r->nothing = false;
    int rc = check_flags(r);
    if (rc == 0)
        rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = find_entries(plan, r);
    if (rc == 0)
        rc = check_ancestors(plan, r);
    if (rc < 0)
        return rc;
    if (r->from.inode == r->to.inode) {
        r->nothing = true;
        return 0;
    }
    rc = op_may_delete(r->from.dir, r->from.inode, side_is_dir(&r->from));
    if (rc == 0)
        rc = check_replaced(plan, r);
    if (rc == 0)
        rc = check_limits(r);
    if (rc == 0)
        rc = plan_dotdot(plan, &r->from, &r->to);
    if (rc == 0 && exchanges(r))
        rc = plan_dotdot(plan, &r->to, &r->from);
    if (rc == 0)
        rc = plan_entries(plan, r);
    if (rc == 0)
        plan_inodes(plan, r);
    return rc;
}

// --- apply ----------------------------------------------------------------------------------------

static void put_new_entry(struct rename_op *r)
{
    struct plan *plan = &r->op.plan;
    uint8_t type = dir_type_of_mode(r->from.inode->d.mode);

    if (r->to.inode) {
        dir_apply_redirect(plan, r->to.dir, &r->to.entry, r->from.inode->ino, type);
        return;
    }
    dir_apply_add(plan, r->to.dir, &r->add, r->from.inode->ino, type);
    if (r->from.dir == r->to.dir)
        dir_apply_find(&r->add, r->from.dir, op_dir_name(r->from.name), &r->from.entry);
}

static void clear_old_entry(struct rename_op *r)
{
    struct plan *plan = &r->op.plan;
    struct inode *left = exchanges(r) ? r->to.inode : NULL;

    if (r->flags & RENAME_WHITEOUT) {
        left = r->made = make_apply(plan, r->from.dir, &r->whiteout, r->op.now);
        left->d.nlink = 1;
    }
    if (left)
        dir_apply_redirect(plan, r->from.dir, &r->from.entry, left->ino, dir_type_of_mode(left->d.mode));
    else
        dir_apply_remove(plan, r->from.dir, &r->from.entry);
}

static void move_dotdot(struct rename_op *r)
{
    struct plan *plan = &r->op.plan;

    if (r->from.dir == r->to.dir)
        return;
    if (side_is_dir(&r->from))
        dir_apply_parent(plan, r->from.inode, r->to.dir->ino);
    if (exchanges(r) && side_is_dir(&r->to))
        dir_apply_parent(plan, r->to.inode, r->from.dir->ino);
}

static void count_links(struct inode *dir, int gained)
{
    if (gained > 0)
        op_inc_dir_links(dir);
    else if (gained < 0)
        op_dec_dir_links(dir);
}

static void lose_victim(struct rename_op *r)
{
    struct inode *victim = r->to.inode;

    if (!victim || exchanges(r))
        return;
    if (inode_is_dir(victim))
        victim->d.nlink = 0;
    else
        victim->d.nlink--;
    if (victim->d.nlink == 0)
        op_orphan(&r->op, victim);
}

static void stamp_all(struct rename_op *r)
{
    struct ext4_time now = r->op.now;

    op_stamp(r->from.dir, now, OP_MTIME | OP_CTIME);
    op_stamp(r->to.dir, now, OP_MTIME | OP_CTIME);
    op_stamp(r->from.inode, now, OP_CTIME);
    op_dirty(&r->op, r->from.dir);
    op_dirty(&r->op, r->to.dir);
    op_dirty(&r->op, r->from.inode);
    if (r->to.inode) {
        op_stamp(r->to.inode, now, OP_CTIME);
        op_dirty(&r->op, r->to.inode);
    }
}

static void rename_apply(struct rename_op *r)
{
    int from_gain = gain(r, &r->from), to_gain = gain(r, &r->to);

    put_new_entry(r);
    clear_old_entry(r);
    move_dotdot(r);
    count_links(r->from.dir, from_gain);
    count_links(r->to.dir, to_gain);
    stamp_all(r);
    lose_victim(r);
    op_log(&r->op, &(struct plog_entry){
        .op = PLOG_RENAME,
        .target = {
            [PLOG_SELF] = op_target(r->from.inode), [PLOG_PARENT] = op_target(r->from.dir),
            [PLOG_DST_SELF] = r->to.inode ? op_target(r->to.inode) : (struct plog_inode){0},
            [PLOG_DST_PARENT] = op_target(r->to.dir),
        },
        .off = r->made ? (uint64_t)r->made->ino << 32 | r->made->d.generation : 0,
        .uid = r->whiteout.caller->uid,
        .gid = r->whiteout.caller->gid,
        .data_len = (uint16_t)r->to.name.len,
        .flags = r->flags,
    }, r->from.name, r->to.name.bytes);
}

// Number and generation of the whiteout: of a redo those that it had.
static void pin(struct rename_op *r)
{
    if (r->op.redo) {
        r->whiteout.ino = (uint32_t)(r->op.redo->entry->off >> 32);
        r->whiteout.generation = (uint32_t)r->op.redo->entry->off;
    } else {
        r->whiteout.generation = (uint32_t)rt_random(r->op.ops->rt);
    }
}

int ops_rename(struct ops *ops, const struct ops_caller *caller, uint32_t from, struct ops_name from_name, uint32_t to, struct ops_name to_name, uint32_t flags)
{
    struct rename_op r = {
        .flags = flags,
        .from = {.dir_ino = from, .name = from_name},
        .to = {.dir_ino = to, .name = to_name},
        // A character device 0:0 that nobody may open: what overlayfs takes for a deleted name.
        .whiteout = {.caller = caller, .mode = 0020000},
    };
    int rc = op_begin(&r.op, ops, OP_CHANGES, from_name.len + to_name.len);

    pin(&r);
    r.op.plan.privileged |= op_is_privileged(ops->fs, caller);
    if (rc == 0)
        rc = op_plan(&r.op, rename_pass, &r);
    if (rc == 0 && !r.nothing)
        rename_apply(&r);
    dir_add_fini(&r.add);
    make_fini(&r.whiteout);
    inode_put(r.made);
    return op_end(&r.op, rc);
}
