// SPDX-License-Identifier: MIT
// read.c - read, readlink, lseek: content that goes out.
//
// There is nothing to apply but the access time, in a small change of its own afterwards
// (op_accessed): a read neither fails nor waits because of it.
#include "ops/internal.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/data.h"
#include "fs/map.h"

struct read_op {
    struct op op;
    uint32_t ino;
    struct inode *inode;
    char *out;                      // readlink
    size_t size, len;
};

static int file_pass(struct plan *plan, void *arg)
{
    struct read_op *r = arg;
    return op_file(plan, r->ino, &r->inode);
}

ssize_t ops_read(struct ops *ops, uint32_t ino, uint64_t off, size_t len, void *out)
{
    struct read_op r = {.ino = ino};
    ssize_t got = 0;

    int rc = op_begin(&r.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = plan_run(&r.op.plan, file_pass, &r);
    if (rc == 0) {
        got = data_read(r.inode, off, len, out);
        rc = got < 0 ? (int)got : 0;
    }
    rc = op_end(&r.op, rc);
    if (rc == 0 && len > 0)
        op_accessed(ops, ino);
    return rc < 0 ? rc : got;
}

int64_t ops_lseek(struct ops *ops, uint32_t ino, uint64_t off, int whence)
{
    struct read_op r = {.ino = ino};
    int64_t at = 0;

    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    int rc = op_begin(&r.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = plan_run(&r.op.plan, file_pass, &r);
    if (rc == 0) {
        at = data_seek(r.inode, off, whence);
        rc = at < 0 ? (int)at : 0;
    }
    rc = op_end(&r.op, rc);
    return rc < 0 ? rc : at;
}

// --- symlinks -------------------------------------------------------------------------------------

static int bad_symlink(const struct inode *inode, const char *why)
{
    log_error("event=corruption type=symlink ino=%u reason=\"%s\"", inode->ino, why);
    return -EFSCORRUPTED;
}

static int fast_target(const struct inode *inode, const void **target)
{
    size_t room = sizeof inode->d.block;

    if (inode->d.size == 0 || inode->d.size >= room || strnlen((const char *)inode->d.block, room) != inode->d.size)
        return bad_symlink(inode, "length of a short target");
    *target = inode->d.block;
    return 0;
}

static int slow_target(struct plan *plan, struct inode *inode, const void **target)
{
    struct block_owner owner = {.ino = inode->ino, .generation = inode->d.generation};
    struct map_run run;
    struct buf *buf;

    if (inode->d.size == 0 || inode->d.size >= BLOCK_BYTES)
        return bad_symlink(inode, "length of a long target");
    int rc = map_lookup(plan, inode, 0, 1, &run);
    if (rc < 0)
        return rc;
    if (run.state != MAP_WRITTEN)
        return bad_symlink(inode, "no block");
    rc = plan_buf(plan, BLOCK_SYMLINK, &owner, run.block, &buf);
    if (rc < 0)
        return rc;
    if (memchr(buf->bytes, 0, inode->d.size))
        return bad_symlink(inode, "a NUL in the target");
    *target = buf->bytes;
    return 0;
}

static int readlink_pass(struct plan *plan, void *arg)
{
    struct read_op *r = arg;
    const void *target;

    int rc = plan_inode(plan, r->ino, &r->inode);
    if (rc < 0)
        return rc;
    if (!inode_is_symlink(r->inode))
        return -EINVAL;
    rc = inode_is_fast_symlink(&r->inode->d) ? fast_target(r->inode, &target) : slow_target(plan, r->inode, &target);
    if (rc < 0)
        return rc;
    r->len = MIN(r->size, (size_t)r->inode->d.size);
    memcpy(r->out, target, r->len);
    return 0;
}

ssize_t ops_readlink(struct ops *ops, uint32_t ino, char *out, size_t size)
{
    struct read_op r = {.ino = ino, .out = out, .size = size};

    int rc = op_begin(&r.op, ops, OP_READS, 0);
    if (rc == 0)
        rc = plan_run(&r.op.plan, readlink_pass, &r);
    rc = op_end(&r.op, rc);
    if (rc == 0)
        op_accessed(ops, ino);
    return rc < 0 ? rc : (ssize_t)r.len;
}
