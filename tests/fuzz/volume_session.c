// SPDX-License-Identifier: MIT
// volume_session.c - see volume_session.h.
#include "volume_session.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"

#define READ_MAX (16u * BLOCK_BYTES)

static uint32_t below(struct session *s, uint32_t limit)
{
    return limit ? (uint32_t)(prng_next(s->chance) % limit) : 0;
}

static void learn_ino(struct session *s, uint32_t ino)
{
    for (uint32_t i = 0; i < s->ino_count; i++)
        if (s->inos[i] == ino)
            return;
    if (s->ino_count < ARRAY_LEN(s->inos))
        s->inos[s->ino_count++] = ino;
}

static void learn_file(struct session *s, uint32_t ino)
{
    if (s->file_count < ARRAY_LEN(s->files))
        s->files[s->file_count++] = ino;
}

static void learn_name(struct session *s, uint32_t parent, struct ops_name name, uint32_t ino)
{
    if (s->name_count == ARRAY_LEN(s->names) || name.len > sizeof(s->names->bytes))
        return;
    struct session_name *to = &s->names[s->name_count++];
    *to = (struct session_name){.parent = parent, .ino = ino, .len = (uint8_t)name.len};
    memcpy(to->bytes, name.bytes, name.len);
}

// --- looking ----------------------------------------------------------------------------------------

// Several calls of readdir, as a door makes them: each takes so many entries.
struct listing {
    struct session *session;
    uint32_t ino, left, total;
    uint64_t cookie;
};

static bool take_entry(void *arg, const struct ops_dirent *entry)
{
    struct listing *list = arg;
    if (list->left == 0)
        return false;
    list->left--;
    list->total++;
    list->cookie = entry->next_cookie;
    // Every directory may fill a share of the table.
    if (list->total <= 40 || below(list->session, 16) == 0)
        learn_name(list->session, list->ino, entry->name, entry->ino);
    return true;
}

static void look_at_names(struct session *s, uint32_t ino)
{
    struct ops *ops = s->world->ops;
    uint32_t first = s->name_count;
    struct listing list = {.session = s, .ino = ino};
    for (uint32_t calls = 0, before; calls < 64; calls++) {
        before = list.total;
        list.left = 100;
        if (ops_readdir(ops, ino, list.cookie, calls % 2, take_entry, &list) < 0 || list.total == before)
            break;
    }
    for (uint32_t i = first; i < s->name_count; i++) {
        struct ops_attr attr;
        if (ops_lookup(ops, ino, (struct ops_name){s->names[i].bytes, s->names[i].len}, &attr) == 0)
            learn_ino(s, attr.ino);
    }
    struct ops_attr parent;
    int rc = ops_lookup(ops, ino, (struct ops_name){"no such name", 12}, &parent);
    rc = ops_lookup_parent(ops, ino, &parent);
    if (rc == 0 && below(s, 2))
        ops_forget(ops, parent.ino, 1);
}

static void look_at_content(struct session *s, uint32_t ino, uint64_t size, void *buf)
{
    struct ops *ops = s->world->ops;
    uint64_t blocks = size / BLOCK_BYTES + 1, off = 0;
    for (uint32_t i = 0; i < 24 && off < size; i++, off += READ_MAX)
        if (ops_read(ops, ino, off, READ_MAX, buf) < 0)
            break;
    for (uint32_t i = 0; i < 4; i++) {
        off = prng_next(s->chance) % blocks * BLOCK_BYTES;
        if (ops_read(ops, ino, off, READ_MAX, buf) < 0)
            break;
    }
    int64_t at = 0;
    for (uint32_t i = 0; i < 32 && at >= 0; i++)
        at = ops_lseek(ops, ino, (uint64_t)at, i % 2 ? SEEK_HOLE : SEEK_DATA);
}

static void look_at_xattrs(struct session *s, uint32_t ino, void *buf)
{
    static const char *const others[] = {"user.none", "system.posix_acl_access", "system.posix_acl_default", "security.capability"};
    struct ops *ops = s->world->ops;
    char names[BLOCK_BYTES];
    ssize_t len = ops_listxattr(ops, ino, names, sizeof(names));
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1)
        if (ops_getxattr(ops, ino, names + at, buf, READ_MAX) < 0)
            break;
    for (uint32_t i = 0; i < ARRAY_LEN(others); i++)
        if (ops_getxattr(ops, ino, others[i], below(s, 2) ? buf : NULL, 0) == -EIO)
            break;
}

static void look_at(struct session *s, uint32_t ino, void *buf)
{
    struct ops_attr attr;
    uint32_t flags, project;
    if (ops_getattr(s->world->ops, ino, &attr) < 0)
        return;
    look_at_xattrs(s, ino, buf);
    if (S_ISDIR(attr.mode)) {
        look_at_names(s, ino);
    } else if (S_ISREG(attr.mode)) {
        learn_file(s, ino);
        look_at_content(s, ino, attr.size, buf);
    } else if (S_ISLNK(attr.mode) && ops_readlink(s->world->ops, ino, buf, READ_MAX) < 0) {
        return;
    }
    if (ops_get_flags(s->world->ops, ino, &flags, &project) < 0)
        return;
}

void session_walk(struct session *s)
{
    void *buf = xblocks(READ_MAX / BLOCK_BYTES);
    struct ops_statfs statfs;
    s->ino_count = s->file_count = s->name_count = 0;
    learn_ino(s, OPS_ROOT);
    for (uint32_t i = 0; i < s->ino_count; i++)
        look_at(s, s->inos[i], buf);
    if (ops_statfs(s->world->ops, &statfs) < 0)
        s->refused++;
    free(buf);
}

// --- changing ---------------------------------------------------------------------------------------

// Half the time one of two favourites: what goes wrong in a file mostly takes several changes of it.
static uint32_t some_ino(struct session *s)
{
    if (below(s, 2))
        return s->favourites[below(s, ARRAY_LEN(s->favourites))];
    return below(s, 24) ? s->inos[below(s, s->ino_count)] : 1 + below(s, 300);
}

static uint32_t some_file(struct session *s)
{
    if (s->file_count == 0 || below(s, 12) == 0)
        return some_ino(s);
    return s->files[below(s, below(s, 2) ? MIN(s->file_count, 2u) : s->file_count)];
}

// Where a name was found is a directory.
static uint32_t some_dir(struct session *s)
{
    return s->name_count && below(s, 12) ? s->names[below(s, s->name_count)].parent : some_ino(s);
}

static struct session_name some_name(struct session *s)
{
    if (s->name_count && below(s, 3))
        return s->names[below(s, s->name_count)];
    struct session_name name = {.parent = some_dir(s)};
    name.len = (uint8_t)(below(s, 6) ? 1 + below(s, 12) : 1 + below(s, 255));
    memset(name.bytes, 'a' + (int)below(s, 26), name.len);
    return name;
}

static uint64_t some_offset(struct session *s)
{
    switch (below(s, 8)) {
    case 0: return prng_next(s->chance) >> below(s, 64);
    case 1: return (uint64_t)below(s, 4096) * BLOCK_BYTES;
    case 2: return below(s, 1u << 30);
    case 3: case 4: case 5: return below(s, 8 * BLOCK_BYTES);        // what most files have
    default: return below(s, 2u << 20);
    }
}

struct change {
    struct session *s;
    struct ops *ops;
    struct ops_caller caller;
    uint32_t ino;
    struct session_name at, to;
    uint64_t off, len;
    uint8_t *bytes;                 // READ_MAX of them
};

static struct ops_name name_of(const struct session_name *name)
{
    return (struct ops_name){name->bytes, name->len};
}

static int made(struct change *c, int rc, const struct ops_attr *attr)
{
    if (rc == 0) {
        learn_ino(c->s, attr->ino);
        if (S_ISREG(attr->mode))
            learn_file(c->s, attr->ino);
        learn_name(c->s, c->at.parent, name_of(&c->at), attr->ino);
        if (below(c->s, 2))
            ops_forget(c->ops, attr->ino, 1);
    }
    return rc;
}

static int change_create(struct change *c)
{
    struct ops_attr attr;
    bool created;
    return made(c, ops_create(c->ops, &c->caller, c->at.parent, name_of(&c->at), 0644, false, &attr, &created), &attr);
}
static int change_mkdir(struct change *c)
{
    struct ops_attr attr;
    return made(c, ops_mkdir(c->ops, &c->caller, c->at.parent, name_of(&c->at), 0755, &attr), &attr);
}
static int change_mknod(struct change *c)
{
    struct ops_attr attr;
    return made(c, ops_mknod(c->ops, &c->caller, c->at.parent, name_of(&c->at), S_IFCHR | 0600, 5, below(c->s, 1000), &attr), &attr);
}
static int change_symlink(struct change *c)
{
    struct ops_attr attr;
    char target[400];
    memset(target, 't', sizeof(target));
    return made(c, ops_symlink(c->ops, &c->caller, c->at.parent, name_of(&c->at), (struct ops_name){target, 1 + below(c->s, 400)}, &attr), &attr);
}
static int change_tmpfile(struct change *c)
{
    struct ops_attr attr;
    int rc = ops_tmpfile(c->ops, &c->caller, c->at.parent, 0600, &attr);
    if (rc == 0 && below(c->s, 2))
        ops_forget(c->ops, attr.ino, 1);
    return rc;
}
static int change_link(struct change *c)
{
    struct ops_attr attr;
    return ops_link(c->ops, c->ino, c->at.parent, name_of(&c->at), &attr);
}
// The kernel looks a name up before it takes it away, and forgets the inode sooner or later.
static int change_unlink(struct change *c)
{
    struct ops_attr attr;
    int rc = below(c->s, 3) ? ops_lookup(c->ops, c->at.parent, name_of(&c->at), &attr) : -ENOENT;
    int gone = ops_unlink(c->ops, c->at.parent, name_of(&c->at));
    if (rc == 0 && below(c->s, 4))
        ops_forget(c->ops, attr.ino, 100);
    return gone;
}
static int change_rmdir(struct change *c)
{
    return ops_rmdir(c->ops, c->at.parent, name_of(&c->at));
}
static int change_rename(struct change *c)
{
    static const uint32_t flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT};
    return ops_rename(c->ops, &c->caller, c->at.parent, name_of(&c->at), c->to.parent, name_of(&c->to), flags[below(c->s, ARRAY_LEN(flags))]);
}
static int change_write(struct change *c)
{
    bool append = below(c->s, 4) == 0;
    memset(c->bytes, SESSION_DATA, READ_MAX);
    return (int)ops_write(c->ops, c->ino, &(struct ops_write){.off = c->off, .bytes = c->bytes, .len = c->len % READ_MAX, .append = append});
}
static int change_read(struct change *c)
{
    return (int)ops_read(c->ops, c->ino, c->off, READ_MAX, c->bytes);
}
static int change_truncate(struct change *c)
{
    struct ops_attr attr;
    return ops_setattr(c->ops, &c->caller, c->ino, &(struct ops_setattr){.set = OPS_SET_SIZE, .size = below(c->s, 3) ? c->off : 0}, &attr);
}
static int change_attr(struct change *c)
{
    struct ops_attr attr;
    return ops_setattr(c->ops, &c->caller, c->ino, &(struct ops_setattr){.set = OPS_SET_MODE | OPS_SET_UID, .mode = below(c->s, 010000), .uid = 7}, &attr);
}
static int change_fallocate(struct change *c)
{
    static const int modes[] = {
        0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE,
        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
    };
    uint32_t which = below(c->s, ARRAY_LEN(modes));
    uint64_t align = which == 4 || which == 5 ? BLOCK_BYTES : 1;
    return ops_fallocate(c->ops, c->ino, modes[which], c->off / align * align, (c->len + BLOCK_BYTES) / align * align);
}
static int change_setxattr(struct change *c)
{
    char name[40];
    uint32_t size = below(c->s, 3) ? below(c->s, 80) : below(c->s, 3500);
    const char *stem = below(c->s, 4) ? "n" : "large";
    snprintf(name, sizeof(name), "user.%s%u", stem, below(c->s, 4));
    memset(c->bytes, 'x', READ_MAX);
    return ops_setxattr(c->ops, c->ino, below(c->s, 8) ? name : "user.small", c->bytes, size, 0, false);
}
static int change_setacl(struct change *c)
{
    static const uint8_t acl[] = {2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
                                  16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 1, 0, 255, 255, 255, 255};
    return ops_setxattr(c->ops, c->ino, below(c->s, 2) ? "system.posix_acl_access" : "system.posix_acl_default", acl, sizeof(acl), 0, false);
}
static int change_removexattr(struct change *c)
{
    static const char *const names[] = {"user.large", "user.small", "user.n0", "user.n1", "security.selinux", "system.posix_acl_access"};
    return ops_removexattr(c->ops, c->ino, names[below(c->s, ARRAY_LEN(names))]);
}
static int change_flags(struct change *c)
{
    uint32_t project = 5, flags = (uint32_t)prng_next(c->s->chance) & 0xffffu & ~0x30u;
    return ops_set_flags(c->ops, c->ino, flags, below(c->s, 2) ? &project : NULL);
}
static int change_fsync(struct change *c)
{
    return ops_fsync(c->ops, c->ino, below(c->s, 2));
}
static int change_sync(struct change *c)
{
    return ops_sync(c->ops);
}
static int change_copy(struct change *c)
{
    uint32_t to = some_file(c->s);
    uint64_t to_off = some_offset(c->s);
    return (int)ops_copy_range(c->ops, c->ino, c->off, to, to_off, c->len);
}
static int change_trim(struct change *c)
{
    uint64_t trimmed;
    return ops_trim(c->ops, c->off, c->len * 64, 0, &trimmed);
}
static int change_listing(struct change *c)
{
    struct listing list = {.session = c->s, .ino = c->at.parent, .left = 50};
    return ops_readdir(c->ops, c->at.parent, 0, true, take_entry, &list);
}
static int change_time(struct change *c)
{
    rt_sleep_until(c->s->world->rt, rt_now_ns(c->s->world->rt) + (uint64_t)below(c->s, 8000) * 1000000u);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(struct change *c);
    uint32_t weight;
    bool of_files;
} changes[] = {
    {"create", change_create, 8}, {"mkdir", change_mkdir, 4}, {"mknod", change_mknod, 1}, {"symlink", change_symlink, 3},
    {"tmpfile", change_tmpfile, 1}, {"link", change_link, 4}, {"unlink", change_unlink, 10}, {"rmdir", change_rmdir, 4},
    {"rename", change_rename, 8}, {"write", change_write, 14, true}, {"read", change_read, 3, true}, {"truncate", change_truncate, 8, true},
    {"attr", change_attr, 2}, {"fallocate", change_fallocate, 10, true}, {"setxattr", change_setxattr, 6}, {"setacl", change_setacl, 2},
    {"removexattr", change_removexattr, 3}, {"flags", change_flags, 2}, {"fsync", change_fsync, 4, true}, {"sync", change_sync, 2},
    {"copy", change_copy, 2, true}, {"trim", change_trim, 1}, {"listing", change_listing, 2}, {"time", change_time, 2},
};

static uint32_t some_change(struct session *s)
{
    uint32_t total = 0, which = 0;
    for (uint32_t i = 0; i < ARRAY_LEN(changes); i++)
        total += changes[i].weight;
    for (uint32_t left = below(s, total); left >= changes[which].weight; which++)
        left -= changes[which].weight;
    return which;
}

void session_change(struct session *s, uint32_t count)
{
    for (uint32_t i = 0; i < ARRAY_LEN(s->favourites); i++) {
        s->favourites[i] = s->inos[below(s, s->ino_count)];
        if (s->file_count > 2) {        // the favourite files stand first
            uint32_t other = i + below(s, s->file_count - i), file = s->files[other];
            s->files[other] = s->files[i];
            s->files[i] = file;
        }
    }
    struct change c = {.s = s, .ops = s->world->ops, .bytes = xblocks(READ_MAX / BLOCK_BYTES)};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t which = some_change(s);
        c.ino = changes[which].of_files ? some_file(s) : some_ino(s);
        c.at = some_name(s);
        c.to = some_name(s);
        c.off = some_offset(s);
        c.len = below(s, 4) ? 1 + below(s, 100000) : prng_next(s->chance) >> below(s, 64);
        if (s->tell)
            fprintf(stderr, "%s ino=%u at=%u/%.*s to=%u/%.*s off=%llu len=%llu\n", changes[which].name, c.ino, c.at.parent, MIN(c.at.len, 16),
                    c.at.bytes, c.to.parent, MIN(c.to.len, 16), c.to.bytes, (unsigned long long)c.off, (unsigned long long)c.len);
        int rc = changes[which].run(&c);
        s->asked++;
        s->refused += rc < 0;
        if (s->tell && rc < 0)
            fprintf(stderr, "  %s: %s\n", changes[which].name, strerror(-rc));
    }
    free(c.bytes);
}
