// SPDX-License-Identifier: MIT
// make.h - bringing an inode into being: what create, mknod, mkdir, symlink, tmpfile and the
// whiteout of rename have in common.
#pragma once

#include "ops/internal.h"

// What the new inode will be. Chosen in a pass, filled into the inode by the apply half.
struct make {
    const struct ops_caller *caller;    // in
    uint16_t mode;                      // in, with its type
    uint32_t rdev_major, rdev_minor;    // in
    struct ops_name target;             // in, of a symlink
    uint32_t generation;                // in, drawn once: passes may be many
    uint32_t ino;                       // in, of a redo: this very number; 0: any

    struct inode_new spec;
    struct xattr_inherit acl;
    struct map_append block;            // of a directory, or of a long symlink
};

// A pass: claims number and first block, decides owner, mode, flags, ACLs.
YIELDS MUST_USE int make_plan(struct plan *plan, struct inode *parent, struct make *make);
// Apply: the inode, referenced by the caller, without links and in no directory yet.
struct inode *make_apply(struct plan *plan, struct inode *parent, struct make *make, struct ext4_time now);
void make_fini(struct make *make);
