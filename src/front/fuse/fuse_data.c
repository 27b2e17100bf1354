// SPDX-License-Identifier: MIT
// fuse_data.c - requests about content: read, write, fsync, space, holes, copies.
#include "front/fuse/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int fuse_do_read(struct fuse_call *call)
{
    struct fuse_read_in in = *(const struct fuse_read_in *)call->msg.arg;   // `data` is written over
    if (in.size > FUSE_DATA_MAX)
        return -EINVAL;
    ssize_t got = ops_read(call->door->ops, fuse_call_ino(call), in.offset, in.size, call->slot->data);
    if (got < 0)
        return (int)got;
    call->out = call->slot->data;
    call->out_len = (size_t)got;
    return 0;
}

int fuse_do_write(struct fuse_call *call)
{
    const struct fuse_write_in *in = call->msg.arg;
    if (in->size != call->msg.tail_len)
        return -EINVAL;
    struct ops_write write = {
        .off = in->offset,
        .bytes = call->msg.tail,
        .len = in->size,
        .keep_times = in->write_flags & FUSE_WRITE_CACHE,
        .kill_suidgid = in->write_flags & FUSE_WRITE_KILL_SUIDGID,
        .gid = call->msg.head.gid,
        // Not `append`: the kernel has put the write at the end already, as it knows the end.
        .privileged = call->msg.head.uid == 0 && !(in->write_flags & FUSE_WRITE_CACHE),
    };
    bool of_kernel = in->write_flags & FUSE_WRITE_CACHE;
    call->door->kernel_writes_active += of_kernel;
    if (write.kill_suidgid)
        fuse_gate_stale(call->door, fuse_call_ino(call));
    // Pages of the kernel's cache were granted their space when they were written.
    uint64_t paid = write.keep_times ? 0 : fuse_space_pay(call, in->size);
    fuse_tag(call);
    ssize_t put = ops_write(call->door->ops, fuse_call_ino(call), &write);
    fuse_space_paid(call->door, paid);
    call->door->kernel_writes_active -= of_kernel;
    call->door->kernel_writes += of_kernel;
    if (of_kernel)
        fuse_space_written(call);
    if (put == -ENOSPC && of_kernel)
        fuse_space_overrun(call);
    if (put < 0)
        return (int)put;
    struct fuse_write_out *out = fuse_out(call, sizeof(*out));
    out->size = (uint32_t)put;
    return 0;
}

int fuse_do_fsync(struct fuse_call *call)
{
    const struct fuse_fsync_in *in = call->msg.arg;
    int rc = ops_fsync(call->door->ops, fuse_call_ino(call), in->fsync_flags & FUSE_FSYNC_FDATASYNC);
    // The kernel's own writes gave the file blocks that the kernel has not heard of.
    if (rc == 0 && call->msg.head.opcode == FUSE_FSYNC)
        fuse_forget_kernel_attrs(call, call->msg.head.nodeid);
    return rc;
}

// What WRITE says by a flag, the other two that change content leave to us (HANDLE_KILLPRIV_V2): set-id
// bits go. As in the kernel this happens first, whatever becomes of the request; it is not the change that
// the request is about, and doing it twice does no harm.
static int take_setid_bits(struct fuse_call *call, uint64_t nodeid)
{
    struct ops_caller caller = fuse_caller(call, 0);
    uint32_t ino = fuse_ino(call->door, nodeid);
    struct ops_setattr kill = {.set = OPS_KILL_SUIDGID};
    struct ops_attr attr;
    int rc = caller.uid ? ops_getattr(call->door->ops, ino, &attr) : 0;
    if (rc < 0 || caller.uid == 0 || !S_ISREG(attr.mode) || !(attr.mode & (S_ISUID | S_ISGID)))
        return rc;
    fuse_gate_stale(call->door, ino);
    rc = ops_setattr(call->door->ops, &caller, ino, &kill, &attr);
    if (rc == 0)
        fuse_forget_kernel_attrs(call, nodeid);
    return rc;
}

int fuse_do_fallocate(struct fuse_call *call)
{
    const struct fuse_fallocate_in *in = call->msg.arg;
    int rc = take_setid_bits(call, call->msg.head.nodeid);
    if (rc < 0)
        return rc;
    uint64_t paid = in->mode & FALLOC_FL_PUNCH_HOLE ? 0 : fuse_space_pay(call, in->length);
    fuse_tag(call);
    rc = ops_fallocate(call->door->ops, fuse_call_ino(call), (int)in->mode, in->offset, in->length);
    fuse_space_paid(call->door, paid);
    return rc;
}

// Where data and holes are can only be said when the kernel's dirty pages have become WRITEs. It
// does not send them by itself before it asks, so it is told to, from another process, while this
// worker answers them. The asker's slot is free meanwhile: WRITEs need slots.
int fuse_do_lseek(struct fuse_call *call)
{
    struct fuse_door *door = call->door;
    struct fuse_lseek_in in = *(const struct fuse_lseek_in *)call->msg.arg;
    struct fuse_in_header head = call->msg.head;
    if (!door->config.notify || (in.whence != SEEK_DATA && in.whence != SEEK_HOLE))
        return -ENOSYS;

    struct fuse_ticket ticket = fuse_call_detach(call);
    int64_t off = fuse_flush_kernel_pages(door, head.nodeid, in.offset);
    // ENOENT: the kernel has no such inode any more, nor pages of it.
    if (off == 0 || off == -ENOENT)
        off = ops_lseek(door->ops, fuse_ino(door, head.nodeid), in.offset, (int)in.whence);
    struct fuse_lseek_out out = {.offset = (uint64_t)off};
    fuse_ticket_answer(&ticket, off < 0 ? (int)off : 0, &out, sizeof(out));
    return FUSE_ANSWERED;
}

static ssize_t copy(struct fuse_call *call, uint64_t len_max)
{
    const struct fuse_copy_file_range_in *in = call->msg.arg;
    if (in->flags)
        return -EINVAL;
    int rc = take_setid_bits(call, in->nodeid_out);
    if (rc < 0)
        return rc;
    uint64_t len = MIN(in->len, len_max), paid = fuse_space_pay(call, len);
    uint32_t to = fuse_ino(call->door, in->nodeid_out);
    fuse_tag(call);
    ssize_t copied = ops_copy_range(call->door->ops, fuse_call_ino(call), in->off_in, to, in->off_out, len);
    fuse_space_paid(call->door, paid);
    return copied;
}

int fuse_do_copy_range(struct fuse_call *call)
{
    ssize_t copied = copy(call, UINT32_MAX & ~(BLOCK_BYTES - 1));    // the answer has 32 bits
    if (copied < 0)
        return (int)copied;
    struct fuse_write_out *out = fuse_out(call, sizeof(*out));
    out->size = (uint32_t)copied;
    return 0;
}

int fuse_do_copy_range_64(struct fuse_call *call)
{
    ssize_t copied = copy(call, INT64_MAX);
    if (copied < 0)
        return (int)copied;
    struct fuse_copy_file_range_out *out = fuse_out(call, sizeof(*out));
    out->bytes_copied = (uint64_t)copied;
    return 0;
}
