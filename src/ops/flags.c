// SPDX-License-Identifier: MIT
// flags.c - chattr: inode flags, and the project.
//
// Plan: only flags that users may change are looked at, the others stay; what would turn the file's
// mapping or its journalling round is not supported. Apply: flags, project, ctime.
#include "ops/internal.h"

struct set_flags {
    struct op op;
    uint32_t ino, asked;
    const uint32_t *project;    // NULL: unchanged
    struct inode *inode;
    uint32_t flags;             // what it will have
};

static int check_types(const struct inode *inode, uint32_t flags)
{
    if (inode_is_dir(inode))
        return 0;
    uint32_t allowed = inode_is_reg(inode) ? EXT4_REG_FLMASK : EXT4_OTHER_FLMASK;
    return flags & ~allowed ? -EOPNOTSUPP : 0;
}

static bool changes_project(const struct set_flags *s)
{
    return s->project && *s->project != s->inode->d.project;
}

// An immutable inode stays as it is for as long as it stays immutable.
static int check_immutable(const struct set_flags *s, uint32_t old, uint32_t new)
{
    if (!(old & new & EXT4_IMMUTABLE_FL))
        return 0;
    return old != new || changes_project(s) ? -EPERM : 0;
}

static int check_project(const struct fs *fs, const struct set_flags *s)
{
    if (!changes_project(s))
        return 0;
    if (!(fs->geo.ro_compat & EXT4_RO_PROJECT) || fs->geo.inode_size <= EXT4_GOOD_OLD_INODE_SIZE)
        return -EOPNOTSUPP;
    size_t end = offsetof(struct ext4_inode_raw, projid) + sizeof(struct le32);
    return EXT4_GOOD_OLD_INODE_SIZE + s->inode->d.extra_isize < end ? -EOVERFLOW : 0;
}

static int set_flags_pass(struct plan *plan, void *arg)
{
    struct set_flags *s = arg;
    uint32_t unsupported = EXT4_EXTENTS_FL | EXT4_JOURNAL_DATA_FL | EXT4_CASEFOLD_FL | EXT4_DAX_FL;

    s->op.now = op_now(&s->op);
    int rc = fs_writable(plan->fs);
    if (rc == 0)
        rc = plan_inode(plan, s->ino, &s->inode);
    if (rc < 0)
        return rc;
    if (s->asked & ~(uint32_t)EXT4_FL_USER_VISIBLE)
        return -EOPNOTSUPP;
    uint32_t old = s->inode->d.flags & EXT4_FL_USER_MODIFIABLE;
    uint32_t new = s->asked & EXT4_FL_USER_MODIFIABLE;
    rc = check_types(s->inode, new);
    if (rc == 0)
        rc = check_immutable(s, old, new);
    if (rc == 0 && ((old ^ new) & unsupported))
        rc = -EOPNOTSUPP;
    if (rc == 0)
        rc = check_project(plan->fs, s);
    if (rc < 0)
        return rc;
    s->flags = (s->inode->d.flags & ~(uint32_t)EXT4_FL_USER_MODIFIABLE) | new;
    plan_will_dirty_inode(plan, s->inode);
    return 0;
}

static void set_flags_apply(struct set_flags *s)
{
    struct inode *inode = s->inode;

    inode->d.flags = s->flags;
    if (s->project)
        inode->d.project = *s->project;
    op_stamp(inode, s->op.now, OP_CTIME);
    op_dirty(&s->op, inode);
    op_log(&s->op, &(struct plog_entry){
        .op = PLOG_SETFLAGS,
        .target = {[PLOG_SELF] = op_target(inode)},
        .len = inode->d.project,
        .flags = s->flags,
    }, (struct ops_name){0}, NULL);
}

int ops_set_flags(struct ops *ops, uint32_t ino, uint32_t flags, const uint32_t *project)
{
    struct set_flags s = {.ino = ino, .asked = flags, .project = project};

    int rc = op_begin(&s.op, ops, OP_CHANGES, 0);
    if (rc == 0)
        rc = op_plan(&s.op, set_flags_pass, &s);
    if (rc == 0)
        set_flags_apply(&s);
    return op_end(&s.op, rc);
}
