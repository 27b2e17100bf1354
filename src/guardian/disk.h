// SPDX-License-Identifier: MIT
// disk.h - opening a disk so that nobody else writes to it at the same time.
#pragma once

#include "base/err.h"
#include "base/types.h"

struct disk {
    int fd;                         // for I/O, with a flock(): as long as any of its I/O is under way, the lock is held,
                                    // whoever has died
    int claim_fd;                   // keeps others away; may pass from one guardian to the next
    uint64_t block_count;
    bool is_block_device;
};

// `path` is absolute. Fails, with a sentence, when the kernel has it mounted (directly or by a loop
// device), when another drover has it, and when it is neither a block device nor a file.
MUST_USE int disk_open(const char *path, bool read_only, struct disk *out, struct err *err);
// Goes on with the claim of a guardian that has died: claim_fd, block_count and is_block_device are given. Waits
// until all I/O of its servers, which are dead, has come to its end.
MUST_USE int disk_adopt(const char *path, bool read_only, struct disk *disk, struct err *err);
void disk_close(struct disk *disk);
