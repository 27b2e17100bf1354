// SPDX-License-Identifier: MIT
// life.c - the life of a server, as one fibre tells it: mount, serve, unmount.
//
//     fs_mount ─▶ recover_run ─▶ READY ─▶ (GO) ─▶ door open ─▶ SERVING ─▶ (mount is gone) ─▶ fs_unmount ─▶ ENDED
//
// A server that cannot take over says FAILED and exits, so that another may try; and when what its
// predecessors left is to blame, that one is to start from the disk alone. One that has ended says ENDED, clean
// or not, and nobody comes after it.
#include "server/server.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cache/page.h"
#include "fs/fs.h"
#include "ops/ops.h"
#include "recover/recover.h"
#include "server/inject.h"

#define BEAT_NS 500000000ull        // the loop turns at least so often, for the guardian to see
#define HAND_OVER_NS 1000000000ull  // requests that take longer are the successor's
#define ADOPT_PAUSE_NS 1000000ull   // between two pieces of work that nobody waits for

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

// Orphans of a predecessor: before the door is open nobody can say.
static bool is_known(void *arg, uint32_t ino)
{
    struct server *s = arg;
    return !s->door || fuse_door_knows(s->door, ino);
}

// --- mount ------------------------------------------------------------------------------------------

// The disk has told how far it is, and nothing has been written to it yet.
static void on_recovered(void *arg, uint64_t tid)
{
    struct server *s = arg;
    if (s->recovers && plog_redo_begin(&s->plog, tid) < 0)
        s->log_is_damaged = true;
}

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
        .keep_orphans = h->generation > 1 && (s->recovers || !s->legacy->plog_bytes),
        .successor = s->recovers,
        .landed = s->landed,
        .committed_hint = s->recovers ? s->plog.head->committed_tid : 0,
        .recovered = on_recovered,
        .recovered_arg = s,
        .atime = h->atime == HANDOFF_NOATIME ? ATIME_NONE
               : h->atime == HANDOFF_STRICTATIME ? ATIME_STRICT : ATIME_RELATIME,
    };
    int rc = fs_mount(&config, &s->fs, err);
    if (rc < 0) {
        s->fs = NULL;
        return err_set(err, -rc, "cannot be mounted: %s", strerror(-rc));
    }
    if (s->log_is_damaged)
        return err_set(err, EFSCORRUPTED, "the log of the last server is damaged");
    s->ops = ops_open(&(struct ops_config){
        .rt = s->rt,
        .fs = s->fs,
        .plog = s->plog.head ? &s->plog : NULL,
        .is_known = is_known,
        .arg = s,
    });
    return 0;
}

// Closes the state gap: afterwards everything is as the dead server had told applications.
static int recover(struct server *s, struct err *err)
{
    struct legacy *l = s->legacy;
    struct recover_stats stats = {0};
    struct recover_config config = {
        .rt = s->rt,
        .ops = s->ops,
        .log = &s->plog,
        .committed_tid = s->fs->jrn ? jrn_recovered_tid(s->fs->jrn) : 0,
        .progress = (volatile struct recover_progress *)l->recover_progress,
        .applied = legacy_applied,
        .arg = s,
    };
    int rc = recover_run(&config, &stats, err);
    if (rc < 0)
        return rc;
    l->recoveries++;
    l->aim_act += stats.act;
    l->aim_ignore += stats.ignore;
    l->aim_modify += stats.modify;
    l->pages_recovered += stats.pages;
    l->mended += stats.mended + page_pool_mended(s->pages);
    return 0;
}

static int prepare(struct server *s, struct err *err)
{
    int rc = mount(s, err);
    if (rc == 0 && s->recovers)
        rc = recover(s, err);
    if (rc == 0 && !s->fs->read_only)
        fs_start_flusher(s->fs);
    return rc;
}

// What a predecessor had cached becomes ours little by little, where it is not asked for sooner.
static void adopt_rest(void *arg)
{
    struct server *s = arg;
    while (s->living && !s->mount_is_gone && page_pool_adopt_some(s->pages))
        waitq_wait_until(s->rt, &s->beat_wake, rt_now_ns(s->rt) + ADOPT_PAUSE_NS);
}

// --- serve ------------------------------------------------------------------------------------------

// What was applied again is as little durable as before, and what is dirty begins its age anew. Servers that die
// faster than commits and write-back come would otherwise leave a larger gap each time.
static int close_gap(void *arg)
{
    struct server *s = arg;
    int rc = s->fs->read_only ? 0 : fs_commit(s->fs);
    if (rc == 0 && !s->fs->read_only && !s->mount_is_gone)
        rc = fs_write_all(s->fs);
    if (rc < 0)
        log_warn("event=gap-not-closed errno=%d", -rc);
    return rc;
}

static void on_serving(void *arg)
{
    struct server *s = arg;
    guardian_tell_serving(s);
    if (s->recovers) {
        rt_group_go(&s->after, "close-gap", close_gap, s);
        rt_spawn(s->rt, "adopt", adopt_rest, s);
        ops_bury_unknown(s->ops);
    }
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
        .distrusted = s->alone,
        .epoch = s->legacy->epoch,
        .records = (uint8_t *)s->legacy + s->legacy->records_at,
        .record_count = LEGACY_RECORDS,
        .on_request = inject_on_request,
        .poisoned = &s->legacy->poisoned,
        .slot_memory = s->slot_memory,
        .slot_memory_count = s->slot_memory ? WARM_SLOTS : 0,
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
    (void)!rt_group_wait(&s->after);        // what came of it is the volume's to know
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
    s->legacy->ended = 1;           // before our death can be noticed
    guardian_tell(s, LINK_ENDED, rc, text);
    die(s, rc < 0);
}

// --- hand over ------------------------------------------------------------------------------------------

// Its memory goes as it is, like that of any server that dies: the log and the pages are the successor's.
static void hand_over(void *arg)
{
    struct server *s = arg;
    uint64_t until = rt_now_ns(s->rt) + HAND_OVER_NS;
    if (s->door) {
        fuse_door_stop(s->door);
        while (fuse_door_stats(s->door).in_flight > 0 && rt_now_ns(s->rt) < until)
            rt_sleep_until(s->rt, rt_now_ns(s->rt) + 1000000);
    }
    log_info("event=handed-over");
    _exit(0);
}

void life_hand_over(struct server *s)
{
    rt_spawn(s->rt, "hand-over", hand_over, s);
}

// The first server's failure is the user's answer; a later one's is for the next to repair. What has been
// done since the mount is in no transaction that has committed, unless it is right: nothing is written any more.
static void fail(struct server *s, const struct err *err)
{
    char text[sizeof(err->text) + sizeof(s->handoff->disk) + 4];
    snprintf(text, sizeof(text), "%s: %s", s->handoff->disk, err->text);
    if (s->recovers && (err->number == EFSCORRUPTED || err->number == EFSBADCRC))
        legacy_distrust(s, err->text);
    log_error("event=server-failed why=\"%s\"", text);
    guardian_tell(s, s->handoff->generation == 1 ? LINK_ENDED : LINK_FAILED, -err->number, text);
    if (s->handoff->generation > 1)
        _exit(1);
    die(s, 1);
}

static void live(void *arg)
{
    struct server *s = arg;
    struct err err = {0};
    rt_group_init(&s->after, s->rt);
    if (prepare(s, &err) < 0) {
        fail(s, &err);
        return;
    }
    guardian_tell(s, LINK_READY, s->fs->read_only ? LINK_READ_ONLY : 0, DROVER_VERSION);
    if (s->legacy->mounted) {
        s->may_go = true;
        s->kernel_dirty_max = (uint64_t)s->legacy->kernel_dirty_kib << 10;
    }
    wait_for_news(s, &s->may_go);
    if (!s->must_stop && open_door(s, &err) < 0) {
        // As after a crash: the next one starts from the journal.
        log_error("event=server-failed why=\"%s\"", err.text);
        guardian_tell(s, LINK_FAILED, -err.number, err.text);
        _exit(1);
    }
    s->legacy->distrust = 0;        // names, handles and records of before are dealt with (legacy.c)
    wait_for_news(s, &s->mount_is_gone);
    unmount(s);
}

void life_start(struct server *s)
{
    rt_spawn(s->rt, "beat", beat, s);
    rt_spawn(s->rt, "life", live, s);
}
