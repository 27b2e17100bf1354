// SPDX-License-Identifier: MIT
// dev.c - the front of every device: what is checked once, so that no driver has to.
//
// An op that a filter leaves out goes to the device below, through that device's own front.
#include "dev/dev.h"

#include "base/check.h"
#include "dev/internal.h"

// The caller's promise of dev.h: whole, aligned blocks.
static uint64_t request_blocks(const struct iovec *iov, int iovcnt)
{
    for (int i = 0; i < iovcnt; i++) {
        CHECK(iov[i].iov_len % BLOCK_BYTES == 0);
        CHECK((uintptr_t)iov[i].iov_base % BLOCK_BYTES == 0);
    }
    return iov_bytes(iov, iovcnt) / BLOCK_BYTES;
}

static bool fits(const struct dev *dev, uint64_t block, uint64_t count)
{
    return block <= dev->block_count && count <= dev->block_count - block;
}

int dev_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt)
{
    uint64_t count = request_blocks(iov, iovcnt);
    if (!fits(dev, block, count))
        return -EINVAL;
    if (count == 0)
        return 0;
    if (dev->ops->read)
        return dev->ops->read(dev, block, iov, iovcnt);
    CHECK(dev->below);
    return dev_read(dev->below, block, iov, iovcnt);
}

int dev_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags)
{
    uint64_t count = request_blocks(iov, iovcnt);
    if (dev->read_only)
        return -EROFS;
    if (!fits(dev, block, count))
        return -EINVAL;
    if (count == 0)
        return 0;
    if (dev->ops->write)
        return dev->ops->write(dev, block, iov, iovcnt, flags);
    CHECK(dev->below);
    return dev_write(dev->below, block, iov, iovcnt, flags);
}

int dev_flush(struct dev *dev)
{
    if (dev->ops->flush)
        return dev->ops->flush(dev);
    CHECK(dev->below);
    return dev_flush(dev->below);
}

int dev_discard(struct dev *dev, uint64_t block, uint64_t count)
{
    if (dev->read_only)
        return -EROFS;
    if (!fits(dev, block, count))
        return -EINVAL;
    if (count == 0)
        return 0;
    if (dev->ops->discard)
        return dev->ops->discard(dev, block, count);
    return dev->below ? dev_discard(dev->below, block, count) : -EOPNOTSUPP;
}

void dev_destroy(struct dev *dev)
{
    if (dev)
        dev->ops->destroy(dev);
}

struct dev dev_on(const struct dev_ops *ops, struct dev *below)
{
    struct dev dev = *below;
    dev.ops = ops;
    dev.below = below;
    return dev;
}
