// SPDX-License-Identifier: MIT
// acl.h - POSIX access control lists: ext4's form, getxattr's form, and what they do to a mode.
//
// ext4 stores them shorter than programs see them: entries without an id have 4 bytes, not 8. In
// memory an ACL is an array of entries in the order of the tags.
#pragma once

#include "base/byteorder.h"
#include "base/types.h"

enum acl_tag {
    ACL_TAG_USER_OBJ = 1, ACL_TAG_USER = 2, ACL_TAG_GROUP_OBJ = 4, ACL_TAG_GROUP = 8, ACL_TAG_MASK = 0x10, ACL_TAG_OTHER = 0x20,
};
#define ACL_ID_NONE UINT32_MAX
#define EXT4_ACL_VERSION 1u
#define ACL_XATTR_VERSION 2u

struct ext4_acl_header { struct le32 version; };
struct ext4_acl_short { struct le16 tag, perm; };
struct ext4_acl_full { struct le16 tag, perm; struct le32 id; };       // also in xattr form
static_assert(sizeof(struct ext4_acl_short) == 4, "4 bytes");
static_assert(sizeof(struct ext4_acl_full) == 8, "8 bytes");

struct acl_entry {
    uint16_t tag, perm;
    uint32_t id;                        // ACL_ID_NONE except for USER and GROUP
};
// count 0 is no ACL at all. entries are the caller's, freed with acl_fini().
struct acl {
    struct acl_entry *entries;
    uint32_t count;
};
void acl_fini(struct acl *acl);

// From a block or an inode. -EFSCORRUPTED: not an ACL. Its meaning is not judged (acl_check).
MUST_USE int acl_from_disk(const void *bytes, size_t size, struct acl *out);
// From setxattr(2). -EINVAL; -EOPNOTSUPP for another version. Call acl_check() before storing it.
MUST_USE int acl_from_xattr(const void *bytes, size_t size, struct acl *out);
// Write into `out` (NULL: only tell) and return the size. `out` has room for it.
size_t acl_to_disk(const struct acl *acl, void *out);
size_t acl_to_xattr(const struct acl *acl, void *out);

// As posix_acl_valid(): order of the tags, the three base entries once, a mask where one is needed.
// 0 or -EINVAL.
MUST_USE int acl_check(const struct acl *acl);
// The permission bits that the ACL shows in a mode (its other bits are kept). *minimal: it says no
// more than those and need not be stored. -EINVAL: a tag that is none.
MUST_USE int acl_mode(const struct acl *acl, uint16_t *mode, bool *minimal);
// chmod: the entries that the mode stands for take its bits. -EIO: no group entry.
MUST_USE int acl_chmod(struct acl *acl, uint16_t mode);
// A new inode's access ACL, from a copy of its directory's default ACL. *mode: in as asked for, out
// as granted. *minimal: the mode says it all; nothing need be stored. -EIO: an entry is missing.
MUST_USE int acl_inherit(struct acl *acl, uint16_t *mode, bool *minimal);
