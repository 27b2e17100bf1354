// SPDX-License-Identifier: MIT
// aim_test.c - the rules: every operation has one, in every state; numbers, sizes, errors.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

#include "base/err.h"
#include "recover/aim.h"

static void every_operation_has_a_rule_for_every_state(void **state)
{
    (void)state;
    for (uint16_t op = PLOG_NONE + 1; op < PLOG_OP_COUNT; op++) {
        struct plog_entry entry = {.op = op};
        assert_non_null(aim_rule_of(&entry)->name);
        assert_true(strcmp(aim_rule_of(&entry)->name, "none") != 0);
        assert_int_equal(aim_decide(&entry, PLOG_LIVE), AIM_ACT);
        bool write = op == PLOG_WRITE;
        assert_int_equal(aim_decide(&entry, PLOG_DURABLE), write ? AIM_DISTRUST : AIM_IGNORE);
        assert_int_equal(aim_decide(&entry, PLOG_DURABLE_BUT_DATA), write ? AIM_SIZE : AIM_DISTRUST);
    }
}

static void what_is_no_operation_is_not_believed(void **state)
{
    (void)state;
    assert_int_equal(aim_decide(&(struct plog_entry){.op = PLOG_NONE}, PLOG_LIVE), AIM_DISTRUST);
    assert_int_equal(aim_decide(&(struct plog_entry){.op = 999}, PLOG_DURABLE), AIM_DISTRUST);
    // Blocks that move cannot move twice.
    assert_int_equal(aim_decide(&(struct plog_entry){.op = PLOG_FALLOCATE, .mode = FALLOC_FL_COLLAPSE_RANGE}, PLOG_LIVE), AIM_DISTRUST);
}

static void a_new_inode_needs_its_number(void **state)
{
    (void)state;
    static const uint16_t makers[] = {PLOG_CREATE, PLOG_TMPFILE, PLOG_MKNOD, PLOG_MKDIR, PLOG_SYMLINK};
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
        assert_int_equal(aim_number(&(struct plog_entry){.op = makers[i], .target = {{.ino = 77}}}), 77);
    assert_int_equal(aim_number(&(struct plog_entry){.op = PLOG_LINK, .target = {{.ino = 77}}}), 0);
    assert_int_equal(aim_number(&(struct plog_entry){.op = PLOG_RENAME, .off = 88ull << 32 | 5}), 88);
    assert_int_equal(aim_number(&(struct plog_entry){.op = PLOG_RENAME}), 0);
    assert_int_equal(aim_decide_number(OPS_HOLDER_NONE), AIM_ACT);
    assert_int_equal(aim_decide_number(OPS_HOLDER_ORPHAN), AIM_BURY);
    assert_int_equal(aim_decide_number(OPS_HOLDER_ALIVE), AIM_DISTRUST);
}

static void sizes_follow_the_order_of_events(void **state)
{
    (void)state;
    uint64_t size = 0;
    size = aim_size(&(struct plog_entry){.op = PLOG_WRITE, .off = 90, .len = 10}, size);
    assert_int_equal(size, 100);
    size = aim_size(&(struct plog_entry){.op = PLOG_WRITE, .off = 10, .len = 10}, size);
    assert_int_equal(size, 100);
    size = aim_size(&(struct plog_entry){.op = PLOG_SETATTR, .flags = OPS_SET_MODE, .off = 0}, size);
    assert_int_equal(size, 100);
    size = aim_size(&(struct plog_entry){.op = PLOG_SETATTR, .flags = OPS_SET_SIZE, .off = 30}, size);
    assert_int_equal(size, 30);
    size = aim_size(&(struct plog_entry){.op = PLOG_FALLOCATE, .off = 0, .len = 50, .mode = FALLOC_FL_KEEP_SIZE}, size);
    assert_int_equal(size, 30);
    size = aim_size(&(struct plog_entry){.op = PLOG_FALLOCATE, .off = 0, .len = 50}, size);
    assert_int_equal(size, 50);
    size = aim_size(&(struct plog_entry){.op = PLOG_FALLOCATE, .off = 0, .len = 20, .mode = FALLOC_FL_COLLAPSE_RANGE}, size);
    assert_int_equal(size, 30);
    size = aim_size(&(struct plog_entry){.op = PLOG_UNLINK}, size);
    assert_int_equal(size, 30);
}

static void a_full_disk_contradicts_the_log_and_a_broken_one_does_not(void **state)
{
    (void)state;
    static const int lies[] = {-ENOENT, -EEXIST, -ESTALE, -ENOSPC, -EPERM, -EINVAL, -ENOTEMPTY, -EFSCORRUPTED};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
        assert_int_equal(aim_decide_error(lies[i]), AIM_DISTRUST);
    assert_int_equal(aim_decide_error(-EIO), AIM_IGNORE);
    assert_int_equal(aim_decide_error(-EROFS), AIM_IGNORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_has_a_rule_for_every_state),
        cmocka_unit_test(what_is_no_operation_is_not_believed),
        cmocka_unit_test(a_new_inode_needs_its_number),
        cmocka_unit_test(sizes_follow_the_order_of_events),
        cmocka_unit_test(a_full_disk_contradicts_the_log_and_a_broken_one_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
