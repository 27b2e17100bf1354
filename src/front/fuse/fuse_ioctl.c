// SPDX-License-Identifier: MIT
// fuse_ioctl.c - the ioctls that ext4 has and FUSE lets through.
//
// The kernel has checked who may change flags (owner, CAP_LINUX_IMMUTABLE). FITRIM and shutdown it
// does not know, so these ask for root here.
#include "front/fuse/internal.h"

#include <string.h>
#include <linux/fs.h>

#define EXT4_IOC_SHUTDOWN_ _IOR('X', 125, uint32_t)

// The answer: the ioctl's own result (0) and its bytes.
static int answer(struct fuse_call *call, const void *bytes, size_t len)
{
    struct fuse_ioctl_out *out = fuse_out(call, sizeof(*out) + len);
    if (len)
        memcpy(out + 1, bytes, len);
    return 0;
}

static int get_flags(struct fuse_call *call)
{
    uint32_t flags, project;
    int rc = ops_get_flags(call->door->ops, fuse_call_ino(call), &flags, &project);
    return rc < 0 ? rc : answer(call, &flags, sizeof(flags));
}

struct flag_change {
    struct fuse_ticket *ticket;
    uint32_t ino, flags;
    const uint32_t *project;
};

static int change_flags(void *arg)
{
    const struct flag_change *change = arg;
    fuse_ticket_tag(change->ticket);
    return ops_set_flags(change->ticket->door->ops, change->ino, change->flags, change->project);
}

// What was written before a file became immutable or append-only may still lie in the kernel, and
// would be refused afterwards: it is fetched first. As for fuse_do_lseek(), without a slot.
static int set(struct fuse_call *call, uint32_t flags, const uint32_t *project)
{
    struct fuse_door *door = call->door;
    uint32_t ino = fuse_call_ino(call);
    struct fuse_ticket ticket = fuse_call_detach(call);
    struct flag_change change = {.ticket = &ticket, .ino = ino, .flags = flags, .project = project};
    int rc = flags & (FS_IMMUTABLE_FL | FS_APPEND_FL) && door->config.notify
           ? fuse_gate_freeze(door, ino, change_flags, &change) : change_flags(&change);
    struct fuse_ioctl_out out = {0};
    fuse_ticket_answer(&ticket, rc, &out, sizeof(out));
    return FUSE_ANSWERED;
}

static int set_flags(struct fuse_call *call)
{
    uint32_t flags;
    memcpy(&flags, call->msg.tail, sizeof(flags));
    return set(call, flags, NULL);
}

// The flags that the portable form has words for.
static const struct {
    uint32_t ext4, portable;
} flag_words[] = {
    {FS_SYNC_FL, FS_XFLAG_SYNC},     {FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE}, {FS_NODUMP_FL, FS_XFLAG_NODUMP},
    {FS_APPEND_FL, FS_XFLAG_APPEND}, {FS_NOATIME_FL, FS_XFLAG_NOATIME},     {FS_PROJINHERIT_FL, FS_XFLAG_PROJINHERIT},
};

static int get_xflags(struct fuse_call *call)
{
    uint32_t flags, project;
    int rc = ops_get_flags(call->door->ops, fuse_call_ino(call), &flags, &project);
    if (rc < 0)
        return rc;
    struct fsxattr attr = {.fsx_projid = project};
    for (size_t i = 0; i < ARRAY_LEN(flag_words); i++)
        if (flags & flag_words[i].ext4)
            attr.fsx_xflags |= flag_words[i].portable;
    return answer(call, &attr, sizeof(attr));
}

static int set_xflags(struct fuse_call *call)
{
    struct fsxattr attr;
    memcpy(&attr, call->msg.tail, sizeof(attr));
    uint32_t flags, project, known = 0;
    int rc = ops_get_flags(call->door->ops, fuse_call_ino(call), &flags, &project);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(flag_words); i++) {
        known |= flag_words[i].portable;
        flags &= ~flag_words[i].ext4;
        if (attr.fsx_xflags & flag_words[i].portable)
            flags |= flag_words[i].ext4;
    }
    if (attr.fsx_xflags & ~known)
        return -EOPNOTSUPP;
    return set(call, flags, &attr.fsx_projid);
}

static int get_version(struct fuse_call *call)
{
    struct ops_attr attr;
    int rc = ops_getattr(call->door->ops, fuse_call_ino(call), &attr);
    return rc < 0 ? rc : answer(call, &attr.generation, sizeof(attr.generation));
}

static int trim(struct fuse_call *call)
{
    struct fstrim_range range;
    memcpy(&range, call->msg.tail, sizeof(range));
    if (call->msg.head.uid != 0)
        return -EPERM;
    uint64_t trimmed = 0;
    int rc = ops_trim(call->door->ops, range.start, range.len, range.minlen, &trimmed);
    range.len = trimmed;
    return rc < 0 ? rc : answer(call, &range, sizeof(range));
}

// The number says that the argument comes out, though it goes in; so FUSE does not bring it here.
// Of the three ways to shut down, the middle one (the log is flushed) stands for all.
static int shut_down(struct fuse_call *call)
{
    if (call->msg.head.uid != 0)
        return -EPERM;
    int rc = ops_shutdown(call->door->ops, 1);
    return rc < 0 ? rc : answer(call, NULL, 0);
}

static const struct {
    uint32_t cmd;
    uint32_t in, out;               // bytes that it takes and gives
    fuse_handler *handler;
} commands[] = {
    {FS_IOC_GETFLAGS, 0, sizeof(uint32_t), get_flags},
    {FS_IOC_SETFLAGS, sizeof(uint32_t), 0, set_flags},
    {FS_IOC_FSGETXATTR, 0, sizeof(struct fsxattr), get_xflags},
    {FS_IOC_FSSETXATTR, sizeof(struct fsxattr), 0, set_xflags},
    {FS_IOC_GETVERSION, 0, sizeof(uint32_t), get_version},
    {FITRIM, sizeof(struct fstrim_range), sizeof(struct fstrim_range), trim},
    {EXT4_IOC_SHUTDOWN_, 0, 0, shut_down},
};

int fuse_do_ioctl(struct fuse_call *call)
{
    const struct fuse_ioctl_in *in = call->msg.arg;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].cmd != in->cmd)
            continue;
        if (call->msg.tail_len < commands[i].in || in->out_size < commands[i].out)
            return -EINVAL;
        return commands[i].handler(call);
    }
    return -ENOTTY;
}
