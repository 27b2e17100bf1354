// SPDX-License-Identifier: MIT
// setattr.c - chmod, chown, utimens, truncate.
//
// Plan: the flags of the inode allow it; an access ACL follows the mode. Apply: the fields, ctime.
// A new size is data_truncate()'s work, which takes as many transactions as it needs; what else
// was asked for goes into the first of them (truncate_update), together with the size. As in ext4,
// owner and mode come before the size, so that a truncation that fails leaves them changed.
//
// What counts as a change of the clock: chmod and chown touch ctime; a truncation touches mtime and
// ctime, even to the same size (ext4_truncate() does so); explicit times touch ctime, unless the
// caller, the kernel's write-back cache, sends its own.
#include "ops/internal.h"

#include <string.h>

#include "fs/data.h"

#define OPS_SET_OWNER (OPS_SET_UID | OPS_SET_GID)
#define OPS_SET_TIMES (OPS_SET_ATIME | OPS_SET_MTIME | OPS_SET_CTIME | OPS_SET_ATIME_NOW | OPS_SET_MTIME_NOW)

struct setattr {
    struct op op;
    uint32_t ino;
    const struct ops_caller *caller;
    const struct ops_setattr *set;
    uint32_t what;              // the part of set->set that this transaction does
    struct inode *inode;
    struct xattr_set acl;       // name NULL: there is none to change
    struct ops_attr *out;       // what it has become, if nothing comes after the fields
    bool told;
};

// --- plan: checks ---------------------------------------------------------------------------------

// The kernel flushes the times that its write-back cache kept by exactly these two. They belong to
// writes that were allowed, perhaps before the inode became immutable.
static bool is_time_flush(const struct ops_setattr *set)
{
    return set->set == (OPS_SET_MTIME | OPS_SET_CTIME);
}

static int check_flags(const struct inode *inode, const struct ops_setattr *set)
{
    uint32_t strict = OPS_SET_MODE | OPS_SET_OWNER | OPS_SET_ATIME | OPS_SET_MTIME | OPS_SET_SIZE;

    if (is_time_flush(set))
        return 0;
    if (set->set & strict)
        return op_may_change(inode);
    return set->set && op_is_immutable(inode) ? -EPERM : 0;
}

static int check_size(const struct inode *inode, const struct ops_setattr *set)
{
    if (!(set->set & OPS_SET_SIZE))
        return 0;
    if (inode_is_dir(inode))
        return -EISDIR;
    if (!inode_is_reg(inode))
        return -EINVAL;
    return set->size > op_size_max(inode) ? -EFBIG : 0;
}

static int check_pass(struct plan *plan, void *arg)
{
    struct setattr *s = arg;

    int rc = plan_inode(plan, s->ino, &s->inode);
    if (rc == 0 && s->set->set)
        rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = check_size(s->inode, s->set);
    if (rc == 0)
        rc = check_flags(s->inode, s->set);
    return rc;
}

// --- what becomes of the fields -------------------------------------------------------------------

static bool keeps_plain_sgid(const struct setattr *s)
{
    return s->caller->uid == 0 || s->caller->gid == s->inode->d.gid;
}

static uint16_t mode_after(const struct setattr *s)
{
    uint16_t mode = s->inode->d.mode;

    if (s->op.redo)
        return (uint16_t)s->op.redo->entry->mode;
    if (s->what & OPS_SET_MODE)
        mode = (uint16_t)((mode & 0170000) | (s->set->mode & 07777));
    if (inode_is_dir(s->inode))
        return mode;
    // The owner's chown() to himself. Nobody asked whether another caller may do this much, so for
    // all others, root included, the bits stay.
    if (s->what & OPS_TOUCH && s->caller->uid && s->caller->uid == s->inode->d.uid)
        mode = op_kill_suidgid(mode, keeps_plain_sgid(s));
    // A new owner must not inherit the old one's powers, whoever gives the file away.
    if (s->what & OPS_KILL_SUIDGID || (s->what & OPS_SET_OWNER && !(s->what & OPS_SET_MODE)))
        mode = op_kill_suidgid(mode, keeps_plain_sgid(s));
    return mode;
}

static struct ext4_time to_time(struct ops_time time)
{
    return (struct ext4_time){.sec = time.sec, .nsec = time.nsec};
}

static void set_times(struct inode *inode, const struct setattr *s)
{
    const struct ops_setattr *set = s->set;
    unsigned now = OP_CTIME;

    if (s->what & OPS_SET_ATIME_NOW)
        now |= OP_ATIME;
    if (s->what & (OPS_SET_MTIME_NOW | OPS_SET_SIZE))
        now |= OP_MTIME;
    op_stamp(inode, s->op.now, now);
    if (s->what & OPS_SET_ATIME)
        op_stamp(inode, to_time(set->atime), OP_ATIME);
    if (s->what & OPS_SET_MTIME)
        op_stamp(inode, to_time(set->mtime), OP_MTIME);
    if (s->what & OPS_SET_CTIME)
        op_stamp(inode, to_time(set->ctime), OP_CTIME);
}

static struct ext4_time plog_time(int64_t sec, uint32_t nsec)
{
    return (struct ext4_time){.sec = sec, .nsec = nsec};
}

// A redo does not judge again who may keep which bits: everything becomes what it had become.
static void set_fields_again(struct inode *inode, const struct plog_view *view)
{
    const struct plog_entry *entry = view->entry;
    struct plog_times times;

    memcpy(&times, view->data, sizeof times);
    inode->d.mode = (uint16_t)entry->mode;
    inode->d.uid = entry->uid;
    inode->d.gid = entry->gid;
    op_stamp(inode, plog_time(times.atime_sec, times.atime_nsec), OP_ATIME);
    op_stamp(inode, plog_time(times.mtime_sec, times.mtime_nsec), OP_MTIME);
    op_stamp(inode, plog_time(times.ctime_sec, times.ctime_nsec), OP_CTIME);
}

static void set_fields(struct inode *inode, struct setattr *s)
{
    if (s->op.redo) {
        set_fields_again(inode, s->op.redo);
        return;
    }
    inode->d.mode = mode_after(s);
    if (s->what & OPS_SET_UID)
        inode->d.uid = s->set->uid;
    if (s->what & OPS_SET_GID)
        inode->d.gid = s->set->gid;
    set_times(inode, s);
}

static void log_setattr(struct setattr *s)
{
    const struct ext4_inode *d = &s->inode->d;
    struct plog_times times = {
        .atime_sec = d->atime.sec, .atime_nsec = d->atime.nsec,
        .mtime_sec = d->mtime.sec, .mtime_nsec = d->mtime.nsec,
        .ctime_sec = d->ctime.sec, .ctime_nsec = d->ctime.nsec,
    };
    op_log(&s->op, &(struct plog_entry){
        .op = PLOG_SETATTR,
        .mode = d->mode,
        .target = {[PLOG_SELF] = op_target(s->inode)},
        .off = s->what & OPS_SET_SIZE ? s->set->size : 0,
        .uid = d->uid,
        .gid = d->gid,
        .data_len = sizeof times,
        .flags = s->what,
    }, (struct ops_name){0}, &times);
}

// --- everything but the size ---------------------------------------------------------------------

static int fields_pass(struct plan *plan, void *arg)
{
    struct setattr *s = arg;

    s->op.now = op_now(&s->op);
    int rc = check_pass(plan, s);
    if (rc == 0 && (s->what & OPS_SET_MODE))
        rc = xattr_plan_chmod(plan, s->inode, mode_after(s), &s->acl);
    if (rc == 0)
        plan_will_dirty_inode(plan, s->inode);
    return rc;
}

static void fields_apply(struct setattr *s)
{
    if (s->acl.name)
        xattr_apply_set(&s->op.plan, s->inode, &s->acl);
    set_fields(s->inode, s);
    op_dirty(&s->op, s->inode);
    log_setattr(s);
}

// --- the size ---------------------------------------------------------------------------------------

static void truncate_update(struct plan *plan, struct inode *inode, void *arg)
{
    struct setattr *s = arg;

    s->inode = inode;
    s->op.now = op_now(&s->op);
    set_fields(inode, s);
    op_dirty(&s->op, inode);
    log_setattr(s);
}

// The gate is taken after the log's room was promised and before any pin (I3).
static int set_size(struct setattr *s)
{
    struct inode *inode = inode_ref(s->inode);

    plan_end(&s->op.plan);
    inode_gate_alone(inode);
    op_ready(&s->op);
    int rc = data_truncate(inode, s->set->size, truncate_update, s);
    inode_gate_open(inode);
    inode_put(inode);
    s->inode = NULL;            // it is not pinned any more
    return rc;
}

// --- the operation ----------------------------------------------------------------------------------

static int run(struct ops *ops, struct setattr *s, int (*pass)(struct plan *plan, void *arg), bool size)
{
    int rc = op_begin(&s->op, ops, s->what ? OP_CHANGES : OP_READS, sizeof(struct plog_times));
    if (rc == 0)
        rc = plan_run(&s->op.plan, pass, s);
    if (rc == 0 && size) {
        rc = set_size(s);
    } else if (rc == 0 && pass == fields_pass) {
        op_ready(&s->op);
        fields_apply(s);
        op_fill_attr(s->inode, s->out);
        s->told = !(s->set->set & OPS_SET_SIZE);
    }
    return rc;
}

int ops_setattr(struct ops *ops, const struct ops_caller *caller, uint32_t ino, const struct ops_setattr *set, struct ops_attr *out)
{
    struct setattr s = {.ino = ino, .caller = caller, .set = set, .out = out};
    uint32_t size_part = set->set & (OPS_SET_SIZE | OPS_SET_TIMES | OPS_KILL_SUIDGID);
    bool with_size = set->set & OPS_SET_SIZE;
    bool with_fields = with_size ? set->set & (OPS_SET_MODE | OPS_SET_OWNER) : set->set != 0;
    struct op_tag tag = op_take_tag(ops);
    int rc = 0;

    if (with_fields) {
        if (!with_size)
            ops->tag = tag;
        s.what = set->set & ~(uint32_t)OPS_SET_SIZE;
        rc = op_end(&s.op, run(ops, &s, fields_pass, false));
        xattr_set_fini(&s.acl);
    }
    if (rc == 0 && with_size) {
        ops->tag = tag;             // the last part: the request is done with it
        s.what = size_part;
        rc = op_end(&s.op, run(ops, &s, check_pass, true));
    }
    return rc < 0 || s.told ? rc : ops_getattr(ops, ino, out);
}
