// SPDX-License-Identifier: MIT
// fuse_resend.c - requests that were applied by a server which died before it answered: the same answer.
//
// The kernel sends them again after the take-over. One table says what each opcode that changes the
// volume is answered from: the record says that and with which number or inode it succeeded, the rest
// is as the volume is now. Whoever waits for the answer holds the lock of the directory or of the
// file, so nobody who came later has changed what the answer tells.
#include "front/fuse/internal.h"

#include "base/log.h"

enum recorded {
    EXECUTED_AGAIN,                 // it changes nothing, or does the same again
    NOTHING,
    ENTRY,
    CREATED,                        // an entry, opened
    ATTRS,
    COUNT,                          // of bytes
    COUNT_64,
    FLAGS,
};

static const uint8_t recorded[FUSE_OPCODES] = {
    [FUSE_UNLINK] = NOTHING,
    [FUSE_RMDIR] = NOTHING,
    [FUSE_RENAME] = NOTHING,
    [FUSE_RENAME2] = NOTHING,
    [FUSE_SETXATTR] = NOTHING,
    [FUSE_REMOVEXATTR] = NOTHING,
    [FUSE_FALLOCATE] = NOTHING,
    [FUSE_SYMLINK] = ENTRY,
    [FUSE_MKNOD] = ENTRY,
    [FUSE_MKDIR] = ENTRY,
    [FUSE_LINK] = ENTRY,
    [FUSE_CREATE] = CREATED,
    [FUSE_TMPFILE] = CREATED,
    [FUSE_SETATTR] = ATTRS,
    [FUSE_WRITE] = COUNT,
    [FUSE_COPY_FILE_RANGE] = COUNT,
    [FUSE_COPY_FILE_RANGE_64] = COUNT_64,
    [FUSE_IOCTL] = FLAGS,           // of all ioctls only those that set flags are tagged
};

// The inode is not what the request had made: recovery went wrong, or the record is damaged.
static int lost(const struct fuse_call *call, int rc)
{
    char text[400];
    fuse_record_describe(call->record, text, sizeof(text));
    log_error("event=fuse-recorded-answer-lost %s ino=%u rc=%d", text, call->record->answer.ino, rc);
    return rc;
}

// Counts a lookup, as the operation itself had done in the memory of the dead.
static int look_up(struct fuse_call *call, struct ops_attr *attr)
{
    const struct ops_answer *answer = &call->record->answer;
    int rc = ops_lookup_made(call->door->ops, answer->ino, answer->generation, attr);
    return rc < 0 ? lost(call, rc) : 0;
}

static int give_attrs(struct fuse_call *call)
{
    const struct fuse_setattr_in *in = call->msg.arg;
    struct ops_attr attr;
    int rc = ops_getattr(call->door->ops, fuse_call_ino(call), &attr);
    if (rc == 0 && attr.generation != call->record->answer.generation)
        rc = -ESTALE;
    return rc < 0 ? lost(call, rc) : fuse_give_changed(call, &attr, in->valid & FATTR_SIZE);
}

// 64 bits that are read as 32 where the answer has no more: these requests are limited to that.
static int give_count(struct fuse_call *call, bool wide)
{
    uint64_t count = (uint64_t)call->record->answer.result;
    if (wide) {
        struct fuse_copy_file_range_out *out = fuse_out(call, sizeof(*out));
        out->bytes_copied = count;
    } else {
        struct fuse_write_out *out = fuse_out(call, sizeof(*out));
        out->size = (uint32_t)count;
    }
    return 0;
}

static int give_flags(struct fuse_call *call)
{
    struct ops_attr attr;
    int rc = ops_getattr(call->door->ops, fuse_call_ino(call), &attr);
    if (rc == 0)
        fuse_gate_note(call, &attr);    // it may have become immutable
    (void)fuse_out(call, sizeof(struct fuse_ioctl_out));
    return 0;
}

// What the handler does beside the operation itself, so that the kernel learns of modes that changed.
static void beside(struct fuse_call *call)
{
    struct fuse_door *door = call->door;
    const struct fuse_write_in *write = call->msg.arg;
    const struct fuse_copy_file_range_in *copy = call->msg.arg;
    switch (call->msg.head.opcode) {
    case FUSE_SETXATTR:
    case FUSE_REMOVEXATTR:
        fuse_gate_stale(door, fuse_call_ino(call));
        break;
    case FUSE_WRITE:
        if (write->write_flags & FUSE_WRITE_KILL_SUIDGID)
            fuse_gate_stale(door, fuse_call_ino(call));
        door->kernel_writes += (write->write_flags & FUSE_WRITE_CACHE) != 0;
        break;
    case FUSE_FALLOCATE:
        fuse_forget_kernel_attrs(call, call->msg.head.nodeid);
        break;
    case FUSE_COPY_FILE_RANGE:
    case FUSE_COPY_FILE_RANGE_64:
        fuse_forget_kernel_attrs(call, copy->nodeid_out);
        break;
    }
}

static int give(struct fuse_call *call, enum recorded what)
{
    struct ops_attr attr;
    int rc;
    switch (what) {
    case ENTRY:
        rc = look_up(call, &attr);
        return rc < 0 ? rc : fuse_give_entry(call, &attr);
    case CREATED:
        rc = look_up(call, &attr);
        return rc < 0 ? rc : fuse_give_created(call, &attr);
    case ATTRS:
        return give_attrs(call);
    case COUNT:
    case COUNT_64:
        return give_count(call, what == COUNT_64);
    case FLAGS:
        return give_flags(call);
    case NOTHING:
    case EXECUTED_AGAIN:
        break;
    }
    return 0;
}

// No more bytes than were asked for, and none where there are none.
static bool is_possible(const struct fuse_call *call, enum recorded what)
{
    uint64_t result = (uint64_t)call->record->answer.result;
    const struct fuse_write_in *write = call->msg.arg;
    const struct fuse_copy_file_range_in *copy = call->msg.arg;
    if (what != COUNT && what != COUNT_64)
        return what != EXECUTED_AGAIN && result == 0;
    return result <= (call->msg.head.opcode == FUSE_WRITE ? write->size : copy->len) && (what == COUNT_64 || result <= UINT32_MAX);
}

bool fuse_answer_recorded(struct fuse_call *call, int *rc)
{
    enum recorded what = recorded[call->msg.head.opcode];
    if (!is_possible(call, what)) {
        (void)lost(call, -EINVAL);
        call->record->answer.seq = 0;
        return false;
    }
    beside(call);
    *rc = give(call, what);
    call->changes = true;
    return true;
}
