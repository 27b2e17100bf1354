// SPDX-License-Identifier: MIT
// fuse_init.c - INIT, what it agrees on, the table of handlers, and requests without content.
#include "front/fuse/internal.h"

#include <string.h>

#include "base/log.h"

#define READAHEAD_MAX (4u << 20)
#define BACKGROUND_MAX 96           // below FUSE_SLOTS, so that write-back cannot take them all

// What drover wants, where the kernel offers it. Left out on purpose: POSIX_LOCKS and FLOCK_LOCKS
// (locks that the kernel keeps outlive a server), ATOMIC_O_TRUNC (there is no OPEN to carry it),
// AUTO_INVAL_DATA (nobody else changes files), SPLICE (the daemon reads into its own pages).
static const uint64_t wanted =
    FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_EXPORT_SUPPORT | FUSE_DONT_MASK | FUSE_HAS_IOCTL_DIR |
    FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_WRITEBACK_CACHE |
    FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 |
    FUSE_POSIX_ACL | FUSE_ABORT_ERROR | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_SETXATTR_EXT |
    FUSE_INIT_EXT | FUSE_DIRECT_IO_ALLOW_MMAP | FUSE_HAS_RESEND;

static uint64_t offered(const struct fuse_call *call)
{
    struct fuse_init_in in = {0};
    size_t len = offsetof(struct fuse_init_in, flags2) + call->msg.tail_len;
    memcpy(&in, call->msg.arg, MIN(len, sizeof(in)));
    return in.flags | (in.flags & FUSE_INIT_EXT ? (uint64_t)in.flags2 << 32 : 0);
}

// Before the answer: from then on the kernel holds drover to it, whoever serves.
static void remember(struct fuse_door *door, const struct fuse_agreed *agreed)
{
    door->agreed = *agreed;
    door->config.agreed->flags = agreed->flags;
    door->config.agreed->max_write = agreed->max_write;
    door->config.agreed->minor = agreed->minor;
}

// INIT is answered here, so that nobody believes to be serving before the kernel has the answer.
int fuse_do_init(struct fuse_call *call)
{
    struct fuse_door *door = call->door;
    struct fuse_init_in in = {0};
    memcpy(&in, call->msg.arg, offsetof(struct fuse_init_in, flags2));
    if (in.major != FUSE_KERNEL_VERSION || in.minor < FUSE_DOOR_MINOR_MIN) {
        log_error("event=fuse-init-refused kernel=%u.%u oldest=7.%u", in.major, in.minor, FUSE_DOOR_MINOR_MIN);
        return -EPROTO;
    }

    uint64_t flags = wanted & offered(call);
    uint32_t max_write = flags & FUSE_MAX_PAGES ? FUSE_DATA_MAX : 32 * BLOCK_BYTES;
    struct fuse_init_out *out = fuse_out(call, sizeof(*out));
    *out = (struct fuse_init_out){
        .major = FUSE_KERNEL_VERSION,
        .minor = FUSE_DOOR_MINOR,
        .max_readahead = MIN(in.max_readahead, READAHEAD_MAX),
        .flags = (uint32_t)flags,
        .flags2 = (uint32_t)(flags >> 32),
        .max_background = BACKGROUND_MAX,
        .congestion_threshold = BACKGROUND_MAX * 3 / 4,
        .max_write = max_write,
        .max_pages = (uint16_t)(max_write / BLOCK_BYTES),
        .time_gran = 1,
    };
    remember(door, &(struct fuse_agreed){
        .minor = MIN(in.minor, FUSE_DOOR_MINOR),
        .max_write = max_write,
        .flags = flags,
    });
    log_info("event=fuse-init kernel=%u.%u flags=%#llx", in.major, in.minor, (unsigned long long)flags);
    if (fuse_answer(door, call->msg.head.unique, 0, out, sizeof(*out)))
        door->config.on_serving(door->config.arg);
    return fuse_call_unanswered(call);
}

int fuse_do_destroy(struct fuse_call *call)
{
    (void)call;
    return 0;                       // the end of the mount is when reading fails with ENODEV
}

// "Not known" means: never ask again, opening always works. So there are no file handles that a
// successor would have to know.
int fuse_do_open(struct fuse_call *call)
{
    bool directory = call->msg.head.opcode == FUSE_OPENDIR;
    if (call->door->agreed.flags & (directory ? FUSE_NO_OPENDIR_SUPPORT : FUSE_NO_OPEN_SUPPORT))
        return -ENOSYS;
    struct fuse_open_out *out = fuse_out(call, sizeof(*out));
    out->open_flags = FOPEN_KEEP_CACHE | (directory ? FOPEN_CACHE_DIR : 0);
    return 0;
}

int fuse_do_release(struct fuse_call *call)
{
    (void)call;
    return 0;
}

// Nothing to take back: every operation ends by itself, and the kernel goes on waiting for it.
static int ignore_interrupt(struct fuse_call *call)
{
    return fuse_call_unanswered(call);
}

// Opcodes without entry are answered with ENOSYS, after which the kernel does without: FLUSH,
// ACCESS, BMAP, POLL, locks.
fuse_handler *const fuse_handlers[FUSE_OPCODES] = {
    [FUSE_INIT] = fuse_do_init,
    [FUSE_DESTROY] = fuse_do_destroy,
    [FUSE_INTERRUPT] = ignore_interrupt,
    [FUSE_OPEN] = fuse_do_open,
    [FUSE_OPENDIR] = fuse_do_open,
    [FUSE_RELEASE] = fuse_do_release,
    [FUSE_RELEASEDIR] = fuse_do_release,
    [FUSE_LOOKUP] = fuse_do_lookup,
    [FUSE_FORGET] = fuse_do_forget,
    [FUSE_BATCH_FORGET] = fuse_do_batch_forget,
    [FUSE_READLINK] = fuse_do_readlink,
    [FUSE_SYMLINK] = fuse_do_symlink,
    [FUSE_MKNOD] = fuse_do_mknod,
    [FUSE_MKDIR] = fuse_do_mkdir,
    [FUSE_UNLINK] = fuse_do_unlink,
    [FUSE_RMDIR] = fuse_do_rmdir,
    [FUSE_RENAME] = fuse_do_rename,
    [FUSE_RENAME2] = fuse_do_rename2,
    [FUSE_LINK] = fuse_do_link,
    [FUSE_CREATE] = fuse_do_create,
    [FUSE_TMPFILE] = fuse_do_tmpfile,
    [FUSE_READDIR] = fuse_do_readdir,
    [FUSE_READDIRPLUS] = fuse_do_readdirplus,
    [FUSE_GETATTR] = fuse_do_getattr,
    [FUSE_STATX] = fuse_do_statx,
    [FUSE_SETATTR] = fuse_do_setattr,
    [FUSE_STATFS] = fuse_do_statfs,
    [FUSE_SETXATTR] = fuse_do_setxattr,
    [FUSE_GETXATTR] = fuse_do_getxattr,
    [FUSE_LISTXATTR] = fuse_do_listxattr,
    [FUSE_REMOVEXATTR] = fuse_do_removexattr,
    [FUSE_READ] = fuse_do_read,
    [FUSE_WRITE] = fuse_do_write,
    [FUSE_FSYNC] = fuse_do_fsync,
    [FUSE_FSYNCDIR] = fuse_do_fsync,
    [FUSE_SYNCFS] = fuse_do_syncfs,
    [FUSE_FALLOCATE] = fuse_do_fallocate,
    [FUSE_LSEEK] = fuse_do_lseek,
    [FUSE_COPY_FILE_RANGE] = fuse_do_copy_range,
    [FUSE_COPY_FILE_RANGE_64] = fuse_do_copy_range_64,
    [FUSE_IOCTL] = fuse_do_ioctl,
};
