// SPDX-License-Identifier: MIT
// fuse_gate.c - which files the kernel must ask about before write(2), and what it is told then.
//
// The kernel takes cached writes without a message. Only when it doubts the attributes of a file
// does it ask first, by a GETATTR that carries a file handle; nothing else makes it send one for a
// regular file, and an error in the answer becomes that of write(2). So a file is *gated* by making the kernel
// doubt its attributes: by a notification before the answer, which makes the kernel ignore the
// attributes in it, or where it takes them in any case, right after it.
//
// Gated are immutable files, always; files that are about to become immutable; and all files while
// the volume is low on space (fuse_space.c).
#include "front/fuse/internal.h"

#include <sys/stat.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/log.h"

struct frozen {
    struct list link;
    uint32_t ino;
};

// --- doubt ----------------------------------------------------------------------------------------

void fuse_doubt(struct fuse_door *door, uint32_t ino)
{
    struct fuse_note note = fuse_note_attrs(fuse_nodeid(door, ino));
    if (writev(door->config.fd, &(struct iovec){&note, sizeof(note)}, 1) < 0 && errno != ENOENT && errno != ENODEV)
        log_debug("event=fuse-notify-refused ino=%u errno=%d", ino, errno);
}

void fuse_doubt_elsewhere(struct fuse_door *door, uint32_t ino)
{
    struct fuse_note note = fuse_note_attrs(fuse_nodeid(door, ino));
    if (door->config.post && door->config.post(door->config.arg, &note, sizeof(note)) < 0)
        log_debug("event=fuse-notify-not-posted ino=%u", ino);
}

static void doubt_after_answer(struct fuse_door *door, uint32_t ino, bool orphan)
{
    if (orphan || door->fetching_pages)
        fuse_doubt_elsewhere(door, ino);
    else
        fuse_doubt(door, ino);
}

static bool is_frozen(const struct fuse_gate *gate, uint32_t ino)
{
    LIST_EACH(node, &gate->frozen)
        if (LIST_ENTRY(node, struct frozen, link)->ino == ino)
            return true;
    return false;
}

bool fuse_gate_closed(const struct fuse_door *door, const struct ops_attr *attr)
{
    const struct fuse_gate *gate = &door->gate;
    return S_ISREG(attr->mode) && (gate->low || attr->flags & OPS_FL_IMMUTABLE || is_frozen(gate, attr->ino));
}

void fuse_gate_stale(struct fuse_door *door, uint32_t ino)
{
    if (ino && !htable_find(&door->gate.stale, ino))
        htable_insert(&door->gate.stale, xcalloc(1, sizeof(struct hnode)), ino);
}

void fuse_gate_forget(struct fuse_door *door, uint32_t ino)
{
    struct hnode *node = htable_find(&door->gate.stale, ino);
    if (node)
        htable_remove(&door->gate.stale, node);
    free(node);
}

void fuse_gate_note_known(struct fuse_call *call, const struct ops_attr *attr)
{
    struct fuse_door *door = call->door;
    bool stale = htable_find(&door->gate.stale, attr->ino);
    if (stale)
        fuse_gate_forget(door, attr->ino);
    if (!fuse_gate_closed(door, attr))
        return;
    if (stale)
        fuse_gate_note(call, attr);
    else
        fuse_doubt(door, attr->ino);
}

void fuse_gate_note_found(struct fuse_call *call, const struct ops_attr *attr)
{
    struct fuse_door *door = call->door;
    if (fuse_gate_closed(door, attr) && attr->nlink > 0 && !door->fetching_pages &&
        !htable_find(&door->gate.stale, attr->ino))
        fuse_doubt(door, attr->ino);
    fuse_gate_note(call, attr);
}

void fuse_gate_note(struct fuse_call *call, const struct ops_attr *attr)
{
    if (!fuse_gate_closed(call->door, attr))
        return;
    call->gated = attr->ino;
    call->gated_orphan = attr->nlink == 0;
}

static void doubt_listed(struct fuse_door *door, const uint8_t *at, size_t len)
{
    for (size_t size; len >= FUSE_NAME_OFFSET_DIRENTPLUS; at += size, len -= MIN(size, len)) {
        const struct fuse_direntplus *entry = (const struct fuse_direntplus *)at;
        size = FUSE_DIRENTPLUS_SIZE(entry);
        if (entry->entry_out.nodeid && S_ISREG(entry->entry_out.attr.mode))
            doubt_after_answer(door, fuse_ino(door, entry->entry_out.nodeid), entry->entry_out.attr.nlink == 0);
    }
}

void fuse_gate_answered(struct fuse_call *call)
{
    if (call->gated)
        doubt_after_answer(call->door, call->gated, call->gated_orphan);
    if (call->gated_listing)
        doubt_listed(call->door, call->out, call->out_len);
}

// --- the question ---------------------------------------------------------------------------------

// The slot is given back: what is waited for needs slots.
static int ask_later(struct fuse_call *call, uint32_t ino)
{
    struct fuse_door *door = call->door;
    uint32_t thread = call->msg.head.pid;
    struct ops_attr attr;
    struct fuse_ticket ticket = fuse_call_detach(call);
    while (is_frozen(&door->gate, ino))
        waitq_wait(door->rt, &door->gate.thawed);
    int rc = fuse_space_wait(door, ino, thread);
    if (rc == 0)
        rc = ops_getattr(door->ops, ino, &attr);
    if (rc == 0 && attr.flags & OPS_FL_IMMUTABLE)
        rc = -EPERM;
    struct fuse_attr_out out = {0};
    if (rc == 0) {
        out = fuse_encode_attr(&attr);
        if (door->gate.low)
            fuse_doubt(door, ino);
    }
    fuse_ticket_answer(&ticket, rc, &out, sizeof(out));
    return FUSE_ANSWERED;
}

int fuse_gate_ask(struct fuse_call *call, const struct ops_attr *attr)
{
    struct fuse_door *door = call->door;
    if (is_frozen(&door->gate, attr->ino))
        return ask_later(call, attr->ino);
    if (attr->flags & OPS_FL_IMMUTABLE)
        return -EPERM;
    if (!door->gate.low)
        return 0;
    if (!fuse_space_grant(door, attr->ino, call->msg.head.pid))
        return ask_later(call, attr->ino);
    fuse_doubt(door, attr->ino);
    return 0;
}

// --- files that are about to become immutable -----------------------------------------------------

int fuse_gate_freeze(struct fuse_door *door, uint32_t ino, int (*change)(void *arg), void *arg)
{
    struct fuse_gate *gate = &door->gate;
    struct frozen frozen = {.ino = ino};
    list_push_back(&gate->frozen, &frozen.link);
    fuse_doubt(door, ino);
    int rc = fuse_flush_kernel_pages(door, fuse_nodeid(door, ino), 0);
    if (rc == 0 || rc == -ENOENT)
        rc = change(arg);
    fuse_doubt(door, ino);
    list_remove(&frozen.link);
    waitq_wake_all(door->rt, &gate->thawed);
    return rc;
}

// --- begin and end --------------------------------------------------------------------------------

void fuse_gate_init(struct fuse_door *door)
{
    struct fuse_gate *gate = &door->gate;
    htable_init(&gate->stale);
    list_init(&gate->frozen);
    waitq_init(&gate->thawed);
    fuse_space_init(door);
}

void fuse_gate_fini(struct fuse_door *door)
{
    fuse_space_fini(door);
    HTABLE_EACH(node, &door->gate.stale) {
        htable_remove(&door->gate.stale, node);
        free(node);
    }
    htable_fini(&door->gate.stale);
}
