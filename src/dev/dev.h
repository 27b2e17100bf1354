// SPDX-License-Identifier: MIT
// dev.h - a block device: numbered blocks of 4096 bytes, and no idea what they mean.
//
// Drivers (uring, sim) end a stack, filters (fault, trace) sit on another device and forward what
// they do not define. All calls run on a fibre and look blocking; several may be under way at
// once, from several fibres, and complete in any order.
#pragma once

#include <sys/uio.h>

#include "base/types.h"

enum dev_flags {
    DEV_FUA = 1 << 0,       // write: on stable storage when the call returns
};

struct dev;
struct dev_ops {
    const char *name;
    // The bytes of iov sum to a multiple of BLOCK_BYTES and every iov_base and iov_len is aligned
    // to BLOCK_BYTES. 0 when all was transferred, else a negative errno; then it is unknown which
    // of the blocks were. A short transfer never escapes a driver.
    YIELDS int (*read)(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt);
    YIELDS int (*write)(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags);
    // All writes that had returned before the call are on stable storage when it returns.
    YIELDS int (*flush)(struct dev *dev);
    // The content of the blocks is no longer needed; afterwards they read as zeros or as before.
    YIELDS int (*discard)(struct dev *dev, uint64_t block, uint64_t count);
    void (*destroy)(struct dev *dev);
};

// First member of every driver's and filter's own struct.
struct dev {
    const struct dev_ops *ops;
    struct dev *below;          // filters: borrowed; NULL for a driver
    uint64_t block_count;
    bool read_only;             // writes answer -EROFS in the core, before any driver sees them
    char label[128];            // for log lines: what a person calls it
};

// -EINVAL past the end; otherwise what the driver says.
YIELDS MUST_USE int dev_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt);
YIELDS MUST_USE int dev_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags);
YIELDS MUST_USE int dev_flush(struct dev *dev);
YIELDS MUST_USE int dev_discard(struct dev *dev, uint64_t block, uint64_t count);   // -EOPNOTSUPP where impossible
void dev_destroy(struct dev *dev);      // this one, not those below

uint64_t iov_bytes(const struct iovec *iov, int iovcnt);
