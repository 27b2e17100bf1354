// SPDX-License-Identifier: MIT
// ops_test.c - names and attributes: what each operation does, and what it refuses, as ext4 would.
#include "ops/ops_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/check.h"
#include "ondisk/inode.h"

static bool same_time(struct ops_time a, struct ops_time b)
{
    return a.sec == b.sec && a.nsec == b.nsec;
}

// Which of a, m, c moved between two looks.
static const char *moved(const struct ops_attr *before, const struct ops_attr *after)
{
    static char text[8];        // of the test's own
    snprintf(text, sizeof text, "%s%s%s", same_time(before->atime, after->atime) ? "" : "a",
             same_time(before->mtime, after->mtime) ? "" : "m", same_time(before->ctime, after->ctime) ? "" : "c");
    return text;
}

#define EXPECT_MOVED(rig, ino, before, what)                                                      \
    do {                                                                                          \
        struct ops_attr after_ = rig_attr(rig, ino);                                              \
        assert_string_equal(moved(&(before), &after_), what);                                     \
        (before) = after_;                                                                        \
    } while (0)

static int expect_entries(struct ops_rig *rig, uint32_t dir);

// --- making -----------------------------------------------------------------------------------------

static void body_create(struct ops_rig *rig)
{
    struct ops_attr dir = rig_attr(rig, OPS_ROOT), attr;
    struct ops_caller caller = {.uid = 10, .gid = 20, .umask = 027};
    bool created;

    rig_sleep(rig, 2);
    assert_int_equal(ops_create(rig->ops, &caller, OPS_ROOT, n("f"), 06666, true, &attr, &created), 0);
    assert_int_equal(attr.mode, 0106640);
    assert_int_equal(attr.uid, 10);
    assert_int_equal(attr.gid, 20);
    assert_int_equal(attr.nlink, 1);
    assert_int_equal(attr.size, 0);
    assert_true(same_time(attr.atime, attr.mtime) && same_time(attr.mtime, attr.ctime) && same_time(attr.ctime, attr.btime));
    EXPECT_MOVED(rig, OPS_ROOT, dir, "mc");
    assert_true(same_time(dir.mtime, attr.mtime));

    assert_int_equal(ops_create(rig->ops, &caller, OPS_ROOT, n("f"), 0666, true, &attr, &created), -EEXIST);
    assert_false(created);
    uint32_t ino = attr.ino;
    assert_int_equal(ops_create(rig->ops, &caller, OPS_ROOT, n("f"), 0666, false, &attr, &created), 0);
    assert_false(created);
    assert_int_equal(attr.ino, ino);
    assert_int_equal(ops_create(rig->ops, &caller, ino, n("x"), 0666, true, &attr, &created), -ENOTDIR);
}

static void create_gives_mode_owner_and_times_and_touches_its_directory(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_create);
}

static void body_names(struct ops_rig *rig)
{
    char name[300];
    struct ops_attr attr;
    memset(name, 'x', sizeof name);
    struct ops_name longest = {name, 255}, too_long = {name, 256};

    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, longest, 0755, &attr), 0);
    assert_int_equal(ops_lookup(rig->ops, OPS_ROOT, longest, &attr), 0);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, too_long, 0755, &attr), -ENAMETOOLONG);
    assert_int_equal(ops_lookup(rig->ops, OPS_ROOT, too_long, &attr), -ENAMETOOLONG);
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, too_long), -ENAMETOOLONG);
    assert_int_equal(ops_rename(rig->ops, &rig->caller, OPS_ROOT, longest, OPS_ROOT, too_long, 0), -ENAMETOOLONG);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, n("."), 0755, &attr), -EEXIST);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, n(".."), 0755, &attr), -EEXIST);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, n("a/b"), 0755, &attr), -EINVAL);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, (struct ops_name){"a\0b", 3}, 0755, &attr), -EINVAL);
    assert_int_equal(ops_lookup(rig->ops, OPS_ROOT, n("nothing"), &attr), -ENOENT);
    assert_int_equal(ops_rename(rig->ops, &rig->caller, OPS_ROOT, n("."), OPS_ROOT, n("y"), 0), -EBUSY);
    assert_int_equal(ops_rename(rig->ops, &rig->caller, OPS_ROOT, longest, OPS_ROOT, n(".."), 0), -EBUSY);
    // A hostile client's length is only a number.
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, (struct ops_name){name, SIZE_MAX / 2}), -ENAMETOOLONG);
}

static void names_that_no_directory_can_hold_are_refused(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_names);
}

static void body_mknod(struct ops_rig *rig)
{
    static const struct { uint16_t mode; uint32_t major, minor; } nodes[] = {
        {0010644, 0, 0}, {0140755, 0, 0}, {0020600, 1, 3}, {0060600, 8, 1}, {0060600, 259, 70000}, {0100644, 0, 0},
    };
    struct ops_attr attr;
    char name[16];

    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        snprintf(name, sizeof name, "node%zu", i);
        assert_int_equal(ops_mknod(rig->ops, &rig->caller, OPS_ROOT, n(name), nodes[i].mode, nodes[i].major, nodes[i].minor, &attr), 0);
        assert_int_equal(attr.mode, nodes[i].mode & ~022);
        assert_int_equal(attr.rdev_major, nodes[i].major);
        assert_int_equal(attr.rdev_minor, nodes[i].minor);
    }
    assert_int_equal(ops_mknod(rig->ops, &rig->caller, OPS_ROOT, n("d"), 0040755, 0, 0, &attr), -EPERM);
    assert_int_equal(ops_mknod(rig->ops, &rig->caller, OPS_ROOT, n("l"), 0120777, 0, 0, &attr), -EINVAL);
}

static void mknod_makes_every_kind_but_directories_and_symlinks(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_mknod);
}

static void body_symlink(struct ops_rig *rig)
{
    static const size_t lengths[] = {1, 59, 60, 61, 255, 4095};
    AUTO_FREE char *target = xmalloc(5000), *got = xmalloc(5000);
    struct ops_attr attr;
    char name[16];

    for (size_t i = 0; i < 5000; i++)
        target[i] = (char)('a' + i % 26);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        snprintf(name, sizeof name, "link%zu", lengths[i]);
        assert_int_equal(ops_symlink(rig->ops, &rig->caller, OPS_ROOT, n(name), (struct ops_name){target, lengths[i]}, &attr), 0);
        assert_int_equal(attr.mode, 0120777);
        assert_int_equal(attr.size, lengths[i]);
        assert_int_equal(attr.blocks, lengths[i] < 60 ? 0 : 8);
        assert_int_equal(ops_readlink(rig->ops, attr.ino, got, 5000), lengths[i]);
        assert_memory_equal(got, target, lengths[i]);
        assert_int_equal(ops_readlink(rig->ops, attr.ino, got, 1), 1);
    }
    assert_int_equal(ops_symlink(rig->ops, &rig->caller, OPS_ROOT, n("l"), (struct ops_name){target, 4096}, &attr), -ENAMETOOLONG);
    assert_int_equal(ops_symlink(rig->ops, &rig->caller, OPS_ROOT, n("l"), n(""), &attr), -ENOENT);
    assert_int_equal(ops_readlink(rig->ops, OPS_ROOT, got, 10), -EINVAL);
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("link255")), 0);
}

static void a_symlink_holds_up_to_4095_bytes_short_ones_in_the_inode(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_symlink);
    ops_rig_test(&(struct fs_rig_options){.mke2fs = "-O ^extent,^64bit,^metadata_csum"}, body_symlink);
}

static void body_mkdir(struct ops_rig *rig)
{
    struct ops_attr root = rig_attr(rig, OPS_ROOT), attr;

    rig_sleep(rig, 2);
    uint32_t dir = rig_mkdir(rig, OPS_ROOT, "d");
    attr = rig_attr(rig, dir);
    assert_int_equal(attr.mode, 0040755);
    assert_int_equal(attr.nlink, 2);
    assert_int_equal(attr.size, 4096);
    assert_int_equal(rig_attr(rig, OPS_ROOT).nlink, root.nlink + 1);
    EXPECT_MOVED(rig, OPS_ROOT, root, "mc");
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, n("d"), 0755, &attr), -EEXIST);
    rig_sleep(rig, 2);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("d")), 0);
    EXPECT_MOVED(rig, OPS_ROOT, root, "mc");
    assert_int_equal(rig_find(rig, OPS_ROOT, "d", NULL), -ENOENT);
}

static void mkdir_and_rmdir_count_links_and_move_times(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_mkdir);
}

static void body_setgid(struct ops_rig *rig)
{
    struct ops_caller caller = {.uid = 1, .gid = 1};
    struct ops_attr attr;
    bool created;

    uint32_t dir = rig_mkdir(rig, OPS_ROOT, "d");
    assert_int_equal(rig_setattr(rig, dir, (struct ops_setattr){.set = OPS_SET_MODE | OPS_SET_GID, .mode = 02775, .gid = 77}), 0);
    assert_int_equal(ops_create(rig->ops, &caller, dir, n("f"), 02775, true, &attr, &created), 0);
    assert_int_equal(attr.gid, 77);
    assert_int_equal(attr.mode, 0102775);       // who may have the bit is the kernel's to say
    assert_int_equal(ops_mkdir(rig->ops, &caller, dir, n("sub"), 0755, &attr), 0);
    assert_int_equal(attr.gid, 77);
    assert_int_equal(attr.mode, 0042755);
}

static void what_is_made_in_a_setgid_directory_takes_its_group(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_setgid);
}

static void body_inherit(struct ops_rig *rig)
{
    struct ops_attr attr;
    uint32_t flags, project, seven = 7;
    uint32_t dir = rig_mkdir(rig, OPS_ROOT, "d");

    assert_int_equal(rig_chattr(rig, dir, EXT4_NODUMP_FL | EXT4_NOATIME_FL | EXT4_DIRSYNC_FL | EXT4_TOPDIR_FL | EXT4_PROJINHERIT_FL, 0), 0);
    assert_int_equal(ops_get_flags(rig->ops, dir, &flags, &project), 0);
    assert_int_equal(ops_set_flags(rig->ops, dir, flags, &seven), 0);

    uint32_t sub = rig_mkdir(rig, dir, "sub"), file = rig_create(rig, dir, "file");
    assert_int_equal(ops_mknod(rig->ops, &rig->caller, dir, n("fifo"), 0010644, 0, 0, &attr), 0);
    uint32_t fifo = attr.ino;
    assert_int_equal(ops_get_flags(rig->ops, sub, &flags, &project), 0);
    assert_int_equal(flags & ~EXT4_EXTENTS_FL, EXT4_NODUMP_FL | EXT4_NOATIME_FL | EXT4_DIRSYNC_FL | EXT4_PROJINHERIT_FL);
    assert_int_equal(project, 7);
    assert_int_equal(ops_get_flags(rig->ops, file, &flags, &project), 0);
    assert_int_equal(flags & ~EXT4_EXTENTS_FL, EXT4_NODUMP_FL | EXT4_NOATIME_FL);
    assert_int_equal(project, 7);
    assert_int_equal(ops_get_flags(rig->ops, fifo, &flags, &project), 0);
    assert_int_equal(flags, EXT4_NODUMP_FL | EXT4_NOATIME_FL);

    uint32_t other = rig_create(rig, OPS_ROOT, "other");
    assert_int_equal(ops_link(rig->ops, other, dir, n("l"), &attr), -EXDEV);
    assert_int_equal(ops_rename(rig->ops, &rig->caller, OPS_ROOT, n("other"), dir, n("l"), 0), -EXDEV);
    assert_int_equal(ops_rename(rig->ops, &rig->caller, dir, n("file"), OPS_ROOT, n("other"), RENAME_EXCHANGE), -EXDEV);
    assert_int_equal(ops_rename(rig->ops, &rig->caller, dir, n("file"), OPS_ROOT, n("f"), 0), 0);
}

static void children_inherit_flags_by_type_and_the_project_binds_them(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){.mke2fs = "-O project -I 256"}, body_inherit);
}

// --- removing -----------------------------------------------------------------------------------------

static void body_unlink(struct ops_rig *rig)
{
    struct ops_attr root, attr, link;
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d");
    assert_int_equal(ops_link(rig->ops, file, OPS_ROOT, n("g"), &link), 0);
    root = rig_attr(rig, OPS_ROOT);
    attr = rig_attr(rig, file);

    rig_sleep(rig, 2);
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("f")), 0);
    EXPECT_MOVED(rig, file, attr, "c");
    assert_int_equal(attr.nlink, 1);
    EXPECT_MOVED(rig, OPS_ROOT, root, "mc");
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("f")), -ENOENT);
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("d")), -EISDIR);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("g")), -ENOTDIR);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n(".")), -EINVAL);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("..")), -ENOTEMPTY);
    rig_create(rig, dir, "inside");
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("d")), -ENOTEMPTY);
    assert_int_equal(ops_unlink(rig->ops, dir, n("inside")), 0);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("d")), 0);
}

static void unlink_and_rmdir_refuse_what_is_not_theirs_to_remove(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_unlink);
}

static void body_orphan(struct ops_rig *rig)
{
    struct ops_attr attr;
    uint64_t free_inodes = rig_free_inodes(rig);
    uint32_t file = rig_create(rig, OPS_ROOT, "f");

    rig_write(rig, file, 0, "still here");
    assert_int_equal(ops_lookup(rig->ops, OPS_ROOT, n("f"), &attr), 0);     // counted twice now
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("f")), 0);
    rig_expect_text(rig, file, "still here");
    assert_int_equal(rig_attr(rig, file).nlink, 0);
    rig_write(rig, file, 0, "and writable");
    rig_forget(rig, file);
    rig_expect_text(rig, file, "and writable");
    assert_int_equal(ops_lookup_ino(rig->ops, file, &attr), -ESTALE);       // but no handle leads there
    assert_int_equal(ops_link(rig->ops, file, OPS_ROOT, n("back"), &attr), -ENOENT);
    assert_int_equal(rig_free_inodes(rig), free_inodes - 1);
    rig_forget(rig, file);
    assert_int_equal(rig_free_inodes(rig), free_inodes);
    assert_int_equal(ops_getattr(rig->ops, file, &attr), -ESTALE);
    rig_forget(rig, file);                                                   // harmless
}

static void an_unlinked_file_lives_until_the_kernel_forgets_it(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_orphan);
}

static void body_unknown(struct ops_rig *rig)
{
    uint64_t free_inodes = rig_free_inodes(rig);
    uint32_t file = rig_create(rig, OPS_ROOT, "f");

    rig_write(rig, file, 0, "bytes");
    rig_forget(rig, file);
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("f")), 0);
    assert_int_equal(rig_free_inodes(rig), free_inodes);
}

static void an_unlinked_file_that_nobody_knows_is_deleted_at_once(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_unknown);
}

static void body_leave_orphan(struct ops_rig *rig)
{
    uint32_t file = rig_create(rig, OPS_ROOT, "f");
    rig_write(rig, file, 0, "open at the crash");
    assert_int_equal(ops_fsync(rig->ops, file, false), 0);
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("f")), 0);
    assert_int_equal(ops_sync(rig->ops), 0);
    *(uint32_t *)rig->arg = file;
}

static void body_kept_orphan(struct ops_rig *rig)
{
    uint32_t file = *(uint32_t *)rig->arg;
    rig_expect_text(rig, file, "open at the crash");
    ops_forget(rig->ops, file, 1);          // of a count that we never gave
    rig_free_inodes(rig);
    rig_expect_text(rig, file, "open at the crash");
    // A name from before, too: the kernel may know the file although we do not.
    uint32_t ino;
    assert_int_equal(rig_find(rig, OPS_ROOT, "old", &ino), 0);
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("old")), 0);
    assert_int_equal(rig_attr(rig, ino).nlink, 0);
}

static void body_make_old(struct ops_rig *rig)
{
    rig_create(rig, OPS_ROOT, "old");
    body_leave_orphan(rig);
}

static void after_a_take_over_orphans_stay_until_unmount(void **state)
{
    (void)state;
    struct fs_rig fs_rig;
    uint32_t file;
    fs_rig_init(&fs_rig, &(struct fs_rig_options){0});
    ops_rig_mount_killed(&fs_rig, body_make_old, &file);
    fs_rig.options.keep_orphans = true;
    ops_rig_mount(&fs_rig, body_kept_orphan, &file);
    fs_rig_fsck(&fs_rig);
    fs_rig_fini(&fs_rig);
}

static bool count_entry(void *arg, const struct ops_dirent *entry)
{
    ++*(int *)arg;
    return entry->ino != 0;
}

static int expect_entries(struct ops_rig *rig, uint32_t dir)
{
    int count = 0;
    assert_int_equal(ops_readdir(rig->ops, dir, 0, false, count_entry, &count), 0);
    return count;
}

static void body_dead_dir(struct ops_rig *rig)
{
    struct ops_attr attr;
    bool created;
    uint32_t dir = rig_mkdir(rig, OPS_ROOT, "d"), file = rig_create(rig, OPS_ROOT, "f");

    assert_int_equal(expect_entries(rig, dir), 2);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("d")), 0);
    assert_int_equal(expect_entries(rig, dir), 0);
    assert_int_equal(ops_create(rig->ops, &rig->caller, dir, n("x"), 0644, false, &attr, &created), -ENOENT);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, dir, n("x"), 0755, &attr), -ENOENT);
    assert_int_equal(ops_tmpfile(rig->ops, &rig->caller, dir, 0600, &attr), -ENOENT);
    assert_int_equal(ops_link(rig->ops, file, dir, n("x"), &attr), -ENOENT);
    assert_int_equal(ops_rename(rig->ops, &rig->caller, OPS_ROOT, n("f"), dir, n("x"), 0), -ENOENT);
    assert_int_equal(ops_lookup(rig->ops, dir, n("x"), &attr), -ENOENT);
    assert_int_equal(rig_attr(rig, dir).size, 0);
    rig_forget(rig, dir);
}

static void nothing_can_be_made_in_a_removed_directory(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_dead_dir);
}

// --- link, tmpfile ----------------------------------------------------------------------------------

static void body_link(struct ops_rig *rig)
{
    struct ops_attr root, before, attr;
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d");
    before = rig_attr(rig, file);
    root = rig_attr(rig, OPS_ROOT);

    rig_sleep(rig, 2);
    assert_int_equal(ops_link(rig->ops, file, OPS_ROOT, n("g"), &attr), 0);
    assert_int_equal(attr.ino, file);
    assert_int_equal(attr.nlink, 2);
    EXPECT_MOVED(rig, file, before, "c");
    EXPECT_MOVED(rig, OPS_ROOT, root, "mc");
    assert_int_equal(ops_link(rig->ops, file, OPS_ROOT, n("g"), &attr), -EEXIST);
    assert_int_equal(ops_link(rig->ops, dir, OPS_ROOT, n("h"), &attr), -EPERM);
    assert_int_equal(ops_link(rig->ops, 4000, OPS_ROOT, n("h"), &attr), -ESTALE);
}

static void link_adds_a_name_and_refuses_directories(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_link);
}

static void body_tmpfile(struct ops_rig *rig)
{
    struct ops_attr attr, root = rig_attr(rig, OPS_ROOT);
    uint64_t free_inodes = rig_free_inodes(rig);

    rig_sleep(rig, 2);
    assert_int_equal(ops_tmpfile(rig->ops, &rig->caller, OPS_ROOT, 0666, &attr), 0);
    uint32_t kept = attr.ino;
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(attr.mode, 0100644);
    EXPECT_MOVED(rig, OPS_ROOT, root, "");
    rig_write(rig, kept, 0, "kept");
    assert_int_equal(ops_tmpfile(rig->ops, &rig->caller, OPS_ROOT, 0666, &attr), 0);
    rig_forget(rig, attr.ino);
    assert_int_equal(ops_link(rig->ops, kept, OPS_ROOT, n("kept"), &attr), 0);
    assert_int_equal(attr.nlink, 1);
    ops_forget(rig->ops, kept, 2);
    assert_int_equal(rig_free_inodes(rig), free_inodes - 1);
    assert_int_equal(rig_find(rig, OPS_ROOT, "kept", NULL), 0);
    rig_expect_text(rig, kept, "kept");
}

static void a_tmpfile_vanishes_when_forgotten_unless_it_was_linked(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_tmpfile);
}

static void body_link_max(struct ops_rig *rig)
{
    struct ops_attr attr;
    char name[16];
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d");

    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MODE, .mode = 0600}), 0);
    for (uint32_t i = 1; i < EXT4_LINK_MAX; i++) {
        snprintf(name, sizeof name, "l%u", i);
        assert_int_equal(ops_link(rig->ops, file, dir, n(name), &attr), 0);
    }
    assert_int_equal(attr.nlink, EXT4_LINK_MAX);
    assert_int_equal(ops_link(rig->ops, file, dir, n("one more"), &attr), -EMLINK);
}

static void a_file_has_at_most_65000_links(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){.fast_disk = true}, body_link_max);
}

// mke2fs makes too few inodes for 65000 directories in a small volume, so the count is set there.
static void body_dir_links(struct ops_rig *rig)
{
    uint32_t dir;
    struct ops_attr attr;

    assert_int_equal(rig_find(rig, OPS_ROOT, "d", &dir), 0);
    assert_int_equal(rig_attr(rig, dir).nlink, 65000);
    // Not yet indexed: as full as any directory can be.
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, dir, n("sub"), 0755, &attr), -EMLINK);
    rig_mkdir(rig, OPS_ROOT, "e");
    assert_int_equal(ops_rename(rig->ops, &rig->caller, OPS_ROOT, n("e"), dir, n("e"), 0), -EMLINK);
    for (int i = 0; i < 400; i++) {
        char name[64];
        snprintf(name, sizeof name, "a name long enough to fill blocks quickly %d", i);
        rig_create(rig, dir, name);
    }
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, dir, n("sub"), 0755, &attr), 0);
    assert_int_equal(rig_attr(rig, dir).nlink, 1);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, dir, n("sub2"), 0755, &attr), 0);
    assert_int_equal(rig_attr(rig, dir).nlink, 1);
    assert_int_equal(ops_rmdir(rig->ops, dir, n("sub")), 0);
    assert_int_equal(rig_attr(rig, dir).nlink, 1);
}

static void an_indexed_directory_may_have_more_subdirectories_than_can_be_counted(void **state)
{
    (void)state;
    struct fs_rig fs_rig;
    fs_rig_init(&fs_rig, &(struct fs_rig_options){.debugfs = "mkdir d\nset_inode_field d links_count 65000"});
    ops_rig_mount(&fs_rig, body_dir_links, NULL);
    fs_rig_fini(&fs_rig);               // its count is a lie from the start: nothing for e2fsck
}

// --- rename -----------------------------------------------------------------------------------------

static int mv(struct ops_rig *rig, uint32_t from, const char *from_name, uint32_t to, const char *to_name, uint32_t flags)
{
    return ops_rename(rig->ops, &rig->caller, from, n(from_name), to, n(to_name), flags);
}

static void body_rename(struct ops_rig *rig)
{
    uint32_t a = rig_mkdir(rig, OPS_ROOT, "a"), b = rig_mkdir(rig, OPS_ROOT, "b"), ino;
    uint32_t file = rig_create(rig, a, "f"), victim = rig_create(rig, b, "v");
    struct ops_attr fa = rig_attr(rig, file), va = rig_attr(rig, victim), aa = rig_attr(rig, a), ba = rig_attr(rig, b);

    rig_sleep(rig, 2);
    assert_int_equal(mv(rig, a, "f", b, "v", RENAME_NOREPLACE), -EEXIST);
    assert_int_equal(mv(rig, a, "f", b, "v", 0), 0);
    EXPECT_MOVED(rig, file, fa, "c");
    EXPECT_MOVED(rig, victim, va, "c");
    EXPECT_MOVED(rig, a, aa, "mc");
    EXPECT_MOVED(rig, b, ba, "mc");
    assert_int_equal(va.nlink, 0);
    assert_int_equal(rig_find(rig, a, "f", NULL), -ENOENT);
    assert_int_equal(rig_find(rig, b, "v", &ino), 0);
    assert_int_equal(ino, file);
    assert_int_equal(mv(rig, b, "v", a, "w", RENAME_NOREPLACE), 0);
    assert_int_equal(mv(rig, a, "gone", a, "x", 0), -ENOENT);
    rig_forget(rig, victim);
}

static void rename_moves_and_replaces_with_the_times_of_ext4(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_rename);
}

static void body_rename_dirs(struct ops_rig *rig)
{
    struct ops_attr attr;
    uint32_t a = rig_mkdir(rig, OPS_ROOT, "a"), b = rig_mkdir(rig, OPS_ROOT, "b");
    uint32_t sub = rig_mkdir(rig, a, "sub"), deep = rig_mkdir(rig, sub, "deep");
    uint32_t root_links = rig_attr(rig, OPS_ROOT).nlink;

    assert_int_equal(mv(rig, OPS_ROOT, "a", deep, "x", 0), -EINVAL);
    assert_int_equal(mv(rig, OPS_ROOT, "a", a, "x", 0), -EINVAL);
    assert_int_equal(mv(rig, sub, "deep", OPS_ROOT, "a", 0), -ENOTEMPTY);
    assert_int_equal(mv(rig, sub, "deep", OPS_ROOT, "a", RENAME_EXCHANGE), -EINVAL);
    assert_int_equal(mv(rig, a, "sub", b, "moved", 0), 0);
    assert_int_equal(rig_attr(rig, a).nlink, 2);
    assert_int_equal(rig_attr(rig, b).nlink, 3);
    assert_int_equal(ops_lookup_parent(rig->ops, sub, &attr), 0);
    assert_int_equal(attr.ino, b);
    rig_forget(rig, b);

    assert_int_equal(mv(rig, b, "moved", OPS_ROOT, "a", 0), 0);      // over an empty directory
    assert_int_equal(rig_attr(rig, OPS_ROOT).nlink, root_links);
    assert_int_equal(rig_attr(rig, a).nlink, 0);
    assert_int_equal(rig_attr(rig, b).nlink, 2);
    assert_int_equal(mv(rig, OPS_ROOT, "b", OPS_ROOT, "a", 0), -ENOTEMPTY);
    rig_create(rig, OPS_ROOT, "file");
    assert_int_equal(mv(rig, OPS_ROOT, "file", OPS_ROOT, "b", 0), -EISDIR);
    assert_int_equal(mv(rig, OPS_ROOT, "b", OPS_ROOT, "file", 0), -ENOTDIR);
    assert_int_equal(mv(rig, sub, "deep", sub, "deeper", 0), 0);     // within one directory
    assert_int_equal(rig_attr(rig, sub).nlink, 3);
    assert_int_equal(mv(rig, OPS_ROOT, "b", sub, "deeper", 0), 0);
    assert_int_equal(rig_attr(rig, sub).nlink, 3);
    assert_int_equal(rig_attr(rig, OPS_ROOT).nlink, root_links - 1);
}

static void directories_move_with_their_parent_links_and_never_into_themselves(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_rename_dirs);
}

static void body_exchange(struct ops_rig *rig)
{
    struct ops_attr attr;
    uint32_t ino, a = rig_mkdir(rig, OPS_ROOT, "a"), b = rig_mkdir(rig, OPS_ROOT, "b");
    uint32_t file = rig_create(rig, a, "f"), dir = rig_mkdir(rig, b, "d");

    assert_int_equal(mv(rig, a, "f", b, "nothing", RENAME_EXCHANGE), -ENOENT);
    assert_int_equal(mv(rig, a, "f", b, "d", RENAME_EXCHANGE | RENAME_NOREPLACE), -EINVAL);
    assert_int_equal(mv(rig, a, "f", b, "d", RENAME_EXCHANGE | RENAME_WHITEOUT), -EINVAL);
    assert_int_equal(mv(rig, a, "f", b, "d", 64), -EINVAL);
    assert_int_equal(mv(rig, a, "f", b, "d", RENAME_EXCHANGE), 0);
    assert_int_equal(rig_find(rig, a, "f", &ino), 0);
    assert_int_equal(ino, dir);
    assert_int_equal(rig_find(rig, b, "d", &ino), 0);
    assert_int_equal(ino, file);
    assert_int_equal(rig_attr(rig, a).nlink, 3);
    assert_int_equal(rig_attr(rig, b).nlink, 2);
    assert_int_equal(ops_lookup_parent(rig->ops, dir, &attr), 0);
    assert_int_equal(attr.ino, a);
    rig_mkdir(rig, b, "e");
    assert_int_equal(mv(rig, a, "f", b, "e", RENAME_EXCHANGE), 0);
    assert_int_equal(mv(rig, b, "e", b, "d", RENAME_EXCHANGE), 0);
}

static void exchange_swaps_inodes_of_any_kind(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_exchange);
}

static void body_whiteout(struct ops_rig *rig)
{
    uint32_t ino, file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d");

    assert_int_equal(mv(rig, OPS_ROOT, "f", dir, "g", RENAME_WHITEOUT), 0);
    assert_int_equal(rig_find(rig, dir, "g", &ino), 0);
    assert_int_equal(ino, file);
    assert_int_equal(rig_find(rig, OPS_ROOT, "f", &ino), 0);
    struct ops_attr attr = rig_attr(rig, ino);
    assert_int_equal(attr.mode, 0020000);
    assert_int_equal(attr.rdev_major, 0);
    assert_int_equal(attr.rdev_minor, 0);
    assert_int_equal(attr.nlink, 1);
    assert_int_equal(mv(rig, dir, "g", dir, "h", RENAME_WHITEOUT | RENAME_NOREPLACE), 0);
    assert_int_equal(rig_find(rig, dir, "g", NULL), 0);
}

static void a_whiteout_takes_the_old_name(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_whiteout);
}

static void body_same(struct ops_rig *rig)
{
    struct ops_attr attr;
    uint32_t file = rig_create(rig, OPS_ROOT, "f");
    assert_int_equal(ops_link(rig->ops, file, OPS_ROOT, n("g"), &attr), 0);

    rig_sleep(rig, 2);
    assert_int_equal(mv(rig, OPS_ROOT, "f", OPS_ROOT, "g", 0), 0);
    assert_int_equal(mv(rig, OPS_ROOT, "f", OPS_ROOT, "f", 0), 0);
    EXPECT_MOVED(rig, file, attr, "");
    assert_int_equal(attr.nlink, 2);
    assert_int_equal(rig_find(rig, OPS_ROOT, "f", NULL), 0);
    assert_int_equal(mv(rig, OPS_ROOT, "f", OPS_ROOT, "g", RENAME_NOREPLACE), -EEXIST);
}

static void renaming_one_link_over_another_of_the_same_inode_does_nothing(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_same);
}

static void body_split(struct ops_rig *rig)
{
    char from[64], to[64];
    uint32_t ino, dir = rig_mkdir(rig, OPS_ROOT, "d");

    for (int i = 0; i < 500; i++) {
        snprintf(from, sizeof from, "file %d", i);
        uint32_t made = rig_create(rig, dir, from);
        // The longer name has to split a leaf now and then, and may move the shorter.
        snprintf(to, sizeof to, "a considerably longer name of file number %d", i);
        assert_int_equal(mv(rig, dir, from, dir, to, 0), 0);
        assert_int_equal(rig_find(rig, dir, from, NULL), -ENOENT);
        assert_int_equal(rig_find(rig, dir, to, &ino), 0);
        assert_int_equal(ino, made);
    }
    assert_int_equal(expect_entries(rig, dir), 502);
}

static void a_rename_that_splits_its_own_directory_finds_the_old_entry_again(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_split);
}

// --- flags -------------------------------------------------------------------------------------------

static void body_immutable(struct ops_rig *rig)
{
    struct ops_attr attr;
    bool created;
    struct ops_write write = {.bytes = "x", .len = 1};
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d"), in = rig_create(rig, dir, "in");

    assert_int_equal(rig_chattr(rig, file, EXT4_IMMUTABLE_FL, 0), 0);
    assert_int_equal(rig_chattr(rig, dir, EXT4_IMMUTABLE_FL, 0), 0);
    assert_int_equal(ops_write(rig->ops, file, &write), -EPERM);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_SIZE}), -EPERM);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MODE}), -EPERM);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_UID}), -EPERM);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_ATIME_NOW | OPS_SET_MTIME_NOW}), -EPERM);
    assert_int_equal(ops_setxattr(rig->ops, file, "user.a", "v", 1, 0, false), -EPERM);
    assert_int_equal(ops_removexattr(rig->ops, file, "user.a"), -EPERM);
    assert_int_equal(ops_fallocate(rig->ops, file, 0, 0, 4096), -EPERM);
    assert_int_equal(ops_link(rig->ops, file, OPS_ROOT, n("g"), &attr), -EPERM);
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("f")), -EPERM);
    assert_int_equal(mv(rig, OPS_ROOT, "f", OPS_ROOT, "g", 0), -EPERM);
    rig_create(rig, OPS_ROOT, "h");
    assert_int_equal(mv(rig, OPS_ROOT, "h", OPS_ROOT, "f", 0), -EPERM);
    assert_int_equal(ops_create(rig->ops, &rig->caller, dir, n("x"), 0644, true, &attr, &created), -EPERM);
    assert_int_equal(ops_tmpfile(rig->ops, &rig->caller, dir, 0644, &attr), -EPERM);
    assert_int_equal(ops_unlink(rig->ops, dir, n("in")), -EPERM);
    assert_int_equal(ops_link(rig->ops, in, dir, n("x"), &attr), -EPERM);
    assert_int_equal(mv(rig, OPS_ROOT, "h", dir, "x", 0), -EPERM);
    assert_int_equal(rig_chattr(rig, file, EXT4_NODUMP_FL, 0), -EPERM);
    write.keep_times = true;
    assert_int_equal(ops_write(rig->ops, file, &write), -EPERM);
    // The times of writes that were allowed before are still taken.
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MTIME | OPS_SET_CTIME}), 0);
    assert_int_equal(rig_chattr(rig, file, 0, EXT4_IMMUTABLE_FL), 0);
    assert_int_equal(ops_unlink(rig->ops, OPS_ROOT, n("f")), 0);
}

static void an_immutable_inode_cannot_be_changed_named_or_removed(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_immutable);
}

static void body_append(struct ops_rig *rig)
{
    struct ops_write over = {.bytes = "x", .len = 1}, end = {.bytes = "y", .len = 1, .append = true};
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d");

    rig_write(rig, file, 0, "start");
    rig_create(rig, dir, "in");
    assert_int_equal(rig_chattr(rig, file, EXT4_APPEND_FL, 0), 0);
    assert_int_equal(rig_chattr(rig, dir, EXT4_APPEND_FL, 0), 0);
    assert_int_equal(ops_write(rig->ops, file, &over), -EPERM);
    assert_int_equal(ops_write(rig->ops, file, &end), 1);
    rig_expect_text(rig, file, "starty");
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_SIZE}), -EPERM);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_ATIME_NOW | OPS_SET_MTIME_NOW}), 0);
    rig_create(rig, dir, "more");
    assert_int_equal(ops_unlink(rig->ops, dir, n("in")), -EPERM);
    assert_int_equal(mv(rig, dir, "in", OPS_ROOT, "out", 0), -EPERM);
}

static void an_append_only_inode_grows_at_its_end_only(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_append);
}

static void body_set_flags(struct ops_rig *rig)
{
    uint32_t flags, project, zero = 0, five = 5;
    uint32_t file = rig_create(rig, OPS_ROOT, "f");
    struct ops_attr attr = rig_attr(rig, file);

    rig_sleep(rig, 2);
    assert_int_equal(rig_chattr(rig, file, EXT4_NODUMP_FL | EXT4_SYNC_FL, 0), 0);
    EXPECT_MOVED(rig, file, attr, "c");
    assert_int_equal(attr.flags, EXT4_EXTENTS_FL | EXT4_NODUMP_FL | EXT4_SYNC_FL);
    assert_int_equal(rig_chattr(rig, file, 0, EXT4_EXTENTS_FL), -EOPNOTSUPP);
    assert_int_equal(rig_chattr(rig, file, EXT4_JOURNAL_DATA_FL, 0), -EOPNOTSUPP);
    assert_int_equal(rig_chattr(rig, file, EXT4_DIRSYNC_FL, 0), -EOPNOTSUPP);       // of directories
    assert_int_equal(rig_chattr(rig, file, EXT4_EA_INODE_FL, 0), -EOPNOTSUPP);      // nobody's to set
    assert_int_equal(rig_chattr(rig, file, EXT4_INDEX_FL, 0), 0);                   // ignored
    assert_int_equal(ops_get_flags(rig->ops, file, &flags, &project), 0);
    assert_int_equal(flags, attr.flags);
    assert_int_equal(project, 0);
    assert_int_equal(ops_set_flags(rig->ops, file, flags, &zero), 0);
    assert_int_equal(ops_set_flags(rig->ops, file, flags, &five), -EOPNOTSUPP);     // no such feature
}

static void only_flags_that_users_may_change_change(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_set_flags);
}

// --- setattr -----------------------------------------------------------------------------------------

static void body_setattr(struct ops_rig *rig)
{
    uint32_t file = rig_create(rig, OPS_ROOT, "f");
    struct ops_attr attr = rig_attr(rig, file);

    rig_sleep(rig, 2);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MODE, .mode = 06755}), 0);
    EXPECT_MOVED(rig, file, attr, "c");
    assert_int_equal(attr.mode, 0106755);
    rig_sleep(rig, 2);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_UID | OPS_SET_GID, .uid = 70000, .gid = 80000}), 0);
    EXPECT_MOVED(rig, file, attr, "c");
    assert_int_equal(attr.uid, 70000);
    assert_int_equal(attr.gid, 80000);
    assert_int_equal(attr.mode, 0100755);
    rig_sleep(rig, 2);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_ATIME, .atime = {1000, 123456789}}), 0);
    EXPECT_MOVED(rig, file, attr, "ac");
    assert_int_equal(attr.atime.sec, 1000);
    assert_int_equal(attr.atime.nsec, 123456789);
    struct ops_setattr flush = {.set = OPS_SET_MTIME | OPS_SET_CTIME, .mtime = {-5, 1}, .ctime = {4000000000, 2}};
    assert_int_equal(rig_setattr(rig, file, flush), 0);
    EXPECT_MOVED(rig, file, attr, "mc");
    assert_int_equal(attr.mtime.sec, -5);
    assert_int_equal(attr.ctime.sec, 4000000000);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_ATIME_NOW}), 0);
    EXPECT_MOVED(rig, file, attr, "ac");
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){0}), 0);
    EXPECT_MOVED(rig, file, attr, "");
}

static void setattr_changes_what_was_asked_for_and_the_change_time(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_setattr);
}

static void body_suid_dir(struct ops_rig *rig)
{
    uint32_t dir = rig_mkdir(rig, OPS_ROOT, "d"), file = rig_create(rig, OPS_ROOT, "f");
    assert_int_equal(rig_setattr(rig, dir, (struct ops_setattr){.set = OPS_SET_MODE, .mode = 06755}), 0);
    assert_int_equal(rig_setattr(rig, dir, (struct ops_setattr){.set = OPS_SET_UID, .uid = 5}), 0);
    assert_int_equal(rig_attr(rig, dir).mode, 0046755);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MODE, .mode = 06745}), 0);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_GID, .gid = 5}), 0);
    assert_int_equal(rig_attr(rig, file).mode, 0102745);       // without group execute set-gid stays
}

static void chown_takes_set_id_bits_from_files_and_not_from_directories(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_suid_dir);
}

// --- xattrs and ACLs ---------------------------------------------------------------------------------

static void body_xattr(struct ops_rig *rig)
{
    struct ops_attr attr, special;
    char got[256];
    uint32_t file = rig_create(rig, OPS_ROOT, "f");
    attr = rig_attr(rig, file);

    rig_sleep(rig, 2);
    assert_int_equal(ops_setxattr(rig->ops, file, "user.one", "value", 5, 0, false), 0);
    EXPECT_MOVED(rig, file, attr, "c");
    assert_int_equal(ops_getxattr(rig->ops, file, "user.one", NULL, 0), 5);
    assert_int_equal(ops_getxattr(rig->ops, file, "user.one", got, 4), -ERANGE);
    assert_int_equal(ops_getxattr(rig->ops, file, "user.one", got, sizeof got), 5);
    assert_memory_equal(got, "value", 5);
    assert_int_equal(ops_setxattr(rig->ops, file, "user.one", "x", 1, XATTR_CREATE, false), -EEXIST);
    assert_int_equal(ops_setxattr(rig->ops, file, "user.two", "x", 1, XATTR_REPLACE, false), -ENODATA);
    assert_int_equal(ops_setxattr(rig->ops, file, "user.empty", "", 0, 0, false), 0);
    assert_int_equal(ops_getxattr(rig->ops, file, "user.empty", NULL, 0), 0);
    assert_int_equal(ops_setxattr(rig->ops, file, "nonsense.x", "x", 1, 0, false), -EOPNOTSUPP);
    assert_int_equal(ops_setxattr(rig->ops, file, "user.big", got, 70000, 0, false), -E2BIG);
    assert_int_equal(ops_setxattr(rig->ops, file, "user.big", got, 60000, 0, false), -ENOSPC);
    assert_int_equal(ops_listxattr(rig->ops, file, got, sizeof got), 9 + 11);
    attr = rig_attr(rig, file);
    rig_sleep(rig, 2);
    assert_int_equal(ops_removexattr(rig->ops, file, "user.one"), 0);
    EXPECT_MOVED(rig, file, attr, "c");
    assert_int_equal(ops_removexattr(rig->ops, file, "user.one"), -ENODATA);
    assert_int_equal(ops_getxattr(rig->ops, file, "user.one", got, sizeof got), -ENODATA);
    assert_int_equal(ops_mknod(rig->ops, &rig->caller, OPS_ROOT, n("fifo"), 0010644, 0, 0, &special), 0);
    assert_int_equal(ops_setxattr(rig->ops, special.ino, "user.a", "x", 1, 0, false), -EPERM);
    assert_int_equal(ops_getxattr(rig->ops, special.ino, "user.a", got, 10), -ENODATA);
    assert_int_equal(ops_setxattr(rig->ops, special.ino, "trusted.a", "x", 1, 0, false), 0);
}

static void xattrs_are_set_read_listed_and_removed(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_xattr);
}

struct acl_entry {
    uint16_t tag, perm;
    uint32_t id;
};
struct acl {
    uint32_t version;
    struct acl_entry entries[6];
};
enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };
#define NO_ID 0xffffffffu

static void body_acl(struct ops_rig *rig)
{
    uint32_t file = rig_create(rig, OPS_ROOT, "f"), dir = rig_mkdir(rig, OPS_ROOT, "d");
    struct acl full = {2, {{USER_OBJ, 7, NO_ID}, {USER, 6, 1000}, {GROUP_OBJ, 5, NO_ID}, {MASK, 4, NO_ID}, {OTHER, 0, NO_ID}}};
    struct acl minimal = {2, {{USER_OBJ, 6, NO_ID}, {GROUP_OBJ, 4, NO_ID}, {OTHER, 4, NO_ID}}};
    struct acl got;
    struct ops_attr attr;
    bool created;

    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MODE, .mode = 02600}), 0);
    assert_int_equal(ops_setxattr(rig->ops, file, "system.posix_acl_access", &full, 4 + 5 * 8, 0, false), 0);
    assert_int_equal(rig_attr(rig, file).mode, 0102740);        // the mask is the group's bits
    assert_int_equal(ops_setxattr(rig->ops, file, "system.posix_acl_access", &full, 4 + 5 * 8, 0, true), 0);
    assert_int_equal(rig_attr(rig, file).mode, 0100740);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MODE, .mode = 0670}), 0);
    assert_int_equal(ops_getxattr(rig->ops, file, "system.posix_acl_access", &got, sizeof got), 4 + 5 * 8);
    assert_int_equal(got.entries[0].perm, 6);
    assert_int_equal(got.entries[2].perm, 5);
    assert_int_equal(got.entries[3].perm, 7);
    assert_int_equal(ops_setxattr(rig->ops, file, "system.posix_acl_access", &minimal, 4 + 3 * 8, 0, false), 0);
    assert_int_equal(rig_attr(rig, file).mode, 0100644);
    assert_int_equal(ops_getxattr(rig->ops, file, "system.posix_acl_access", &got, sizeof got), -ENODATA);
    assert_int_equal(ops_removexattr(rig->ops, file, "system.posix_acl_access"), 0);
    assert_int_equal(ops_setxattr(rig->ops, file, "system.posix_acl_default", &full, 4 + 5 * 8, 0, false), -EACCES);

    assert_int_equal(ops_setxattr(rig->ops, dir, "system.posix_acl_default", &full, 4 + 5 * 8, 0, false), 0);
    assert_int_equal(ops_create(rig->ops, &rig->caller, dir, n("x"), 0666, true, &attr, &created), 0);
    assert_int_equal(attr.mode, 0100640);                       // no umask, but the ACL and its mask
    assert_int_equal(ops_getxattr(rig->ops, attr.ino, "system.posix_acl_access", &got, sizeof got), 4 + 5 * 8);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, dir, n("sub"), 0777, &attr), 0);
    assert_int_equal(ops_getxattr(rig->ops, attr.ino, "system.posix_acl_default", &got, sizeof got), 4 + 5 * 8);
    assert_int_equal(ops_symlink(rig->ops, &rig->caller, dir, n("l"), n("t"), &attr), 0);
    assert_int_equal(attr.mode, 0120777);
    assert_int_equal(ops_setxattr(rig->ops, attr.ino, "system.posix_acl_access", &full, 4 + 5 * 8, 0, false), -EOPNOTSUPP);
}

static void an_acl_and_the_mode_follow_each_other_and_children_inherit(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_acl);
}

// --- readdir -----------------------------------------------------------------------------------------

struct listing {
    uint64_t cookie;
    uint32_t count, room, with_attr;
    char last[256];
};

static bool list_entry(void *arg, const struct ops_dirent *entry)
{
    struct listing *l = arg;
    if (l->count == l->room)
        return false;
    l->count++;
    l->cookie = entry->next_cookie;
    l->with_attr += entry->attr != NULL;
    memcpy(l->last, entry->name.bytes, entry->name.len);
    l->last[entry->name.len] = 0;
    assert_true(!entry->attr || entry->attr->ino == entry->ino);
    return true;
}

static void body_readdir(struct ops_rig *rig)
{
    char name[64];
    uint32_t total = 0, dir = rig_mkdir(rig, OPS_ROOT, "d"), file = 0;
    uint64_t cookie = 0;

    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "entry number %d of this directory", i);
        file = rig_create(rig, dir, name);
        rig_forget(rig, file);
    }
    for (;;) {
        struct listing l = {.room = 37};
        assert_int_equal(ops_readdir(rig->ops, dir, cookie, false, list_entry, &l), 0);
        total += l.count;
        cookie = l.cookie;
        assert_int_equal(l.with_attr, 0);
        if (l.count == 0)
            break;
    }
    assert_int_equal(total, 302);

    struct listing all = {.room = 1000};
    assert_int_equal(ops_readdir(rig->ops, dir, 0, true, list_entry, &all), 0);
    assert_int_equal(all.count, 302);
    assert_int_equal(all.with_attr, 302);
    // Each was counted once: the file lives until it is forgotten once.
    uint64_t free_inodes = rig_free_inodes(rig);
    assert_int_equal(ops_unlink(rig->ops, dir, n(name)), 0);
    assert_int_equal(rig_free_inodes(rig), free_inodes);
    rig_forget(rig, file);
    assert_int_equal(rig_free_inodes(rig), free_inodes + 1);
    assert_int_equal(ops_readdir(rig->ops, rig_create(rig, OPS_ROOT, "f"), 0, false, list_entry, &all), -ENOTDIR);
}

static void readdir_goes_on_from_any_cookie_and_readdirplus_counts_lookups(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_readdir);
}

static void body_damaged(struct ops_rig *rig)
{
    struct ops_attr attr;
    struct listing l = {.room = 100};
    assert_int_equal(ops_lookup(rig->ops, OPS_ROOT, n("bad"), &attr), -EUCLEAN);
    assert_int_equal(ops_getattr(rig->ops, 12, &attr), -EUCLEAN);
    assert_int_equal(ops_lookup(rig->ops, OPS_ROOT, n("dangling"), &attr), -EUCLEAN);
    assert_int_equal(ops_readdir(rig->ops, OPS_ROOT, 0, true, list_entry, &l), 0);
    assert_int_equal(l.count, 6);           // with . .. lost+found good
    assert_int_equal(l.with_attr, 4);
}

static void a_damaged_inode_costs_its_own_attributes_only(void **state)
{
    (void)state;
    struct fs_rig fs_rig;
    fs_rig_init(&fs_rig, &(struct fs_rig_options){
        .debugfs = "write /dev/null bad\nwrite /dev/null dangling\nwrite /dev/null good\n"
                   "set_inode_field bad mode 0170000\nset_inode_field dangling mode 0\nset_inode_field dangling links_count 0",
    });
    ops_rig_mount(&fs_rig, body_damaged, NULL);
    fs_rig_fini(&fs_rig);
}

// --- handles -----------------------------------------------------------------------------------------

static void body_handles(struct ops_rig *rig)
{
    struct ops_attr attr;
    uint32_t dir = rig_mkdir(rig, OPS_ROOT, "d");

    assert_int_equal(ops_lookup_ino(rig->ops, dir, &attr), 0);
    assert_int_equal(attr.ino, dir);
    assert_int_equal(ops_lookup_ino(rig->ops, OPS_ROOT, &attr), 0);
    assert_int_equal(ops_lookup_ino(rig->ops, 0, &attr), -ESTALE);
    assert_int_equal(ops_lookup_ino(rig->ops, 8, &attr), -ESTALE);          // the journal
    assert_int_equal(ops_lookup_ino(rig->ops, 500, &attr), -ESTALE);        // free
    assert_int_equal(ops_lookup_ino(rig->ops, UINT32_MAX, &attr), -ESTALE);
    assert_int_equal(ops_getattr(rig->ops, 8, &attr), -ESTALE);
    assert_int_equal(ops_lookup_parent(rig->ops, dir, &attr), 0);
    assert_int_equal(attr.ino, OPS_ROOT);
    assert_int_equal(ops_lookup_parent(rig->ops, OPS_ROOT, &attr), 0);
    assert_int_equal(attr.ino, OPS_ROOT);
    assert_int_equal(ops_lookup_parent(rig->ops, rig_create(rig, OPS_ROOT, "f"), &attr), -ENOTDIR);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("d")), 0);
    assert_int_equal(ops_lookup_ino(rig->ops, dir, &attr), -ESTALE);
    assert_int_equal(ops_lookup_parent(rig->ops, dir, &attr), -ESTALE);
}

static void handles_of_inodes_that_are_gone_or_internal_are_stale(void **state)
{
    (void)state;
    ops_rig_test(&(struct fs_rig_options){0}, body_handles);
}

// --- read-only ---------------------------------------------------------------------------------------

static void body_make_some(struct ops_rig *rig)
{
    uint32_t dir = rig_mkdir(rig, OPS_ROOT, "d");
    rig_write(rig, rig_create(rig, dir, "f"), 0, "text");
}

static void body_read_only(struct ops_rig *rig)
{
    uint32_t dir, file;
    struct ops_attr attr;
    bool created;
    struct ops_write write = {.bytes = "x", .len = 1};

    assert_int_equal(rig_find(rig, OPS_ROOT, "d", &dir), 0);
    assert_int_equal(rig_find(rig, dir, "f", &file), 0);
    rig_expect_text(rig, file, "text");
    assert_int_equal(expect_entries(rig, dir), 3);
    assert_int_equal(ops_lookup_parent(rig->ops, dir, &attr), 0);
    assert_int_equal(ops_create(rig->ops, &rig->caller, dir, n("f"), 0644, false, &attr, &created), 0);
    assert_int_equal(ops_create(rig->ops, &rig->caller, dir, n("f"), 0644, true, &attr, &created), -EEXIST);
    assert_int_equal(ops_create(rig->ops, &rig->caller, dir, n("g"), 0644, true, &attr, &created), -EROFS);
    assert_int_equal(ops_tmpfile(rig->ops, &rig->caller, dir, 0644, &attr), -EROFS);
    assert_int_equal(ops_unlink(rig->ops, dir, n("f")), -EROFS);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("d")), -EROFS);
    assert_int_equal(ops_link(rig->ops, file, dir, n("g"), &attr), -EROFS);
    assert_int_equal(mv(rig, dir, "f", dir, "g", 0), -EROFS);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_MODE}), -EROFS);
    assert_int_equal(rig_setattr(rig, file, (struct ops_setattr){.set = OPS_SET_SIZE}), -EROFS);
    assert_int_equal(ops_setxattr(rig->ops, file, "user.a", "v", 1, 0, false), -EROFS);
    assert_int_equal(rig_chattr(rig, file, EXT4_NODUMP_FL, 0), -EROFS);
    assert_int_equal(ops_write(rig->ops, file, &write), -EROFS);
    assert_int_equal(ops_fallocate(rig->ops, file, 0, 0, 4096), -EROFS);
}

static void a_read_only_volume_answers_reads_and_refuses_every_change(void **state)
{
    (void)state;
    struct fs_rig fs_rig;
    fs_rig_init(&fs_rig, &(struct fs_rig_options){0});
    ops_rig_mount(&fs_rig, body_make_some, NULL);
    fs_rig.options.read_only = true;
    ops_rig_mount(&fs_rig, body_read_only, NULL);
    fs_rig_fsck(&fs_rig);
    fs_rig_fini(&fs_rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_gives_mode_owner_and_times_and_touches_its_directory),
        cmocka_unit_test(names_that_no_directory_can_hold_are_refused),
        cmocka_unit_test(mknod_makes_every_kind_but_directories_and_symlinks),
        cmocka_unit_test(a_symlink_holds_up_to_4095_bytes_short_ones_in_the_inode),
        cmocka_unit_test(mkdir_and_rmdir_count_links_and_move_times),
        cmocka_unit_test(what_is_made_in_a_setgid_directory_takes_its_group),
        cmocka_unit_test(children_inherit_flags_by_type_and_the_project_binds_them),
        cmocka_unit_test(unlink_and_rmdir_refuse_what_is_not_theirs_to_remove),
        cmocka_unit_test(an_unlinked_file_lives_until_the_kernel_forgets_it),
        cmocka_unit_test(an_unlinked_file_that_nobody_knows_is_deleted_at_once),
        cmocka_unit_test(after_a_take_over_orphans_stay_until_unmount),
        cmocka_unit_test(nothing_can_be_made_in_a_removed_directory),
        cmocka_unit_test(link_adds_a_name_and_refuses_directories),
        cmocka_unit_test(a_tmpfile_vanishes_when_forgotten_unless_it_was_linked),
        cmocka_unit_test(a_file_has_at_most_65000_links),
        cmocka_unit_test(an_indexed_directory_may_have_more_subdirectories_than_can_be_counted),
        cmocka_unit_test(rename_moves_and_replaces_with_the_times_of_ext4),
        cmocka_unit_test(directories_move_with_their_parent_links_and_never_into_themselves),
        cmocka_unit_test(exchange_swaps_inodes_of_any_kind),
        cmocka_unit_test(a_whiteout_takes_the_old_name),
        cmocka_unit_test(renaming_one_link_over_another_of_the_same_inode_does_nothing),
        cmocka_unit_test(a_rename_that_splits_its_own_directory_finds_the_old_entry_again),
        cmocka_unit_test(an_immutable_inode_cannot_be_changed_named_or_removed),
        cmocka_unit_test(an_append_only_inode_grows_at_its_end_only),
        cmocka_unit_test(only_flags_that_users_may_change_change),
        cmocka_unit_test(setattr_changes_what_was_asked_for_and_the_change_time),
        cmocka_unit_test(chown_takes_set_id_bits_from_files_and_not_from_directories),
        cmocka_unit_test(xattrs_are_set_read_listed_and_removed),
        cmocka_unit_test(an_acl_and_the_mode_follow_each_other_and_children_inherit),
        cmocka_unit_test(readdir_goes_on_from_any_cookie_and_readdirplus_counts_lookups),
        cmocka_unit_test(a_damaged_inode_costs_its_own_attributes_only),
        cmocka_unit_test(handles_of_inodes_that_are_gone_or_internal_are_stale),
        cmocka_unit_test(a_read_only_volume_answers_reads_and_refuses_every_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
