// SPDX-License-Identifier: MIT
// stage_see.c - all that an application can see of a volume, as text, one thing a line.
#include <stdarg.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "stage_internal.h"

static void see(struct machine *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void see(struct machine *m, const char *fmt, ...)
{
    if (m->seen_room - m->seen_len < 2048) {
        m->seen_room = m->seen_room * 2 + 16384;
        m->out->seen = xrealloc(m->out->seen, m->seen_room);
    }
    va_list args;
    va_start(args, fmt);
    m->seen_len += (size_t)vsnprintf(m->out->seen + m->seen_len, 2048, fmt, args);
    va_end(args);
}

static const char *label_of(const struct machine *m, uint32_t ino, uint32_t generation)
{
    static const char *const names[] = {"?", "ROOT", "P", "Q", "F", "G", "D", "E", "N", "W", "Z"};
    if (ino == OPS_ROOT)
        return names[ROOT];
    // The newest that has the number: an older one of the same number is gone.
    for (uint32_t i = LABELS; i-- > P;)
        if (m->objects[i].ino == ino && m->objects[i].generation == generation)
            return names[i];
    return names[0];
}

static void see_xattrs(struct machine *m, uint32_t ino)
{
    char names[1024], value[4096];
    ssize_t len = ops_listxattr(m->world.ops, ino, names, sizeof(names));
    uint32_t sum = 0;
    // In which order they are listed says nothing.
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t size = ops_getxattr(m->world.ops, ino, names + at, value, sizeof(value));
        sum += crc32c(crc32c((uint32_t)size, names + at, strlen(names + at)), value, size > 0 ? (size_t)size : 0);
    }
    see(m, " xattrs %zd %08x", len, sum);
}

#define SEEN_FILE_MAX 262144u
static void see_content(struct machine *m, uint32_t ino, uint64_t size)
{
    uint64_t len = MIN(size + 100, (uint64_t)SEEN_FILE_MAX);
    AUTO_FREE uint8_t *bytes = xblocks(len / BLOCK_BYTES + 1);
    ssize_t got = ops_read(m->world.ops, ino, 0, len, bytes);
    see(m, " content %zd %08x", got, crc32c(~0u, bytes, got > 0 ? (size_t)got : 0));
}

static void see_inode(struct machine *m, const char *how, uint32_t ino, bool has_blocks)
{
    struct ops_attr a = {0};
    char target[512];
    uint32_t flags = 0, project = 0;
    int rc = ops_getattr(m->world.ops, ino, &a);
    if (rc < 0) {
        see(m, "%s: %d\n", how, rc);
        return;
    }
    (void)!ops_get_flags(m->world.ops, ino, &flags, &project);
    see(m, "%s: %s mode %o links %u owner %u:%u size %llu", how, label_of(m, ino, a.generation), a.mode, a.nlink, a.uid, a.gid, (unsigned long long)a.size);
    if (has_blocks)
        see(m, " blocks %llu", (unsigned long long)a.blocks);
    see(m, " dev %u:%u flags %x project %u a %lld.%u m %lld.%u c %lld.%u b %lld.%u", a.rdev_major, a.rdev_minor, flags, project,
        (long long)a.atime.sec, a.atime.nsec, (long long)a.mtime.sec, a.mtime.nsec, (long long)a.ctime.sec, a.ctime.nsec,
        (long long)a.btime.sec, a.btime.nsec);
    see_xattrs(m, ino);
    if (S_ISREG(a.mode))
        see_content(m, ino, a.size);
    if (S_ISLNK(a.mode)) {
        ssize_t len = ops_readlink(m->world.ops, ino, target, sizeof(target));
        see(m, " target %zd %08x", len, crc32c(~0u, target, len > 0 ? (size_t)len : 0));
    }
    see(m, "\n");
}

#define DIR_ENTRIES 32u
struct listing {
    uint32_t count;
    struct {
        char name[64];
        uint32_t ino, type;
        uint64_t cookie;
    } entries[DIR_ENTRIES];
};

static bool list_one(void *arg, const struct ops_dirent *entry)
{
    struct listing *list = arg;
    if (list->count == DIR_ENTRIES)
        return false;
    snprintf(list->entries[list->count].name, sizeof(list->entries[0].name), "%.*s", (int)entry->name.len, entry->name.bytes);
    list->entries[list->count].ino = entry->ino;
    list->entries[list->count].type = entry->type;
    list->entries[list->count++].cookie = entry->next_cookie;
    return true;
}

static void see_tree(struct machine *m, const char *path, uint32_t ino, uint32_t depth)
{
    struct listing list = {0};
    see_inode(m, path, ino, true);
    int rc = ops_readdir(m->world.ops, ino, 0, false, list_one, &list);
    if (rc < 0)
        see(m, "%s: readdir %d\n", path, rc);
    for (uint32_t i = 0; i < list.count; i++) {
        char below[256];
        const char *name = list.entries[i].name;
        struct ops_attr attr;
        snprintf(below, sizeof(below), "%.180s/%s", path, name);
        see(m, "%s: type %u cookie %llx\n", below, list.entries[i].type, (unsigned long long)list.entries[i].cookie);
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lost+found") == 0)
            continue;
        rc = ops_lookup(m->world.ops, ino, name_of(name), &attr);
        if (rc < 0 || attr.ino != list.entries[i].ino) {
            see(m, "%s: lookup %d, another inode\n", below, rc);
            continue;
        }
        if (S_ISDIR(attr.mode) && depth < 8)
            see_tree(m, below, attr.ino, depth + 1);
        else
            see_inode(m, below, attr.ino, true);
        ops_forget(m->world.ops, attr.ino, 1);
    }
}

// What the kernel holds, whether it has a name or not.
static void see_held(struct machine *m)
{
    for (uint32_t i = P; i < LABELS; i++) {
        char how[32];
        snprintf(how, sizeof(how), "held %u", i);
        if (m->objects[i].held)
            see_inode(m, how, m->objects[i].ino, true);
    }
}

void see_all(struct machine *m)
{
    for (uint32_t i = 0; i < m->script->count; i++)
        see(m, "step %u: %lld\n", i, (long long)m->results[i]);
    see_tree(m, "", OPS_ROOT, 0);
    see_held(m);
}

void see_space(struct machine *m)
{
    struct ops_statfs statfs;
    struct ops_attr attr;
    int rc;
    for (uint32_t i = P; i < LABELS; i++) {
        uint64_t count = m->objects[i].held;
        m->objects[i].held = 0;
        if (count)
            ops_forget(m->world.ops, m->objects[i].ino, count);
    }
    for (int i = 0; i < 2; i++) {
        rc = ops_sync(m->world.ops);
        if (rc < 0)
            fail(m, "the last sync", rc);
        rt_sleep_until(m->rt, rt_now_ns(m->rt) + 1000000000);
    }
    // The log is empty but for the operation that looked whether it can be.
    rc = ops_setattr(m->world.ops, &(struct ops_caller){0}, OPS_ROOT, &(struct ops_setattr){.set = OPS_TOUCH}, &attr);
    see(m, "log: %llu slots (%d)\n", (unsigned long long)plog_used(&m->world.plog), rc);
    (void)!ops_statfs(m->world.ops, &statfs);
    see(m, "free: blocks %llu inodes %llu\n", (unsigned long long)statfs.blocks_free, (unsigned long long)statfs.inodes_free);
}
