// SPDX-License-Identifier: MIT
// copy.c - copy_file_range: read and write, without the bytes leaving the server.
//
// Each step is a read and a write, with their own plans; blocks are not shared, for ext4 cannot. A
// step that fails after others were done answers with what was done. The request is done with the last write. If
// nobody could tell that it was the last (the source shrank meanwhile), a successor copies again, which is as good.
#include "ops/write.h"

#include "base/check.h"

static int check(struct ops *ops, uint32_t from, uint64_t from_off, uint32_t to, uint64_t to_off, uint64_t len, uint64_t *from_size)
{
    struct ops_attr attr;

    if (from_off + len < from_off || to_off + len < to_off)
        return -EOVERFLOW;
    if (from == to && from_off < to_off + len && to_off < from_off + len)
        return -EINVAL;
    int rc = ops_getattr(ops, from, &attr);
    if (rc < 0)
        return rc;
    *from_size = attr.size;
    rc = ops_getattr(ops, to, &attr);
    if (rc < 0)
        return rc;
    if ((attr.mode & 0170000) == 0040000)
        return -EISDIR;
    if ((attr.mode & 0170000) != 0100000)
        return -EINVAL;
    return attr.flags & EXT4_IMMUTABLE_FL ? -EPERM : fs_writable(ops->fs);
}

ssize_t ops_copy_range(struct ops *ops, uint32_t from, uint64_t from_off, uint32_t to, uint64_t to_off, uint64_t len)
{
    struct op_tag tag = op_take_tag(ops);
    uint64_t done = 0, from_size;

    len = MIN(len, (uint64_t)INT64_MAX / 2);
    int rc = check(ops, from, from_off, to, to_off, len, &from_size);
    if (rc < 0)
        return rc;
    // A read that starts inside a block may need room for one block more.
    AUTO_FREE void *bounce = xblocks(OPS_WRITE_STEP / BLOCK_BYTES + 1);
    while (done < len) {
        size_t step = (size_t)MIN(len - done, (uint64_t)OPS_WRITE_STEP);
        ssize_t got = ops_read(ops, from, from_off + done, step, bounce);
        if (got > 0) {
            uint64_t end = done + (uint64_t)got;
            if ((size_t)got < step || end == len || from_off + end >= from_size) {
                ops->tag = tag;
                ops->tag.before = (int64_t)done;
            }
            got = ops_write(ops, to, &(struct ops_write){.off = to_off + done, .bytes = bounce, .len = (size_t)got});
        }
        if (got <= 0)
            return done > 0 ? (ssize_t)done : got;
        done += (uint64_t)got;
        if ((size_t)got < step)
            break;
    }
    return (ssize_t)done;
}
