// SPDX-License-Identifier: MIT
// check.c - what an operation may be asked to do with an inode or a name, as the kernel's VFS judges it.
//
// Permissions by user are not here: the FUSE door has the kernel do those (default_permissions).
// But the kernel does not know a FUSE inode's immutable and append-only flags, so those are.
#include "ops/internal.h"

#include <string.h>

#include "base/log.h"

int op_dir(struct plan *plan, uint32_t ino, struct inode **out)
{
    int rc = plan_inode(plan, ino, out);
    if (rc == 0 && !inode_is_dir(*out))
        return -ENOTDIR;
    return rc;
}

int op_file(struct plan *plan, uint32_t ino, struct inode **out)
{
    int rc = plan_inode(plan, ino, out);
    if (rc < 0)
        return rc;
    if (inode_is_dir(*out))
        return -EISDIR;
    return inode_is_reg(*out) ? 0 : -EINVAL;
}

int op_child(struct plan *plan, struct inode *dir, struct ops_name name, struct dir_entry *entry, struct inode **out)
{
    int rc = dir_lookup(plan, dir, op_dir_name(name), entry);
    if (rc < 0)
        return rc;
    rc = plan_inode(plan, entry->ino, out);
    if (rc == -ESTALE || (rc == 0 && (*out)->d.nlink == 0)) {
        log_error("event=corruption type=dir ino=%u entry-ino=%u reason=\"entry leads to a deleted inode\"",
                  dir->ino, entry->ino);
        return -EFSCORRUPTED;
    }
    return rc;
}

int op_parent_of(struct plan *plan, struct inode *dir, uint32_t *parent_ino)
{
    uint32_t credits = plan->credits;
    int rc = dir_plan_parent(plan, dir, parent_ino);

    plan->credits = credits;
    return rc;
}

int op_check_name(struct ops_name name)
{
    if (name.len == 0)
        return -ENOENT;
    if (name.len > DIR_NAME_MAX)
        return -ENAMETOOLONG;
    if (memchr(name.bytes, '/', name.len) || memchr(name.bytes, 0, name.len))
        return -EINVAL;
    return 0;
}

bool op_name_is_dots(struct ops_name name)
{
    return (name.len == 1 && name.bytes[0] == '.') ||
           (name.len == 2 && name.bytes[0] == '.' && name.bytes[1] == '.');
}

int op_may_create(const struct inode *dir)
{
    if (dir->d.nlink == 0)
        return -ENOENT;
    return op_is_immutable(dir) ? -EPERM : 0;
}

int op_may_delete(const struct inode *dir, const struct inode *victim, bool as_dir)
{
    if (op_is_immutable(dir) || op_is_append(dir))
        return -EPERM;
    if (op_is_immutable(victim) || op_is_append(victim))
        return -EPERM;
    if (as_dir && !inode_is_dir(victim))
        return -ENOTDIR;
    if (as_dir && victim->ino == EXT4_ROOT_INO)
        return -EBUSY;
    if (!as_dir && inode_is_dir(victim))
        return -EISDIR;
    return dir->d.nlink == 0 ? -ENOENT : 0;
}

int op_may_change(const struct inode *inode)
{
    return op_is_immutable(inode) || op_is_append(inode) ? -EPERM : 0;
}

bool op_is_privileged(const struct fs *fs, const struct ops_caller *caller)
{
    return caller->uid == 0 || caller->uid == fs->geo.reserved_uid ||
           (fs->geo.reserved_gid != 0 && caller->gid == fs->geo.reserved_gid);
}
