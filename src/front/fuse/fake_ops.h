// SPDX-License-Identifier: MIT
// fake_ops.h - what fuse_door_test sees of the volume it made up.
#pragma once

#include "ops/ops.h"

struct fake_ops {
    uint64_t calls, forgotten;
    uint32_t major, minor;
    int notified, kernel_syncs;
    struct ops_setattr set;
    struct ops_write write;
    bool write_aligned;
    uint32_t flags;                 // of every file
    uint64_t available;             // blocks
    uint64_t client, request;       // the last tag
    struct ops_answer *answer;      // of a tag that nothing has taken yet
    uint64_t changes;               // that were made
    int posted;
};
extern struct fake_ops fake;
