// SPDX-License-Identifier: MIT
// ops_data_test.c - content: read, write, truncate, fallocate, copy, fsync; and the P-Log beside all of it.
#include "ops/ops_rig.h"

#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "journal/journal.h"
#include "ondisk/inode.h"
#include "rt/rt.h"

static bool same_time(struct ops_time a, struct ops_time b)
{
    return a.sec == b.sec && a.nsec == b.nsec;
}

// "amc": which times differ.
static void expect_moved(struct ops_rig *rig, uint32_t ino, struct ops_attr *before, const char *what)
{
    struct ops_attr after = rig_attr(rig, ino);
    char text[8];
    snprintf(text, sizeof text, "%s%s%s", same_time(before->atime, after.atime) ? "" : "a",
             same_time(before->mtime, after.mtime) ? "" : "m", same_time(before->ctime, after.ctime) ? "" : "c");
    assert_string_equal(text, what);
    *before = after;
    rig_sleep(rig, 2);
}

// --- write --------------------------------------------------------------------------------------------

static void body_write(struct ops_rig *rig)
{
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d");
    struct ops_attr attr = rig_attr(rig, file);
    struct ops_write quiet = {.off = 5, .bytes = "!", .len = 1, .keep_times = true}, none = {0};
    char out[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));

    rig_sleep(rig, 2);
    rig_write(rig, file, 0, "hello");
    expect_moved(rig, file, &attr, "mc");
    assert_int_equal(attr.size, 5);
    assert_int_equal(attr.blocks, 8);           // promised, not yet on the disk
    assert_int_equal(ops_write(rig->ops, file, &quiet), 1);
    expect_moved(rig, file, &attr, "");
    rig_expect_text(rig, file, "hello!");
    attr = rig_attr(rig, file);
    assert_int_equal(ops_write(rig->ops, file, &none), 0);
    expect_moved(rig, file, &attr, "");
    assert_int_equal(ops_write(rig->ops, dir, &quiet), -EISDIR);
    assert_int_equal(ops_read(rig->ops, dir, 0, 10, out), -EISDIR);
    quiet.off = 0xffffffffull << 12;
    assert_int_equal(ops_write(rig->ops, file, &quiet), -EFBIG);
    quiet.off = (0xffffffffull << 12) - 1;
    quiet.len = 2;
    quiet.bytes = "ab";
    assert_int_equal(ops_write(rig->ops, file, &quiet), 1);
    assert_int_equal(rig_attr(rig, file).size, 0xffffffffull << 12);
    assert_int_equal(ops_read(rig->ops, file, 0xffffffffull << 12, 10, out), 0);
}

static void a_write_moves_times_unless_told_to_keep_them(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_write);
}

static void body_suid(struct ops_rig *rig)
{
    uint32_t file = rig_create(rig, OPS_ROOT, "f");
    struct ops_write write = {.bytes = "x", .len = 1};

    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MODE, .mode = 06755}), 0);
    assert_int_equal(ops_write(rig->ops, file, &write), 1);
    assert_int_equal(rig_attr(rig, file).mode, 0106755);
    write.kill_suidgid = true;
    assert_int_equal(ops_write(rig->ops, file, &write), 1);
    assert_int_equal(rig_attr(rig, file).mode, 0100755);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MODE, .mode = 06744}), 0);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_SIZE | OPS_KILL_SUIDGID}), 0);
    assert_int_equal(rig_attr(rig, file).mode, 0102744);
    write.gid = 77;                 // a stranger to the file's group
    assert_int_equal(ops_write(rig->ops, file, &write), 1);
    assert_int_equal(rig_attr(rig, file).mode, 0100744);
}

static void set_id_bits_go_when_the_writer_may_not_keep_them(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_suid);
}

static void fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(seed + i * 13 + (i >> 12));
}

static void body_big(struct ops_rig *rig)
{
    const size_t len = (5u << 20) + 777;
    AUTO_FREE uint8_t *bytes = xblocks(len / BLOCK_BYTES + 1), *got = xblocks(len / BLOCK_BYTES + 1);
    uint32_t file = rig_create(rig, OPS_ROOT, "f");

    fill(bytes, len, 1);
    assert_int_equal(ops_write(rig->ops, file, &(struct ops_write){.off = 100, .bytes = bytes, .len = len}), len);
    assert_int_equal(ops_fsync(rig->ops, file, false), 0);
    assert_int_equal(ops_read(rig->ops, file, 0, len + 100, got), len + 100);
    assert_memory_equal(got + 100, bytes, len);
    for (int i = 0; i < 100; i++)
        assert_int_equal(got[i], 0);
}

static void a_write_larger_than_a_step_is_one_write_to_its_caller(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_big);
    ops_rig_test(&(struct fs_rig_options){.mke2fs = "-O ^extent,^64bit"}, body_big);
}

static void body_full(struct ops_rig *rig)
{
    const size_t len = 4u << 20;
    AUTO_FREE uint8_t *bytes = xblocks(len / BLOCK_BYTES);
    struct ops_write write = {.bytes = bytes, .len = len};
    struct ops_attr attr;
    uint32_t file = rig_create(rig, OPS_ROOT, "f");
    ssize_t got;

    while ((got = ops_write(rig->ops, file, &write)) > 0)
        write.off += (uint64_t)got;
    assert_int_equal(got, -ENOSPC);
    assert_int_equal(rig_attr(rig, file).size, write.off);      // what fitted stays
    assert_int_equal(ops_fsync(rig->ops, file, false), 0);      // and was promised
    write.privileged = true;
    assert_true(ops_write(rig->ops, file, &write) > 0);         // root's share
    assert_int_equal(ops_setxattr(rig->ops, file, "user.a", "b", 1, 0, false), 0);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_SIZE}), 0);
    assert_int_equal(ops_sync(rig->ops), 0);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, n("d"), 0755, &attr), 0);
}

static void a_full_volume_takes_what_fits_and_keeps_what_it_took(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){.blocks = 4096, .mke2fs = "-m 5", .fast_disk = true}, body_full);
}

struct appender {
    struct ops_rig *rig;
    uint32_t file;
    char byte;
};

static int append_some(void *arg)
{
    struct appender *a = arg;
    char text[8];
    memset(text, a->byte, sizeof text);
    for (int i = 0; i < 50; i++) {
        struct ops_write write = {.bytes = text, .len = sizeof text, .append = true};
        if (ops_write(a->rig->ops, a->file, &write) != sizeof text)
            return -EIO;
        if (i % 10 == 0)
            rt_yield(a->rig->fs_rig->rt);
    }
    return 0;
}

static void body_append(struct ops_rig *rig)
{
    struct appender appenders[4];
    struct rt_group group;
    char out[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), count[4] = {0};

    rt_group_init(&group, rig->fs_rig->rt);
    for (int i = 0; i < 4; i++) {
        appenders[i] = (struct appender){rig, file, (char)('a' + i)};
        rt_group_go(&group, "appender", append_some, &appenders[i]);
    }
    assert_int_equal(rt_group_wait(&group), 0);
    assert_int_equal(rig_attr(rig, file).size, 4 * 50 * 8);
    assert_int_equal(ops_read(rig->ops, file, 0, BLOCK_BYTES, out), 4 * 50 * 8);
    for (int i = 0; i < 4 * 50; i++) {
        for (int k = 1; k < 8; k++)
            assert_int_equal(out[i * 8], out[i * 8 + k]);
        count[out[i * 8] - 'a']++;
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(count[i], 50);
}

static void concurrent_appends_never_write_over_each_other(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_append);
}

// --- truncate -----------------------------------------------------------------------------------------

static void body_truncate(struct ops_rig *rig)
{
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d");
    struct ops_setattr to = {.set = OPS_SET_SIZE, .size = 5};
    struct ops_attr attr, special;

    rig_write(rig, file, 0, "hello, world");
    attr = rig_attr(rig, file);
    rig_sleep(rig, 2);
    assert_int_equal(rig_setattr(rig, file, to), 0);
    expect_moved(rig, file, &attr, "mc");
    rig_expect_text(rig, file, "hello");
    attr = rig_attr(rig, file);
    assert_int_equal(rig_setattr(rig, file, to), 0);           // to the same size counts, too
    expect_moved(rig, file, &attr, "mc");
    to.size = 10000;
    assert_int_equal(rig_setattr(rig, file, to), 0);
    expect_moved(rig, file, &attr, "mc");
    assert_int_equal(attr.size, 10000);
    struct ops_setattr timed = {.set = OPS_SET_SIZE | OPS_SET_MTIME | OPS_SET_CTIME, .size = 3, .mtime = {7, 0}, .ctime = {8, 0}};
    assert_int_equal(rig_setattr(rig, file, timed), 0);
    attr = rig_attr(rig, file);
    assert_int_equal(attr.size, 3);
    assert_int_equal(attr.mtime.sec, 7);
    assert_int_equal(attr.ctime.sec, 8);
    to.size = 1ull << 44;
    assert_int_equal(rig_setattr(rig, file, to), -EFBIG);
    to.size = 0;
    assert_int_equal(rig_setattr(rig, dir, to), -EISDIR);
    assert_int_equal(ops_mknod(rig->ops, &rig->caller, OPS_ROOT, n("fifo"), 0010644, 0, 0, &special), 0);
    assert_int_equal(rig_setattr(rig, special.ino, to), -EINVAL);
}

static void truncate_always_moves_times_and_refuses_what_has_no_size(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_truncate);
}

// --- atime --------------------------------------------------------------------------------------------

static void body_atime(struct ops_rig *rig)
{
    char out[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
    uint32_t file = rig_create(rig, OPS_ROOT, "f");
    rig_write(rig, file, 0, "text");
    struct ops_attr attr = rig_attr(rig, file);

    rig_sleep(rig, 2);
    assert_int_equal(ops_read(rig->ops, file, 0, 4, out), 4);
    expect_moved(rig, file, &attr, "a");       // older than mtime until now
    assert_int_equal(ops_read(rig->ops, file, 0, 4, out), 4);
    expect_moved(rig, file, &attr, "");
    rig_sleep(rig, 24 * 3600);
    assert_int_equal(ops_read(rig->ops, file, 0, 4, out), 4);
    expect_moved(rig, file, &attr, "a");
    assert_int_equal(rig_chattr(rig, file, EXT4_NOATIME_FL, 0), 0);
    attr = rig_attr(rig, file);
    rig_sleep(rig, 24 * 3600);
    assert_int_equal(ops_read(rig->ops, file, 0, 4, out), 4);
    expect_moved(rig, file, &attr, "");

    struct ops_attr link;
    assert_int_equal(ops_symlink(rig->ops, &rig->caller, OPS_ROOT, n("l"), n("f"), &link), 0);
    rig_sleep(rig, 2);
    assert_int_equal(ops_readlink(rig->ops, link.ino, out, 10), 1);
    expect_moved(rig, link.ino, &link, "a");
}

static void reading_moves_the_access_time_as_relatime_does(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_atime);
}

// --- fallocate, seek, copy ------------------------------------------------------------------------------

static void body_fallocate(struct ops_rig *rig)
{
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d");
    struct ops_attr attr = rig_attr(rig, file), fifo;

    rig_sleep(rig, 2);
    assert_int_equal(ops_fallocate(rig->ops, file, 0, 0, 40960), 0);
    expect_moved(rig, file, &attr, "mc");
    assert_int_equal(attr.size, 40960);
    assert_int_equal(attr.blocks, 80);
    assert_int_equal(ops_fallocate(rig->ops, file, FALLOC_FL_KEEP_SIZE, 40960, 4096), 0);
    assert_int_equal(rig_attr(rig, file).size, 40960);
    assert_int_equal(rig_attr(rig, file).blocks, 88);
    assert_int_equal(ops_fallocate(rig->ops, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192), 0);
    assert_int_equal(rig_attr(rig, file).blocks, 72);
    assert_int_equal(ops_fallocate(rig->ops, file, FALLOC_FL_PUNCH_HOLE, 0, 4096), -EOPNOTSUPP);
    assert_int_equal(ops_fallocate(rig->ops, file, FALLOC_FL_UNSHARE_RANGE, 0, 4096), -EOPNOTSUPP);
    assert_int_equal(ops_fallocate(rig->ops, file, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096), -EINVAL);
    assert_int_equal(ops_fallocate(rig->ops, file, FALLOC_FL_COLLAPSE_RANGE, 1, 4096), -EINVAL);
    assert_int_equal(ops_fallocate(rig->ops, file, 0, 0, 0), -EINVAL);
    assert_int_equal(ops_fallocate(rig->ops, file, 0, 1ull << 44, 1), -EFBIG);
    assert_int_equal(ops_fallocate(rig->ops, file, 0, UINT64_MAX, 1), -EINVAL);
    assert_int_equal(ops_fallocate(rig->ops, dir, 0, 0, 1), -EISDIR);
    assert_int_equal(ops_mknod(rig->ops, &rig->caller, OPS_ROOT, n("p"), 0010644, 0, 0, &fifo), 0);
    assert_int_equal(ops_fallocate(rig->ops, fifo.ino, 0, 0, 1), -ESPIPE);
}

static void fallocate_allocates_punches_and_refuses_as_ext4(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_fallocate);
}

static void body_seek(struct ops_rig *rig)
{
    uint32_t file = rig_create(rig, OPS_ROOT, "f");
    rig_write(rig, file, 8192, "data");
    assert_int_equal(ops_lseek(rig->ops, file, 0, SEEK_DATA), 8192);
    assert_int_equal(ops_lseek(rig->ops, file, 0, SEEK_HOLE), 0);
    assert_int_equal(ops_lseek(rig->ops, file, 8192, SEEK_HOLE), 8196);
    assert_int_equal(ops_lseek(rig->ops, file, 8196, SEEK_DATA), -ENXIO);
    assert_int_equal(ops_lseek(rig->ops, file, 0, SEEK_END), -EINVAL);
}

static void seek_finds_data_that_is_not_yet_on_the_disk(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_seek);
}

static void body_copy(struct ops_rig *rig)
{
    const size_t len = (3u << 20) + 5;
    AUTO_FREE uint8_t *bytes = xblocks(len / BLOCK_BYTES + 2), *got = xblocks(len / BLOCK_BYTES + 2);
    uint32_t from = rig_create(rig, OPS_ROOT, "from"), to = rig_create(rig, OPS_ROOT, "to"), dir = rig_mkdir(rig, OPS_ROOT, "d");

    fill(bytes, len, 9);
    assert_int_equal(ops_write(rig->ops, from, &(struct ops_write){.bytes = bytes, .len = len}), len);
    assert_int_equal(ops_copy_range(rig->ops, from, 3, to, 10, len), len - 3);      // to the end of the file
    assert_int_equal(rig_attr(rig, to).size, len + 7);
    assert_int_equal(ops_read(rig->ops, to, 0, len + 7, got), len + 7);
    assert_memory_equal(got + 10, bytes + 3, len - 3);
    assert_int_equal(ops_copy_range(rig->ops, from, len, to, 0, 100), 0);
    assert_int_equal(ops_copy_range(rig->ops, from, 0, from, 100, 101), -EINVAL);
    assert_int_equal(ops_copy_range(rig->ops, from, 0, from, 8192, 8192), 8192);
    assert_int_equal(ops_copy_range(rig->ops, from, 0, dir, 0, 10), -EISDIR);
    assert_int_equal(ops_copy_range(rig->ops, dir, 0, to, 0, 10), -EISDIR);
    assert_int_equal(ops_copy_range(rig->ops, from, UINT64_MAX, to, 0, 10), -EOVERFLOW);
}

static void copy_range_copies_up_to_the_end_and_not_onto_itself(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_copy);
}

// --- durability -----------------------------------------------------------------------------------------

static void body_before_kill(struct ops_rig *rig)
{
    uint32_t dir = rig_mkdir(rig, OPS_ROOT, "d"), file = rig_create(rig, dir, "f");
    rig_write(rig, file, 0, "fsynced");
    assert_int_equal(ops_fsync(rig->ops, file, true), 0);
    rig_create(rig, dir, "lost");
}

static void body_sync_flags(struct ops_rig *rig)
{
    uint32_t dir = rig_mkdir(rig, OPS_ROOT, "d"), file = rig_create(rig, dir, "f");
    assert_int_equal(rig_chattr(rig, dir, EXT4_DIRSYNC_FL, 0), 0);
    assert_int_equal(rig_chattr(rig, file, EXT4_SYNC_FL, 0), 0);
    rig_create(rig, dir, "made");
    rig_write(rig, file, 0, "fsynced");
}

static void body_after_kill(struct ops_rig *rig)
{
    uint32_t dir, file;
    assert_int_equal(rig_find(rig, OPS_ROOT, "d", &dir), 0);
    assert_int_equal(rig_find(rig, dir, "f", &file), 0);
    rig_expect_text(rig, file, "fsynced");
}

static void what_was_fsynced_survives_the_power_cut(void **state)
{
    (void)state;
    struct fs_rig fs_rig;
    fs_rig_init(&fs_rig, &(struct fs_rig_options){0});
    ops_rig_mount_killed(&fs_rig, body_before_kill, NULL);
    ops_rig_mount(&fs_rig, body_after_kill, NULL);
    fs_rig_fsck(&fs_rig);
    fs_rig_fini(&fs_rig);
}

static void what_sync_flags_ask_for_survives_the_power_cut(void **state)
{
    (void)state;
    struct fs_rig fs_rig;
    fs_rig_init(&fs_rig, &(struct fs_rig_options){.no_flusher = true});
    ops_rig_mount_killed(&fs_rig, body_sync_flags, NULL);
    ops_rig_mount(&fs_rig, body_after_kill, NULL);
    fs_rig_fsck(&fs_rig);
    fs_rig_fini(&fs_rig);
}

static void body_shutdown(struct ops_rig *rig)
{
    struct ops_attr attr;
    struct ops_statfs statfs;
    char out[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
    uint32_t file = rig_create(rig, OPS_ROOT, "f");

    rig_write(rig, file, 0, "kept");
    assert_int_equal(ops_shutdown(rig->ops, 3), -EINVAL);
    assert_int_equal(ops_shutdown(rig->ops, *(uint32_t *)rig->arg), 0);
    assert_int_equal(ops_getattr(rig->ops, file, &attr), -EIO);
    assert_int_equal(ops_read(rig->ops, file, 0, 4, out), -EIO);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, n("d"), 0755, &attr), -EIO);
    assert_int_equal(ops_statfs(rig->ops, &statfs), -EIO);
    assert_int_equal(ops_sync(rig->ops), -EIO);
}

static void body_after_shutdown(struct ops_rig *rig)
{
    uint32_t how = *(uint32_t *)rig->arg, file;
    int rc = rig_find(rig, OPS_ROOT, "f", &file);
    assert_int_equal(rc, how == 2 ? -ENOENT : 0);
    if (how == 0)
        rig_expect_text(rig, file, "kept");
}

static void after_a_shutdown_everything_fails_and_the_disk_has_what_was_asked_for(void **state)
{
    (void)state;
    for (uint32_t how = 0; how <= 2; how++) {
        struct fs_rig fs_rig;
        fs_rig_init(&fs_rig, &(struct fs_rig_options){.no_flusher = true});
        ops_rig_mount_killed(&fs_rig, body_shutdown, &how);
        ops_rig_mount(&fs_rig, body_after_shutdown, &how);
        fs_rig_fsck(&fs_rig);
        fs_rig_fini(&fs_rig);
    }
}

static void body_trim(struct ops_rig *rig)
{
    uint64_t trimmed;
    assert_int_equal(ops_trim(rig->ops, 0, UINT64_MAX, 0, &trimmed), 0);
    assert_true(trimmed > 0);
    assert_int_equal(ops_trim(rig->ops, 1ull << 40, 4096, 0, &trimmed), -EINVAL);
    assert_int_equal(ops_trim(rig->ops, 0, 100, 0, &trimmed), -EINVAL);
}

static void trim_discards_what_is_free(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_trim);
}

// --- the P-Log --------------------------------------------------------------------------------------------

struct logged {
    struct plog_entry entries[32];
    char names[32][64];
    uint32_t count;
};

static int keep_entry(void *arg, const struct plog_view *view)
{
    struct logged *l = arg;
    assert_true(l->count < ARRAY_LEN(l->entries));
    l->entries[l->count] = *view->entry;
    memcpy(l->names[l->count], view->name, MIN(view->entry->name_len, (uint16_t)63));
    l->count++;
    return 0;
}

static void body_log(struct ops_rig *rig)
{
    struct logged l = {0};
    struct ops_attr attr;
    bool created;

    ops_tag(rig->ops, 11, 22, NULL);
    assert_int_equal(ops_create(rig->ops, &rig->caller, OPS_ROOT, n("f"), 0666, true, &attr, &created), 0);
    rig_write(rig, attr.ino, 5, "bytes");
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("nothing")), -ENOENT);    // changed nothing: not logged
    assert_int_equal(ops_rename(rig->ops, &rig->caller, OPS_ROOT, n("f"), OPS_ROOT, n("g"), 0), 0);
    assert_int_equal(plog_walk(&rig->plog, keep_entry, &l), 0);
    assert_int_equal(l.count, 3);

    assert_int_equal(l.entries[0].op, PLOG_CREATE);
    assert_int_equal(l.entries[0].client, 11);
    assert_int_equal(l.entries[0].request, 22);
    assert_string_equal(l.names[0], "f");
    assert_int_equal(l.entries[0].target[PLOG_SELF].ino, attr.ino);
    assert_int_equal(l.entries[0].target[PLOG_SELF].generation, attr.generation);
    assert_int_equal(l.entries[0].target[PLOG_PARENT].ino, OPS_ROOT);
    assert_int_equal(l.entries[0].time_sec, attr.btime.sec);
    assert_int_equal(l.entries[0].time_nsec, attr.btime.nsec);
    assert_int_equal(l.entries[1].op, PLOG_WRITE);
    assert_int_equal(l.entries[1].request, 0);
    assert_int_equal(l.entries[1].off, 5);
    assert_int_equal(l.entries[1].len, 5);
    assert_int_equal(l.entries[2].op, PLOG_RENAME);
    assert_int_equal(l.entries[2].data_len, 1);

    // The file's bytes are not on the disk yet: a commit takes what is older, not the write.
    assert_int_equal(ops_fsync(rig->ops, OPS_ROOT, false), 0);
    assert_int_equal(rig->plog.head->head, plog_slots(1, 0));
    assert_int_equal(ops_fsync(rig->ops, attr.ino, false), 0);
    assert_int_equal(plog_used(&rig->plog), 0);
}

static void what_was_applied_is_logged_until_it_is_durable(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){.no_flusher = true}, body_log);
}

static void body_full_log(struct ops_rig *rig)
{
    char name[16], value[2000] = {0};
    uint32_t file = rig_create(rig, OPS_ROOT, "f");

    // Entries with data, and writes that only write-back can settle, several times the log's size.
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%d", i % 10);
        rig_write(rig, file, (uint64_t)i * 100, "some bytes");
        if (i % 20 == 0)
            assert_int_equal(ops_setxattr(rig->ops, file, "user.v", value, sizeof value, 0, false), 0);
        int rc = rig_find(rig, OPS_ROOT, name, NULL);
        if (rc == 0)
            assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n(name)), 0);
        else
            rig_create(rig, OPS_ROOT, name);
    }
    assert_true(rig->sequence > 2 * PLOG_SLOTS_MIN);
}

static void a_full_log_makes_operations_commit_and_never_fail(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){.no_flusher = true, .fast_disk = true}, body_full_log);
}

struct worker {
    struct ops_rig *rig;
    uint32_t id;
};

static int work(void *arg)
{
    struct worker *w = arg;
    struct ops_rig *rig = w->rig;
    struct ops_write write = {.bytes = "text", .len = 4, .append = true};
    struct ops_setattr cut = {.set = OPS_SET_SIZE, .size = w->id};
    char name[32];

    snprintf(name, sizeof name, "worker %u", w->id);
    uint32_t file = rig_create(rig, OPS_ROOT, name);
    for (int i = 0; i < 400; i++) {
        assert_int_equal(ops_write(rig->ops, file, &write), 4);
        if (i % 7 == 0)
            assert_int_equal(rig_setattr(rig, file, cut), 0);
        if (i % 11 == 0)
            assert_int_equal(ops_fsync(rig->ops, file, false), 0);
    }
    return 0;
}

static void body_crowd(struct ops_rig *rig)
{
    struct worker workers[16];
    struct plog_room hog = {0};
    struct rt_group group;

    // All but a few slots are taken, so that the fibres have to wait for each other, too.
    assert_true(plog_reserve(&rig->plog, &hog, PLOG_SLOTS_MIN - 12));
    rt_group_init(&group, rig->fs_rig->rt);
    for (uint32_t i = 0; i < ARRAY_LEN(workers); i++) {
        workers[i] = (struct worker){rig, i};
        rt_group_go(&group, "worker", work, &workers[i]);
    }
    assert_int_equal(rt_group_wait(&group), 0);
    plog_unreserve(&rig->plog, &hog);
}

static void many_fibres_share_a_log_that_has_room_for_few(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){.fast_disk = true}, body_crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_moves_times_unless_told_to_keep_them),
        cmocka_unit_test(set_id_bits_go_when_the_writer_may_not_keep_them),
        cmocka_unit_test(a_write_larger_than_a_step_is_one_write_to_its_caller),
        cmocka_unit_test(a_full_volume_takes_what_fits_and_keeps_what_it_took),
        cmocka_unit_test(concurrent_appends_never_write_over_each_other),
        cmocka_unit_test(truncate_always_moves_times_and_refuses_what_has_no_size),
        cmocka_unit_test(reading_moves_the_access_time_as_relatime_does),
        cmocka_unit_test(fallocate_allocates_punches_and_refuses_as_ext4),
        cmocka_unit_test(seek_finds_data_that_is_not_yet_on_the_disk),
        cmocka_unit_test(copy_range_copies_up_to_the_end_and_not_onto_itself),
        cmocka_unit_test(what_was_fsynced_survives_the_power_cut),
        cmocka_unit_test(what_sync_flags_ask_for_survives_the_power_cut),
        cmocka_unit_test(after_a_shutdown_everything_fails_and_the_disk_has_what_was_asked_for),
        cmocka_unit_test(trim_discards_what_is_free),
        cmocka_unit_test(what_was_applied_is_logged_until_it_is_durable),
        cmocka_unit_test(a_full_log_makes_operations_commit_and_never_fail),
        cmocka_unit_test(many_fibres_share_a_log_that_has_room_for_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
