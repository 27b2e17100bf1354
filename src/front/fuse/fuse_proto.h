// SPDX-License-Identifier: MIT
// fuse_proto.h - the FUSE protocol as of 7.45: the system's header, and what it is too old to know.
//
// Debian 12 describes 7.38. What came later is added here under the kernel's names, each guarded by
// the minor version that brought it, so that a newer system header replaces it.
#pragma once

#include <assert.h>
#include <linux/fuse.h>

#include "base/types.h"

#define FUSE_DOOR_MINOR 45u         // what drover speaks
#define FUSE_DOOR_MINOR_MIN 31u     // Linux 5.4: below it, messages have other shapes

#if FUSE_KERNEL_MINOR_VERSION < 38
#error "the system's <linux/fuse.h> is older than protocol 7.38"
#endif

#if FUSE_KERNEL_MINOR_VERSION < 39
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ull << 36)
#define FUSE_STATX 52
struct fuse_sx_time {
    int64_t tv_sec;
    uint32_t tv_nsec;
    int32_t reserved;
};
struct fuse_statx {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare0;
    uint64_t ino, size, blocks, attributes_mask;
    struct fuse_sx_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t spare2[14];
};
struct fuse_statx_in {
    uint32_t getattr_flags, reserved;
    uint64_t fh;
    uint32_t sx_flags, sx_mask;
};
struct fuse_statx_out {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec, flags;
    uint64_t spare[2];
    struct fuse_statx stat;
};
#endif

#if FUSE_KERNEL_MINOR_VERSION < 40
#define FUSE_HAS_RESEND (1ull << 39)
#define FUSE_UNIQUE_RESEND (1ull << 63)
#define FUSE_NOTIFY_RESEND 7
#define FUSE_NOTIFY_INC_EPOCH 8             // 7.44, Linux 6.16
#endif

#if FUSE_KERNEL_MINOR_VERSION < 45
#define FUSE_COPY_FILE_RANGE_64 53
struct fuse_copy_file_range_out {
    uint64_t bytes_copied;
};
#endif

static_assert(sizeof(struct fuse_in_header) == 40, "wire format");
static_assert(sizeof(struct fuse_write_in) == 40, "the payload of WRITE begins 80 bytes into the message");
static_assert(sizeof(struct fuse_init_out) == 64, "wire format");
static_assert(sizeof(struct fuse_statx) == 256, "wire format");
