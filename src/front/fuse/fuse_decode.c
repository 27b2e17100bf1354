// SPDX-License-Identifier: MIT
// fuse_decode.c - see fuse_decode.h.
//
//     header (40) | fixed part | name NUL | name NUL | tail | extensions
//
// One table says which of these an opcode has. The kernel is trusted with everything except being
// free of bugs: a message that does not fit its own lengths is refused, never read past its end.
#include "front/fuse/fuse_decode.h"

#include <string.h>

enum strings {
    NO_NAME,
    ENTRY,                          // a directory entry: not empty, no slash
    ENTRY_ENTRY,
    ENTRY_TEXT,                     // the second is any text: a symlink's target
    TEXT,                           // an attribute's name
};

struct shape {
    bool known;
    uint16_t arg_size;
    enum strings strings;
    bool tail;
};

#define SHAPE(...) {.known = true, __VA_ARGS__}
static const struct shape shapes[FUSE_OPCODES] = {
    [FUSE_LOOKUP] = SHAPE(0, ENTRY),
    [FUSE_FORGET] = SHAPE(sizeof(struct fuse_forget_in)),
    [FUSE_GETATTR] = SHAPE(sizeof(struct fuse_getattr_in)),
    [FUSE_SETATTR] = SHAPE(sizeof(struct fuse_setattr_in)),
    [FUSE_READLINK] = SHAPE(0),
    [FUSE_SYMLINK] = SHAPE(0, ENTRY_TEXT),
    [FUSE_MKNOD] = SHAPE(sizeof(struct fuse_mknod_in), ENTRY),
    [FUSE_MKDIR] = SHAPE(sizeof(struct fuse_mkdir_in), ENTRY),
    [FUSE_UNLINK] = SHAPE(0, ENTRY),
    [FUSE_RMDIR] = SHAPE(0, ENTRY),
    [FUSE_RENAME] = SHAPE(sizeof(struct fuse_rename_in), ENTRY_ENTRY),
    [FUSE_LINK] = SHAPE(sizeof(struct fuse_link_in), ENTRY),
    [FUSE_OPEN] = SHAPE(sizeof(struct fuse_open_in)),
    [FUSE_READ] = SHAPE(sizeof(struct fuse_read_in)),
    [FUSE_WRITE] = SHAPE(sizeof(struct fuse_write_in), NO_NAME, true),
    [FUSE_STATFS] = SHAPE(0),
    [FUSE_RELEASE] = SHAPE(sizeof(struct fuse_release_in)),
    [FUSE_FSYNC] = SHAPE(sizeof(struct fuse_fsync_in)),
    [FUSE_SETXATTR] = SHAPE(sizeof(struct fuse_setxattr_in), TEXT, true),
    [FUSE_GETXATTR] = SHAPE(sizeof(struct fuse_getxattr_in), TEXT),
    [FUSE_LISTXATTR] = SHAPE(sizeof(struct fuse_getxattr_in)),
    [FUSE_REMOVEXATTR] = SHAPE(0, TEXT),
    // Its fixed part has grown over the versions: what there is of it is the tail.
    [FUSE_INIT] = SHAPE(offsetof(struct fuse_init_in, flags2), NO_NAME, true),
    [FUSE_OPENDIR] = SHAPE(sizeof(struct fuse_open_in)),
    [FUSE_READDIR] = SHAPE(sizeof(struct fuse_read_in)),
    [FUSE_RELEASEDIR] = SHAPE(sizeof(struct fuse_release_in)),
    [FUSE_FSYNCDIR] = SHAPE(sizeof(struct fuse_fsync_in)),
    [FUSE_CREATE] = SHAPE(sizeof(struct fuse_create_in), ENTRY),
    [FUSE_INTERRUPT] = SHAPE(sizeof(struct fuse_interrupt_in)),
    [FUSE_DESTROY] = SHAPE(0),
    [FUSE_IOCTL] = SHAPE(sizeof(struct fuse_ioctl_in), NO_NAME, true),
    [FUSE_BATCH_FORGET] = SHAPE(sizeof(struct fuse_batch_forget_in), NO_NAME, true),
    [FUSE_FALLOCATE] = SHAPE(sizeof(struct fuse_fallocate_in)),
    [FUSE_READDIRPLUS] = SHAPE(sizeof(struct fuse_read_in)),
    [FUSE_RENAME2] = SHAPE(sizeof(struct fuse_rename2_in), ENTRY_ENTRY),
    [FUSE_LSEEK] = SHAPE(sizeof(struct fuse_lseek_in)),
    [FUSE_COPY_FILE_RANGE] = SHAPE(sizeof(struct fuse_copy_file_range_in)),
    [FUSE_COPY_FILE_RANGE_64] = SHAPE(sizeof(struct fuse_copy_file_range_in)),
    [FUSE_SYNCFS] = SHAPE(sizeof(struct fuse_syncfs_in)),
    [FUSE_TMPFILE] = SHAPE(sizeof(struct fuse_create_in), TEXT),    // its "name" is a slash
    [FUSE_STATX] = SHAPE(sizeof(struct fuse_statx_in)),
};

struct cursor {
    const char *at, *end;
};

static bool take_text(struct cursor *c, struct ops_name *out)
{
    size_t room = (size_t)(c->end - c->at);
    const char *nul = room ? memchr(c->at, 0, room) : NULL;
    if (!nul)
        return false;
    *out = (struct ops_name){.bytes = c->at, .len = (size_t)(nul - c->at)};
    c->at = nul + 1;
    return true;
}

static bool take_entry(struct cursor *c, struct ops_name *out)
{
    return take_text(c, out) && out->len > 0 && !memchr(out->bytes, '/', out->len);
}

static bool take_strings(struct cursor *c, enum strings strings, struct ops_name name[2])
{
    switch (strings) {
    case NO_NAME:
        return true;
    case ENTRY:
        return take_entry(c, &name[0]);
    case ENTRY_ENTRY:
        return take_entry(c, &name[0]) && take_entry(c, &name[1]);
    case ENTRY_TEXT:
        return take_entry(c, &name[0]) && take_text(c, &name[1]) && name[1].len > 0;
    case TEXT:
        return take_text(c, &name[0]) && name[0].len > 0;
    }
    return false;
}

int fuse_decode(const void *bytes, size_t len, bool setxattr_ext, struct fuse_msg *out)
{
    *out = (struct fuse_msg){0};
    if (len < sizeof(out->head))
        return -EBADMSG;
    memcpy(&out->head, bytes, sizeof(out->head));
    if (out->head.opcode >= FUSE_OPCODES || !shapes[out->head.opcode].known)
        return -ENOSYS;

    const struct shape *shape = &shapes[out->head.opcode];
    size_t extensions = (size_t)out->head.total_extlen * 8;
    if (out->head.len != len || extensions > len - sizeof(out->head))
        return -EINVAL;
    struct cursor c = {(const char *)bytes + sizeof(out->head), (const char *)bytes + len - extensions};

    size_t arg_size = shape->arg_size;
    if (out->head.opcode == FUSE_SETXATTR && !setxattr_ext)
        arg_size = FUSE_COMPAT_SETXATTR_IN_SIZE;
    if ((size_t)(c.end - c.at) < arg_size)
        return -EINVAL;
    out->arg = c.at;
    c.at += arg_size;

    if (!take_strings(&c, shape->strings, out->name))
        return -EINVAL;
    out->tail = c.at;
    out->tail_len = (size_t)(c.end - c.at);
    return out->tail_len && !shape->tail ? -EINVAL : 0;
}
