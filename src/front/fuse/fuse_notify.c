// SPDX-License-Identifier: MIT
// fuse_notify.c - what the door tells the kernel, or asks it, without having been asked.
//
// What may wait in the kernel until this very worker has answered something goes through the relay, one
// at a time; the rest is written here (README, invariant 6).
#include "front/fuse/internal.h"

#include <unistd.h>

#include "base/log.h"

#define SETTLED_NS 200000000ull     // after the take-over everybody who had an answer has run

void fuse_relay_take(struct fuse_door *door)
{
    while (door->notifying)
        waitq_wait(door->rt, &door->notify_turn);
    door->notifying = true;
}

void fuse_relay_give(struct fuse_door *door)
{
    door->notifying = false;
    waitq_wake_one(door->rt, &door->notify_turn);
}

static struct fuse_note inval_note(uint64_t nodeid, int64_t off)
{
    return (struct fuse_note){
        .head = {.len = sizeof(struct fuse_note), .error = FUSE_NOTIFY_INVAL_INODE},
        .body = {.ino = nodeid, .off = off},                // len 0: to the end
    };
}

struct fuse_note fuse_note_pages(uint64_t nodeid, uint64_t off)
{
    return inval_note(nodeid, (int64_t)off);
}

struct fuse_note fuse_note_attrs(uint64_t nodeid)
{
    return inval_note(nodeid, -1);
}

int fuse_flush_kernel_pages(struct fuse_door *door, uint64_t nodeid, uint64_t off)
{
    struct fuse_note note = fuse_note_pages(nodeid, off);
    fuse_relay_take(door);
    door->fetching_pages = true;
    int rc = door->config.notify(door->config.arg, &note, sizeof(note));
    door->fetching_pages = false;
    fuse_relay_give(door);
    return rc;
}

void fuse_forget_kernel_attrs(struct fuse_call *call, uint64_t nodeid)
{
    struct fuse_note note = fuse_note_attrs(nodeid);
    if (write(call->door->config.fd, &note, sizeof(note)) < 0 && errno != ENOENT && errno != ENODEV)
        log_warn("event=fuse-notify-refused errno=%d", errno);
}

static bool ask_kernel(struct fuse_door *door, uint32_t ino)
{
    struct fuse_note note = fuse_note_attrs(fuse_nodeid(door, ino));
    fuse_relay_take(door);
    int rc = door->gone ? 0 : door->config.notify(door->config.arg, &note, sizeof(note));
    fuse_relay_give(door);
    return rc != -ENOENT;
}

// Whoever a predecessor answered last may not have run yet, and the kernel makes its inode only then; and an
// answer that is yet to be sent again may be the first that tells of an inode.
bool fuse_door_knows(struct fuse_door *door, uint32_t ino)
{
    uint64_t settled_ns = door->opened_ns + SETTLED_NS;
    if (!door->config.notify)
        return true;
    door->active++;                 // drained like a request
    bool knows = ask_kernel(door, ino);
    if (!knows && rt_now_ns(door->rt) < settled_ns) {
        rt_sleep_until(door->rt, settled_ns);
        knows = ask_kernel(door, ino);
    }
    knows = knows || fuse_records_made(&door->records, ino);
    fuse_call_over(door);
    return knows;
}
