// SPDX-License-Identifier: MIT
// xattr.c - extended attributes: get, list, set, remove; and POSIX ACLs among them.
//
// Plan: the inode's flags and type allow it; fs/xattr.h finds room. An access ACL decides the
// permission bits: one that says no more than they do is not stored at all.
// Apply: the attribute, the mode where an ACL gave one, ctime.
#include "ops/internal.h"

#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define ACL_HEADER_SIZE 4               // an ACL without entries

struct xattr_op {
    struct op op;
    uint32_t ino;
    const char *name;
    void *out;                          // get, list
    size_t size;
    ssize_t got;

    struct xattr_set in, set;           // as asked for; as this pass decided
    bool kill_sgid;
    bool nothing;                       // nothing to remove
    uint16_t mode;
    struct inode *inode;
};

static bool is_acl(const char *name)
{
    return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

static bool has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

// user.* is for files and directories: elsewhere the permission bits do not mean who may write.
static bool may_have_user_xattrs(const struct inode *inode)
{
    return inode_is_reg(inode) || inode_is_dir(inode);
}

static int check_name(const char *name)
{
    size_t len = strlen(name);
    return len == 0 || len > XATTR_NAME_MAX ? -ERANGE : 0;
}

// --- reading ----------------------------------------------------------------------------------------

static int get_pass(struct plan *plan, void *arg)
{
    struct xattr_op *x = arg;

    int rc = plan_inode(plan, x->ino, &x->inode);
    if (rc < 0)
        return rc;
    if (has_prefix(x->name, "user.") && !may_have_user_xattrs(x->inode))
        return -ENODATA;
    x->got = xattr_get(plan, x->inode, x->name, x->out, x->size);
    return x->got < 0 ? (int)x->got : 0;
}

ssize_t ops_getxattr(struct ops *ops, uint32_t ino, const char *name, void *out, size_t size)
{
    struct xattr_op x = {.ino = ino, .name = name, .out = out, .size = size};

    int rc = op_begin(&x.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = check_name(name);
    if (rc == 0)
        rc = plan_run(&x.op.plan, get_pass, &x);
    rc = op_end(&x.op, rc);
    return rc < 0 ? rc : x.got;
}

static int list_pass(struct plan *plan, void *arg)
{
    struct xattr_op *x = arg;

    int rc = plan_inode(plan, x->ino, &x->inode);
    if (rc < 0)
        return rc;
    x->got = xattr_list(x->inode, x->out, x->size);
    return x->got < 0 ? (int)x->got : 0;
}

ssize_t ops_listxattr(struct ops *ops, uint32_t ino, char *out, size_t size)
{
    struct xattr_op x = {.ino = ino, .out = out, .size = size};

    int rc = op_begin(&x.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = plan_run(&x.op.plan, list_pass, &x);
    rc = op_end(&x.op, rc);
    return rc < 0 ? rc : x.got;
}

// --- plan of a change ---------------------------------------------------------------------------

static int check_change(const struct xattr_op *x)
{
    int rc = op_may_change(x->inode);

    if (rc == 0 && has_prefix(x->in.name, "user.") && !may_have_user_xattrs(x->inode))
        rc = -EPERM;
    if (rc == 0 && is_acl(x->in.name) && inode_is_symlink(x->inode))
        rc = -EOPNOTSUPP;
    return rc;
}

// An ACL that is removed, or has no entries, or is a default one where there can be none.
static int decide_acl(struct xattr_op *x)
{
    bool minimal = false;

    x->set.flags = 0;
    if (x->set.size <= ACL_HEADER_SIZE)
        x->set.value = NULL;
    if (!x->set.value)
        return 0;
    if (strcmp(x->in.name, ACL_DEFAULT) == 0)
        return inode_is_dir(x->inode) ? 0 : -EACCES;
    uint16_t mode = x->mode;
    int rc = xattr_acl_mode(x->in.value, x->in.size, &mode, &minimal);
    x->mode = (uint16_t)((x->mode & ~0777) | (mode & 0777));
    if (rc == 0 && minimal)
        x->set.value = NULL;
    if (rc == 0 && x->kill_sgid)
        x->mode &= (uint16_t)~02000;
    return rc;
}

static int set_pass(struct plan *plan, void *arg)
{
    struct xattr_op *x = arg;

    x->op.now = op_now(&x->op);
    x->nothing = false;
    int rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = plan_inode(plan, x->ino, &x->inode);
    if (rc == 0)
        rc = check_change(x);
    if (rc < 0)
        return rc;
    x->set.name = x->in.name;
    x->set.value = x->in.value;
    x->set.size = x->in.size;
    x->set.flags = x->in.flags;
    x->mode = x->inode->d.mode;
    if (is_acl(x->in.name))
        rc = decide_acl(x);
    if (x->op.redo)
        x->mode = (uint16_t)x->op.redo->entry->mode;
    if (rc == 0)
        rc = xattr_plan_set(plan, x->inode, &x->set);
    if (rc == -ENODATA && is_acl(x->in.name)) {
        x->nothing = true;              // no ACL there: which is what was asked for
        rc = 0;
    }
    if (rc == 0)
        plan_will_dirty_inode(plan, x->inode);
    return rc;
}

// --- apply ------------------------------------------------------------------------------------------

static void set_apply(struct xattr_op *x)
{
    struct inode *inode = x->inode;

    if (!x->nothing)
        xattr_apply_set(&x->op.plan, inode, &x->set);
    if (x->nothing && x->mode == inode->d.mode)
        return;
    inode->d.mode = x->mode;
    op_stamp(inode, x->op.now, OP_CTIME);
    op_dirty(&x->op, inode);
    op_log(&x->op, &(struct plog_entry){
        .op = x->in.value ? PLOG_SETXATTR : PLOG_REMOVEXATTR,
        .mode = inode->d.mode,
        .target = {[PLOG_SELF] = op_target(inode)},
        .data_len = (uint16_t)x->in.size,
        .flags = (uint32_t)x->in.flags,
    }, (struct ops_name){.bytes = x->in.name, .len = strlen(x->in.name)}, x->in.value);
}

static int change(struct ops *ops, struct xattr_op *x)
{
    int rc = op_begin(&x->op, ops, OP_CHANGES, strlen(x->in.name) + x->in.size);
    if (rc == 0)
        rc = check_name(x->in.name);
    if (rc == 0)
        rc = op_plan(&x->op, set_pass, x);
    if (rc == 0)
        set_apply(x);
    xattr_set_fini(&x->set);
    return op_end(&x->op, rc);
}

int ops_setxattr(struct ops *ops, uint32_t ino, const char *name, const void *value, size_t size, int flags, bool kill_sgid)
{
    struct xattr_op x = {
        .ino = ino, .kill_sgid = kill_sgid,
        // An empty value is a value: only NULL means removal.
        .in = {.name = name, .value = value ? value : "", .size = size, .flags = flags},
    };
    if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    if (size > XATTR_SIZE_MAX)
        return -E2BIG;
    return change(ops, &x);
}

int ops_removexattr(struct ops *ops, uint32_t ino, const char *name)
{
    struct xattr_op x = {.ino = ino, .in = {.name = name, .flags = XATTR_REPLACE}};
    return change(ops, &x);
}
