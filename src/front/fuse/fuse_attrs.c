// SPDX-License-Identifier: MIT
// fuse_attrs.c - requests about attributes, the volume's figures, and extended attributes.
#include "front/fuse/internal.h"

#include <string.h>
#include <sys/stat.h>

#define XATTR_MAX (64u << 10)       // what the system calls can carry

// With a file handle it is a write(2) that asks (fuse_gate.c).
int fuse_do_getattr(struct fuse_call *call)
{
    const struct fuse_getattr_in *in = call->msg.arg;
    struct ops_attr attr;
    int rc = ops_getattr(call->door->ops, fuse_call_ino(call), &attr);
    if (rc < 0)
        return rc;
    struct fuse_attr_out *out = fuse_out(call, sizeof(*out));
    *out = fuse_encode_attr(&attr);
    if (in->getattr_flags & FUSE_GETATTR_FH && S_ISREG(attr.mode))
        return fuse_gate_ask(call, &attr);
    fuse_gate_note_known(call, &attr);
    return 0;
}

int fuse_do_statx(struct fuse_call *call)
{
    struct ops_attr attr;
    int rc = ops_getattr(call->door->ops, fuse_call_ino(call), &attr);
    if (rc < 0)
        return rc;
    struct fuse_statx_out *out = fuse_out(call, sizeof(*out));
    *out = fuse_encode_statx(&attr);
    fuse_gate_note_known(call, &attr);
    return 0;
}

static uint32_t decode_set(uint32_t valid)
{
    static const struct {
        uint32_t fuse, ops;
    } words[] = {
        {FATTR_MODE, OPS_SET_MODE}, {FATTR_UID, OPS_SET_UID}, {FATTR_GID, OPS_SET_GID},
        {FATTR_SIZE, OPS_SET_SIZE}, {FATTR_CTIME, OPS_SET_CTIME},
        {FATTR_KILL_SUIDGID, OPS_KILL_SUIDGID},
    };
    uint32_t set = 0;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (valid & words[i].fuse)
            set |= words[i].ops;
    if (valid & FATTR_ATIME)
        set |= valid & FATTR_ATIME_NOW ? OPS_SET_ATIME_NOW : OPS_SET_ATIME;
    if (valid & FATTR_MTIME)
        set |= valid & FATTR_MTIME_NOW ? OPS_SET_MTIME_NOW : OPS_SET_MTIME;
    // Nothing but "it changed": chown() to the same owner, or the kernel took a capability off.
    return set & ~(uint32_t)OPS_SET_CTIME ? set : set | OPS_TOUCH;
}

int fuse_give_changed(struct fuse_call *call, const struct ops_attr *attr, bool resized)
{
    struct fuse_attr_out *out = fuse_out(call, sizeof(*out));
    *out = fuse_encode_attr(attr);
    fuse_gate_note(call, attr);
    if (resized)                    // somebody opened it with O_TRUNC
        fuse_space_expect_write(call, attr->ino);
    return 0;
}

int fuse_do_setattr(struct fuse_call *call)
{
    const struct fuse_setattr_in *in = call->msg.arg;
    struct ops_setattr set = {
        .set = decode_set(in->valid),
        .mode = in->mode,
        .uid = in->uid,
        .gid = in->gid,
        .size = in->size,
        .atime = {(int64_t)in->atime, in->atimensec},
        .mtime = {(int64_t)in->mtime, in->mtimensec},
        .ctime = {(int64_t)in->ctime, in->ctimensec},
    };
    struct ops_caller caller = fuse_caller(call, 0);
    struct ops_attr attr;
    fuse_tag(call);
    int rc = ops_setattr(call->door->ops, &caller, fuse_call_ino(call), &set, &attr);
    return rc < 0 ? rc : fuse_give_changed(call, &attr, set.set & OPS_SET_SIZE);
}

int fuse_do_statfs(struct fuse_call *call)
{
    struct ops_statfs stat;
    int rc = ops_statfs(call->door->ops, &stat);
    if (rc < 0)
        return rc;
    struct fuse_statfs_out *out = fuse_out(call, sizeof(*out));
    out->st = (struct fuse_kstatfs){
        .blocks = stat.blocks,
        .bfree = stat.blocks_free,
        .bavail = stat.blocks_available,
        .files = stat.inodes,
        .ffree = stat.inodes_free,
        .bsize = BLOCK_BYTES,
        .frsize = BLOCK_BYTES,
        .namelen = 255,
    };
    return 0;
}

// --- extended attributes ----------------------------------------------------------------------------

int fuse_do_setxattr(struct fuse_call *call)
{
    const struct fuse_setxattr_in *in = call->msg.arg;
    if (in->size > call->msg.tail_len)
        return -EINVAL;
    bool ext = call->door->agreed.flags & FUSE_SETXATTR_EXT;
    fuse_gate_stale(call->door, fuse_call_ino(call));       // an ACL may change the mode
    bool kill_sgid = ext && in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
    fuse_tag(call);
    return ops_setxattr(call->door->ops, fuse_call_ino(call), call->msg.name[0].bytes, call->msg.tail, in->size,
                        (int)in->flags, kill_sgid);
}

int fuse_do_removexattr(struct fuse_call *call)
{
    fuse_gate_stale(call->door, fuse_call_ino(call));
    fuse_tag(call);
    return ops_removexattr(call->door->ops, fuse_call_ino(call), call->msg.name[0].bytes);
}

// `len` bytes at `bytes` for a caller with room for `size`, who may only have asked how long it is.
static int answer_sized(struct fuse_call *call, const void *bytes, size_t len, uint32_t size)
{
    if (size == 0) {
        struct fuse_getxattr_out *out = fuse_out(call, sizeof(*out));
        out->size = (uint32_t)len;
        return 0;
    }
    if (len > size)
        return -ERANGE;
    call->out = bytes;
    call->out_len = len;
    return 0;
}

int fuse_do_getxattr(struct fuse_call *call)
{
    const struct fuse_getxattr_in *in = call->msg.arg;
    uint32_t size = in->size;
    // Behind the name, which lies at the beginning of `data`: the value must not overwrite it.
    size_t skip = ROUND_UP(call->slot->len, BLOCK_BYTES);
    if (skip > FUSE_DATA_MAX - XATTR_MAX)
        return -EINVAL;
    uint8_t *value = call->slot->data + skip;
    ssize_t len = ops_getxattr(call->door->ops, fuse_call_ino(call), call->msg.name[0].bytes,
                               size ? value : NULL, MIN(size, XATTR_MAX));
    return len < 0 ? (int)len : answer_sized(call, value, (size_t)len, size);
}

// Names under "trusted." are for those only who may read them.
static size_t without_trusted(char *names, size_t len)
{
    size_t kept = 0;
    for (size_t at = 0; at < len;) {
        size_t size = strnlen(names + at, len - at) + 1;
        if (size > len - at)
            break;
        if (strncmp(names + at, "trusted.", 8) != 0) {
            memmove(names + kept, names + at, size);
            kept += size;
        }
        at += size;
    }
    return kept;
}

int fuse_do_listxattr(struct fuse_call *call)
{
    const struct fuse_getxattr_in *in = call->msg.arg;
    uint32_t size = in->size;       // `data` is written over
    char *names = (char *)call->slot->data;
    ssize_t len = ops_listxattr(call->door->ops, fuse_call_ino(call), names, XATTR_MAX);
    if (len < 0)
        return (int)len;
    if (call->msg.head.uid != 0)
        len = (ssize_t)without_trusted(names, (size_t)len);
    return answer_sized(call, names, (size_t)len, size);
}
