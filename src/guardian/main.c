// SPDX-License-Identifier: MIT
// main.c - drover-guardian: holds what must outlive a server, and sees that there always is one.
//
// Whatever can fail for want of memory or permission is done here, before anything is mounted. When
// it ends, by whatever way, the order is: server gone, disk closed, then the waiting are told.
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include "base/check.h"
#include "base/log.h"
#include "guardian/fuse_mount.h"
#include "guardian/guardian.h"
#include "guardian/relay.h"
#include "guardian/utab.h"

#define RING_ENTRIES 256
#define CACHE_MAX (512ull << 20)            // unless `cache=` says otherwise
#define PAGE_EXTRA_BYTES 36                 // room for what cache/page.h keeps of each page, ...
#define ARENA_EXTRA_BLOCKS 8                // ... and besides; the server checks that it is enough
#define LOG_BYTES_MAX (16u << 20)

static int open_log(struct guardian *g, struct err *err)
{
    control_path(g->opt.mountpoint, ".log", g->log_path);
    struct stat st;
    if (stat(g->log_path, &st) == 0 && st.st_size > LOG_BYTES_MAX) {
        char old[CONTROL_PATH_MAX + 8];
        snprintf(old, sizeof(old), "%s.old", g->log_path);
        rename(g->log_path, old);
    }
    g->log_fd = open(g->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (g->log_fd < 0)
        return err_set(err, errno, "cannot write the log %s: %s", g->log_path, strerror(errno));
    log_open(g->log_fd, "guardian");
    return 0;
}

// Whom the server becomes. Root in a user namespace may have no nobody: then only a warning.
static int choose_user(struct guardian *g, struct err *err)
{
    const char *name = g->opt.user[0] ? g->opt.user : "nobody";
    g->must_drop = g->opt.user[0];
    if (geteuid() != 0)
        return g->must_drop ? err_set(err, EPERM, "option user=%s: only root can choose another user", name) : 0;
    struct passwd *pw = getpwnam(name);
    if (!pw && g->must_drop)
        return err_set(err, ENOENT, "option user=%s: there is no such user", name);
    g->drop_privileges = true;
    g->uid = pw ? pw->pw_uid : 65534;
    g->gid = pw ? pw->pw_gid : 65534;
    return 0;
}

static uint64_t default_cache(void)
{
    struct sysinfo info;
    uint64_t memory = sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : 1ull << 30;
    return MAX(MIN(memory / 8, CACHE_MAX), 32ull << 20);
}

// Where the parts lie.
static struct legacy lay_out_legacy(const struct guardian *g)
{
    uint64_t pages = g->cache_bytes / 4 * 3 / (BLOCK_BYTES + PAGE_EXTRA_BYTES);
    struct legacy l = {
        .magic = LEGACY_MAGIC,
        .version = LEGACY_VERSION,
        .header_bytes = BLOCK_BYTES,
        .records_at = BLOCK_BYTES,
        .plog_bytes = g->opt.plog_bytes,
        .arena_bytes = ROUND_UP(pages * PAGE_EXTRA_BYTES, (uint64_t)BLOCK_BYTES) + (pages + ARENA_EXTRA_BLOCKS) * BLOCK_BYTES,
        .page_count = pages,
    };
    l.plog_at = l.records_at + ROUND_UP((uint64_t)LEGACY_RECORDS * LEGACY_RECORD_BYTES, (uint64_t)BLOCK_BYTES);
    l.arena_at = l.plog_at + ROUND_UP(l.plog_bytes, (uint64_t)BLOCK_BYTES);
    l.bytes = l.arena_at + l.arena_bytes;
    return l;
}

static int make_legacy(struct guardian *g, struct err *err)
{
    g->cache_bytes = g->opt.cache_bytes ? g->opt.cache_bytes : default_cache();
    struct legacy legacy = lay_out_legacy(g);
    g->legacy_fd = memfd_create("drover-legacy", MFD_CLOEXEC);
    if (g->legacy_fd < 0 || ftruncate(g->legacy_fd, (off_t)legacy.bytes) < 0)
        return err_set(err, errno, "cannot make the memory that outlives the server: %s", strerror(errno));
    void *header = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g->legacy_fd, 0);
    if (header == MAP_FAILED)
        return err_set(err, errno, "cannot map the memory that outlives the server: %s", strerror(errno));
    g->legacy = header;
    *g->legacy = legacy;
    return 0;
}

static int open_signals(struct guardian *g, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    g->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return g->signal_fd < 0 ? err_set(err, errno, "cannot receive signals: %s", strerror(errno)) : 0;
}

static int open_control(struct guardian *g, struct err *err)
{
    char dir[CONTROL_DIR_MAX];
    int rc = control_dir_make(dir, err);
    if (rc < 0)
        return rc;
    control_path(g->opt.mountpoint, ".sock", g->socket_path);
    rc = clients_listen(g, err);
    return rc < 0 ? rc : open_log(g, err);
}

static int check_mountpoint(const struct guardian *g, struct err *err)
{
    struct stat st;
    if (stat(g->opt.mountpoint, &st) < 0)
        return err_set(err, errno, "%s: %s", g->opt.mountpoint, strerror(errno));
    return S_ISDIR(st.st_mode) ? 0 : err_set(err, ENOTDIR, "%s is not a directory", g->opt.mountpoint);
}

static int open_disk(struct guardian *g, struct err *err)
{
    struct err why = {0};
    int rc = disk_open(g->opt.disk, g->opt.read_only, &g->disk, &why);
    return rc < 0 ? err_set(err, -rc, "%.200s %s", g->opt.disk, why.text) : 0;
}

static int start_relay(struct guardian *g, struct err *err)
{
    int pid = relay_start(g->fuse_fd, g->opt.mountpoint, &g->relay_fd);
    if (pid < 0)
        return err_set(err, -pid, "cannot start a process: %s", strerror(-pid));
    g->relay_pid = pid;
    return 0;
}

// What outlives a server, made anew.
static int make_all(struct guardian *g, struct err *err)
{
    int rc = check_mountpoint(g, err);
    if (rc == 0)
        rc = open_disk(g, err);
    if (rc == 0)
        rc = open_control(g, err);
    if (rc == 0)
        rc = make_legacy(g, err);
    if (rc == 0)
        rc = g->fuse_fd = fuse_mount_open(err);
    return MIN(rc, 0);
}

// Everything up to the first server. What is open when it fails, exit() closes.
static int start(struct guardian *g, struct err *err)
{
    int rc = g->server_fd = spawn_find_server(g->server_path, err);
    if (rc >= 0)
        rc = choose_user(g, err);
    if (rc == 0)
        rc = open_signals(g, err);
    int adopted = rc < 0 ? rc : fdstore_adopt(g, err);
    if (adopted < 0)
        return adopted;
    // The mount point of a mount without a server must not be looked at: who looks, waits.
    rc = adopted ? open_control(g, err) : make_all(g, err);
    if (rc == 0)
        rc = rt_ring_create(RING_ENTRIES, &g->ring, err);
    if (rc == 0)
        rc = start_relay(g, err);
    if (rc < 0)
        return rc;
    if (adopted)
        log_warn("event=guardian-replaced generations=%u", g->generations);
    rc = spawn_server(g);
    return rc < 0 ? err_set(err, -rc, "cannot start %s: %s", g->server_path, strerror(-rc)) : 0;
}

static int fail(struct guardian *g, const struct err *err)
{
    char line[sizeof(err->text) + 2];
    int len = snprintf(line, sizeof(line), "%s\n", err->text);
    int fd = g->opt.ready_fd >= 0 ? g->opt.ready_fd : STDERR_FILENO;
    if (g->listen_fd >= 0)
        unlink(g->socket_path);
    if (g->log_fd >= 0)
        log_error("event=not-mounted why=\"%s\"", err->text);
    return write(fd, line, (size_t)len) < 0 ? 1 : 1;
}

// Lets go of the disk before anybody is told that it is free.
static void release(struct guardian *g)
{
    succession_end(g);
    if (g->relay_pid > 0)
        kill(g->relay_pid, SIGKILL);
    close(g->relay_fd);
    close(g->fuse_fd);
    close(g->ring.fd);
    disk_close(&g->disk);
    if (g->mounted)
        utab_remove(g->opt.mountpoint);
    clients_end(g);
}

int main(int argc, char **argv)
{
    struct guardian *g = xcalloc(1, sizeof(*g));
    g->listen_fd = g->log_fd = g->relay_fd = -1;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        g->clients[i].fd = -1;

    struct err err = {0};
    umask(022);
    fdstore_open(g);
    int rc = options_parse(&g->opt, argc, argv, &err);
    if (g->opt.ready_fd >= 0)
        fcntl(g->opt.ready_fd, F_SETFD, FD_CLOEXEC);
    if (rc < 0 || start(g, &err) < 0)
        return fail(g, &err);
    // Best effort, for the one process that cannot be replaced.
    if (chdir("/") < 0)
        log_debug("event=chdir-failed errno=%d", errno);
    int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (oom >= 0 && write(oom, "-1000", 5) < 0)
        log_debug("event=oom-score-refused errno=%d", errno);
    if (oom >= 0)
        close(oom);
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    int status = watch_run(g);
    release(g);
    return status;
}
