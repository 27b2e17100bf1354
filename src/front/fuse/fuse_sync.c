// SPDX-License-Identifier: MIT
// fuse_sync.c - SYNCFS: everything that was written before it is durable when it is answered.
//
// The kernel sends it for sync(2) when it has only begun to write its dirty pages, and for syncfs(2)
// when it has written them, but those which were on their way already and changed meanwhile. So the
// relay is asked to call syncfs(2), for which the kernel sends what is dirty, waits for the answers,
// and then sends another SYNCFS: the relay's own, answered at once. A round may leave pages (of
// requests under way, or when too many are), so it is repeated until two have brought nothing.
#include "front/fuse/internal.h"

#include "base/log.h"

#define QUIET_ROUNDS 2
#define ROUNDS_NS 60000000000ull    // others may write for ever

struct rounds {
    struct fuse_door *door;
    uint64_t seen;                  // kernel_writes when last looked
    uint64_t deadline_ns;
};

// The relay has not answered for a while. It may wait for this very request to be answered: in the
// kernel a change of the mount's options is sent as a sync that shuts out all others.
static bool is_under_way(void *arg)
{
    struct rounds *r = arg;
    bool moves = r->door->kernel_writes_active || r->door->kernel_writes != r->seen;
    r->seen = r->door->kernel_writes;
    return moves && rt_now_ns(r->door->rt) < r->deadline_ns;
}

static int round_once(struct rounds *r)
{
    struct fuse_door *door = r->door;
    fuse_relay_take(door);
    r->seen = door->kernel_writes;
    uint64_t own = door->own_syncs;
    int rc = door->config.sync_kernel(door->config.arg, is_under_way, r);
    fuse_relay_give(door);
    // Something else is mounted over it: what the kernel has sent must do.
    return rc == 0 && door->own_syncs == own ? -ENOENT : rc;
}

void fuse_take_dirty_pages(struct fuse_door *door)
{
    struct rounds r = {.door = door, .deadline_ns = rt_now_ns(door->rt) + ROUNDS_NS};
    uint32_t quiet = 0;
    while (quiet < QUIET_ROUNDS && rt_now_ns(door->rt) < r.deadline_ns && !door->gone) {
        uint64_t before = door->kernel_writes;
        int rc = round_once(&r);
        if (rc < 0) {
            log_warn("event=sync-incomplete errno=%d what=\"pages that the kernel has not sent yet are not part of this sync\"", -rc);
            return;
        }
        quiet = door->kernel_writes == before ? quiet + 1 : 0;
    }
}

int fuse_do_syncfs(struct fuse_call *call)
{
    struct fuse_door *door = call->door;
    if (!door->config.sync_kernel)
        return ops_sync(door->ops);
    if (call->msg.head.pid == door->config.sync_kernel_pid) {
        door->own_syncs++;
        return 0;
    }
    struct fuse_ticket ticket = fuse_call_detach(call);     // WRITEs need slots
    fuse_take_dirty_pages(door);
    fuse_ticket_answer(&ticket, ops_sync(door->ops), NULL, 0);
    return FUSE_ANSWERED;
}
