// SPDX-License-Identifier: MIT
// uring.h - a device over a file or a block device that somebody else has opened.
#pragma once

#include "dev/dev.h"
#include "rt/rt.h"

// `fd` is borrowed (the guardian holds it) and may be O_DIRECT. `rt` must be the real worker
// (rt_uring.h). -EINVAL when the file or device is smaller than `block_count` blocks or not of
// the kind it is said to be; -errno when it cannot be looked at.
MUST_USE int dev_uring_create(struct rt *rt, int fd, bool is_block_device, uint64_t block_count,
                              bool read_only, const char *label, struct dev **out);
