// SPDX-License-Identifier: MIT
// xattr_internal.h - what the files about extended attributes share.
#pragma once

#include "fs/xattr.h"
#include "ondisk/acl.h"
#include "ondisk/xattr.h"

#define XATTR_VALUE_MAX 65536u          // what setxattr(2) takes at most

// The two places where attributes of an inode stand, both judged.
struct xattr_places {
    bool has_body;                      // an area with a magic number; it may be empty
    struct xattr_area body;
    struct buf *block;                  // NULL: none; pinned by the plan
    struct xattr_area block_area;
};
YIELDS MUST_USE int xattr_open(struct plan *plan, struct inode *inode, struct xattr_places *out);
// The attribute block, or NULL.
YIELDS MUST_USE int xattr_open_block(struct plan *plan, struct inode *inode, struct buf **out);
MUST_USE int xattr_damaged(const struct inode *inode, const char *why);
// Finds the stored value. -ENODATA.
MUST_USE int xattr_stored(const struct inode *inode, const struct xattr_places *places, const struct xattr_name *name, const void **value, size_t *size);

bool xattr_is_acl(const struct xattr_name *name);
// The access or default ACL as it is stored; count 0 when there is none.
YIELDS MUST_USE int xattr_read_acl(struct plan *plan, struct inode *inode, uint8_t index, struct acl *out);

// A block for attributes: how it comes into being, in both halves.
YIELDS MUST_USE int xattr_plan_block(struct plan *plan, uint64_t goal, uint64_t *block);
void xattr_apply_block(struct plan *plan, struct inode *inode, uint64_t block, const void *bytes);
