// SPDX-License-Identifier: MIT
// handoff.h - what a server is handed when it starts: a struct in a memfd, named by its descriptor's
// number on the command line. The other descriptors are inherited under the numbers given here.
#pragma once

#include "base/types.h"

#define HANDOFF_MAGIC 0x64726f766572ull     // "drover"
#define HANDOFF_VERSION 2u

struct handoff {
    // The same in every version, so that a program of another one can say that it is.
    uint64_t magic;
    uint32_t version;
    uint32_t bytes;                 // sizeof(struct handoff)
    int32_t link_fd, log_fd;

    uint32_t generation;            // 1 for the first server of a mount
    bool standby;                   // it waits for its predecessor's death (deathwatch.h)
    uint32_t uid, gid;              // whom to become, when drop_privileges
    bool drop_privileges;
    bool must_drop;                 // the user was named: an error when it is impossible
    bool read_only;
    bool journal_data;
    bool disk_is_block_device;
    uint8_t atime;                  // enum handoff_atime

    int32_t fuse_fd, disk_fd, ring_fd, legacy_fd, relay_fd;
    int32_t relay_pid;              // to know its own requests by
    uint64_t disk_blocks;
    uint64_t cache_bytes;           // for metadata; data pages are in the legacy
    uint64_t spin_ns;               // how long the loop stays awake for the next request
    uint8_t ring_params[128];       // struct io_uring_params, as the kernel filled it
    char disk[256];                 // what a person calls it
};

enum handoff_atime { HANDOFF_RELATIME, HANDOFF_STRICTATIME, HANDOFF_NOATIME };
