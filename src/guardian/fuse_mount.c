// SPDX-License-Identifier: MIT
// fuse_mount.c - see fuse_mount.h.
#include "guardian/fuse_mount.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/log.h"
#include "guardian/block_mount.h"
#include "guardian/sys_mount.h"
#include "guardian/utab.h"

#define READ_AHEAD_KB "1024"
#define DIRTY_MIN (4u << 20)        // bytes that the kernel may hold dirty for a small volume ...
#define DIRTY_MAX (64u << 20)       // ... and for a large one

int fuse_mount_open(struct err *err)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        return fd;
    return err_set(err, errno, "/dev/fuse cannot be opened: %s (%s)", strerror(errno),
                   errno == ENOENT || errno == ENODEV ? "modprobe fuse" : "run as root");
}

// The mount's device number as "0:53", from mountinfo: asking the mount itself would wait for the server.
static bool find_device(const char *mountpoint, char out[32])
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, where[PATH_MAX], device[32];
    size_t size = 0;
    bool found = false;
    while (file && getline(&line, &size, file) > 0) {
        // The last line of that name is the topmost mount. Blanks in names are written as \040.
        if (sscanf(line, "%*u %*u %31s %*s %4095s", device, where) == 2 && strcmp(where, mountpoint) == 0) {
            strcpy(out, device);
            found = true;
        }
    }
    free(line);
    if (file)
        fclose(file);
    return found;
}

static bool put_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool put = write(fd, text, strlen(text)) >= 0;
    if (!put)
        log_debug("event=tuning-refused path=%s errno=%d", path, errno);
    close(fd);
    return put;
}

static uint64_t one_percent_of_memory(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit / 100 : DIRTY_MAX;
}

// The kernel is careful with FUSE daemons, which may never answer: little read-ahead, and at most
// one percent of memory dirty. This one is brought back when it dies; its limit is what the server
// can keep free for what the kernel has taken and not yet written (front/fuse/fuse_gate.c).
// Returns that limit.
static uint64_t tune(const char *mountpoint, const char *suffix, uint64_t volume_bytes)
{
    char device[32], path[128], text[32];
    uint64_t dirty = MAX(MIN(volume_bytes / 32, (uint64_t)DIRTY_MAX), (uint64_t)DIRTY_MIN);
    if (!find_device(mountpoint, device))
        return one_percent_of_memory();
    snprintf(path, sizeof(path), "/sys/class/bdi/%s%s/read_ahead_kb", device, suffix);
    put_text(path, READ_AHEAD_KB);
    snprintf(path, sizeof(path), "/sys/class/bdi/%s%s/max_bytes", device, suffix);
    snprintf(text, sizeof(text), "%" PRIu64, dirty);
    return put_text(path, text) ? dirty : one_percent_of_memory();
}

static void warn_of_timeout(void)
{
    FILE *file = fopen("/proc/sys/fs/fuse/default_request_timeout", "re");
    unsigned seconds = 0;
    if (file && fscanf(file, "%u", &seconds) == 1 && seconds)
        log_warn("event=fuse-request-timeout seconds=%u what=\"the kernel cuts the mount off when a recovery takes longer\"",
                 seconds);
    if (file)
        fclose(file);
}

// Of type fuse.drover, as the contract says; with -o syncfs of the type that hears of sync(2), where
// that can be had. 0 or a negative errno; *as_block: it is of that type.
static int mount_some_way(const struct options *opt, const char *data, bool *as_block)
{
    *as_block = false;
    if (opt->hear_syncs) {
        char more[192];
        bool spent;
        snprintf(more, sizeof(more), "%s,blksize=%u", data, BLOCK_BYTES);
        int rc = block_mount(opt, more, &spent);
        *as_block = rc == 0;
        if (rc == 0 || spent)
            return rc;
        log_warn("event=sync-not-heard errno=%d what=\"without loop devices the kernel does not pass on sync and syncfs; fsync is exact\"", -rc);
    }
    return mount(opt->disk, opt->mountpoint, "fuse.drover", opt->mount_flags, data) < 0 ? -errno : 0;
}

int fuse_mount(const struct options *opt, int fuse_fd, uint64_t blocks, uint32_t *dirty_kib, struct err *err)
{
    char data[128];
    bool as_block;
    snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions,allow_other",
             fuse_fd, getuid(), getgid());
    warn_of_timeout();
    int rc = mount_some_way(opt, data, &as_block);
    if (rc < 0)
        return err_set(err, -rc, "cannot mount on %s: %s%s", opt->mountpoint, strerror(-rc),
                       rc == -EPERM ? " (run as root)" : "");
    *dirty_kib = (uint32_t)(tune(opt->mountpoint, as_block ? BLOCK_MOUNT_BDI : "", blocks * BLOCK_BYTES) >> 10);
    utab_add(opt->disk, opt->mountpoint);
    return 0;
}

NO_RETURN static void unmount_child(const char *mountpoint, enum fuse_unmount how)
{
    // It may wait for long: not with the disk open, whose lock somebody may wait for.
    for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
        close(fd);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (how == FUSE_UNMOUNT_ABORT)
        _exit(umount2(mountpoint, MNT_FORCE | UMOUNT_NOFOLLOW) < 0 ? errno & 0xff : 0);
    if (umount2(mountpoint, UMOUNT_NOFOLLOW) == 0)
        _exit(0);
    // In use: gone from sight now, and ended when the last user goes.
    _exit(errno == EBUSY && umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ? EBUSY : errno & 0xff);
}

int fuse_unmount_begin(const char *mountpoint, enum fuse_unmount how)
{
    pid_t pid = fork();
    if (pid == 0)
        unmount_child(mountpoint, how);
    return pid < 0 ? -errno : pid;
}
