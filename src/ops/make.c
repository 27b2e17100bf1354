// SPDX-License-Identifier: MIT
// make.c - bringing an inode into being (make.h).
//
// What a child takes from its directory, as the kernel's ext4 does it: the group where the directory is
// set-gid (or the volume is mounted that way by default), set-gid itself for directories, some flags by
// type, the project where the directory says so, and its default ACL.
#include "ops/make.h"

#include <string.h>

#include "base/check.h"
#include "fs/alloc.h"
#include "fs/map.h"

#define EXT4_DEFM_BSDGROUPS 0x2u        // default mount option: every directory passes its group on
#define S_TYPE 0170000
#define S_DIR 0040000
#define S_REG 0100000
#define S_LNK 0120000

// --- plan -----------------------------------------------------------------------------------------

static uint32_t inherited_flags(const struct inode *parent, uint16_t mode)
{
    uint32_t flags = parent->d.flags & EXT4_FL_INHERITED;

    if ((mode & S_TYPE) == S_DIR)
        return flags;
    return flags & ((mode & S_TYPE) == S_REG ? EXT4_REG_FLMASK : EXT4_OTHER_FLMASK);
}

static void decide_owner(const struct fs *fs, const struct inode *parent, struct make *make)
{
    struct inode_new *spec = &make->spec;
    bool project = fs->geo.ro_compat & EXT4_RO_PROJECT;

    *spec = (struct inode_new){
        .mode = make->mode,
        .uid = make->caller->uid,
        .gid = make->caller->gid,
        .flags = inherited_flags(parent, make->mode),
        .project = project && (parent->d.flags & EXT4_PROJINHERIT_FL) ? parent->d.project : 0,
        .generation = make->generation,
        .rdev_major = make->rdev_major,
        .rdev_minor = make->rdev_minor,
    };
    if (fs->geo.default_mount_opts & EXT4_DEFM_BSDGROUPS) {
        spec->gid = parent->d.gid;
    } else if (parent->d.mode & 02000) {
        spec->gid = parent->d.gid;
        if ((make->mode & S_TYPE) == S_DIR)
            spec->mode |= 02000;
    }
}

// Symlinks have neither ACL nor umask.
static int decide_mode(struct plan *plan, struct inode *parent, struct make *make)
{
    if ((make->mode & S_TYPE) == S_LNK)
        return 0;
    make->acl.mode = make->spec.mode;
    make->acl.umask = (uint16_t)make->caller->umask;
    int rc = xattr_plan_inherit(plan, parent, &make->acl);
    make->spec.mode = make->acl.mode;
    return rc;
}

static bool is_long_symlink(const struct make *make)
{
    // As in the kernel: the target and its NUL within the 60 bytes of i_block.
    return (make->mode & S_TYPE) == S_LNK && make->target.len + 1 > sizeof(((struct ext4_inode *)0)->block);
}

static int claim_first_block(struct plan *plan, struct inode *parent, struct make *make)
{
    uint64_t goal = group_first_block(&plan->fs->geo, inode_group(&plan->fs->geo, make->spec.ino));

    if ((make->mode & S_TYPE) == S_DIR)
        return dir_plan_make(plan, parent->ino, goal, &make->block);
    if (!is_long_symlink(make))
        return 0;
    make->block = (struct map_append){.lblock = 0};
    plan_credits(plan, 2);
    return alloc_claim_block(plan, goal, &make->block.block);
}

int make_plan(struct plan *plan, struct inode *parent, struct make *make)
{
    decide_owner(plan->fs, parent, make);
    int rc;
    make->spec.ino = make->ino;
    if (make->ino)
        rc = alloc_claim_this_inode(plan, make->ino);
    else
        rc = alloc_claim_inode(plan, parent, make->mode, &make->spec.ino);
    if (rc == 0)
        rc = inode_plan_new(plan, make->spec.ino);
    if (rc == 0)
        rc = decide_mode(plan, parent, make);
    if (rc == 0)
        rc = claim_first_block(plan, parent, make);
    return rc;
}

// --- apply ----------------------------------------------------------------------------------------

static void fill_symlink(struct plan *plan, struct inode *inode, struct make *make)
{
    inode->d.size = inode->size = make->target.len;
    if (!is_long_symlink(make)) {
        memset(inode->d.block, 0, sizeof inode->d.block);
        memcpy(inode->d.block, make->target.bytes, make->target.len);
    } else {
        if (plan->fs->geo.has_extents) {
            inode->d.flags |= EXT4_EXTENTS_FL;
            map_init_root(inode);
        }
        struct buf *buf = map_apply_append(plan, inode, &make->block, BLOCK_SYMLINK);
        memcpy(buf->bytes, make->target.bytes, make->target.len);
        plan_hold_buf(plan, buf);
    }
}

struct inode *make_apply(struct plan *plan, struct inode *parent, struct make *make, struct ext4_time now)
{
    alloc_apply_use_inode(plan, make->spec.ino, (make->mode & S_TYPE) == S_DIR);
    struct inode *inode = inode_apply_new(plan, &make->spec);

    if ((make->mode & S_TYPE) == S_DIR)
        dir_apply_make(plan, inode, &make->block, parent->ino);
    else if ((make->mode & S_TYPE) == S_LNK)
        fill_symlink(plan, inode, make);
    if ((make->mode & S_TYPE) != S_LNK)
        xattr_apply_inherit(plan, inode, &make->acl);
    op_stamp(inode, now, OP_ATIME | OP_MTIME | OP_CTIME);
    inode->d.crtime = inode->d.ctime;
    inode_dirty(inode, true);
    return inode;
}

void make_fini(struct make *make)
{
    xattr_inherit_fini(&make->acl);
}
