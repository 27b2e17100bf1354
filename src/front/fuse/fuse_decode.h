// SPDX-License-Identifier: MIT
// fuse_decode.h - one message of the kernel, taken apart and checked; nothing is copied.
#pragma once

#include "front/fuse/fuse_proto.h"
#include "ops/ops.h"

#define FUSE_OPCODES 64u            // larger than any opcode that drover answers

struct fuse_msg {
    struct fuse_in_header head;     // a copy
    const void *arg;                // the fixed part, as long as the opcode demands; 8-aligned
    struct ops_name name[2];        // those that the opcode has; NUL follows the bytes
    const void *tail;               // what follows: data to write, a value, a list
    size_t tail_len;
};

// Takes apart `len` bytes at `bytes` (8-aligned). setxattr_ext: FUSE_SETXATTR_EXT was agreed on.
// 0; -EBADMSG without even a whole header, so there is nobody to answer; otherwise `head` is filled:
// -ENOSYS for an opcode that drover does not have, -EINVAL for a message that breaks the protocol.
MUST_USE int fuse_decode(const void *bytes, size_t len, bool setxattr_ext, struct fuse_msg *out);
