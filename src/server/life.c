// SPDX-License-Identifier: MIT
// life.c - the life of a server, as one fibre tells it: mount, serve, unmount.
//
//     fs_mount ─▶ READY ─▶ (GO) ─▶ door open ─▶ SERVING ─▶ (mount is gone) ─▶ fs_unmount ─▶ ENDED
//
// A server that cannot take over says FAILED and exits, so that another may try. One that has ended
// says ENDED, clean or not, and nobody comes after it.
#include "server/server.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "fs/fs.h"
#include "ops/ops.h"

#define BEAT_NS 500000000ull        // the loop turns at least so often, for the guardian to see

// --- heartbeat ------------------------------------------------------------------------------------

static void beat(void *arg)
{
    struct server *s = arg;
    while (s->living)
        waitq_wait_until(s->rt, &s->beat_wake, rt_now_ns(s->rt) + BEAT_NS);
}

static void die(struct server *s, int exit_code)
{
    s->exit_code = exit_code;
    s->living = false;
    waitq_wake_all(s->rt, &s->beat_wake);
    rt_stop(s->rt);
}

// --- mount ------------------------------------------------------------------------------------------

static int mount(struct server *s, struct err *err)
{
    const struct handoff *h = s->handoff;
    struct fs_config config = {
        .rt = s->rt,
        .shep = s->shep,
        .bufs = s->bufs,
        .pages = s->pages,
        .read_only = h->read_only,
        .journal_data = h->journal_data,
        .keep_orphans = h->generation > 1,
        .atime = h->atime == HANDOFF_NOATIME ? ATIME_NONE
               : h->atime == HANDOFF_STRICTATIME ? ATIME_STRICT : ATIME_RELATIME,
    };
    int rc = fs_mount(&config, &s->fs, err);
    if (rc < 0) {
        s->fs = NULL;
        return err_set(err, -rc, "cannot be mounted: %s", strerror(-rc));
    }
    s->ops = ops_open(&(struct ops_config){.rt = s->rt, .fs = s->fs});
    if (!s->fs->read_only)
        fs_start_flusher(s->fs);
    return 0;
}

// --- serve ------------------------------------------------------------------------------------------

static void on_serving(void *arg)
{
    guardian_tell(arg, LINK_SERVING, 0, "");
}

static void on_gone(void *arg, int error)
{
    struct server *s = arg;
    s->mount_is_gone = true;
    s->gone_error = error;
    waitq_wake_all(s->rt, &s->news);
}

static int open_door(struct server *s, struct err *err)
{
    static_assert(sizeof(struct fuse_agreed) <= sizeof(s->legacy->fuse_agreed), "the legacy has room for it");
    return fuse_door_create(&(struct fuse_door_config){
        .rt = s->rt,
        .ops = s->ops,
        .fd = s->handoff->fuse_fd,
        .agreed = (volatile struct fuse_agreed *)s->legacy->fuse_agreed,
        .successor = s->handoff->generation > 1,
        .on_serving = on_serving,
        .on_gone = on_gone,
        .notify = s->handoff->relay_fd >= 0 ? relay_notify : NULL,
        .post = s->handoff->relay_fd >= 0 ? relay_post : NULL,
        .kernel_dirty_max = s->fs->read_only ? 0 : s->kernel_dirty_max,
        .sync_kernel = s->handoff->relay_fd >= 0 ? relay_sync : NULL,
        .sync_kernel_pid = (uint32_t)s->handoff->relay_pid,
        .arg = s,
        .received = &s->legacy->received,
        .answered = &s->legacy->answered,
    }, &s->door, err);
}

static void wait_for_news(struct server *s, const bool *flag)
{
    while (!*flag && !s->must_stop && !s->mount_is_gone)
        waitq_wait(s->rt, &s->news);
}

// --- end --------------------------------------------------------------------------------------------

static void unmount(struct server *s)
{
    if (s->door) {
        fuse_door_drain(s->door);
        fuse_door_destroy(s->door);
        s->door = NULL;
    }
    ops_close(s->ops);
    int rc = fs_unmount(s->fs);
    s->fs = NULL;
    s->ops = NULL;
    char text[160];
    if (rc < 0)
        snprintf(text, sizeof(text), "the volume was not closed cleanly: %s (the next mount recovers it; see the log)", strerror(-rc));
    else
        snprintf(text, sizeof(text), "clean");
    if (s->gone_error)
        log_warn("event=cut-off errno=%d what=\"the connection to the kernel was aborted\"", -s->gone_error);
    guardian_tell(s, LINK_ENDED, rc, text);
    die(s, rc < 0);
}

// The first server's failure is the user's answer; a later one's is for the next to repair.
static void fail(struct server *s, const struct err *err)
{
    char text[sizeof(err->text) + sizeof(s->handoff->disk) + 4];
    snprintf(text, sizeof(text), "%s: %s", s->handoff->disk, err->text);
    log_error("event=server-failed why=\"%s\"", text);
    guardian_tell(s, s->handoff->generation == 1 ? LINK_ENDED : LINK_FAILED, -err->number, text);
    die(s, 1);
}

static void live(void *arg)
{
    struct server *s = arg;
    struct err err = {0};
    if (mount(s, &err) < 0) {
        fail(s, &err);
        return;
    }
    guardian_tell(s, LINK_READY, s->fs->read_only ? LINK_READ_ONLY : 0, "");
    wait_for_news(s, &s->may_go);
    if (!s->must_stop && open_door(s, &err) < 0) {
        // As after a crash: the next one starts from the journal.
        log_error("event=server-failed why=\"%s\"", err.text);
        guardian_tell(s, LINK_FAILED, -err.number, err.text);
        _exit(1);
    }
    wait_for_news(s, &s->mount_is_gone);
    unmount(s);
}

void life_start(struct server *s)
{
    rt_spawn(s->rt, "beat", beat, s);
    rt_spawn(s->rt, "life", live, s);
}
