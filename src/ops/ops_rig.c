// SPDX-License-Identifier: MIT
// ops_rig.c - see ops_rig.h. Only tests link it.
#include "ops/ops_rig.h"

#include <string.h>

#include "base/check.h"
#include "fs/fs.h"
#include "rt/rt.h"

struct mount {
    ops_rig_body *body;
    void *arg;
    bool killed;
};

static void mounted(struct fs_rig *fs_rig, void *arg)
{
    struct mount *mount = arg;
    size_t bytes = plog_bytes(PLOG_SLOTS_MIN);
    void *memory = xblocks(DIV_ROUND_UP(bytes, BLOCK_BYTES));
    struct ops_rig rig = {.fs_rig = fs_rig, .fs = fs_rig->fs, .caller = {.umask = 022}, .arg = mount->arg};

    plog_init(&rig.plog, memory, bytes, &rig.sequence);
    rig.ops = ops_open(&(struct ops_config){.rt = fs_rig->rt, .fs = fs_rig->fs, .plog = &rig.plog});
    mount->body(&rig);
    if (!mount->killed) {
        assert_int_equal(rig.plog.promised, 0);
        ops_close(rig.ops);
    }
    free(memory);
}

void ops_rig_mount(struct fs_rig *fs_rig, ops_rig_body *body, void *arg)
{
    fs_rig_run(fs_rig, mounted, &(struct mount){.body = body, .arg = arg});
}

void ops_rig_mount_killed(struct fs_rig *fs_rig, ops_rig_body *body, void *arg)
{
    fs_rig_run_killed(fs_rig, mounted, &(struct mount){.body = body, .arg = arg, .killed = true});
}

void ops_rig_test(const struct fs_rig_options *options, ops_rig_body *body)
{
    struct fs_rig fs_rig;

    fs_rig_init(&fs_rig, options);
    ops_rig_mount(&fs_rig, body, NULL);
    fs_rig_fsck(&fs_rig);
    fs_rig_fini(&fs_rig);
}

struct ops_name n(const char *name)
{
    return (struct ops_name){.bytes = name, .len = strlen(name)};
}

uint32_t rig_create(struct ops_rig *rig, uint32_t parent, const char *name)
{
    struct ops_attr attr;
    bool created;
    assert_int_equal(ops_create(rig->ops, &rig->caller, parent, n(name), 0644, true, &attr, &created), 0);
    assert_true(created);
    return attr.ino;
}

uint32_t rig_mkdir(struct ops_rig *rig, uint32_t parent, const char *name)
{
    struct ops_attr attr;
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, parent, n(name), 0755, &attr), 0);
    return attr.ino;
}

void rig_forget(struct ops_rig *rig, uint32_t ino)
{
    ops_forget(rig->ops, ino, 1);
}

struct ops_attr rig_attr(struct ops_rig *rig, uint32_t ino)
{
    struct ops_attr attr;
    assert_int_equal(ops_getattr(rig->ops, ino, &attr), 0);
    return attr;
}

int rig_find(struct ops_rig *rig, uint32_t parent, const char *name, uint32_t *ino)
{
    struct ops_attr attr;
    int rc = ops_lookup(rig->ops, parent, n(name), &attr);
    if (rc < 0)
        return rc;
    ops_forget(rig->ops, attr.ino, 1);
    if (ino)
        *ino = attr.ino;
    return 0;
}

void rig_write(struct ops_rig *rig, uint32_t ino, uint64_t off, const char *text)
{
    struct ops_write write = {.off = off, .bytes = text, .len = strlen(text)};
    assert_int_equal(ops_write(rig->ops, ino, &write), strlen(text));
}

void rig_expect_text(struct ops_rig *rig, uint32_t ino, const char *text)
{
    size_t len = strlen(text);
    AUTO_FREE char *got = xblocks(DIV_ROUND_UP(len, BLOCK_BYTES) + 1);
    assert_int_equal(rig_attr(rig, ino).size, len);
    assert_int_equal(ops_read(rig->ops, ino, 0, len + 1, got), len);
    assert_memory_equal(got, text, len);
}

void rig_sleep(struct ops_rig *rig, uint64_t seconds)
{
    rt_sleep_until(rig->fs_rig->rt, rt_now_ns(rig->fs_rig->rt) + seconds * 1000000000ull);
}

int rig_chattr(struct ops_rig *rig, uint32_t ino, uint32_t set, uint32_t clear)
{
    uint32_t flags, project;
    assert_int_equal(ops_get_flags(rig->ops, ino, &flags, &project), 0);
    return ops_set_flags(rig->ops, ino, (flags | set) & ~clear, NULL);
}

int rig_setattr(struct ops_rig *rig, uint32_t ino, struct ops_setattr set)
{
    struct ops_attr attr;
    return ops_setattr(rig->ops, &rig->caller, ino, &set, &attr);
}

uint64_t rig_free_inodes(struct ops_rig *rig)
{
    struct ops_statfs statfs;
    rig_sleep(rig, 1);
    assert_int_equal(ops_statfs(rig->ops, &statfs), 0);
    return statfs.inodes_free;
}
