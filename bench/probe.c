// SPDX-License-Identifier: MIT
// probe.c - what an application notices, and work whose amount is known: for recovery.py and demo.sh.
//
//   probe watch FILE             asks for FILE's attributes all the time, each time from the server. Lines on stdin:
//                                "reset" forgets, "gap" answers "MS OPERATIONS": the longest time between two answers
//   probe gap DIR COUNT [sync]   COUNT changes; prints "COUNT SECONDS". With `sync` each is flushed before the next
//
// Of ten changes, four overwrite 4 KiB, three append 4 KiB (without the kernel's page cache: one request each), two create a
// file, one changes a mode. Nothing of that is flushed unless `sync` says so.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define OVERWRITTEN 256         // blocks
#define A_DIRECTORY 1000        // files in one

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
    exit(1);
}

// --- watching -------------------------------------------------------------------------------------

struct watch {
    uint64_t last, longest, count;
};

// False when nobody is there any more.
static int obey(struct watch *w)
{
    char line[16];
    ssize_t n = read(STDIN_FILENO, line, sizeof(line));
    if (n <= 0)
        return 0;
    if (line[0] == 'g') {
        printf("%.3f %llu\n", (double)w->longest / 1e6, (unsigned long long)w->count);
    } else {
        printf("reset\n");
        *w = (struct watch){0};
    }
    fflush(stdout);
    return 1;
}

static void watch(const char *path)
{
    struct watch w = {0};
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        struct statx st;
        must(statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st) == 0, path);
        uint64_t now = now_ns();
        if (w.last && now - w.last > w.longest)
            w.longest = now - w.last;
        w.last = now;
        w.count++;
        if (poll(&in, 1, 0) > 0 && !obey(&w))
            return;
    }
}

// --- changes ----------------------------------------------------------------------------------------

struct gap {
    int overwritten, appended;
    char *block;
    int sync;
    long files;
};

static void flush(const struct gap *g, int fd)
{
    if (g->sync)
        must(fsync(fd) == 0, "fsync");
}

static void overwrite(struct gap *g, long i)
{
    must(pwrite(g->overwritten, g->block, BLOCK, (off_t)(i * 7 % OVERWRITTEN) * BLOCK) == BLOCK, "overwrite");
    flush(g, g->overwritten);
}

static void append(struct gap *g)
{
    must(write(g->appended, g->block, BLOCK) == BLOCK, "append");
    flush(g, g->appended);
}

static void create(struct gap *g)
{
    char name[48];
    if (g->files % A_DIRECTORY == 0) {
        snprintf(name, sizeof(name), "d%ld", g->files / A_DIRECTORY);
        must(mkdir(name, 0755) == 0, name);
    }
    snprintf(name, sizeof(name), "d%ld/file%ld", g->files / A_DIRECTORY, g->files);
    g->files++;
    int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
    must(fd >= 0, name);
    flush(g, fd);
    close(fd);
}

static void change_mode(struct gap *g, long i)
{
    must(fchmod(g->appended, i / 10 % 2 ? 0600 : 0644) == 0, "chmod");
    flush(g, g->appended);
}

static void change(struct gap *g, long i)
{
    switch (i % 10) {
    case 0: case 3: case 5: case 8: overwrite(g, i); break;
    case 1: case 4: case 7: append(g); break;
    case 2: case 6: create(g); break;
    default: change_mode(g, i);
    }
}

static void gap(const char *dir, long count, int sync)
{
    must(chdir(dir) == 0, dir);
    struct gap g = {.sync = sync, .block = aligned_alloc(BLOCK, BLOCK)};
    memset(g.block, 'g', BLOCK);
    g.overwritten = open("overwritten", O_CREAT | O_RDWR | O_DIRECT, 0644);
    g.appended = open("appended", O_CREAT | O_RDWR | O_DIRECT | O_APPEND, 0644);
    must(g.overwritten >= 0 && g.appended >= 0, "open");
    for (int i = 0; i < OVERWRITTEN; i++)
        must(pwrite(g.overwritten, g.block, BLOCK, (off_t)i * BLOCK) == BLOCK, "prepare");
    must(fsync(g.overwritten) == 0, "fsync");       // from here on the gap is counted
    uint64_t started = now_ns();
    for (long i = 0; i < count; i++)
        change(&g, i);
    printf("%ld %.6f\n", count, (double)(now_ns() - started) / 1e9);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "watch") == 0) {
        watch(argv[2]);
    } else if (argc >= 4 && strcmp(argv[1], "gap") == 0) {
        gap(argv[2], atol(argv[3]), argc > 4 && strcmp(argv[4], "sync") == 0);
    } else {
        fprintf(stderr, "usage: probe watch FILE | probe gap DIR COUNT [sync]\n");
        return 2;
    }
    return 0;
}
