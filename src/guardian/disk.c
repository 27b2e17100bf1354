// SPDX-License-Identifier: MIT
// disk.c - see disk.h.
//
// Three locks, for three kinds of others: O_EXCL keeps the kernel's filesystems and raid off a block
// device, an open-file-description lock keeps drovers from each other, and a look at loop devices finds mounts
// of files, which no lock would tell.
//
// A fourth is for ourselves. Rings cannot be passed on over a socket, so a guardian's successor cannot see what
// is under way in its predecessor's. But a request under way holds the open file that it works on, and a
// flock() ends with the last of these: so who gets that lock knows that nothing is under way any more.
#include "guardian/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "guardian/sys_mount.h"

// Is a filesystem of the kernel on this device? Fills in where.
static bool device_is_mounted(dev_t device, char where[PATH_MAX])
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    bool found = false;
    char *line = NULL;
    size_t size = 0;
    while (file && !found && getline(&line, &size, file) > 0) {
        unsigned major, minor;
        found = sscanf(line, "%*u %*u %u:%u %*s %4095s", &major, &minor, where) == 3 &&
                makedev(major, minor) == device;
    }
    free(line);
    if (file)
        fclose(file);
    return found;
}

// Is this loop device (a name in /sys/block) over the file `st`?
static bool loop_is_over(const char *loop, const struct stat *st)
{
    char path[PATH_MAX], backing[PATH_MAX];
    snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", loop);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char *got = fgets(backing, sizeof(backing), file);
    fclose(file);
    if (!got)
        return false;
    backing[strcspn(backing, "\n")] = 0;
    struct stat other;
    return stat(backing, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

static int refuse_loop(const struct stat *st, struct err *err)
{
    DIR *dir = opendir("/sys/block");
    if (!dir)
        return 0;
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir));)
        if (strncmp(entry->d_name, "loop", 4) == 0 && loop_is_over(entry->d_name, st))
            rc = err_set(err, EBUSY, "is the file behind /dev/%s (losetup -d /dev/%s first)", entry->d_name, entry->d_name);
    closedir(dir);
    return rc;
}

static int measure(int fd, const struct stat *st, struct disk *out, struct err *err)
{
    uint64_t bytes = (uint64_t)st->st_size;
    if (out->is_block_device && ioctl(fd, BLKGETSIZE64, &bytes) < 0)
        return err_set(err, errno, "its size cannot be asked for: %s", strerror(errno));
    out->block_count = bytes / BLOCK_BYTES;
    if (out->block_count == 0)
        return err_set(err, EINVAL, "is empty (drover mkfs makes a volume)");
    return 0;
}

static int open_claim(const char *path, bool read_only, struct disk *out, struct err *err)
{
    int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | (out->is_block_device ? O_EXCL : 0);
    struct flock lock = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    out->claim_fd = open(path, flags);
    if (out->claim_fd < 0 && errno == EBUSY)
        return err_set(err, EBUSY, "is in use by the kernel or another program");
    if (out->claim_fd < 0)
        return err_set(err, errno, "cannot be opened: %s%s", strerror(errno),
                       errno == EROFS || errno == EACCES ? " (mount with -o ro, or as root)" : "");
    if (fcntl(out->claim_fd, F_OFD_SETLK, &lock) < 0)
        return err_set(err, EBUSY, "is in use by another drover (drover status lists them)");
    return 0;
}

static int open_for_io(const char *path, bool read_only, struct disk *out, struct err *err)
{
    int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | (out->is_block_device ? O_DIRECT : 0);
    out->fd = open(path, flags);
    return out->fd < 0 ? err_set(err, errno, "cannot be opened for I/O: %s", strerror(errno)) : 0;
}

int disk_open(const char *path, bool read_only, struct disk *out, struct err *err)
{
    *out = (struct disk){.fd = -1, .claim_fd = -1};
    struct stat st;
    char where[PATH_MAX];
    if (stat(path, &st) < 0)
        return err_set(err, errno, "%s", strerror(errno));
    if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
        return err_set(err, ENOTBLK, "is neither a block device nor a file");
    out->is_block_device = S_ISBLK(st.st_mode);
    if (out->is_block_device && device_is_mounted(st.st_rdev, where))
        return err_set(err, EBUSY, "is mounted on %s (unmount it first)", where);

    int rc = out->is_block_device ? 0 : refuse_loop(&st, err);
    if (rc == 0)
        rc = open_claim(path, read_only, out, err);
    if (rc == 0)
        rc = open_for_io(path, read_only, out, err);
    if (rc == 0 && flock(out->fd, LOCK_EX | LOCK_NB) < 0)
        rc = err_set(err, EBUSY, "is in use by another drover (drover status lists them)");
    if (rc == 0)
        rc = measure(out->fd, &st, out, err);
    if (rc < 0)
        disk_close(out);
    return rc;
}

int disk_adopt(const char *path, bool read_only, struct disk *disk, struct err *err)
{
    struct stat now, then;
    disk->fd = -1;
    int rc = open_for_io(path, read_only, disk, err);
    if (rc < 0)
        return rc;
    if (fstat(disk->fd, &now) < 0 || fstat(disk->claim_fd, &then) < 0 || now.st_dev != then.st_dev ||
        now.st_ino != then.st_ino || now.st_rdev != then.st_rdev)
        return err_set(err, ESTALE, "is another disk than before");
    while (flock(disk->fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_set(err, errno, "cannot be locked: %s", strerror(errno));
    return 0;
}

void disk_close(struct disk *disk)
{
    if (disk->fd >= 0)
        close(disk->fd);
    if (disk->claim_fd >= 0)
        close(disk->claim_fd);
    disk->fd = disk->claim_fd = -1;
}
