// SPDX-License-Identifier: MIT
// fuse_encode.c - attributes of ops in the kernel's words.
//
// Everything is valid for ever, absent names too: all changes of the volume go through this
// kernel, which updates or drops what it remembers by itself.
#include "front/fuse/internal.h"

#include <sys/stat.h>

// The 32-bit form of a device number that FUSE carries.
static uint32_t encode_rdev(const struct ops_attr *attr)
{
    return (attr->rdev_minor & 0xff) | (attr->rdev_major << 8) | ((attr->rdev_minor & ~0xffu) << 12);
}

static struct fuse_attr encode(const struct ops_attr *attr)
{
    return (struct fuse_attr){
        .ino = attr->ino,
        .size = attr->size,
        .blocks = attr->blocks,
        .atime = (uint64_t)attr->atime.sec,
        .mtime = (uint64_t)attr->mtime.sec,
        .ctime = (uint64_t)attr->ctime.sec,
        .atimensec = attr->atime.nsec,
        .mtimensec = attr->mtime.nsec,
        .ctimensec = attr->ctime.nsec,
        .mode = attr->mode,
        .nlink = attr->nlink,
        .uid = attr->uid,
        .gid = attr->gid,
        .rdev = encode_rdev(attr),
        .blksize = BLOCK_BYTES,
    };
}

struct fuse_entry_out fuse_encode_entry(const struct fuse_door *door, const struct ops_attr *attr)
{
    return (struct fuse_entry_out){
        .nodeid = fuse_nodeid(door, attr->ino),
        .generation = attr->generation,
        .entry_valid = FUSE_FOREVER,
        .attr_valid = FUSE_FOREVER,
        .attr = encode(attr),
    };
}

struct fuse_attr_out fuse_encode_attr(const struct ops_attr *attr)
{
    return (struct fuse_attr_out){.attr_valid = FUSE_FOREVER, .attr = encode(attr)};
}

static struct fuse_sx_time encode_time(const struct ops_time *time)
{
    return (struct fuse_sx_time){.tv_sec = time->sec, .tv_nsec = time->nsec};
}

struct fuse_statx_out fuse_encode_statx(const struct ops_attr *attr)
{
    return (struct fuse_statx_out){
        .attr_valid = FUSE_FOREVER,
        .stat = {
            .mask = STATX_BASIC_STATS | STATX_BTIME,
            .blksize = BLOCK_BYTES,
            .nlink = attr->nlink,
            .uid = attr->uid,
            .gid = attr->gid,
            .mode = (uint16_t)attr->mode,
            .ino = attr->ino,
            .size = attr->size,
            .blocks = attr->blocks,
            .atime = encode_time(&attr->atime),
            .btime = encode_time(&attr->btime),
            .ctime = encode_time(&attr->ctime),
            .mtime = encode_time(&attr->mtime),
            .rdev_major = attr->rdev_major,
            .rdev_minor = attr->rdev_minor,
        },
    };
}
