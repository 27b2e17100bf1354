// SPDX-License-Identifier: MIT
// ops_fault_test.c - an operation whose reads fail happens not at all; one whose reads lie answers damage.
//
// Each case runs on a cold cache, with the first read failing, then the second, and so on until it
// met no fault. Whenever it failed, the tree must look as before; when it succeeded, it is undone.
#include "ops/ops_rig.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "dev/fault.h"

#define SNAPSHOT_MAX 4096

struct sweep {
    const struct fault_case *what;
    struct fault_rule rule;
    char before[SNAPSHOT_MAX], after[SNAPSHOT_MAX];
    uint64_t fired;
    int rc;
};
struct fault_case {
    const char *name;
    int (*act)(struct ops_rig *rig, uint32_t a, uint32_t b);
    int (*undo)(struct ops_rig *rig, uint32_t a, uint32_t b);
};

// --- what is there -----------------------------------------------------------------------------------

static bool add_line(void *arg, const struct ops_dirent *entry)
{
    char *text = arg;
    size_t used = strlen(text);
    snprintf(text + used, SNAPSHOT_MAX - used, "%.*s ", (int)entry->name.len, entry->name.bytes);
    return true;
}

static void snapshot(struct ops_rig *rig, char text[SNAPSHOT_MAX])
{
    static const char *const dirs[] = {"a", "b"};
    text[0] = 0;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        uint32_t dir;
        char xattr[64] = "";
        assert_int_equal(rig_find(rig, OPS_ROOT, dirs[i], &dir), 0);
        assert_int_equal(ops_readdir(rig->ops, dir, 0, false, add_line, text), 0);
        (void)!ops_getxattr(rig->ops, dir, "user.x", xattr, sizeof xattr - 1);
        size_t used = strlen(text);
        snprintf(text + used, SNAPSHOT_MAX - used, "nlink=%u xattr=%s\n", rig_attr(rig, dir).nlink, xattr);
    }
}

static void body_prepare(struct ops_rig *rig)
{
    char name[64];
    uint32_t a = rig_mkdir(rig, OPS_ROOT, "a"), b = rig_mkdir(rig, OPS_ROOT, "b");
    uint32_t sub = rig_mkdir(rig, a, "sub");
    rig_create(rig, sub, "deep");
    rig_create(rig, a, "file");
    for (int i = 0; i < 150; i++) {     // enough for a hash tree
        snprintf(name, sizeof name, "a file with a name of some length, number %d", i);
        rig_forget(rig, rig_create(rig, b, name));
    }
}

// --- the cases --------------------------------------------------------------------------------------------

static int do_mkdir(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    struct ops_attr attr;
    return ops_mkdir(rig->ops, &rig->caller, b, n("new"), 0755, &attr);
}
static int undo_mkdir(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    return ops_rmdir(rig->ops, b, n("new"));
}
static int do_symlink(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    struct ops_attr attr;
    char target[200];
    memset(target, 't', sizeof target);
    return ops_symlink(rig->ops, &rig->caller, b, n("long"), (struct ops_name){target, sizeof target}, &attr);
}
static int undo_symlink(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    return ops_unlink(rig->ops, b, n("long"));
}
static int do_link(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    struct ops_attr attr;
    int rc = ops_lookup(rig->ops, a, n("file"), &attr);
    return rc < 0 ? rc : ops_link(rig->ops, attr.ino, b, n("hard"), &attr);
}
static int undo_link(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    return ops_unlink(rig->ops, b, n("hard"));
}
static int do_move(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    return ops_rename(rig->ops, &rig->caller, a, n("sub"), b, n("moved"), 0);
}
static int undo_move(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    return ops_rename(rig->ops, &rig->caller, b, n("moved"), a, n("sub"), 0);
}
static int do_whiteout(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    return ops_rename(rig->ops, &rig->caller, a, n("file"), b, n("moved"), RENAME_WHITEOUT);
}
static int undo_whiteout(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    return ops_rename(rig->ops, &rig->caller, b, n("moved"), a, n("file"), 0);
}
static int do_unlink(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    return ops_unlink(rig->ops, a, n("file"));
}
static int undo_unlink(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    struct ops_attr attr;
    bool created;
    return ops_create(rig->ops, &rig->caller, a, n("file"), 0644, true, &attr, &created);
}
static int do_setxattr(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    char value[1000];
    memset(value, 'v', sizeof value);
    value[40] = 0;                      // the rest only makes it large: it needs a block
    return ops_setxattr(rig->ops, b, "user.x", value, sizeof value, 0, false);
}
static int undo_setxattr(struct ops_rig *rig, uint32_t a, uint32_t b)
{
    return ops_removexattr(rig->ops, b, "user.x");
}

static const struct fault_case cases[] = {
    {"mkdir", do_mkdir, undo_mkdir},
    {"symlink", do_symlink, undo_symlink},
    {"link", do_link, undo_link},
    {"move", do_move, undo_move},
    {"whiteout", do_whiteout, undo_whiteout},
    {"unlink", do_unlink, undo_unlink},
    {"setxattr", do_setxattr, undo_setxattr},
};

// --- the sweep ----------------------------------------------------------------------------------------------

static void body_before(struct ops_rig *rig)
{
    struct sweep *sweep = rig->arg;
    snapshot(rig, sweep->before);
}

static void body_faulty(struct ops_rig *rig)
{
    struct sweep *sweep = rig->arg;
    uint32_t a = 0, b = 0;

    int id = dev_fault_add(rig->fs_rig->dev, &sweep->rule);
    assert_true(id > 0);
    sweep->rc = rig_find(rig, OPS_ROOT, "a", &a);
    if (sweep->rc == 0)
        sweep->rc = rig_find(rig, OPS_ROOT, "b", &b);
    if (sweep->rc == 0)
        sweep->rc = sweep->what->act(rig, a, b);
    sweep->fired = dev_fault_fired(rig->fs_rig->dev, id);
    dev_fault_clear(rig->fs_rig->dev);
    if (sweep->rc < 0) {
        snapshot(rig, sweep->after);
        assert_string_equal(sweep->after, sweep->before);
    } else {
        assert_int_equal(sweep->what->undo(rig, a, b), 0);
    }
}

static void sweep_all(enum fault_kind kind, int error)
{
    struct fs_rig fs_rig;

    fs_rig_init(&fs_rig, &(struct fs_rig_options){.no_flusher = true, .fast_disk = true});
    ops_rig_mount(&fs_rig, body_prepare, NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sweep sweep = {.what = &cases[i], .fired = 1};
        uint32_t failures = 0;
        ops_rig_mount(&fs_rig, body_before, &sweep);
        for (uint64_t skip = 0; sweep.fired > 0; skip++) {
            sweep.rule = (struct fault_rule){.ops = FAULT_ON_READ, .kind = kind, .skip = skip, .shots = 1, .byte = 40};
            ops_rig_mount(&fs_rig, body_faulty, &sweep);
            assert_true(sweep.rc == 0 || sweep.rc == error || sweep.rc == -ENOSPC);
            failures += sweep.rc < 0;
        }
        assert_int_equal(sweep.rc, 0);
        assert_true(failures >= 2);
    }
    // A flipped byte of an inode that nobody asked for is not noticed, and goes home with its block.
    if (kind == FAULT_FAIL)
        fs_rig_fsck(&fs_rig);
    fs_rig_fini(&fs_rig);
}

static void an_operation_whose_reads_fail_happens_not_at_all(void **state)
{
    (void)state;
    sweep_all(FAULT_FAIL, -EIO);
}

static void an_operation_that_meets_a_flipped_byte_answers_damage_and_changes_nothing(void **state)
{
    (void)state;
    sweep_all(FAULT_CORRUPT, -EUCLEAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_operation_whose_reads_fail_happens_not_at_all),
        cmocka_unit_test(an_operation_that_meets_a_flipped_byte_answers_damage_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
