// SPDX-License-Identifier: MIT
// journal_test.c - commit, checkpoint, forget, abort, and what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "dev/fault.h"
#include "dev/trace.h"
#include "journal/journal_rig.h"

#define B RIG_HOME

static struct sim_disk *golden;     // made once: mke2fs takes its time

static int make_golden(void **state)
{
    (void)state;
    golden = rig_mkfs("");
    return 0;
}

static int drop_golden(void **state)
{
    (void)state;
    sim_disk_destroy(golden);
    return 0;
}

static void t_run(struct jrig *rig, void (*fn)(void *))
{
    assert_int_equal(rig_run(rig, fn), 0);
}

// Body on a fibre, on a fresh volume with its journal open.
static void t_with_journal(void (*fn)(struct jrig *rig));
static void (*t_body)(struct jrig *rig);
static void run_body(void *arg)
{
    struct jrig *rig = arg;
    assert_int_equal(rig_open(rig), 0);
    t_body(rig);
}
static void t_with_journal(void (*fn)(struct jrig *rig))
{
    struct sim_disk *disk = sim_disk_clone(golden);
    struct jrig rig;
    rig_init(&rig, disk, 1);
    t_body = fn;
    t_run(&rig, run_body);
    rig_fini(&rig);
    sim_disk_destroy(disk);
}

static uint32_t t_home(struct jrig *rig, uint64_t block)
{
    return rig_version(sim_disk_peek(rig->disk, block), block);
}

static void t_break(struct jrig *rig, struct fault_rule rule)
{
    assert_true(dev_fault_add(rig->dev, &rule) > 0);
}

// Closes the world as a power cut would and opens it again, recovery included.
static void t_reboot(struct jrig *rig)
{
    jrn_destroy(rig->jrn);
    rig->jrn = NULL;
    buf_cache_destroy(rig->cache);
    rig->cache = buf_cache_create(rig->rt, rig->shep, 64 * BLOCK_BYTES);
    struct prng prng;
    prng_seed(&prng, 7);
    sim_disk_power_cut(rig->disk, &prng);
    assert_int_equal(rig_open(rig), 0);
}

static void commit_then_crash(struct jrig *rig)
{
    for (uint64_t i = 0; i < 20; i++)
        rig_modify(rig, B + i, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(t_home(rig, B + i), 0);
    t_reboot(rig);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(t_home(rig, B + i), 1);
}
static void what_is_committed_survives_a_crash(void **state) { (void)state; t_with_journal(commit_then_crash); }

static void crash_uncommitted(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    rig_modify(rig, B, 2, false);
    rig_modify(rig, B + 1, 2, true);
    t_reboot(rig);
    assert_int_equal(t_home(rig, B), 1);
    assert_int_equal(t_home(rig, B + 1), 0);
}
static void what_is_not_committed_leaves_no_trace(void **state) { (void)state; t_with_journal(crash_uncommitted); }

static void commit_nothing(struct jrig *rig)
{
    dev_trace_reset(rig->trace);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    assert_true(jrn_running_empty(rig->jrn));
    assert_int_equal(dev_trace_counts(rig->trace)->writes + dev_trace_counts(rig->trace)->flushes, 0);
}
static void an_empty_commit_does_no_io(void **state) { (void)state; t_with_journal(commit_nothing); }

static void commit_cost(struct jrig *rig)
{
    // mke2fs makes a journal of a few short runs and a long one: go to where that begins.
    for (uint64_t i = 0; i < 30; i++)
        rig_modify(rig, B + i, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    dev_trace_reset(rig->trace);
    for (uint64_t i = 0; i < 100; i++)
        rig_modify(rig, B + i, 2, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    const struct trace_counts *counts = dev_trace_counts(rig->trace);
    assert_int_equal(counts->writes, 2);            // all log blocks, and the commit block
    assert_int_equal(counts->blocks_written, 102);  // with one descriptor
    assert_int_equal(counts->fua_writes, 1);
    assert_int_equal(counts->flushes, 1);
}
static void a_commit_is_two_writes_and_a_flush(void **state) { (void)state; t_with_journal(commit_cost); }

static void checkpoint_all(struct jrig *rig)
{
    uint64_t empty = jrn_free_blocks(rig->jrn);
    for (uint64_t i = 0; i < 64; i++)
        rig_modify(rig, B + i, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    assert_int_equal(jrn_free_blocks(rig->jrn), empty - 66);
    dev_trace_reset(rig->trace);
    assert_int_equal(jrn_checkpoint(rig->jrn, UINT64_MAX), 0);
    assert_int_equal(jrn_free_blocks(rig->jrn), empty);
    assert_int_equal(dev_trace_counts(rig->trace)->writes, 2);  // the run at home, the superblock
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(t_home(rig, B + i), 1);
}
static void a_checkpoint_writes_neighbours_home_at_once_and_frees_the_log(void **state) { (void)state; t_with_journal(checkpoint_all); }

static void checkpoint_hot(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    rig_modify(rig, B + 1, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    rig_modify(rig, B, 2, false);
    assert_int_equal(jrn_checkpoint(rig->jrn, UINT64_MAX), -EAGAIN);
    assert_int_equal(t_home(rig, B), 0);
    assert_int_equal(t_home(rig, B + 1), 1);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    assert_int_equal(jrn_checkpoint(rig->jrn, UINT64_MAX), 0);
    assert_int_equal(t_home(rig, B), 2);
}
static void uncommitted_content_never_goes_home(void **state) { (void)state; t_with_journal(checkpoint_hot); }

static void close_clean(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    assert_int_equal(jrn_close(rig->jrn), 0);
    rig->jrn = NULL;
    assert_int_equal(t_home(rig, B), 1);
    assert_int_equal(rig_super(rig).start, 0);
    assert_int_equal(sim_disk_unstable(rig->disk), 0);
    struct jrn_config config = rig_config(rig);
    assert_int_equal(jrn_open(&config, &rig->jrn, NULL), 0);
    assert_false(jrn_needs_recovery(rig->jrn));
}
static void a_closed_journal_is_empty_and_all_is_home(void **state) { (void)state; t_with_journal(close_clean); }

static void forget_then_reuse(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    jrn_forget(rig->jrn, B);
    assert_null(buf_peek(rig->cache, B));
    rig_modify(rig, B + 1, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    assert_true(rig_super(rig).has_revoke);

    uint8_t *data = xblocks(1);
    struct iovec iov = {data, BLOCK_BYTES};
    rig_paint(data, B, 77);
    struct shep_ref ref = {.type = BLOCK_DATA};
    assert_int_equal(shep_write(rig->shep, &ref, B, &iov, 1, SHEP_FUA, NULL), 0);
    free(data);
    t_reboot(rig);
    assert_int_equal(t_home(rig, B), 77);
    assert_int_equal(t_home(rig, B + 1), 1);
}
static void a_revoked_block_is_not_replayed_over_its_next_owner(void **state) { (void)state; t_with_journal(forget_then_reuse); }

static void forget_uncommitted(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    jrn_forget(rig->jrn, B);
    // The free is not committed: the first transaction is still the truth and must stay in the log.
    assert_int_equal(jrn_checkpoint(rig->jrn, UINT64_MAX), -EAGAIN);
    t_reboot(rig);
    assert_int_equal(t_home(rig, B), 1);
}
static void a_free_that_never_commits_undoes_nothing(void **state) { (void)state; t_with_journal(forget_uncommitted); }

static void forget_committed(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    jrn_forget(rig->jrn, B);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    assert_int_equal(jrn_checkpoint(rig->jrn, UINT64_MAX), 0);
    assert_int_equal(t_home(rig, B), 0);
}
static void a_freed_block_is_let_go_without_being_written(void **state) { (void)state; t_with_journal(forget_committed); }

static void forget_and_dirty_again(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    jrn_forget(rig->jrn, B);
    rig_modify(rig, B, 2, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    t_reboot(rig);
    assert_int_equal(t_home(rig, B), 2);
}
static void a_block_used_again_in_the_same_transaction_is_not_revoked(void **state) { (void)state; t_with_journal(forget_and_dirty_again); }

static void forget_in_running(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    rig_modify(rig, B + 1, 1, true);
    jrn_forget(rig->jrn, B);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    assert_int_equal(jrn_checkpoint(rig->jrn, UINT64_MAX), 0);
    assert_int_equal(t_home(rig, B), 0);
    assert_int_equal(t_home(rig, B + 1), 1);
}
static void a_block_freed_in_its_first_transaction_is_never_written(void **state) { (void)state; t_with_journal(forget_in_running); }

static int checkpoint_member(void *arg)
{
    return jrn_checkpoint(((struct jrig *)arg)->jrn, UINT64_MAX);
}

// The old content of a block is on its way home, slowly, when the block is freed.
static void forget_in_flight(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_WRITE, .kind = FAULT_DELAY, .block_first = B, .block_count = 1, .shots = 1, .delay_ns = 1000000000});
    struct rt_group group;
    rt_group_init(&group, rig->rt);
    rt_group_go(&group, "checkpoint", checkpoint_member, rig);
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 1000000);
    jrn_forget(rig->jrn, B);
    assert_int_equal(jrn_commit(rig->jrn), 0);

    uint8_t *data = xblocks(1);
    struct iovec iov = {data, BLOCK_BYTES};
    rig_paint(data, B, 77);
    struct shep_ref ref = {.type = BLOCK_DATA};
    assert_int_equal(shep_write(rig->shep, &ref, B, &iov, 1, 0, NULL), 0);
    free(data);
    assert_int_equal(rt_group_wait(&group), 0);
    assert_int_equal(t_home(rig, B), 77);
}
static void a_freed_block_has_no_new_owner_before_its_old_content_landed(void **state) { (void)state; t_with_journal(forget_in_flight); }

static int commit_member(void *arg)
{
    return jrn_commit(((struct jrig *)arg)->jrn);
}

static void commits_overlap(struct jrig *rig)
{
    struct rt_group group;
    rt_group_init(&group, rig->rt);
    rig_modify(rig, B, 1, true);
    rt_group_go(&group, "first", commit_member, rig);
    rt_yield(rig->rt);
    assert_true(jrn_running_empty(rig->jrn));       // its copy is taken
    assert_int_equal(jrn_committed_tid(rig->jrn), jrn_recovered_tid(rig->jrn));
    rig_modify(rig, B, 2, false);                   // while version 1 is being written
    jrn_forget(rig->jrn, B + 9);
    rt_group_go(&group, "second", commit_member, rig);
    rt_yield(rig->rt);
    rig_modify(rig, B, 3, false);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    assert_int_equal(rt_group_wait(&group), 0);
    assert_int_equal(jrn_committed_tid(rig->jrn), jrn_running_tid(rig->jrn) - 1);
    t_reboot(rig);
    assert_int_equal(t_home(rig, B), 3);
}
static void commits_queue_up_and_each_has_its_own_copy(void **state) { (void)state; t_with_journal(commits_overlap); }

static void wait_for_commit(struct jrig *rig)
{
    struct rt_group group;
    rt_group_init(&group, rig->rt);
    rig_modify(rig, B, 1, true);
    uint64_t tid = jrn_running_tid(rig->jrn);
    rt_group_go(&group, "first", commit_member, rig);
    rt_yield(rig->rt);
    assert_int_equal(jrn_commit(rig->jrn), 0);      // nothing runs, but the caller's is on its way
    assert_int_equal(jrn_committed_tid(rig->jrn), tid);
    assert_int_equal(jrn_wait(rig->jrn, tid), 0);
    assert_int_equal(rt_group_wait(&group), 0);
}
static void an_empty_commit_waits_for_the_one_under_way(void **state) { (void)state; t_with_journal(wait_for_commit); }

static void fill_and_wrap(struct jrig *rig)
{
    // Many times around a log of 1023 blocks, at most two transactions behind.
    for (uint32_t version = 1; version <= 40; version++) {
        while (jrn_reserve(rig->jrn, 100) == -EAGAIN) {
            int rc = jrn_checkpoint(rig->jrn, 300);
            assert_true(rc == 0 || rc == -EAGAIN);
            assert_int_equal(jrn_commit(rig->jrn), 0);
        }
        for (uint64_t i = 0; i < 100; i++)
            rig_modify(rig, B + (i + version) % 150, version, version == 1);
        assert_int_equal(jrn_commit(rig->jrn), 0);
    }
    t_reboot(rig);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(t_home(rig, B + (i + 40) % 150), 40);
}
static void the_log_goes_round(void **state) { (void)state; t_with_journal(fill_and_wrap); }

static void reserve_limits(struct jrig *rig)
{
    assert_int_equal(jrn_reserve(rig->jrn, 5000), -ENOSPC);
    assert_int_equal(jrn_reserve(rig->jrn, 200), 0);
    for (uint64_t i = 0; i < 200; i++)
        rig_modify(rig, B + i, 1, true);
    assert_int_equal(jrn_reserve(rig->jrn, 60), -EAGAIN);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    assert_int_equal(jrn_reserve(rig->jrn, 60), 0);
    jrn_abort(rig->jrn, -EFSCORRUPTED, "the test says so");
    assert_int_equal(jrn_reserve(rig->jrn, 1), -EROFS);
}
static void a_reservation_keeps_a_transaction_within_a_quarter_of_the_log(void **state) { (void)state; t_with_journal(reserve_limits); }

// Home is not reachable for a moment, and then for good.
static void home_write_fails(struct jrig *rig)
{
    for (uint64_t i = 0; i < 8; i++)
        rig_modify(rig, B + i, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_WRITE, .kind = FAULT_FAIL, .block_first = B + 3, .block_count = 1, .shots = 2});
    assert_int_equal(jrn_checkpoint(rig->jrn, UINT64_MAX), 0);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(t_home(rig, B + i), 1);

    for (uint64_t i = 0; i < 8; i++)
        rig_modify(rig, B + i, 2, false);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_WRITE, .kind = FAULT_FAIL, .block_first = B + 3, .block_count = 1});
    assert_int_equal(jrn_checkpoint(rig->jrn, UINT64_MAX), -EIO);
    assert_true(jrn_is_aborted(rig->jrn));
    assert_int_equal(t_home(rig, B + 2), 2);
    dev_fault_clear(rig->dev);
    t_reboot(rig);           // it was never released from the log
    assert_int_equal(t_home(rig, B + 3), 2);
    assert_int_equal(jrn_recorded_error(rig->jrn), EIO);
}
static void a_block_that_cannot_go_home_stays_in_the_log(void **state) { (void)state; t_with_journal(home_write_fails); }

static void log_write_fails(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    assert_int_equal(jrn_commit(rig->jrn), 0);
    rig_modify(rig, B, 2, false);
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_WRITE, .kind = FAULT_FAIL, .shots = 1});
    assert_int_equal(jrn_commit(rig->jrn), -EIO);
    assert_true(jrn_is_aborted(rig->jrn));
    rig_modify(rig, B, 3, false);
    assert_int_equal(jrn_commit(rig->jrn), -EROFS);
    assert_int_equal(jrn_wait(rig->jrn, jrn_running_tid(rig->jrn)), -EROFS);
    assert_int_equal(jrn_checkpoint(rig->jrn, 1), -EROFS);
    assert_int_equal(jrn_close(rig->jrn), -EROFS);
    rig->jrn = NULL;
    assert_int_equal(rig_open(rig), 0);
    assert_int_equal(t_home(rig, B), 1);
    assert_int_equal(jrn_recorded_error(rig->jrn), EIO);
    jrn_clear_error(rig->jrn);
    assert_int_equal(jrn_close(rig->jrn), 0);
    rig->jrn = NULL;
    assert_int_equal(rig_super(rig).error, 0);
}
static void a_failed_log_write_aborts_and_the_next_mount_knows(void **state) { (void)state; t_with_journal(log_write_fails); }

static void flush_fails(struct jrig *rig)
{
    rig_modify(rig, B, 1, true);
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_FLUSH, .kind = FAULT_FAIL});
    assert_int_equal(jrn_commit(rig->jrn), -EIO);
    dev_fault_clear(rig->dev);
    t_reboot(rig);
    assert_int_equal(t_home(rig, B), 0);
}
static void without_the_flush_no_commit_block_is_written(void **state) { (void)state; t_with_journal(flush_fails); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_committed_survives_a_crash),
        cmocka_unit_test(what_is_not_committed_leaves_no_trace),
        cmocka_unit_test(an_empty_commit_does_no_io),
        cmocka_unit_test(a_commit_is_two_writes_and_a_flush),
        cmocka_unit_test(a_checkpoint_writes_neighbours_home_at_once_and_frees_the_log),
        cmocka_unit_test(uncommitted_content_never_goes_home),
        cmocka_unit_test(a_closed_journal_is_empty_and_all_is_home),
        cmocka_unit_test(a_revoked_block_is_not_replayed_over_its_next_owner),
        cmocka_unit_test(a_free_that_never_commits_undoes_nothing),
        cmocka_unit_test(a_freed_block_is_let_go_without_being_written),
        cmocka_unit_test(a_block_used_again_in_the_same_transaction_is_not_revoked),
        cmocka_unit_test(a_block_freed_in_its_first_transaction_is_never_written),
        cmocka_unit_test(a_freed_block_has_no_new_owner_before_its_old_content_landed),
        cmocka_unit_test(commits_queue_up_and_each_has_its_own_copy),
        cmocka_unit_test(an_empty_commit_waits_for_the_one_under_way),
        cmocka_unit_test(the_log_goes_round),
        cmocka_unit_test(a_reservation_keeps_a_transaction_within_a_quarter_of_the_log),
        cmocka_unit_test(a_block_that_cannot_go_home_stays_in_the_log),
        cmocka_unit_test(a_failed_log_write_aborts_and_the_next_mount_knows),
        cmocka_unit_test(without_the_flush_no_commit_block_is_written),
    };
    return cmocka_run_group_tests_name("journal", tests, make_golden, drop_golden);
}
