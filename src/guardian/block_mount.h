// SPDX-License-Identifier: MIT
// block_mount.h - the mount as type fuseblk, because that is told of sync(2) and syncfs(2).
//
// The kernel has two types of FUSE mounts. For `fuse` a sync is nothing: it starts to write dirty
// pages, waits for none, and tells nobody. For `fuseblk`, which is over a block device, it sends
// SYNCFS and waits for the answer. The device is all that differs, and nothing is ever read from it:
// so it is a loop device over one page of memory, which goes when the mount goes.
#pragma once

#include "guardian/options.h"

#define BLOCK_MOUNT_BDI "-fuseblk"      // what the kernel appends to the name of such a mount's queue

// 0 when mounted. A negative errno: nothing is mounted, and the descriptor named in `data` can still
// be mounted otherwise, unless *spent says that it cannot.
MUST_USE int block_mount(const struct options *opt, const char *data, bool *spent);
