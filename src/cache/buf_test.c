// SPDX-License-Identifier: MIT
// buf_test.c - the buffer cache: one read for all, what may leave memory, and logged file data.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "cache/buf.h"
#include "cache/page.h"
#include "dev/fault.h"
#include "dev/sim.h"
#include "dev/trace.h"
#include "rt/rt_sim.h"

#define BLOCKS 64u

static const struct shep_ref DIR_REF = {.type = BLOCK_DIR, .owner = {.ino = 12}};
static const struct shep_ref DATA_REF = {.type = BLOCK_DATA, .owner = {.ino = 13}};

struct rig {
    struct rt *rt;
    struct sim_disk *disk;
    struct dev *home, *trace, *dev, *slow;      // one on the other; dev takes fault rules
    struct shepherd *shep;
    struct buf_cache *cache;
    void (*body)(struct rig *rig);
};

static void run_body(void *arg)
{
    struct rig *rig = arg;
    rig->body(rig);
}

// A disk whose block n is full of the byte n, a cache that keeps four idle blocks.
static void t_run(void (*body)(struct rig *rig))
{
    struct rig rig = {.rt = rt_sim_create(1), .disk = sim_disk_create(BLOCKS), .body = body};
    uint8_t block[BLOCK_BYTES];
    for (uint32_t i = 0; i < BLOCKS; i++)
        sim_disk_poke(rig.disk, i, memset(block, (int)i, sizeof(block)));
    rig.home = dev_sim_create(rig.rt, rig.disk, NULL);
    rig.trace = dev_trace_create(rig.home, false);
    rig.dev = dev_fault_create(rig.rt, rig.trace);
    // A fault answers at once; so that others can come and wait for it, everything is a little late.
    rig.slow = dev_fault_create(rig.rt, rig.dev);
    struct fault_rule late = {.ops = FAULT_ON_READ, .kind = FAULT_DELAY, .delay_ns = 50000};
    assert_true(dev_fault_add(rig.slow, &late) > 0);
    rig.shep = shep_create(rig.rt, rig.slow);
    rig.cache = buf_cache_create(rig.rt, rig.shep, 4 * BLOCK_BYTES);
    rt_spawn(rig.rt, "test", run_body, &rig);
    assert_int_equal(rt_run(rig.rt), 0);
    buf_cache_destroy(rig.cache);
    shep_destroy(rig.shep);
    dev_destroy(rig.slow);
    dev_destroy(rig.dev);
    dev_destroy(rig.trace);
    dev_destroy(rig.home);
    rt_destroy(rig.rt);
    sim_disk_destroy(rig.disk);
}

static uint64_t t_reads(struct rig *rig)
{
    return dev_trace_counts(rig->trace)->reads;
}

static struct buf *t_get(struct rig *rig, uint64_t block)
{
    struct buf *buf = NULL;
    assert_int_equal(buf_get(rig->cache, &DIR_REF, block, &buf), 0);
    return buf;
}

static void t_touch(struct rig *rig, uint64_t block)
{
    buf_put(rig->cache, t_get(rig, block));
}

static void hit(struct rig *rig)
{
    struct buf *buf = t_get(rig, 7);
    assert_int_equal(buf->bytes[99], 7);
    assert_ptr_equal(t_get(rig, 7), buf);
    assert_int_equal(t_reads(rig), 1);
    buf_put(rig->cache, buf);
    buf_put(rig->cache, buf);
}
static void a_block_is_in_memory_once(void **state) { (void)state; t_run(hit); }

static int get_member(void *arg)
{
    struct rig *rig = arg;
    struct buf *buf = NULL;
    int rc = buf_get(rig->cache, &DIR_REF, 9, &buf);
    if (rc == 0 && buf->bytes[0] != 9)
        rc = -EBADE;
    buf_put(rig->cache, buf);
    return rc;
}

static int t_get_by_many(struct rig *rig)
{
    struct rt_group group;
    rt_group_init(&group, rig->rt);
    for (int i = 0; i < 8; i++)
        rt_group_go(&group, "getter", get_member, rig);
    return rt_group_wait(&group);
}

static void shared(struct rig *rig)
{
    assert_int_equal(t_get_by_many(rig), 0);
    assert_int_equal(t_reads(rig), 1);
}
static void fibres_that_want_the_same_block_share_one_read(void **state) { (void)state; t_run(shared); }

static void failed(struct rig *rig)
{
    struct fault_rule rule = {.ops = FAULT_ON_READ, .kind = FAULT_FAIL, .block_first = 9, .block_count = 1, .shots = 1};
    int id = dev_fault_add(rig->dev, &rule);
    assert_int_equal(t_get_by_many(rig), -EIO);
    assert_int_equal(dev_fault_fired(rig->dev, id), 1);
    assert_null(buf_peek(rig->cache, 9));
    assert_int_equal(t_get_by_many(rig), 0);
}
static void a_failed_read_fails_for_all_who_waited_and_leaves_nothing(void **state) { (void)state; t_run(failed); }

static void lru(struct rig *rig)
{
    struct buf *held = t_get(rig, 1), *pinned = t_get(rig, 2);
    buf_pin(pinned);
    buf_put(rig->cache, pinned);
    for (uint64_t block = 10; block < 16; block++) {
        t_touch(rig, block);
        t_touch(rig, 10);               // used again and again: stays
    }
    assert_non_null(buf_peek(rig->cache, 1));
    assert_non_null(buf_peek(rig->cache, 2));
    assert_non_null(buf_peek(rig->cache, 10));
    assert_null(buf_peek(rig->cache, 11));
    assert_non_null(buf_peek(rig->cache, 15));
    assert_int_equal(buf_stats(rig->cache).bytes, 6 * BLOCK_BYTES);
    buf_unpin(rig->cache, pinned);
    buf_put(rig->cache, held);
    assert_int_equal(buf_stats(rig->cache).bytes, 4 * BLOCK_BYTES);
}
static void only_what_nobody_holds_is_evicted_oldest_first(void **state) { (void)state; t_run(lru); }

static void peek_then_ref(struct rig *rig)
{
    t_touch(rig, 20);
    struct buf *buf = buf_ref(buf_peek(rig->cache, 20));
    for (uint64_t block = 30; block < 40; block++)
        t_touch(rig, block);
    assert_ptr_equal(buf_peek(rig->cache, 20), buf);
    assert_int_equal(buf->bytes[0], 20);
    buf_put(rig->cache, buf);
    for (uint64_t block = 40; block < 50; block++)
        t_touch(rig, block);
    assert_null(buf_peek(rig->cache, 20));
}
static void a_reference_to_an_idle_buffer_keeps_it(void **state) { (void)state; t_run(peek_then_ref); }

static void two_types(struct rig *rig)
{
    struct buf *dir = t_get(rig, 5), *other = NULL;
    struct shep_ref extent = {.type = BLOCK_EXTENT, .owner = {.ino = 99}};
    assert_int_equal(buf_get(rig->cache, &extent, 5, &other), -EFSCORRUPTED);
    assert_null(other);
    buf_put(rig->cache, dir);
}
static void a_block_with_two_types_is_corruption(void **state) { (void)state; t_run(two_types); }

static void new_over_old(struct rig *rig)
{
    struct shep_ref extent = {.type = BLOCK_EXTENT, .owner = {.ino = 99}};
    struct buf *old = t_get(rig, 5);
    struct buf *new = buf_get_new(rig->cache, &extent, 5);
    assert_ptr_not_equal(old, new);
    assert_true(old->dropped);
    assert_int_equal(old->bytes[0], 5);
    assert_int_equal(new->bytes[0], 0);
    assert_ptr_equal(buf_peek(rig->cache, 5), new);
    buf_put(rig->cache, old);
    // Pinned: the journal's buffer is the block's only truth and becomes the new one.
    buf_pin(new);
    new->bytes[0] = 1;
    assert_ptr_equal(buf_get_new(rig->cache, &DIR_REF, 5), new);
    assert_int_equal(new->bytes[0], 0);
    assert_int_equal(new->ref.type, BLOCK_DIR);
    buf_unpin(rig->cache, new);
    buf_put(rig->cache, new);
    buf_put(rig->cache, new);
    assert_int_equal(t_reads(rig), 1);
}
static void a_new_buffer_replaces_what_the_block_was(void **state) { (void)state; t_run(new_over_old); }

// The block is freed and made new while somebody still reads its old content.
static void new_during_read(struct rig *rig)
{
    struct rt_group group;
    rt_group_init(&group, rig->rt);
    buf_prefetch(rig->cache, &DIR_REF, 9, 1);
    rt_yield(rig->rt);
    assert_null(buf_peek(rig->cache, 9));
    struct buf *new = buf_get_new(rig->cache, &DIR_REF, 9);
    rt_group_go(&group, "getter", get_member, rig);
    new->bytes[0] = 9;
    assert_int_equal(rt_group_wait(&group), 0);
    buf_cache_quiesce(rig->cache);
    assert_ptr_equal(buf_peek(rig->cache, 9), new);
    assert_int_equal(new->bytes[1], 0);
    buf_put(rig->cache, new);
}
static void a_read_under_way_does_not_overwrite_a_new_buffer(void **state) { (void)state; t_run(new_during_read); }

static void dropped(struct rig *rig)
{
    struct buf *buf = t_get(rig, 5);
    buf_drop(rig->cache, buf);
    assert_null(buf_peek(rig->cache, 5));
    assert_int_equal(buf->bytes[0], 5);
    struct buf *again = t_get(rig, 5);
    assert_ptr_not_equal(again, buf);
    buf_put(rig->cache, again);
    buf_put(rig->cache, buf);
}
static void a_dropped_buffer_lives_for_its_holders_only(void **state) { (void)state; t_run(dropped); }

static void prefetch(struct rig *rig)
{
    buf_prefetch(rig->cache, &DIR_REF, 60, 10);     // past the end of the volume too
    buf_cache_quiesce(rig->cache);
    assert_int_equal(t_reads(rig), 4);
    t_touch(rig, 63);
    assert_int_equal(t_reads(rig), 4);
}
static void a_prefetched_block_is_there(void **state) { (void)state; t_run(prefetch); }

static void data_read(struct rig *rig)
{
    struct block_owner owner = {.ino = 13};
    struct buf *buf = buf_get_new(rig->cache, &DATA_REF, 22);
    memset(buf->bytes, 0xdd, BLOCK_BYTES);
    buf_pin(buf);
    uint8_t *bytes = xblocks(5);
    struct iovec iov[] = {{bytes, 2 * BLOCK_BYTES}, {bytes + 2 * BLOCK_BYTES, 3 * BLOCK_BYTES}};
    assert_int_equal(data_read_blocks(rig->cache, &owner, 20, iov, 2), 0);
    static const uint8_t expected[] = {20, 21, 0xdd, 23, 24};
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(bytes[i * BLOCK_BYTES + 77], expected[i]);
    // Home by now: the disk answers, and a write past the cache is not hidden by what it knows.
    buf_unpin(rig->cache, buf);
    buf_put(rig->cache, buf);
    memset(bytes, 0xee, BLOCK_BYTES);
    assert_int_equal(data_write_blocks(rig->cache, &owner, 22, &(struct iovec){bytes, BLOCK_BYTES}, 1), 0);
    assert_null(buf_peek(rig->cache, 22));
    assert_int_equal(data_read_blocks(rig->cache, &owner, 20, iov, 2), 0);
    assert_int_equal(bytes[2 * BLOCK_BYTES], 0xee);
    free(bytes);
}
static void logged_data_is_read_from_the_cache_until_it_is_home(void **state) { (void)state; t_run(data_read); }

static void write_home(struct rig *rig)
{
    struct buf *buf = t_get(rig, 5);
    buf->bytes[0] = 55;
    buf_open(rig->cache, buf);
    assert_int_equal(buf_write_home(rig->cache, buf), 0);
    assert_int_equal(*(const uint8_t *)sim_disk_peek(rig->disk, 5), 55);
    buf_put(rig->cache, buf);
}
static void a_buffer_is_written_home(void **state) { (void)state; t_run(write_home); }

// How a child ends that does `act` after a bit of the block was flipped behind everybody's back.
static int end_after_flip(struct rig *rig, struct buf *buf, void (*act)(struct buf_cache *cache, struct buf *buf))
{
    pid_t pid = fork();
    if (pid == 0) {
        for (int signal_number = 1; signal_number < 32; signal_number++)
            signal(signal_number, SIG_DFL);
        buf->bytes[1234] ^= 0x10;
        act(rig->cache, buf);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void stray(struct rig *rig)
{
    struct buf *buf = t_get(rig, 5);
    assert_int_equal(WTERMSIG(end_after_flip(rig, buf, buf_check_now)), SIGABRT);
    // Not compared again so soon; and who changes it on purpose says so.
    assert_int_equal(end_after_flip(rig, buf, buf_check), 0);
    buf_open(rig->cache, buf);
    assert_int_equal(end_after_flip(rig, buf, buf_check_now), 0);
    buf->bytes[0] = 77;
    assert_true(buf_any_open(rig->cache));
    buf_seal_open(rig->cache);
    assert_false(buf_any_open(rig->cache));
    buf_check_now(rig->cache, buf);
    assert_int_equal(WTERMSIG(end_after_flip(rig, buf, buf_check_now)), SIGABRT);
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + BUF_CHECK_NS);
    assert_int_equal(WTERMSIG(end_after_flip(rig, buf, buf_check)), SIGABRT);
    buf_put(rig->cache, buf);
}
static void a_block_that_nobody_changed_on_purpose_ends_the_process(void **state) { (void)state; t_run(stray); }

static void unguarded(struct rig *rig)
{
    buf_cache_set_guard(rig->cache, false);
    struct buf *buf = t_get(rig, 5);
    assert_int_equal(end_after_flip(rig, buf, buf_check_now), 0);
    buf_open(rig->cache, buf);
    assert_false(buf_any_open(rig->cache));
    buf_put(rig->cache, buf);
}
static void without_the_guard_nothing_is_sealed(void **state) { (void)state; t_run(unguarded); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_in_memory_once),
        cmocka_unit_test(fibres_that_want_the_same_block_share_one_read),
        cmocka_unit_test(a_failed_read_fails_for_all_who_waited_and_leaves_nothing),
        cmocka_unit_test(only_what_nobody_holds_is_evicted_oldest_first),
        cmocka_unit_test(a_reference_to_an_idle_buffer_keeps_it),
        cmocka_unit_test(a_block_with_two_types_is_corruption),
        cmocka_unit_test(a_new_buffer_replaces_what_the_block_was),
        cmocka_unit_test(a_read_under_way_does_not_overwrite_a_new_buffer),
        cmocka_unit_test(a_dropped_buffer_lives_for_its_holders_only),
        cmocka_unit_test(a_prefetched_block_is_there),
        cmocka_unit_test(logged_data_is_read_from_the_cache_until_it_is_home),
        cmocka_unit_test(a_buffer_is_written_home),
        cmocka_unit_test(a_block_that_nobody_changed_on_purpose_ends_the_process),
        cmocka_unit_test(without_the_guard_nothing_is_sealed),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
