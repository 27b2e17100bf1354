// SPDX-License-Identifier: MIT
// differential_calls.c - the kinds of calls: each makes one on one side and tells all that came of it.
//
// The text of a call names the drawn numbers that it uses, so that a difference can be read.
#include "differential_make.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

static bool is_regular(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static void tell(struct answer *answer, const char *text)
{
    answer->len = strlen(text);
    memcpy(answer->out, text, answer->len + 1);
}

// A new descriptor takes the place of what was in the slot.
static void keep(const struct call *call, struct side *side, struct answer *answer)
{
    if (answer->ret < 0)
        return;
    int *fd = &side->fds[call->slot[0]];
    if (*fd >= 0)
        close(*fd);
    *fd = (int)answer->ret;
    answer->ret = 0;
}

// --- names ----------------------------------------------------------------------------------------

KIND(open)
{
    MAKE(openat(at(call, side, 0), call->path[0], call->open_flags, call->mode & 07777), "slot %d = openat(%d, \"%s\", %#o, %o)",
         call->slot[0], call->dir_slot[0], call->path[0], call->open_flags, call->mode);
    keep(call, side, answer);
}

KIND(creat)
{
    MAKE(openat(at(call, side, 0), call->path[0], O_CREAT | O_RDWR | O_NONBLOCK, call->mode & 07777), "slot %d = creat(%d, \"%s\", %o)",
         call->slot[0], call->dir_slot[0], call->path[0], call->mode);
    keep(call, side, answer);
}

KIND(tmpfile)
{
    int flags = O_TMPFILE | (call->dice[0] % 5 ? O_RDWR : O_RDONLY) | (call->dice[1] % 4 ? 0 : O_EXCL);
    MAKE(openat(at(call, side, 0), call->path[0], flags, call->mode), "slot %d = tmpfile(%d, \"%s\", %#o, %o)", call->slot[0],
         call->dir_slot[0], call->path[0], flags, call->mode);
    keep(call, side, answer);
}

KIND(close)
{
    int *fd = &side->fds[call->slot[0]];
    MAKE(close(*fd), "close(slot %d)", call->slot[0]);
    *fd = -1;
}

KIND(mkdir)
{
    MAKE(mkdirat(at(call, side, 0), call->path[0], call->mode), "mkdirat(%d, \"%s\", %o)", call->dir_slot[0], call->path[0], call->mode);
}

KIND(rmdir)
{
    MAKE(unlinkat(at(call, side, 0), call->path[0], AT_REMOVEDIR), "rmdir(%d, \"%s\")", call->dir_slot[0], call->path[0]);
}

KIND(unlink)
{
    MAKE(unlinkat(at(call, side, 0), call->path[0], 0), "unlink(%d, \"%s\")", call->dir_slot[0], call->path[0]);
}

KIND(rename)
{
    MAKE(renameat(at(call, side, 0), call->path[0], at(call, side, 1), call->path[1]), "rename(%d, \"%s\", %d, \"%s\")",
         call->dir_slot[0], call->path[0], call->dir_slot[1], call->path[1]);
}

KIND(renameat2)
{
    static const unsigned choices[] = {RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE, RENAME_WHITEOUT, RENAME_WHITEOUT | RENAME_NOREPLACE,
                                       RENAME_NOREPLACE | RENAME_EXCHANGE, RENAME_WHITEOUT | RENAME_EXCHANGE, 0x80};
    unsigned flags = PICK(choices, call->dice[0]);
    MAKE(renameat2(at(call, side, 0), call->path[0], at(call, side, 1), call->path[1], flags), "renameat2(%d, \"%s\", %d, \"%s\", %#x)",
         call->dir_slot[0], call->path[0], call->dir_slot[1], call->path[1], flags);
}

KIND(link)
{
    int flags = call->dice[0] % 4 ? 0 : AT_SYMLINK_FOLLOW;
    MAKE(linkat(at(call, side, 0), call->path[0], at(call, side, 1), call->path[1], flags), "linkat(%d, \"%s\", %d, \"%s\", %#x)",
         call->dir_slot[0], call->path[0], call->dir_slot[1], call->path[1], flags);
}

KIND(link_fd)
{
    MAKE(linkat(fd_of(call, side, 0), "", at(call, side, 1), call->path[1], AT_EMPTY_PATH), "linkat(slot %d, \"\", %d, \"%s\", AT_EMPTY_PATH)",
         call->slot[0], call->dir_slot[1], call->path[1]);
}

KIND(symlink)
{
    static const int lengths[] = {58, 59, 60, 61, 200, 1000, 4095, 4096};
    static char target[4200];
    memset(target, 't', sizeof(target));
    target[call->dice[1] % 3 ? 0 : PICK(lengths, call->dice[2])] = '\0';
    const char *to = call->dice[0] % 6 ? call->path[0] : target;
    MAKE(symlinkat(to, at(call, side, 1), call->path[1]), "symlinkat(\"%s\", %d, \"%s\")", to, call->dir_slot[1], call->path[1]);
}

KIND(readlink)
{
    size_t room = call->dice[0] % 4 ? 4096 : call->dice[1] % 70;
    MAKE(readlinkat(at(call, side, 0), call->path[0], (char *)answer->out, room), "readlinkat(%d, \"%s\", %zu)", call->dir_slot[0], call->path[0], room);
    answer->len = answer->ret > 0 ? (size_t)answer->ret : 0;
}

KIND(mknod)
{
    static const mode_t types[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, 0, S_IFDIR, S_IFLNK};
    mode_t mode = PICK(types, call->dice[0]) | call->mode;
    dev_t dev = call->dice[1] % 5 ? makedev(240 + call->dice[1] % 2, call->dice[2] % 300) : makedev(1000, 70000);
    if (call->dice[1] % 11 == 0 && S_ISCHR(mode))
        dev = 0;
    MAKE(mknodat(at(call, side, 0), call->path[0], mode, dev), "mknodat(%d, \"%s\", %o, %#lx)", call->dir_slot[0], call->path[0], mode, (long)dev);
}

KIND(chdir)
{
    int fd = openat(at(call, side, 0), call->path[0], O_PATH | O_DIRECTORY);
    MAKE(fd < 0 ? -1 : fchdir(fd), "chdir(%d, \"%s\")", call->dir_slot[0], call->path[0]);
    if (fd >= 0 && answer->ret == 0) {
        close(side->cwd);
        side->cwd = fd;
    } else if (fd >= 0) {
        close(fd);
    }
}

KIND(getcwd)
{
    MAKE(syscall(SYS_getcwd, answer->out, 4096), "getcwd()");
    answer->len = answer->ret > 0 ? (size_t)answer->ret : 0;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

// In the order that the directory tells them, in which two volumes with one hash seed agree, but "."
// and "..", which ext4 has among the others.
static long read_names(int fd, char *out, size_t room)
{
    char *names[256];
    size_t count = 0, used = 0;
    DIR *dir = fdopendir(fd);
    if (!dir)
        return -1;
    for (struct dirent *entry; count < COUNT(names) && (entry = readdir(dir));)
        if (!is_dots(entry->d_name) && asprintf(&names[count], "%s:%d ", entry->d_name, entry->d_type) > 0)
            count++;
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(out + used, used < room ? room - used : 0, "%s", names[i]);
        free(names[i]);
    }
    closedir(dir);
    return (long)count;
}

KIND(readdir)
{
    int fd = openat(at(call, side, 0), call->path[0], O_RDONLY | O_DIRECTORY);
    MAKE(fd < 0 ? -1 : read_names(fd, (char *)answer->out, OUT_ROOM), "readdir(%d, \"%s\")", call->dir_slot[0], call->path[0]);
    answer->len = answer->ret > 0 ? strlen((char *)answer->out) : 0;
}

KIND(readdir_fd)
{
    char buffer[4096];
    int fd = fd_of(call, side, 0);
    if (fd >= 0)
        lseek(fd, 0, SEEK_SET);
    MAKE(syscall(SYS_getdents64, fd, buffer, call->dice[0] % 5 ? sizeof(buffer) : call->dice[1] % 30), "getdents64(slot %d, %s)",
         call->slot[0], call->dice[0] % 5 ? "4096" : "few");
    if (answer->ret > 0)
        answer->ret = 1;
}

// --- attributes -----------------------------------------------------------------------------------

KIND(chmod)
{
    MAKE(fchmodat(at(call, side, 0), call->path[0], call->mode, 0), "chmod(%d, \"%s\", %o)", call->dir_slot[0], call->path[0], call->mode);
}

KIND(fchmod)
{
    MAKE(fchmod(fd_of(call, side, 0), call->mode), "fchmod(slot %d, %o)", call->slot[0], call->mode);
}

// To the same owner: clears set-id bits on ext4, of which FUSE says nothing (docs/decisions/0003).
static bool changes_nobody(const struct call *call, struct answer *answer)
{
    bool nobody = call->uid == (uid_t)-1 && call->gid == (gid_t)-1;
    if (nobody)
        MAKE(0, "(no chown)");
    return nobody;
}

KIND(chown)
{
    int flags = call->dice[0] % 2 ? AT_SYMLINK_NOFOLLOW : 0;
    if (changes_nobody(call, answer))
        return;
    MAKE(fchownat(at(call, side, 0), call->path[0], call->uid, call->gid, flags), "chown(%d, \"%s\", %d, %d, %#x)", call->dir_slot[0],
         call->path[0], (int)call->uid, (int)call->gid, flags);
}

KIND(fchown)
{
    if (changes_nobody(call, answer))
        return;
    MAKE(fchown(fd_of(call, side, 0), call->uid, call->gid), "fchown(slot %d, %d, %d)", call->slot[0], (int)call->uid, (int)call->gid);
}

static void draw_times(const struct call *call, struct timespec times[2])
{
    // Not the first and the last second that ext4 can tell, nor beyond: docs/decisions/0003.
    static const long seconds[] = {0, 1, 1000000000, 2147483647, 2147483648, 4294967296, 15032385534, -1, -2147483647};
    for (int i = 0; i < 2; i++) {
        times[i].tv_sec = PICK(seconds, call->dice[i + 1] / 16);
        times[i].tv_nsec = call->dice[i + 1] % 5 == 0 ? UTIME_NOW : call->dice[i + 1] % 5 == 1 ? UTIME_OMIT : 123456789 + i;
    }
    if (call->dice[0] % 50 == 0)
        times[0].tv_nsec = 1000000000;
}

// Times that were set are read back at once, and must be as set to the nanosecond.
static void tell_times(const struct timespec times[2], int fd, const char *path, int flags, struct answer *answer)
{
    struct stat st;
    char text[128] = "";
    if (answer->ret < 0 || fstatat(fd, path, &st, flags) < 0)
        return;
    if (times[0].tv_nsec < 1000000000)
        snprintf(text, sizeof(text), "atime %ld.%09ld ", st.st_atim.tv_sec, st.st_atim.tv_nsec);
    if (times[1].tv_nsec < 1000000000)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "mtime %ld.%09ld", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    tell(answer, text);
}

KIND(utimensat)
{
    struct timespec times[2];
    int flags = call->dice[3] % 2 ? AT_SYMLINK_NOFOLLOW : 0;
    draw_times(call, times);
    MAKE(utimensat(at(call, side, 0), call->path[0], call->dice[3] % 7 ? times : NULL, flags), "utimensat(%d, \"%s\", %s{%ld %ld, %ld %ld}, %#x)",
         call->dir_slot[0], call->path[0], call->dice[3] % 7 ? "" : "not ", times[0].tv_sec, times[0].tv_nsec, times[1].tv_sec, times[1].tv_nsec, flags);
    if (call->dice[3] % 7)
        tell_times(times, at(call, side, 0), call->path[0], flags, answer);
}

KIND(futimens)
{
    struct timespec times[2];
    draw_times(call, times);
    MAKE(futimens(fd_of(call, side, 0), times), "futimens(slot %d, {%ld %ld, %ld %ld})", call->slot[0], times[0].tv_sec,
         times[0].tv_nsec, times[1].tv_sec, times[1].tv_nsec);
    tell_times(times, fd_of(call, side, 0), "", AT_EMPTY_PATH, answer);
}

KIND(access)
{
    int mode = (int)(call->dice[0] % 9), flags = (call->dice[1] % 2 ? AT_EACCESS : 0) | (call->dice[1] % 5 ? 0 : AT_SYMLINK_NOFOLLOW);
    MAKE(syscall(439, at(call, side, 0), call->path[0], mode, flags), "faccessat2(%d, \"%s\", %d, %#x)", call->dir_slot[0], call->path[0], mode, flags);
}

KIND(stat)
{
    int flags = call->dice[0] % 2 ? AT_SYMLINK_NOFOLLOW : 0;
    char told[256];
    MAKE(tell_stat(at(call, side, 0), call->path[0], flags, told, sizeof(told)) ? 0 : -1, "stat(%d, \"%s\", %#x)", call->dir_slot[0], call->path[0], flags);
    tell(answer, told);
}

KIND(statx)
{
    static const unsigned ways[] = {0, AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC};
    unsigned flags = PICK(ways, call->dice[0]) | (call->dice[1] % 2 ? AT_SYMLINK_NOFOLLOW : 0);
    // FUSE keeps no birth time that it might tell without asking.
    unsigned mask = flags & AT_STATX_DONT_SYNC ? STATX_BASIC_STATS : STATX_BASIC_STATS | STATX_BTIME;
    struct statx st;
    char told[512] = "";
    MAKE(statx(at(call, side, 0), call->path[0], flags, mask, &st), "statx(%d, \"%s\", %#x)", call->dir_slot[0], call->path[0], flags);
    if (answer->ret == 0)
        snprintf(told, sizeof(told), "mask=%#x mode=%o nlink=%u uid=%u gid=%u size=%lld", st.stx_mask & mask, comparable_mode(st.stx_mode),
                 st.stx_nlink, st.stx_uid, st.stx_gid, st.stx_size);
    tell(answer, told);
}

KIND(flags)
{
    int flags = 0, fd = fd_of(call, side, 0);
    MAKE(ioctl(fd, FS_IOC_GETFLAGS, &flags), "FS_IOC_GETFLAGS(slot %d)", call->slot[0]);
    if (answer->ret < 0)
        return;
    char told[64];
    snprintf(told, sizeof(told), "%#x", flags);
    tell(answer, told);
    if (call->dice[0] % 2)
        return;
    int wanted = flags ^ (call->dice[1] % 2 ? FS_NODUMP_FL : FS_NOATIME_FL);
    MAKE(ioctl(fd, FS_IOC_SETFLAGS, &wanted), "FS_IOC_SETFLAGS(slot %d, %#x)", call->slot[0], wanted);
}

KIND(statvfs)
{
    struct statvfs st;
    char told[128] = "";
    MAKE(statvfs(call->path[0], &st), "statvfs(\"%s\")", call->path[0]);
    if (answer->ret == 0)
        snprintf(told, sizeof(told), "bsize=%lu frsize=%lu blocks=%lu files=%lu namemax=%lu", st.f_bsize, st.f_frsize, st.f_blocks,
                 st.f_files, st.f_namemax);
    tell(answer, told);
}

// --- content --------------------------------------------------------------------------------------

KIND(truncate)
{
    MAKE(truncate(call->path[0], call->size), "truncate(\"%s\", %lld)", call->path[0], (long long)call->size);
}

KIND(ftruncate)
{
    MAKE(ftruncate(fd_of(call, side, 0), call->size), "ftruncate(slot %d, %lld)", call->slot[0], (long long)call->size);
}

KIND(pread)
{
    MAKE(pread(fd_of(call, side, 0), answer->out, call->len, call->off[0]), "pread(slot %d, %u, %lld)", call->slot[0], call->len, (long long)call->off[0]);
    answer->len = answer->ret > 0 ? (size_t)answer->ret : 0;
}

KIND(read)
{
    if (!is_regular(fd_of(call, side, 0))) {
        MAKE(0, "(no read)");           // the position in a directory counts differently, too
        return;
    }
    MAKE(read(fd_of(call, side, 0), answer->out, call->len), "read(slot %d, %u)", call->slot[0], call->len);
    answer->len = answer->ret > 0 ? (size_t)answer->ret : 0;
}

static uint8_t content[OUT_ROOM];

KIND(pwrite)
{
    fill(content, call->len, call->dice[0]);
    MAKE(pwrite(fd_of(call, side, 0), content, call->len, call->off[0]), "pwrite(slot %d, %u, %lld)", call->slot[0], call->len, (long long)call->off[0]);
}

KIND(write)
{
    struct stat st;
    if (fstat(fd_of(call, side, 0), &st) == 0 && S_ISFIFO(st.st_mode)) {
        MAKE(0, "(no write)");          // FUSE leaves the times of a FIFO alone
        return;
    }
    fill(content, call->len, call->dice[0]);
    MAKE(write(fd_of(call, side, 0), content, call->len), "write(slot %d, %u)", call->slot[0], call->len);
}

static size_t cut(const struct call *call, uint8_t *bytes, struct iovec vec[3])
{
    size_t first = call->len ? call->dice[1] % call->len : 0, second = call->len > first ? call->dice[2] % (call->len - first) : 0;
    vec[0] = (struct iovec){bytes, first};
    vec[1] = (struct iovec){bytes + first, second};
    vec[2] = (struct iovec){bytes + first + second, call->len - first - second};
    return call->len;
}

KIND(writev)
{
    struct iovec vec[3];
    fill(content, call->len, call->dice[0]);
    cut(call, content, vec);
    MAKE(call->dice[3] % 3 ? writev(fd_of(call, side, 0), vec, 3) : pwritev2(fd_of(call, side, 0), vec, 3, call->off[0], call->dice[3] % 2 ? RWF_APPEND : RWF_DSYNC),
         "writev(slot %d, %u, %lld) way %u", call->slot[0], call->len, (long long)call->off[0], call->dice[3] % 6);
}

KIND(readv)
{
    struct iovec vec[3];
    cut(call, answer->out, vec);
    MAKE(preadv(fd_of(call, side, 0), vec, 3, call->off[0]), "preadv(slot %d, %u, %lld)", call->slot[0], call->len, (long long)call->off[0]);
    answer->len = answer->ret > 0 ? (size_t)answer->ret : 0;
}

KIND(lseek)
{
    static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_END, 7};
    int whence = PICK(whences, call->dice[0]);
    struct stat st;
    // Near 16 TiB: docs/decisions/0003. In directories offsets are no numbers to count with.
    if (fstat(fd_of(call, side, 0), &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > 1ll << 43)) {
        MAKE(0, "(no lseek)");
        return;
    }
    MAKE(lseek(fd_of(call, side, 0), call->off[0], whence), "lseek(slot %d, %lld, %d)", call->slot[0], (long long)call->off[0], whence);
}

KIND(seek_data)
{
    int fd = fd_of(call, side, 0), whence = call->dice[0] % 2 ? SEEK_DATA : SEEK_HOLE;
    if (with_unwritten || !is_regular(fd) || fsync(fd) < 0) {
        MAKE(0, "(no seek_data)");
        return;
    }
    MAKE(lseek(fd, call->off[0], whence), "fsync, lseek(slot %d, %lld, %s)", call->slot[0], (long long)call->off[0], whence == SEEK_DATA ? "SEEK_DATA" : "SEEK_HOLE");
}

KIND(blocks)
{
    int fd = fd_of(call, side, 0);
    struct stat st;
    char told[64] = "";
    if (with_unwritten) {
        MAKE(0, "(no blocks)");
        return;
    }
    MAKE(fsync(fd), "fsync, st_blocks(slot %d)", call->slot[0]);
    if (answer->ret == 0 && is_regular(fd) && fstat(fd, &st) == 0)
        snprintf(told, sizeof(told), "blocks=%ld", (long)st.st_blocks);
    tell(answer, told);
}

KIND(sync)
{
    MAKE(call->dice[0] % 2 ? fdatasync(fd_of(call, side, 0)) : syncfs(fd_of(call, side, 0)), "%s(slot %d)", call->dice[0] % 2 ? "fdatasync" : "syncfs", call->slot[0]);
}

// Without COLLAPSE_RANGE and INSERT_RANGE: FUSE does not know them (docs/decisions/0003).
KIND(fallocate)
{
    static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
                                FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_UNSHARE_RANGE, 0x400};
    int mode = PICK(modes, call->dice[0]);
    int64_t off = call->off[0], len = call->dice[1] % 20 ? call->len : call->off[1];
    if (len > 1 << 20 && len < 1ll << 44)
        len = 1 << 20;
    if (!with_unwritten && !(mode & FALLOC_FL_PUNCH_HOLE)) {
        MAKE(0, "(no fallocate)");
        return;
    }
    MAKE(fallocate(fd_of(call, side, 0), mode, off, len), "fallocate(slot %d, %#x, %lld, %lld)", call->slot[0], mode, (long long)off, (long long)len);
}

KIND(copy_range)
{
    loff_t in = call->off[0], out = call->off[1];
    bool own = call->dice[0] % 4 == 0;
    if (out > 1 << 20)
        out = 1 << 20;
    MAKE(copy_file_range(fd_of(call, side, 0), own ? NULL : &in, fd_of(call, side, 1), own ? NULL : &out, call->len, call->dice[1] % 20 ? 0 : 1),
         "copy_file_range(slot %d, %lld, slot %d, %lld, %u)%s", call->slot[0], (long long)in, call->slot[1], (long long)out, call->len, own ? " own offsets" : "");
}

static int map_and_write(const struct call *call, int fd)
{
    struct stat st;
    size_t len = 1 + call->dice[1] % 16000;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return 0;
    off_t off = (off_t)(call->dice[0] % (uint64_t)st.st_size) & ~4095l;
    if ((off_t)len > st.st_size - off)
        len = (size_t)(st.st_size - off);
    uint8_t *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, off);
    if (map == MAP_FAILED)
        return -1;
    fill(map, len, call->dice[2]);
    int rc = call->dice[3] % 2 ? msync(map, len, MS_SYNC) : 0;
    munmap(map, len);
    return rc;
}

KIND(mmap)
{
    MAKE(!with_unwritten ? 0 : map_and_write(call, fd_of(call, side, 0)), "mmap write(slot %d)", call->slot[0]);
}

#define ENTRY(weight, name) {#name, weight, do_##name, false}
const struct kind kinds[] = {
    ENTRY(60, open), ENTRY(40, creat), ENTRY(8, tmpfile), ENTRY(15, close), ENTRY(45, mkdir), ENTRY(20, rmdir), ENTRY(35, unlink),
    ENTRY(35, rename), ENTRY(15, renameat2), ENTRY(30, link), ENTRY(6, link_fd), ENTRY(20, symlink), ENTRY(10, readlink), ENTRY(10, mknod),
    ENTRY(8, chdir), ENTRY(4, getcwd), ENTRY(8, readdir), ENTRY(5, readdir_fd), ENTRY(25, chmod), ENTRY(10, fchmod), ENTRY(15, chown),
    ENTRY(8, fchown), ENTRY(15, utimensat), ENTRY(8, futimens), ENTRY(15, access), ENTRY(10, stat), ENTRY(8, statx), {"flags", 6, do_flags, true},
    ENTRY(3, statvfs), ENTRY(15, truncate), ENTRY(20, ftruncate), ENTRY(20, pread), ENTRY(8, read), ENTRY(40, pwrite), ENTRY(25, write),
    ENTRY(10, writev), ENTRY(8, readv), ENTRY(8, lseek), ENTRY(10, seek_data), ENTRY(8, blocks), ENTRY(3, sync), ENTRY(25, fallocate),
    ENTRY(12, copy_range), ENTRY(15, mmap), ENTRY(35, setxattr), ENTRY(12, getxattr), ENTRY(10, listxattr), {"removexattr", 12, do_removexattr, true},
};
const size_t kind_count = COUNT(kinds);
