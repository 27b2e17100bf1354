// SPDX-License-Identifier: MIT
// create.c - create, mknod, mkdir, symlink, tmpfile: a new inode, and a name for it.
//
// Plan: the name must be free (or, for create, may lead to what is there), the directory alive and
// changeable; then room for the entry, and everything of the new inode (make.c).
// Apply: the inode, its entry, times and link count of the directory; one lookup is counted.
#include "ops/make.h"

#include "base/check.h"
#include "rt/rt.h"

struct create {
    struct op op;
    uint32_t parent_ino;
    struct ops_name name;
    enum plog_op log_op;
    bool may_exist;             // an inode of that name is fine
    struct make make;
    struct dir_add add;

    struct inode *parent;
    struct inode *existing;     // found instead
    struct inode *made;
};

static bool makes_dir(const struct create *c)
{
    return (c->make.mode & 0170000) == 0040000;
}

// --- plan -----------------------------------------------------------------------------------------

// -EEXIST comes before what forbids making: a caller that asks for what is there learns that first.
static int find_existing(struct plan *plan, struct create *c)
{
    struct dir_entry entry;

    c->existing = NULL;
    int rc = op_check_name(c->name);
    if (rc < 0)
        return rc;
    if (op_name_is_dots(c->name))
        return -EEXIST;
    if (c->parent->d.nlink == 0)
        return -ENOENT;
    rc = op_child(plan, c->parent, c->name, &entry, &c->existing);
    if (rc == -ENOENT) {
        c->existing = NULL;
        return 0;
    }
    if (rc == 0 && !c->may_exist)
        return -EEXIST;
    return rc;
}

static int check_symlink(const struct create *c)
{
    if (c->log_op != PLOG_SYMLINK)
        return 0;
    if (c->make.target.len == 0)
        return -ENOENT;
    return c->make.target.len + 1 > BLOCK_BYTES ? -ENAMETOOLONG : 0;
}

static int create_pass(struct plan *plan, void *arg)
{
    struct create *c = arg;

    c->op.now = op_now(&c->op);
    int rc = op_dir(plan, c->parent_ino, &c->parent);
    if (rc == 0)
        rc = find_existing(plan, c);
    if (rc < 0 || c->existing)
        return rc;
    rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = op_may_create(c->parent);
    if (rc == 0)
        rc = check_symlink(c);
    if (rc == 0 && makes_dir(c) && op_dir_is_full_of_links(c->parent))
        rc = -EMLINK;
    if (rc == 0)
        rc = make_plan(plan, c->parent, &c->make);
    c->add.name = op_dir_name(c->name);
    if (rc == 0)
        rc = dir_plan_add(plan, c->parent, &c->add);
    if (rc == 0)
        plan_will_dirty_inode(plan, c->parent);
    return rc;
}

// --- apply ----------------------------------------------------------------------------------------

static void log_create(struct create *c)
{
    const struct inode *made = c->made;
    bool symlink = c->log_op == PLOG_SYMLINK;

    op_log(&c->op, &(struct plog_entry){
        .op = c->log_op,
        .mode = made->d.mode | (uint32_t)c->make.mode << 16,
        .target = {[PLOG_SELF] = op_target(made), [PLOG_PARENT] = op_target(c->parent)},
        .off = (uint64_t)c->make.rdev_major << 32 | c->make.rdev_minor,
        .uid = made->d.uid,
        .gid = made->d.gid,
        .data_len = (uint16_t)(symlink ? c->make.target.len : 0),
        .flags = c->make.caller->umask,
    }, c->name, c->make.target.bytes);
}

static void create_apply(struct create *c)
{
    struct plan *plan = &c->op.plan;

    c->made = make_apply(plan, c->parent, &c->make, c->op.now);
    c->made->d.nlink = makes_dir(c) ? 2 : 1;
    dir_apply_add(plan, c->parent, &c->add, c->made->ino, dir_type_of_mode(c->make.mode));
    if (makes_dir(c))
        op_inc_dir_links(c->parent);
    op_stamp(c->parent, c->op.now, OP_MTIME | OP_CTIME);
    op_dirty(&c->op, c->parent);
    log_create(c);
}

// --- the operations -------------------------------------------------------------------------------

// Number and generation: of a redo those that the inode had.
static void pin(struct create *c)
{
    if (c->op.redo) {
        c->make.ino = c->op.redo->entry->target[PLOG_SELF].ino;
        c->make.generation = c->op.redo->entry->target[PLOG_SELF].generation;
    } else {
        c->make.generation = (uint32_t)rt_random(c->op.ops->rt);
    }
}

// The caller learns of the inode, and nobody else has heard of one that was just made.
static void tell(struct create *c, struct inode *inode)
{
    struct ops *ops = c->op.ops;

    known_add(ops, inode);
    if (inode == c->made)
        known_find(ops, inode->ino)->complete = true;
}

static int run(struct ops *ops, struct create *c, struct ops_attr *out)
{
    int rc = op_begin(&c->op, ops, OP_CHANGES, c->name.len + c->make.target.len);

    pin(c);
    c->op.plan.privileged |= op_is_privileged(ops->fs, c->make.caller);
    if (rc == 0)
        rc = op_plan(&c->op, create_pass, c);
    if (rc == 0 && !c->existing)
        create_apply(c);
    if (rc == 0) {
        struct inode *inode = c->existing ? c->existing : c->made;
        if (!c->op.redo)
            tell(c, inode);
        op_fill_attr(inode, out);
    }
    dir_add_fini(&c->add);
    make_fini(&c->make);
    inode_put(c->made);
    return op_end(&c->op, rc);
}

int ops_create(struct ops *ops, const struct ops_caller *caller, uint32_t parent, struct ops_name name, uint16_t mode, bool exclusive, struct ops_attr *out, bool *created)
{
    struct create c = {
        .parent_ino = parent, .name = name, .log_op = PLOG_CREATE, .may_exist = !exclusive,
        .make = {.caller = caller, .mode = (mode & 07777) | 0100000},
    };
    int rc = run(ops, &c, out);
    *created = rc == 0 && !c.existing;
    return rc;
}

int ops_mknod(struct ops *ops, const struct ops_caller *caller, uint32_t parent, struct ops_name name, uint16_t mode, uint32_t major, uint32_t minor, struct ops_attr *out)
{
    uint16_t type = mode & 0170000;
    bool device = type == 0020000 || type == 0060000;

    if (type == 0)
        mode |= 0100000;
    else if (!device && type != 0100000 && type != 0010000 && type != 0140000)
        return type == 0040000 ? -EPERM : -EINVAL;
    struct create c = {
        .parent_ino = parent, .name = name, .log_op = PLOG_MKNOD,
        .make = {.caller = caller, .mode = mode, .rdev_major = device ? major : 0, .rdev_minor = device ? minor : 0},
    };
    return run(ops, &c, out);
}

int ops_mkdir(struct ops *ops, const struct ops_caller *caller, uint32_t parent, struct ops_name name, uint16_t mode, struct ops_attr *out)
{
    struct create c = {
        .parent_ino = parent, .name = name, .log_op = PLOG_MKDIR,
        .make = {.caller = caller, .mode = (mode & 01777) | 0040000},
    };
    return run(ops, &c, out);
}

int ops_symlink(struct ops *ops, const struct ops_caller *caller, uint32_t parent, struct ops_name name, struct ops_name target, struct ops_attr *out)
{
    struct create c = {
        .parent_ino = parent, .name = name, .log_op = PLOG_SYMLINK,
        .make = {.caller = caller, .mode = 0120777, .target = target},
    };
    if (target.len >= BLOCK_BYTES)
        return -ENAMETOOLONG;
    return run(ops, &c, out);
}

// --- tmpfile: an inode without a name -----------------------------------------------------------
// Plan: as create, without an entry. Apply: an orphan from its birth, until ops_link() names it.

static int tmpfile_pass(struct plan *plan, void *arg)
{
    struct create *c = arg;

    c->op.now = op_now(&c->op);
    int rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = op_dir(plan, c->parent_ino, &c->parent);
    if (rc == 0)
        rc = op_may_create(c->parent);
    if (rc == 0)
        rc = make_plan(plan, c->parent, &c->make);
    orphan_plan(plan);
    return rc;
}

static void tmpfile_apply(struct create *c)
{
    c->made = make_apply(&c->op.plan, c->parent, &c->make, c->op.now);
    orphan_apply_add(&c->op.plan, c->made);
    log_create(c);
}

int ops_tmpfile(struct ops *ops, const struct ops_caller *caller, uint32_t parent, uint16_t mode, struct ops_attr *out)
{
    struct create c = {
        .parent_ino = parent, .log_op = PLOG_TMPFILE,
        .make = {.caller = caller, .mode = (mode & 07777) | 0100000},
    };
    int rc = op_begin(&c.op, ops, OP_CHANGES, 0);

    pin(&c);
    c.op.plan.privileged |= op_is_privileged(ops->fs, caller);
    if (rc == 0)
        rc = op_plan(&c.op, tmpfile_pass, &c);
    if (rc == 0) {
        tmpfile_apply(&c);
        c.made->lookups = 1;        // somebody has it open
        if (!c.op.redo) {
            tell(&c, c.made);
            known_find(ops, c.made->ino)->linkable = true;
        }
        op_fill_attr(c.made, out);
    }
    make_fini(&c.make);
    inode_put(c.made);
    return op_end(&c.op, rc);
}
