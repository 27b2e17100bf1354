// SPDX-License-Identifier: MIT
// uring.c - see uring.h.
//
// The kernel may transfer less than it was asked to and may ask to be asked again; this file keeps
// that from everybody above. What is left of a request is tried again from the last whole block
// (O_DIRECT needs the alignment, and writing a part twice does no harm), as long as there is
// progress, and a bounded number of times when there is none.
#include "dev/uring.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/log.h"
#include "dev/internal.h"
#include "rt/rt_uring.h"

#define PARTS_MAX 64                    // pieces of what is left of a request; on the fibre's stack
#define PART_BYTES_MAX (1ull << 30)     // below MAX_RW_COUNT of the kernel
#define STALLS_MAX 100
#define STALL_NS 1000000ull

struct uring_dev {
    struct dev base;
    struct rt *rt;
    int fd;
};

static struct uring_dev *uring_of(struct dev *dev)
{
    return CONTAINER_OF(dev, struct uring_dev, base);
}

// One attempt at the bytes from `done` on; as rt_io.
static YIELDS ssize_t attempt(struct uring_dev *u, struct rt_io io, uint64_t bytes, uint64_t done)
{
    struct iovec parts[PARTS_MAX];
    io.off += done;
    if (done || io.iovcnt > IOV_MAX || bytes > PART_BYTES_MAX) {
        io.iovcnt = iov_slice(parts, PARTS_MAX, io.iov, io.iovcnt, done, PART_BYTES_MAX);
        io.iov = parts;
    }
    return rt_io(u->rt, &io);
}

static YIELDS int transfer(struct uring_dev *u, const struct rt_io *io)
{
    uint64_t bytes = iov_bytes(io->iov, io->iovcnt), done = 0;
    int stalls = 0;
    while (done < bytes) {
        ssize_t rc = attempt(u, *io, bytes, done);
        if (rc < 0 && rc != -EAGAIN && rc != -EINTR)
            return (int)rc;
        if (rc >= (ssize_t)BLOCK_BYTES) {
            done += (uint64_t)rc & ~(uint64_t)(BLOCK_BYTES - 1);
            stalls = 0;
            continue;
        }
        // 0 on a read is the end of a file that was longer when the device was made.
        if (++stalls == STALLS_MAX || (rc == 0 && io->op == RT_READ)) {
            log_warn("event=device-stalls dev=%s op=%s off=%llu last=%zd", u->base.label,
                     io->op == RT_READ ? "read" : "write", (unsigned long long)(io->off + done), rc);
            return -EIO;
        }
        if (rc != -EINTR)
            rt_sleep_until(u->rt, rt_now_ns(u->rt) + STALL_NS);
    }
    return 0;
}

// One operation without data.
static YIELDS int simple(struct uring_dev *u, const struct rt_io *io)
{
    ssize_t rc;
    for (int stalls = 0; (rc = rt_io(u->rt, io)) == -EINTR || rc == -EAGAIN; stalls++) {
        if (stalls == STALLS_MAX)
            return -EIO;
        if (rc == -EAGAIN)
            rt_sleep_until(u->rt, rt_now_ns(u->rt) + STALL_NS);
    }
    return (int)rc;
}

static YIELDS int uring_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt)
{
    struct uring_dev *u = uring_of(dev);
    return transfer(u, &(struct rt_io){
        .op = RT_READ, .fd = u->fd, .iov = iov, .iovcnt = iovcnt, .off = block << BLOCK_SHIFT});
}

static YIELDS int uring_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags)
{
    struct uring_dev *u = uring_of(dev);
    return transfer(u, &(struct rt_io){
        .op = RT_WRITE, .fd = u->fd, .iov = iov, .iovcnt = iovcnt, .off = block << BLOCK_SHIFT,
        .dsync = flags & DEV_FUA});
}

static YIELDS int uring_flush(struct dev *dev)
{
    struct uring_dev *u = uring_of(dev);
    return simple(u, &(struct rt_io){.op = RT_FSYNC, .fd = u->fd, .dsync = true});
}

static YIELDS int uring_discard(struct dev *dev, uint64_t block, uint64_t count)
{
    struct uring_dev *u = uring_of(dev);
    return simple(u, &(struct rt_io){
        .op = RT_PUNCH, .fd = u->fd, .off = block << BLOCK_SHIFT, .len = count << BLOCK_SHIFT});
}

static void uring_destroy(struct dev *dev)
{
    free(uring_of(dev));
}

static const struct dev_ops uring_ops = {
    .name = "uring",
    .read = uring_read,
    .write = uring_write,
    .flush = uring_flush,
    .discard = uring_discard,
    .destroy = uring_destroy,
};

// The size in bytes, or a negative errno.
static int64_t size_of(int fd, bool is_block_device)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISBLK(st.st_mode) != is_block_device)
        return -EINVAL;
    if (!is_block_device)
        return st.st_size;
    off_t end = lseek(fd, 0, SEEK_END);
    return end < 0 ? -errno : end;
}

int dev_uring_create(struct rt *rt, int fd, bool is_block_device, uint64_t block_count,
                     bool read_only, const char *label, struct dev **out)
{
    int64_t size = size_of(fd, is_block_device);
    if (size < 0)
        return (int)size;
    if (block_count > (uint64_t)size >> BLOCK_SHIFT)
        return -EINVAL;

    struct uring_dev *u = xcalloc(1, sizeof(*u));
    *u = (struct uring_dev){
        .base = {.ops = &uring_ops, .block_count = block_count, .read_only = read_only},
        .rt = rt,
        .fd = fd,
    };
    snprintf(u->base.label, sizeof(u->base.label), "%s", label);
    *out = &u->base;
    return 0;
}
