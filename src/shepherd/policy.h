// SPDX-License-Identifier: MIT
// policy.h - what a policy is made of: one request, the primitives, and the words for the log.
//
// Included by the files of this folder and of policies/ only. A policy is a dozen lines of
// straight code on a fibre; if it grows long, a primitive is missing.
#pragma once

#include "shepherd/shepherd.h"

// One request on its way through a policy. `reason` is the phrase that the log will show; every
// primitive that finds something wrong leaves one.
struct shep_io {
    struct shepherd *shep;
    struct shep_ref ref;
    uint64_t block, count;
    const struct iovec *iov;        // block aligned pieces of `count` blocks
    int iovcnt;
    enum shep_flags flags;          // writes
    bool verify;                    // reads: one metadata block that is to be judged
    int verdict;                    // of shep_is_sane(): 0, -EFSCORRUPTED, -EFSBADCRC
    const char *reason;
    struct shep_result *result;     // writes: maps that the policy changed; may be NULL
};

struct shep_policy {
    const char *name;
    YIELDS int (*read)(struct shep_io *io);
    YIELDS int (*write)(struct shep_io *io);
};

// What may be noted: the first three are the end of a request, an error goes to the caller.
enum shep_event {
    SHEP_READ_FAILED,
    SHEP_WRITE_FAILED,
    SHEP_NOT_SANE,
};

// --- primitives ---------------------------------------------------------------------------------

// From or to the place that ext4 gave the block. Reads answer -EIO, or -EFSCORRUPTED for a place
// outside the volume; writes answer what the device said.
YIELDS MUST_USE int shep_read_home(struct shep_io *io);
YIELDS MUST_USE int shep_write_home(struct shep_io *io);
// Is what was read what its type promises? Runs and unverified types always are. False leaves the
// errno in io->verdict.
MUST_USE bool shep_is_sane(struct shep_io *io);
// One line in the log, with type, block, owner and reason, and a count in the statistics.
void shep_note(struct shep_io *io, enum shep_event event, int error);

extern const struct shep_policy shep_policy_plain;
