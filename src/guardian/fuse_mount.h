// SPDX-License-Identifier: MIT
// fuse_mount.h - /dev/fuse, and the mount and its end.
#pragma once

#include "base/err.h"
#include "base/types.h"
#include "guardian/options.h"

// A descriptor, non-blocking; a sentence in `err` on failure.
MUST_USE int fuse_mount_open(struct err *err);
// Mounts a volume of so many blocks. Fine when nobody answers yet: the kernel only queues its INIT.
// dirty_kib: how much the kernel may hold dirty for it.
MUST_USE int fuse_mount(const struct options *opt, int fuse_fd, uint64_t blocks, uint32_t *dirty_kib, struct err *err);
// Ends the mount from a child process, as umount(2) waits for the server, which waits for nobody but
// may die meanwhile. The child's pid (its exit status is an errno), or a negative errno.
enum fuse_unmount { FUSE_UNMOUNT_OR_DETACH, FUSE_UNMOUNT_ABORT };
MUST_USE int fuse_unmount_begin(const char *mountpoint, enum fuse_unmount how);
