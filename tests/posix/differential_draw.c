// SPDX-License-Identifier: MIT
// differential_draw.c - what is drawn for a call: few names, so that calls meet; strange ones now and then.
#include "differential.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static const struct user users[] = {
    {.uid = 0, .gid = 0},
    {.uid = 1000, .gid = 1000, .group_count = 1, .groups = {1001}},
    {.uid = 1001, .gid = 1001},
    {.uid = 1002, .gid = 1000, .group_count = 2, .groups = {1002, 0}},
};

static bool chance(uint32_t of)
{
    return draw(of) == 0;
}

static void append(char *path, const char *text)
{
    size_t len = strlen(path);
    snprintf(path + len, PATH_ROOM - len, "%s", text);
}

static void append_name(char *path)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    char longest[300];
    if (!chance(40)) {
        append(path, names[draw(COUNT(names))]);
        return;
    }
    memset(longest, 'n', sizeof(longest));
    longest[chance(3) ? 256 : 255] = '\0';
    longest[0] = (char)('n' + draw(3));
    append(path, longest);
}

static void draw_path(char *path)
{
    static const char *const odd[] = {"", "/", ".", "..", "a/..", "b/.", "/a/", "./", "../a", "//b", "a//b", "/../c"};
    path[0] = '\0';
    if (chance(25)) {
        append(path, odd[draw(COUNT(odd))]);
        return;
    }
    if (chance(300)) {
        memset(path, '/', 4200);
        path[draw(2) ? 4096 : 4094] = '\0';
        append(path, "a");
        return;
    }
    if (chance(6))
        append(path, "/");
    for (uint32_t depth = draw(5) < 3 ? 1 : 1 + draw(3); depth; depth--) {
        append_name(path);
        if (depth > 1)
            append(path, chance(20) ? "/../" : chance(20) ? "/./" : "/");
    }
    if (chance(20))
        append(path, chance(3) ? "/." : "/");
}

static mode_t draw_mode(void)
{
    static const mode_t modes[] = {0777, 0755, 0644, 0600, 0700, 01777, 02775, 04755, 06777, 02745, 0, 0070, 0007, 02770, 0666};
    mode_t mode = chance(5) ? draw(010000) : modes[draw(COUNT(modes))];
    return comparable_mode(S_IFREG | mode) & 07777;
}

static int draw_open_flags(void)
{
    static const int more[] = {O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_EXCL, O_NOATIME, O_PATH, O_SYNC, O_DSYNC, O_CLOEXEC};
    static const int ways[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR};
    int flags = ways[draw(COUNT(ways))] | (draw(2) ? O_CREAT : 0);
    for (uint32_t i = draw(3); i; i--)
        flags |= more[draw(COUNT(more))];
    return flags | O_NONBLOCK;
}

// Nothing near 16 TiB: a write beyond, into the kernel's cache, is refused too late (docs/decisions/0003).
static int64_t draw_offset(void)
{
    static const int64_t far[] = {-1, INT64_MIN, 1ll << 32, (1ll << 31) - 1, 1ll << 40};
    if (chance(40))
        return far[draw(COUNT(far))];
    switch (draw(4)) {
    case 0: return draw(100);
    case 1: return (int64_t)draw(40) * 4096;
    case 2: return (int64_t)draw(40) * 4096 + (int64_t)draw(5) - 2;
    default: return draw(150000);
    }
}

static uint32_t draw_len(void)
{
    switch (draw(5)) {
    case 0: return draw(10);
    case 1: return 4096 * draw(8);
    case 2: return draw(65000);
    default: return draw(5000);
    }
}

static uid_t draw_id(void)
{
    static const uid_t ids[] = {0, 1000, 1001, 1002, (uid_t)-1, (uid_t)-1, 70000};
    return ids[draw(COUNT(ids))];
}

void draw_call(struct call *call)
{
    call->user = &users[chance(2) ? 0 : draw(COUNT(users))];
    call->by_fsuid = chance(3);
    static const mode_t umasks[] = {0, 0, 022, 077, 027};
    call->umask = umasks[draw(COUNT(umasks))];
    for (int i = 0; i < 2; i++) {
        draw_path(call->path[i]);
        call->dir_slot[i] = chance(8) ? (int)draw(SLOTS) : -1;
        call->slot[i] = (int)draw(SLOTS);
        call->off[i] = draw_offset();
    }
    call->mode = draw_mode();
    call->open_flags = draw_open_flags();
    call->uid = draw_id();
    call->gid = draw_id();
    call->size = chance(60) ? (1ll << 44) - draw(4096) : draw_offset();
    call->len = draw_len();
    for (size_t i = 0; i < COUNT(call->dice); i++)
        call->dice[i] = draw(1u << 30);
}
