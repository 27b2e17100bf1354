// SPDX-License-Identifier: MIT
// options.h - what `-o` may say, read once at start.
#pragma once

#include "base/err.h"
#include "base/types.h"

struct options {
    char *disk, *mountpoint;        // absolute, without links
    bool foreground;
    int ready_fd;                   // where the one line of success or failure goes; -1: standard error

    unsigned long mount_flags;      // MS_*
    bool read_only, journal_data;
    bool hear_syncs;                // mount as fuseblk, which is told of sync(2) (docs/decisions/0004)
    uint8_t atime;                  // enum handoff_atime
    uint64_t cache_bytes;           // 0: decided by the size of the machine's memory
    uint64_t plog_bytes;            // 0: off, and no standby either
    bool standby;
    uint64_t spin_us;
    uint32_t hang_s;
    char user[64];                  // "": nobody, when that is possible
};

// Reads the command line. On failure a sentence in `err`; -EINVAL means wrong usage.
MUST_USE int options_parse(struct options *opt, int argc, char **argv, struct err *err);
