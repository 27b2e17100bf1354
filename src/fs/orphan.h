// SPDX-License-Identifier: MIT
// orphan.h - inodes to be deleted or truncated that a crash must not forget.
//
// On the disk a list that starts in the superblock and runs through the inodes' dtime fields. In
// memory fs->orphans mirrors its order, and its members are referenced, so that one can be taken
// out of the middle by one change of its predecessor. An inode is on it while it has no link but is
// still in use, and while a truncation that takes several transactions is under way.
#pragma once

#include "fs/inode.h"

void orphan_plan(struct plan *plan);                // credits for either of the two below
bool orphan_is(const struct inode *inode);
void orphan_apply_add(struct plan *plan, struct inode *inode);      // harmless when it is one
void orphan_apply_remove(struct plan *plan, struct inode *inode);   // harmless when it is none
// At mount: loads the list (and an orphan file's entries, which move to the list) with every number
// verified; a damaged list is cut there, logged. keep: leave them for fs_unmount() or a forget;
// otherwise delete or truncate each.
YIELDS MUST_USE int orphan_recover(struct fs *fs, bool keep, struct err *err);
