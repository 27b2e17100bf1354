// SPDX-License-Identifier: MIT
// xattr.h - extended attributes, in the inode and in one block; POSIX ACLs in ext4's own form.
#pragma once

#include "fs/inode.h"
#include "fs/map.h"

// By full name ("user.x"). Bytes copied, or the size when size 0; -ENODATA, -ERANGE, -EOPNOTSUPP
// (unknown prefix), -EFSCORRUPTED. ACLs are returned in the form that getxattr(2) has.
YIELDS MUST_USE ssize_t xattr_get(struct plan *plan, struct inode *inode, const char *name, void *out, size_t size);
// Names, each with its NUL, or the size when size 0; -ERANGE.
YIELDS MUST_USE ssize_t xattr_list(struct inode *inode, char *out, size_t size);

// Sets (value NULL: removes). flags as setxattr(2). The pass decides where it will stand (inode,
// block, a copy of a shared block), claims, and pins; -ENOSPC when it does not fit, -EEXIST,
// -ENODATA. An access ACL also changes the mode, which ops applies: *mode_out when it does.
struct xattr_set {
    const char *name;
    const void *value;
    size_t size;
    int flags;
    bool fresh;                     // the inode does not exist yet (create with ACL): see ops
    void *steps;                    // private
};
YIELDS MUST_USE int xattr_plan_set(struct plan *plan, struct inode *inode, struct xattr_set *set);
void xattr_apply_set(struct plan *plan, struct inode *inode, struct xattr_set *set);
void xattr_set_fini(struct xattr_set *set);

// The attribute block of an inode that goes away: frees it or drops one reference.
YIELDS MUST_USE int xattr_plan_free(struct plan *plan, struct inode *inode);
void xattr_apply_free(struct plan *plan, struct inode *inode);

// A new inode's ACLs: from the parent's default ACL (or none), and the mode they leave. Values are
// ext4's on-disk form, allocated, to be set into the fresh inode's body by
// xattr_apply_inherit(); a default ACL too large for the inode body takes a claimed block.
struct xattr_inherit {
    uint16_t mode;                  // in: asked for; out: what the inode gets
    uint16_t umask;                 // in: used only without a default ACL
    void *access, *defaults;        // private
    size_t access_size, default_size;
    struct map_append block;        // private: claimed when the body is too small
};
YIELDS MUST_USE int xattr_plan_inherit(struct plan *plan, struct inode *parent, struct xattr_inherit *inherit);
void xattr_apply_inherit(struct plan *plan, struct inode *inode, struct xattr_inherit *inherit);
void xattr_inherit_fini(struct xattr_inherit *inherit);
// chmod on an inode with an access ACL: the set that keeps both in step; set->name NULL if none.
YIELDS MUST_USE int xattr_plan_chmod(struct plan *plan, struct inode *inode, uint16_t mode, struct xattr_set *set);
// The mode that an access ACL (xattr form) gives; `minimal`: it says no more than the mode does and is not stored.
MUST_USE int xattr_acl_mode(const void *value, size_t size, uint16_t *mode, bool *minimal);
