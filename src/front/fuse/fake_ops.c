// SPDX-License-Identifier: MIT
// fake_ops.c - a volume for fuse_door_test: every file answers, with what it was asked.
//
// Root has one file, "file", inode 12, without end: byte i of it is i modulo 251.
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "front/fuse/fake_ops.h"

struct fake_ops fake;

static struct ops_attr attr_of(uint32_t ino)
{
    return (struct ops_attr){.ino = ino, .generation = 3, .size = 1 << 20, .mode = ino == OPS_ROOT ? S_IFDIR | 0755 : S_IFREG | 0644,
                             .nlink = 1, .btime = {-5, 6}, .flags = ino == OPS_ROOT ? 0 : fake.flags};
}

static int fill(uint32_t ino, struct ops_attr *out)
{
    fake.calls++;
    if (ino == 0)
        return -ESTALE;
    *out = attr_of(ino);
    return 0;
}

static int done(uint32_t ino)
{
    fake.calls++;
    return ino ? 0 : -ESTALE;
}

void ops_tag(struct ops *ops, uint64_t client, uint64_t request, struct ops_answer *answer)
{
    fake.client = client;
    fake.request = request;
    fake.answer = answer;
}

// A change is made: the tag that came just before is taken, and its record completed.
static void changed(uint32_t ino, int64_t result)
{
    fake.changes++;
    if (fake.answer)
        *fake.answer = (struct ops_answer){.seq = fake.changes, .result = result, .ino = ino, .generation = 3};
    fake.answer = NULL;
}

static int change(uint32_t ino)
{
    int rc = done(ino);
    if (rc == 0)
        changed(ino, 0);
    return rc;
}

static int make(uint32_t ino, struct ops_attr *out)
{
    int rc = fill(ino, out);
    if (rc == 0)
        changed(ino, 0);
    return rc;
}

int ops_lookup(struct ops *ops, uint32_t parent, struct ops_name name, struct ops_attr *out)
{
    if (name.len == 4 && memcmp(name.bytes, "file", 4) == 0)
        return fill(12, out);
    return parent ? -ENOENT : -ESTALE;
}
int ops_lookup_ino(struct ops *ops, uint32_t ino, struct ops_attr *out) { return fill(ino, out); }
int ops_lookup_made(struct ops *ops, uint32_t ino, uint32_t generation, struct ops_attr *out)
{
    return generation == 3 ? fill(ino, out) : -ESTALE;
}
int ops_lookup_parent(struct ops *ops, uint32_t ino, struct ops_attr *out) { return fill(OPS_ROOT, out); }
void ops_forget(struct ops *ops, uint32_t ino, uint64_t count) { fake.forgotten += count; }
void ops_each_known_file(struct ops *ops, void (*each)(void *arg, uint32_t ino, bool orphan), void *arg) { each(arg, 12, false); }
int ops_create(struct ops *ops, const struct ops_caller *c, uint32_t p, struct ops_name n, uint16_t m, bool e, struct ops_attr *out, bool *created)
{
    *created = true;
    return make(p ? 13 : 0, out);
}
int ops_tmpfile(struct ops *ops, const struct ops_caller *c, uint32_t p, uint16_t m, struct ops_attr *out) { return make(p, out); }
int ops_mknod(struct ops *ops, const struct ops_caller *c, uint32_t p, struct ops_name n, uint16_t m, uint32_t major, uint32_t minor, struct ops_attr *out)
{
    fake.major = major;
    fake.minor = minor;
    return make(p, out);
}
int ops_mkdir(struct ops *ops, const struct ops_caller *c, uint32_t p, struct ops_name n, uint16_t m, struct ops_attr *out) { return make(p, out); }
int ops_symlink(struct ops *ops, const struct ops_caller *c, uint32_t p, struct ops_name n, struct ops_name t, struct ops_attr *out) { return make(p, out); }
int ops_link(struct ops *ops, uint32_t ino, uint32_t p, struct ops_name n, struct ops_attr *out) { return make(ino, out); }
int ops_unlink(struct ops *ops, uint32_t p, struct ops_name n) { return change(p); }
int ops_rmdir(struct ops *ops, uint32_t p, struct ops_name n) { return n.len == 4 ? -EBADMSG : change(p); }
int ops_rename(struct ops *ops, const struct ops_caller *c, uint32_t f, struct ops_name fn, uint32_t t, struct ops_name tn, uint32_t flags) { return change(t); }
ssize_t ops_readlink(struct ops *ops, uint32_t ino, char *out, size_t size)
{
    memset(out, 'x', size);
    return (ssize_t)size;
}
int ops_readdir(struct ops *ops, uint32_t ino, uint64_t cookie, bool with_attrs, bool (*emit)(void *arg, const struct ops_dirent *entry), void *arg)
{
    for (uint64_t i = cookie; i < 1000000; i++) {
        struct ops_attr attr = attr_of(12);
        const char *name = i == 0 ? "." : i == 1 ? ".." : "file";
        struct ops_dirent entry = {.name = {name, strlen(name)}, .ino = 12, .type = DT_REG, .next_cookie = i + 1, .attr = with_attrs ? &attr : NULL};
        if (!emit(arg, &entry))
            break;
    }
    return ino ? 0 : -ESTALE;
}
int ops_getattr(struct ops *ops, uint32_t ino, struct ops_attr *out) { return fill(ino, out); }
int ops_setattr(struct ops *ops, const struct ops_caller *c, uint32_t ino, const struct ops_setattr *set, struct ops_attr *out)
{
    fake.set = *set;
    return make(ino, out);
}
int ops_statfs(struct ops *ops, struct ops_statfs *out)
{
    *out = (struct ops_statfs){.blocks = 100, .blocks_available = fake.available};
    return 0;
}
ssize_t ops_getxattr(struct ops *ops, uint32_t ino, const char *name, void *out, size_t size)
{
    size_t len = strlen(name);
    if (size >= len)
        memcpy(out, name, len);
    return (ssize_t)len;
}
ssize_t ops_listxattr(struct ops *ops, uint32_t ino, char *out, size_t size)
{
    static const char names[] = "user.a\0trusted.b\0user.c";
    memcpy(out, names, sizeof(names));
    return sizeof(names);
}
int ops_setxattr(struct ops *ops, uint32_t ino, const char *name, const void *value, size_t size, int flags, bool kill_sgid) { return change(ino); }
int ops_removexattr(struct ops *ops, uint32_t ino, const char *name) { return change(ino); }
int ops_get_flags(struct ops *ops, uint32_t ino, uint32_t *flags, uint32_t *project)
{
    *flags = 0x10;
    *project = 7;
    return done(ino);
}
int ops_set_flags(struct ops *ops, uint32_t ino, uint32_t flags, const uint32_t *project) { return change(ino); }
ssize_t ops_read(struct ops *ops, uint32_t ino, uint64_t off, size_t len, void *out)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)((off + i) % 251);
    return (ssize_t)len;
}
ssize_t ops_write(struct ops *ops, uint32_t ino, const struct ops_write *write)
{
    fake.write = *write;
    fake.write_aligned = (uintptr_t)write->bytes % BLOCK_BYTES == 0;
    changed(ino, (int64_t)write->len);
    return (ssize_t)write->len;
}
int ops_fsync(struct ops *ops, uint32_t ino, bool datasync) { return done(ino); }
int ops_sync(struct ops *ops) { return done(1); }
int ops_fallocate(struct ops *ops, uint32_t ino, int mode, uint64_t off, uint64_t len) { return change(ino); }
int64_t ops_lseek(struct ops *ops, uint32_t ino, uint64_t off, int whence) { return (int64_t)off + fake.notified; }
ssize_t ops_copy_range(struct ops *ops, uint32_t f, uint64_t fo, uint32_t t, uint64_t to, uint64_t len)
{
    changed(t, (int64_t)len);
    return (ssize_t)len;
}
int ops_trim(struct ops *ops, uint64_t off, uint64_t len, uint64_t min, uint64_t *trimmed)
{
    *trimmed = len;
    return 0;
}
int ops_shutdown(struct ops *ops, uint32_t how) { return done(1); }
