// SPDX-License-Identifier: MIT
// recover_answers_test.c - what recovery owes beside the volume: answers of requests that were applied, the end of
// orphans that nobody knows, and a short pause.
#include "recover/recover_words.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"

static void only_recover(struct recover_rig *rig) { (void)rig; }

// --- answers ------------------------------------------------------------------------------------------

static void answered_life(struct recover_rig *rig)
{
    struct ops_answer answer = {0};
    struct ops_attr attr;
    set_up(rig);
    ops_tag(rig->ops, 1, 10, &answer);
    assert_int_equal(ops_mkdir(rig->ops, &rig->caller, OPS_ROOT, n("answered"), 0700, &attr), 0);
    assert_true(answer.seq > 0);
    assert_int_equal(answer.ino, attr.ino);
    assert_int_equal(answer.generation, attr.generation);

    // Several parts: the last one has it, and the whole result.
    uint32_t from = f(rig), to = t(rig);
    static uint8_t bytes[2500000];
    memset(&answer, 0, sizeof answer);
    ops_tag(rig->ops, 1, 11, &answer);
    assert_int_equal(ops_write(rig->ops, from, &(struct ops_write){.bytes = bytes, .len = sizeof bytes}), sizeof bytes);
    assert_int_equal(answer.result, sizeof bytes);
    memset(&answer, 0, sizeof answer);
    ops_tag(rig->ops, 1, 12, &answer);
    assert_int_equal(ops_copy_range(rig->ops, from, 0, to, 0, 1ull << 40), sizeof bytes);
    assert_int_equal(answer.result, sizeof bytes);
    memset(&answer, 0, sizeof answer);
    struct ops_setattr set = {.set = OPS_SET_SIZE | OPS_SET_MODE, .mode = 0600, .size = 7};
    ops_tag(rig->ops, 1, 13, &answer);
    assert_int_equal(ops_setattr(rig->ops, &rig->caller, from, &set, &attr), 0);
    assert_int_equal(answer.ino, attr.ino);

    // What fails, or changes nothing, has none: it is asked again.
    memset(&answer, 0, sizeof answer);
    ops_tag(rig->ops, 1, 14, &answer);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("not there")), -ENOENT);
    assert_int_equal(answer.seq, 0);
    assert_int_equal(ops_rmdir(rig->ops, OPS_ROOT, n("answered")), 0);
    assert_int_equal(answer.seq, 0);
}

static void a_request_has_one_answer_and_recovery_tells_of_it(void **state)
{
    (void)state;
    struct fs_rig base;
    struct recover_rig rig;
    fs_rig_init(&base, &(struct fs_rig_options){0});
    recover_rig_init(&rig, &base);
    assert_int_equal(recover_rig_live(&rig, answered_life, NULL, LIFE_CRASHES), 0);
    assert_int_equal(recover_rig_live(&rig, only_recover, NULL, LIFE_ENDS), 0);
    assert_int_equal(rig.answers, 4);
    recover_rig_fini(&rig);
    fs_rig_fini(&base);
}

// --- who is still known -------------------------------------------------------------------------------

static bool kernel_knows(void *arg, uint32_t ino)
{
    struct recover_rig *rig = arg;
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 1000000);
    return rig->held_count > 0 && rig->held[0] == ino;
}

static void two_are_unlinked(struct recover_rig *rig)
{
    struct ops_attr attr;
    set_up(rig);
    assert_int_equal(ops_lookup(rig->ops, d(rig), n("e"), &attr), 0);
    recover_rig_hold(rig, attr.ino);
    assert_int_equal(ops_lookup(rig->ops, x(rig), n("t"), &attr), 0);
    recover_rig_hold(rig, attr.ino);
    assert_int_equal(ops_unlink(rig->ops, d(rig), n("e")), 0);
    assert_int_equal(ops_unlink(rig->ops, x(rig), n("t")), 0);
}

static void the_unknown_are_buried(struct recover_rig *rig)
{
    struct ops_attr attr;
    assert_int_equal(ops_getattr(rig->ops, rig->held[0], &attr), 0);
    assert_int_equal(ops_getattr(rig->ops, rig->held[1], &attr), 0);
    ops_bury_unknown(rig->ops);
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 500000000);
    assert_int_equal(ops_getattr(rig->ops, rig->held[0], &attr), 0);
    assert_int_equal(ops_getattr(rig->ops, rig->held[1], &attr), -ESTALE);
    // The kernel lets go of it: the forget of a lookup that only the predecessor had counted.
    uint32_t ino = rig->held[0];
    rig->held_count = 0;
    ops_forget(rig->ops, ino, 1);
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 500000000);
    assert_int_equal(ops_getattr(rig->ops, ino, &attr), -ESTALE);
    // Unlinked now, known to us for one lookup and to the kernel for more.
    assert_int_equal(ops_lookup(rig->ops, d(rig), n("f"), &attr), 0);
    rig->held[0] = attr.ino;
    rig->held_count = 1;
    assert_int_equal(ops_unlink(rig->ops, d(rig), n("f")), 0);
    assert_int_equal(ops_unlink(rig->ops, x(rig), n("f2")), 0);
    ops_forget(rig->ops, attr.ino, 1);
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 500000000);
    assert_int_equal(ops_getattr(rig->ops, attr.ino, &attr), 0);
}

static void orphans_that_the_kernel_does_not_know_are_deleted(void **state)
{
    (void)state;
    struct fs_rig base;
    struct recover_rig rig;
    fs_rig_init(&base, &(struct fs_rig_options){0});
    recover_rig_init(&rig, &base);
    assert_int_equal(recover_rig_live(&rig, two_are_unlinked, NULL, LIFE_CRASHES), 0);
    rig.is_known = kernel_knows;
    assert_int_equal(recover_rig_live(&rig, the_unknown_are_buried, NULL, LIFE_ENDS), 0);
    recover_rig_fini(&rig);
    fs_rig_fini(&base);
}

// --- how fast -----------------------------------------------------------------------------------------

static void many_writes(struct recover_rig *rig)
{
    set_up(rig);
    uint32_t a = f(rig), b = t(rig);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(put(rig, i % 2 ? a : b, (uint64_t)(i % 1000) * 16, 16, (uint8_t)i), 0);
}

static void many_creates(struct recover_rig *rig)
{
    char name[32];
    set_up(rig);
    for (int i = 0; i < 8000; i++) {
        snprintf(name, sizeof name, "file%d", i);
        make(rig, d(rig), name);
    }
}

static void measure(const char *what, recover_rig_body *body)
{
    struct fs_rig base;
    struct recover_rig rig;
    fs_rig_init(&base, &(struct fs_rig_options){.blocks = 65536});
    recover_rig_init(&rig, &base);
    assert_int_equal(recover_rig_live(&rig, body, NULL, LIFE_CRASHES), 0);
    assert_int_equal(recover_rig_live(&rig, only_recover, NULL, LIFE_ENDS), 0);
    uint64_t entries = MAX(rig.stats.act, (uint64_t)1);
    print_message("%s: %" PRIu64 " entries applied again, %" PRIu64 " ignored, %" PRIu64 " modified, in %" PRIu64 " us: %" PRIu64 " ns each\n",
                  what, rig.stats.act, rig.stats.ignore, rig.stats.modify, rig.recover_ns / 1000, rig.recover_ns / entries);
    assert_true(rig.stats.act > 100);
    recover_rig_fini(&rig);
    fs_rig_fini(&base);
}

static void a_hundred_thousand_writes_are_nothing(void **state)
{
    (void)state;
    measure("writes", many_writes);
    measure("creates", many_creates);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_has_one_answer_and_recovery_tells_of_it),
        cmocka_unit_test(orphans_that_the_kernel_does_not_know_are_deleted),
        cmocka_unit_test(a_hundred_thousand_writes_are_nothing),
    };
    log_set_level(LOG_ERROR_LEVEL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
