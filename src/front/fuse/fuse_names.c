// SPDX-License-Identifier: MIT
// fuse_names.c - requests about names: lookup, the making and unmaking of entries, listing.
//
// An answer that carries an entry makes the kernel count one lookup of the inode, as ops did.
#include "front/fuse/internal.h"

#include <fcntl.h>
#include <string.h>

int fuse_give_entry(struct fuse_call *call, const struct ops_attr *attr)
{
    struct fuse_entry_out *out = fuse_out(call, sizeof(*out));
    *out = fuse_encode_entry(call->door, attr);
    call->looked_up = attr->ino;
    fuse_gate_note(call, attr);
    return 0;
}

static bool name_is(const struct ops_name *name, const char *text)
{
    return name->len == strlen(text) && memcmp(name->bytes, text, name->len) == 0;
}

// "." and ".." are asked for only by a file handle of which the kernel has forgotten the inode.
int fuse_do_lookup(struct fuse_call *call)
{
    const struct ops_name *name = &call->msg.name[0];
    uint32_t ino = fuse_call_ino(call);
    struct ops_attr attr;
    int rc;
    if (name_is(name, "."))
        rc = ops_lookup_ino(call->door->ops, ino, &attr);
    else if (name_is(name, ".."))
        rc = ops_lookup_parent(call->door->ops, ino, &attr);
    else
        rc = ops_lookup(call->door->ops, ino, *name, &attr);

    if (rc == -ENOENT) {            // an answer too, to be remembered: there is no such name
        struct fuse_entry_out *out = fuse_out(call, sizeof(*out));
        out->entry_valid = FUSE_FOREVER;
        return 0;
    }
    if (rc == 0)
        fuse_gate_note_found(call, &attr);
    return rc < 0 ? rc : fuse_give_entry(call, &attr);
}

// A server that dies with a FORGET in hand loses it: the kernel is asked about orphans (fuse_door_knows).
static void forget(struct fuse_door *door, uint64_t nodeid, uint64_t count)
{
    uint32_t ino = fuse_ino(door, nodeid);
    if (ino == 0)
        return;
    ops_forget(door->ops, ino, count);
    fuse_gate_forget(door, ino);
}

int fuse_do_forget(struct fuse_call *call)
{
    const struct fuse_forget_in *in = call->msg.arg;
    forget(call->door, call->msg.head.nodeid, in->nlookup);
    return fuse_call_unanswered(call);
}

int fuse_do_batch_forget(struct fuse_call *call)
{
    const struct fuse_batch_forget_in *in = call->msg.arg;
    const struct fuse_forget_one *one = call->msg.tail;
    size_t count = MIN((size_t)in->count, call->msg.tail_len / sizeof(*one));
    for (size_t i = 0; i < count; i++)
        forget(call->door, one[i].nodeid, one[i].nlookup);
    return fuse_call_unanswered(call);
}

int fuse_do_readlink(struct fuse_call *call)
{
    ssize_t len = ops_readlink(call->door->ops, fuse_call_ino(call), (char *)call->slot->data, BLOCK_BYTES);
    if (len < 0)
        return (int)len;
    call->out = call->slot->data;
    call->out_len = (size_t)len;
    return 0;
}

int fuse_do_symlink(struct fuse_call *call)
{
    struct ops_caller caller = fuse_caller(call, 0);
    struct ops_attr attr;
    fuse_tag(call);
    int rc = ops_symlink(call->door->ops, &caller, fuse_call_ino(call), call->msg.name[0], call->msg.name[1], &attr);
    return rc < 0 ? rc : fuse_give_entry(call, &attr);
}

int fuse_do_mknod(struct fuse_call *call)
{
    const struct fuse_mknod_in *in = call->msg.arg;
    struct ops_caller caller = fuse_caller(call, in->umask);
    uint32_t major = in->rdev >> 8 & 0xfff, minor = (in->rdev & 0xff) | (in->rdev >> 12 & 0xfff00);
    struct ops_attr attr;
    fuse_tag(call);
    int rc = ops_mknod(call->door->ops, &caller, fuse_call_ino(call), call->msg.name[0], (uint16_t)in->mode, major, minor, &attr);
    return rc < 0 ? rc : fuse_give_entry(call, &attr);
}

int fuse_do_mkdir(struct fuse_call *call)
{
    const struct fuse_mkdir_in *in = call->msg.arg;
    struct ops_caller caller = fuse_caller(call, in->umask);
    struct ops_attr attr;
    fuse_tag(call);
    int rc = ops_mkdir(call->door->ops, &caller, fuse_call_ino(call), call->msg.name[0], (uint16_t)in->mode, &attr);
    return rc < 0 ? rc : fuse_give_entry(call, &attr);
}

int fuse_do_unlink(struct fuse_call *call)
{
    fuse_tag(call);
    return ops_unlink(call->door->ops, fuse_call_ino(call), call->msg.name[0]);
}

int fuse_do_rmdir(struct fuse_call *call)
{
    fuse_tag(call);
    return ops_rmdir(call->door->ops, fuse_call_ino(call), call->msg.name[0]);
}

static int do_rename(struct fuse_call *call, uint64_t newdir, uint32_t flags)
{
    struct ops_caller caller = fuse_caller(call, 0);
    uint32_t from = fuse_call_ino(call), to = fuse_ino(call->door, newdir);
    fuse_tag(call);
    return ops_rename(call->door->ops, &caller, from, call->msg.name[0], to, call->msg.name[1], flags);
}

int fuse_do_rename(struct fuse_call *call)
{
    const struct fuse_rename_in *in = call->msg.arg;
    return do_rename(call, in->newdir, 0);
}

int fuse_do_rename2(struct fuse_call *call)
{
    const struct fuse_rename2_in *in = call->msg.arg;
    return do_rename(call, in->newdir, in->flags);
}

int fuse_do_link(struct fuse_call *call)
{
    const struct fuse_link_in *in = call->msg.arg;
    struct ops_attr attr;
    fuse_tag(call);
    int rc = ops_link(call->door->ops, fuse_ino(call->door, in->oldnodeid), fuse_call_ino(call), call->msg.name[0], &attr);
    return rc < 0 ? rc : fuse_give_entry(call, &attr);
}

// --- creation with opening ------------------------------------------------------------------------

// What is created while space is low is written past the kernel's cache by whoever created it:
// no notification could reach the kernel before the first write(2) does.
static uint32_t open_flags(const struct fuse_call *call)
{
    const struct fuse_door *door = call->door;
    bool direct = door->gate.low && door->agreed.flags & FUSE_DIRECT_IO_ALLOW_MMAP;
    return direct ? FOPEN_DIRECT_IO : FOPEN_KEEP_CACHE;
}

int fuse_give_created(struct fuse_call *call, const struct ops_attr *attr)
{
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } *out = fuse_out(call, sizeof(*out));
    out->entry = fuse_encode_entry(call->door, attr);
    out->open.open_flags = open_flags(call);
    call->looked_up = attr->ino;
    fuse_gate_note(call, attr);
    return 0;
}

// The name existed after all, and O_TRUNC was meant for it.
static int truncate_existing(struct fuse_call *call, const struct ops_caller *caller, struct ops_attr *attr)
{
    struct ops_setattr set = {.set = OPS_SET_SIZE | OPS_SET_MTIME_NOW};
    uint32_t ino = attr->ino;
    fuse_tag(call);
    int rc = ops_setattr(call->door->ops, caller, ino, &set, attr);
    if (rc < 0)
        ops_forget(call->door->ops, ino, 1);
    return rc;
}

int fuse_do_create(struct fuse_call *call)
{
    const struct fuse_create_in *in = call->msg.arg;
    struct ops_caller caller = fuse_caller(call, in->umask);
    uint32_t flags = in->flags;
    struct ops_attr attr;
    bool created = false;
    fuse_tag(call);
    int rc = ops_create(call->door->ops, &caller, fuse_call_ino(call), call->msg.name[0], (uint16_t)in->mode,
                        flags & O_EXCL, &attr, &created);
    if (rc == 0 && !created && (flags & O_TRUNC) && attr.size)
        rc = truncate_existing(call, &caller, &attr);
    return rc < 0 ? rc : fuse_give_created(call, &attr);
}

int fuse_do_tmpfile(struct fuse_call *call)
{
    const struct fuse_create_in *in = call->msg.arg;
    struct ops_caller caller = fuse_caller(call, in->umask);
    struct ops_attr attr;
    fuse_tag(call);
    int rc = ops_tmpfile(call->door->ops, &caller, fuse_call_ino(call), (uint16_t)in->mode, &attr);
    return rc < 0 ? rc : fuse_give_created(call, &attr);
}

// --- listing ----------------------------------------------------------------------------------------

struct listing {
    struct fuse_call *call;
    uint8_t *at, *end;
    bool with_attrs;
};

static void put_dirent(uint8_t *at, const struct ops_dirent *entry)
{
    struct fuse_dirent *out = (struct fuse_dirent *)at;
    *out = (struct fuse_dirent){
        .ino = entry->ino,
        .off = entry->next_cookie,
        .namelen = (uint32_t)entry->name.len,
        .type = entry->type,
    };
    memcpy(out->name, entry->name.bytes, entry->name.len);
}

static bool emit(void *arg, const struct ops_dirent *entry)
{
    struct listing *list = arg;
    size_t head = list->with_attrs ? sizeof(struct fuse_entry_out) : 0;
    size_t size = FUSE_REC_ALIGN(head + FUSE_NAME_OFFSET + entry->name.len);
    if (size > (size_t)(list->end - list->at))
        return false;
    memset(list->at, 0, size);
    // Without attributes the nodeid stays 0, which tells the kernel that this is only a name. "."
    // and ".." must be that: nobody counts a lookup of them.
    bool dots = name_is(&entry->name, ".") || name_is(&entry->name, "..");
    if (head && entry->attr && !dots) {
        *(struct fuse_entry_out *)list->at = fuse_encode_entry(list->call->door, entry->attr);
        list->call->gated_listing |= fuse_gate_closed(list->call->door, entry->attr);
    }
    put_dirent(list->at + head, entry);
    list->at += size;
    return true;
}

static int list(struct fuse_call *call, bool with_attrs)
{
    struct fuse_read_in in = *(const struct fuse_read_in *)call->msg.arg;   // `data` is written over
    struct listing listing = {
        .call = call,
        .at = call->slot->data,
        .end = call->slot->data + MIN(in.size, FUSE_DATA_MAX),
        .with_attrs = with_attrs,
    };
    int rc = ops_readdir(call->door->ops, fuse_call_ino(call), in.offset, with_attrs, emit, &listing);
    call->out = call->slot->data;
    call->out_len = (size_t)(listing.at - call->slot->data);
    // What was listed before an error is handed out; the next call meets the error by itself.
    return call->out_len ? 0 : rc;
}

int fuse_do_readdir(struct fuse_call *call)
{
    return list(call, false);
}

int fuse_do_readdirplus(struct fuse_call *call)
{
    return list(call, true);
}
