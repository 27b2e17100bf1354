// SPDX-License-Identifier: MIT
// utab.c - see utab.h. The table and its lock are libmount's: one line a mount, values mangled as in
// /proc/self/mountinfo, the file replaced as a whole under the lock.
#include "guardian/utab.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/log.h"

#define TABLE "/run/mount/utab"
#define TABLE_LOCK TABLE ".lock"
#define TABLE_NEW TABLE ".drover"

static void put_mangled(FILE *file, const char *text)
{
    for (; *text; text++) {
        if (strchr(" \t\n\\", *text))
            fprintf(file, "\\%03o", (unsigned char)*text);
        else
            putc(*text, file);
    }
}

static int lock_table(void)
{
    int fd = open(TABLE_LOCK, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
    // Not for ever: whoever holds it may hang, and the guardian must not.
    for (int i = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (i == 50) {
            close(fd);
            return -1;
        }
        usleep(2000);
    }
    return fd;
}

// Is this line about the mangled target?
static bool is_of(const char *line, const char *target)
{
    const char *at = strstr(line, "TARGET=");
    size_t len = strlen(target);
    return at && strncmp(at + 7, target, len) == 0 && (at[7 + len] == ' ' || at[7 + len] == '\n' || !at[7 + len]);
}

static void copy_without(FILE *out, const char *target)
{
    FILE *old = fopen(TABLE, "re");
    char *line = NULL;
    size_t size = 0;
    while (old && getline(&line, &size, old) > 0)
        if (!is_of(line, target))
            fputs(line, out);
    free(line);
    if (old)
        fclose(old);
}

static char *mangle(const char *text)
{
    char *out = NULL;
    size_t size;
    FILE *file = open_memstream(&out, &size);
    if (!file)
        return NULL;
    put_mangled(file, text);
    fclose(file);
    return out;
}

// disk NULL: only the removal.
static void rewrite(const char *disk, const char *mountpoint)
{
    AUTO_FREE char *target = mangle(mountpoint), *source = disk ? mangle(disk) : NULL;
    FILE *out = target && (source || !disk) ? fopen(TABLE_NEW, "we") : NULL;
    if (!out)
        return;
    copy_without(out, target);
    if (disk)
        fprintf(out, "SRC=%s TARGET=%s ROOT=/ OPTS=uhelper=drover\n", source, target);
    fchmod(fileno(out), 0644);
    if (fclose(out) != 0 || rename(TABLE_NEW, TABLE) < 0)
        log_debug("event=utab-not-written errno=%d", errno);
}

static void update(const char *disk, const char *mountpoint)
{
    if (mkdir("/run/mount", 0755) < 0 && errno != EEXIST)
        return;
    AUTO_FD int lock = lock_table();
    if (lock >= 0)
        rewrite(disk, mountpoint);
}

void utab_add(const char *disk, const char *mountpoint)
{
    update(disk, mountpoint);
}

void utab_remove(const char *mountpoint)
{
    update(NULL, mountpoint);
}
