// SPDX-License-Identifier: MIT
// disk.h - opening a disk so that nobody else writes to it at the same time.
#pragma once

#include "base/err.h"
#include "base/types.h"

struct disk {
    int fd;
    uint64_t block_count;
    bool is_block_device;
};

// `path` is absolute. Fails, with a sentence, when the kernel has it mounted (directly or by a loop
// device), when another drover has it, and when it is neither a block device nor a file.
MUST_USE int disk_open(const char *path, bool read_only, struct disk *out, struct err *err);
