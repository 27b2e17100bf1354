// SPDX-License-Identifier: MIT
// fill.c - fills a volume with write(2) until ENOSPC, and later says whether everything is there.
//
//   fill write DIR PROCESSES BYTES FILE_BYTES    one line per file on standard output: name and size
//   fill verify DIR < those lines
//   fill immutable FILE                          write(2) on descriptors from before and after chattr +i
//
// Fails when anything but write(2) reports a lack of space, or anything reports another error.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/fs.h>

static _Noreturn void fail(const char *what, const char *name)
{
    fprintf(stderr, "%s %s: %s\n", what, name, strerror(errno));
    _exit(1);
}

static uint64_t seed_of(const char *name)
{
    uint64_t seed = 88172645463325252ull;
    for (const char *c = name; *c; c++)
        seed = seed * 31 + (unsigned char)*c;
    return seed;
}

// Every word says which file and where it belongs.
static void pattern(const char *name, uint64_t off, uint64_t *words, size_t bytes)
{
    uint64_t seed = seed_of(name);
    for (size_t i = 0; i < bytes / 8; i++)
        words[i] = seed ^ ((off / 8 + i) * 0x9e3779b97f4a7c15ull);
}

// True when the volume is full.
static bool write_file(const char *dir, const char *name, size_t bytes, uint64_t max)
{
    char path[512];
    uint64_t *buffer = malloc(bytes), off = 0;
    bool full = false;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0 && errno == ENOSPC) {
        free(buffer);
        return true;
    }
    if (fd < 0)
        fail("open", name);
    while (off < max && !full) {
        pattern(name, off, buffer, bytes);
        ssize_t put = write(fd, buffer, bytes);
        if (put < 0 && errno != ENOSPC)
            fail("write", name);
        full = put < 0;
        off += put > 0 ? (uint64_t)put : 0;
        off -= off % 8;
        if (put > 0 && put % 8)
            break;
    }
    if (fsync(fd) < 0)
        fail("fsync", name);
    if (close(fd) < 0)
        fail("close", name);
    char line[600];
    int len = snprintf(line, sizeof(line), "%s %" PRIu64 "\n", name, off);
    if (write(STDOUT_FILENO, line, (size_t)len) != len)
        fail("write", "standard output");
    free(buffer);
    return full;
}

static void write_all(const char *dir, int process, size_t bytes, uint64_t max)
{
    char name[64];
    for (int i = 0;; i++) {
        snprintf(name, sizeof(name), "fill-%d-%d", process, i);
        if (write_file(dir, name, bytes, max))
            _exit(0);
    }
}

static int fill(const char *dir, int processes, size_t bytes, uint64_t max)
{
    int failed = 0, status;
    for (int p = 0; p < processes; p++)
        if (fork() == 0)
            write_all(dir, p, bytes, max);
    while (wait(&status) > 0)
        failed |= status != 0;
    return failed;
}

static void verify_file(const char *dir, const char *name, uint64_t size)
{
    static uint64_t want[8192], got[8192];
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        fail("open", name);
    for (uint64_t off = 0; off < size;) {
        size_t bytes = size - off < sizeof(want) ? (size_t)(size - off) : sizeof(want);
        ssize_t len = read(fd, got, bytes);
        pattern(name, off, want, bytes);
        if (len != (ssize_t)bytes || memcmp(want, got, bytes) != 0) {
            fprintf(stderr, "%s: wrong at %" PRIu64 " of %" PRIu64 " (read %zd)\n", name, off, size, len);
            _exit(1);
        }
        off += bytes;
    }
    close(fd);
}

static int verify(const char *dir)
{
    char name[64];
    uint64_t size;
    int count = 0;
    while (scanf("%63s %" SCNu64, name, &size) == 2) {
        verify_file(dir, name, size);
        count++;
    }
    return count == 0;
}

static void set_immutable(int fd, bool on)
{
    int flags;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        fail("ioctl", "get flags");
    flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
    if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
        fail("ioctl", "set flags");
}

static bool refused(int fd)
{
    char byte;
    // Reading at the end is no writing.
    if (lseek(fd, 0, SEEK_END) < 0 || read(fd, &byte, 1) != 0)
        return false;
    return write(fd, "x", 1) < 0 && errno == EPERM;
}

static int immutable(const char *path)
{
    int before = open(path, O_RDWR | O_CREAT, 0644);
    if (before < 0 || write(before, "kept", 4) != 4)
        fail("write", path);
    set_immutable(before, true);
    bool ok = refused(before) && refused(before);
    int after = open(path, O_RDWR);             // ext4 would refuse this
    ok = ok && (after < 0 || (refused(after) && refused(after)));
    ok = ok && fsync(before) == 0 && refused(before);
    set_immutable(before, false);
    ok = ok && pwrite(before, "x", 1, 4) == 1 && fsync(before) == 0 && lseek(before, 0, SEEK_END) == 5;
    return !(ok && close(before) == 0 && (after < 0 || close(after) == 0));
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "write") == 0)
        return fill(argv[2], atoi(argv[3]), (size_t)atol(argv[4]), strtoull(argv[5], NULL, 0));
    if (argc == 3 && strcmp(argv[1], "verify") == 0)
        return verify(argv[2]);
    if (argc == 3 && strcmp(argv[1], "immutable") == 0)
        return immutable(argv[2]);
    fprintf(stderr, "usage: fill write DIR PROCESSES BYTES FILE_BYTES | verify DIR | immutable FILE\n");
    return 2;
}
