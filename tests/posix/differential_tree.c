// SPDX-License-Identifier: MIT
// differential_tree.c - are two trees the same to everybody who looks? Names, types, attributes, extended
// attributes, targets, contents, and which names are one file.
#include "differential.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { NAMES_MAX = 512, INODES_MAX = 4096, CHUNK = 1 << 16 };

struct pair {
    ino_t ino[2];
};

struct walk {
    int differences;
    struct pair links[INODES_MAX];      // inodes with several names, as they were met on either side
    size_t link_count;
    char path[4096];
};

mode_t comparable_mode(mode_t mode)
{
    return S_ISREG(mode) && (mode & (S_ISGID | S_IXGRP)) == S_ISGID ? mode & ~(mode_t)S_ISGID : mode;
}

size_t tell_stat(int dirfd, const char *path, int at_flags, char *out, size_t room)
{
    struct stat st;
    out[0] = '\0';
    if (fstatat(dirfd, path, &st, at_flags) < 0)
        return 0;
    // ext4 forgets the size of a directory that rmdir() removed, but not of one that rename() replaced.
    if (S_ISDIR(st.st_mode) && st.st_nlink == 0)
        st.st_size = 0;
    return (size_t)snprintf(out, room, "mode=%o nlink=%ju uid=%u gid=%u size=%jd rdev=%x:%x blksize=%ld", comparable_mode(st.st_mode),
                            (uintmax_t)st.st_nlink, st.st_uid, st.st_gid, (intmax_t)st.st_size,
                            major(st.st_rdev), minor(st.st_rdev), (long)st.st_blksize);
}

static void differ(struct walk *walk, const char *what, const char *a, const char *b)
{
    printf("# tree: %s: %s: A [%s] B [%s]\n", walk->path, what, a, b);
    walk->differences++;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list_names(int fd, char **names)
{
    size_t count = 0;
    DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY));
    for (struct dirent *entry; dir && count < NAMES_MAX && (entry = readdir(dir));) {
        char name[300];
        snprintf(name, sizeof(name), "%s", entry->d_name);
        names[count++] = strdup(name);
    }
    if (dir)
        closedir(dir);
    qsort(names, count, sizeof(*names), by_name);
    return count;
}

static void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
}

static void compare_links(struct walk *walk, const struct stat *a, const struct stat *b)
{
    for (size_t i = 0; i < walk->link_count; i++) {
        bool same_a = walk->links[i].ino[0] == a->st_ino, same_b = walk->links[i].ino[1] == b->st_ino;
        if (same_a != same_b)
            differ(walk, "hard links", same_a ? "a second name" : "a first name", same_b ? "a second name" : "a first name");
        if (same_a || same_b)
            return;
    }
    if (walk->link_count < INODES_MAX)
        walk->links[walk->link_count++] = (struct pair){{a->st_ino, b->st_ino}};
}

static bool far_apart(struct timespec a, struct timespec b)
{
    return labs(a.tv_sec - b.tv_sec) > 30;
}

static void compare_stat(struct walk *walk, const int fds[2], const char *name)
{
    char told[2][256];
    struct stat st[2];
    for (int i = 0; i < 2; i++) {
        tell_stat(fds[i], name, AT_SYMLINK_NOFOLLOW, told[i], sizeof(told[i]));
        fstatat(fds[i], name, &st[i], AT_SYMLINK_NOFOLLOW);
    }
    if (strcmp(told[0], told[1]) != 0)
        differ(walk, "stat", told[0], told[1]);
    if (far_apart(st[0].st_mtim, st[1].st_mtim) || far_apart(st[0].st_ctim, st[1].st_ctim) || far_apart(st[0].st_atim, st[1].st_atim))
        differ(walk, "times", "one", "quite another");
    if (!S_ISDIR(st[0].st_mode) && st[0].st_nlink > 1)
        compare_links(walk, &st[0], &st[1]);
}

// Names and values, sorted, as one text.
static void tell_xattrs(int fd, const char *name, char *out, size_t room)
{
    char path[600], list[8192], *names[64];
    size_t count = 0, at = 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", fd, name);
    ssize_t len = llistxattr(path, list, sizeof(list));
    out[0] = '\0';
    if (len < 0) {
        snprintf(out, room, "errno %d", errno);
        return;
    }
    for (char *one = list; one < list + len && count < 64; one += strlen(one) + 1)
        names[count++] = one;
    qsort(names, count, sizeof(*names), by_name);
    for (size_t i = 0; i < count; i++) {
        uint8_t value[8192];
        uint32_t sum = 5381;
        ssize_t got = lgetxattr(path, names[i], value, sizeof(value));
        for (ssize_t b = 0; b < got; b++)
            sum = sum * 33 + value[b];
        at += (size_t)snprintf(out + at, room - at, "%s=%zd/%08x ", names[i], got, sum);
        if (at >= room)
            return;
    }
}

static void compare_xattrs(struct walk *walk, const int fds[2], const char *name)
{
    char told[2][4096];
    for (int i = 0; i < 2; i++)
        tell_xattrs(fds[i], name, told[i], sizeof(told[i]));
    if (strcmp(told[0], told[1]) != 0)
        differ(walk, "xattrs", told[0], told[1]);
}

static void compare_symlinks(struct walk *walk, const int fds[2], const char *name)
{
    char told[2][4097] = {{0}};
    for (int i = 0; i < 2; i++)
        if (readlinkat(fds[i], name, told[i], 4096) < 0)
            snprintf(told[i], sizeof(told[i]), "errno %d", errno);
    if (strcmp(told[0], told[1]) != 0)
        differ(walk, "target", told[0], told[1]);
}

// Sparse files can be huge: of those only what lies before 1 MiB and the last bytes.
static void compare_content(struct walk *walk, const int fds[2], const char *name)
{
    static uint8_t bytes[2][CHUNK];
    int fd[2] = {openat(fds[0], name, O_RDONLY | O_NOFOLLOW), openat(fds[1], name, O_RDONLY | O_NOFOLLOW)};
    struct stat st;
    if (fd[0] >= 0 && fd[1] >= 0 && fstat(fd[0], &st) == 0) {
        int64_t off = 0;
        while (off < st.st_size) {
            ssize_t got[2] = {pread(fd[0], bytes[0], CHUNK, off), pread(fd[1], bytes[1], CHUNK, off)};
            if (got[0] != got[1] || (got[0] > 0 && memcmp(bytes[0], bytes[1], (size_t)got[0]) != 0)) {
                char at[2][64];
                ssize_t bad = 0;
                while (bad < got[0] && bad < got[1] && bytes[0][bad] == bytes[1][bad])
                    bad++;
                for (int i = 0; i < 2; i++)
                    snprintf(at[i], sizeof(at[i]), "read %zd at %" PRId64 ", byte %zd is %02x", got[i], off, bad, bytes[i][bad]);
                differ(walk, "content", at[0], at[1]);
                break;
            }
            off += CHUNK;
            if (off == 1 << 20 && st.st_size > (2 << 20))
                off = st.st_size - CHUNK;
        }
    } else {
        differ(walk, "open", fd[0] < 0 ? "fails" : "succeeds", fd[1] < 0 ? "fails" : "succeeds");
    }
    for (int i = 0; i < 2; i++)
        if (fd[i] >= 0)
            close(fd[i]);
}

static void compare_dirs(struct walk *walk, const int fds[2]);

static void compare_entry(struct walk *walk, const int fds[2], const char *name)
{
    struct stat st[2];
    compare_stat(walk, fds, name);
    compare_xattrs(walk, fds, name);
    if (fstatat(fds[0], name, &st[0], AT_SYMLINK_NOFOLLOW) < 0 || fstatat(fds[1], name, &st[1], AT_SYMLINK_NOFOLLOW) < 0 ||
        (st[0].st_mode & S_IFMT) != (st[1].st_mode & S_IFMT))
        return;
    if (S_ISREG(st[0].st_mode)) {
        compare_content(walk, fds, name);
    } else if (S_ISLNK(st[0].st_mode)) {
        compare_symlinks(walk, fds, name);
    } else if (S_ISDIR(st[0].st_mode)) {
        int below[2] = {openat(fds[0], name, O_PATH | O_DIRECTORY), openat(fds[1], name, O_PATH | O_DIRECTORY)};
        compare_dirs(walk, below);
        close(below[0]);
        close(below[1]);
    }
}

static void compare_dirs(struct walk *walk, const int fds[2])
{
    char **a = calloc(NAMES_MAX, sizeof(*a)), **b = calloc(NAMES_MAX, sizeof(*b));
    size_t count[2] = {list_names(fds[0], a), list_names(fds[1], b)}, i = 0, j = 0, end = strlen(walk->path);
    while (i < count[0] || j < count[1]) {
        int order = i == count[0] ? 1 : j == count[1] ? -1 : strcmp(a[i], b[j]);
        const char *name = order > 0 ? b[j] : a[i];
        snprintf(walk->path + end, sizeof(walk->path) - end, "/%.60s", name);
        if (order != 0)
            differ(walk, "entry", order < 0 ? "has it" : "has it not", order < 0 ? "has it not" : "has it");
        else if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            compare_entry(walk, fds, name);
        i += order <= 0;
        j += order >= 0;
        walk->path[end] = '\0';
    }
    free_names(a, count[0]);
    free_names(b, count[1]);
    free(a);
    free(b);
}

int compare_trees(const struct side *a, const struct side *b)
{
    static struct walk walk;
    const int fds[2] = {a->root, b->root};
    walk.differences = 0;
    walk.link_count = 0;
    walk.path[0] = '\0';
    compare_stat(&walk, fds, ".");
    compare_xattrs(&walk, fds, ".");
    compare_dirs(&walk, fds);
    return walk.differences;
}
