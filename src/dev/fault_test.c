// SPDX-License-Identifier: MIT
// fault_test.c - every kind of fault, its range, its shots, and who comes first.
#include "dev/dev_test.h"

#include "dev/fault.h"
#include "dev/sim.h"
#include "dev/trace.h"
#include "rt/rt_sim.h"

#define BLOCKS 64

struct rig {
    struct rt *rt;
    struct sim_disk *disk;
    struct dev *home, *trace, *dev;     // sim, trace on it, fault on that
    bool ran;
};

// Runs the body of a test on a fibre, over a disk of the letter 'o'.
static void t_run(void (*fn)(void *))
{
    uint8_t block[BLOCK_BYTES];
    struct rig rig = {.rt = rt_sim_create(1), .disk = sim_disk_create(BLOCKS)};
    memset(block, 'o', sizeof(block));
    for (uint64_t i = 0; i < BLOCKS; i++)
        sim_disk_poke(rig.disk, i, block);
    rig.home = dev_sim_create(rig.rt, rig.disk, NULL);
    rig.trace = dev_trace_create(rig.home, false);
    rig.dev = dev_fault_create(rig.rt, rig.trace);
    rt_spawn(rig.rt, "test", fn, &rig);
    assert_int_equal(rt_run(rig.rt), 0);
    assert_true(rig.ran);
    dev_destroy(rig.dev);
    dev_destroy(rig.trace);
    dev_destroy(rig.home);
    rt_destroy(rig.rt);
    sim_disk_destroy(rig.disk);
}

static int t_break(struct rig *rig, struct fault_rule rule)
{
    int id = dev_fault_add(rig->dev, &rule);
    assert_true(id > 0);
    return id;
}

// Eight blocks of 'n' from block 10 on, in two pieces.
static int t_write_eight(struct rig *rig)
{
    AUTO_FREE uint8_t *blocks = xblocks(8);
    AUTO_FREE uint8_t *same = xblocks(8);
    memset(blocks, 'n', 8 * BLOCK_BYTES);
    memset(same, 'n', 8 * BLOCK_BYTES);
    struct iovec iov[] = {{blocks, 3 * BLOCK_BYTES}, {blocks + 3 * BLOCK_BYTES, 5 * BLOCK_BYTES}};
    int rc = dev_write(rig->dev, 10, iov, 2, 0);
    assert_memory_equal(blocks, same, 8 * BLOCK_BYTES);      // ours are never spoilt
    return rc;
}

// What blocks 9 to 18 hold now, as letters.
static void t_expect(struct rig *rig, const char *letters)
{
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(t_letter(rig->home, 9 + i), letters[i]);
}

static void fail_body(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *block = xblocks(1);
    int id = t_break(rig, (struct fault_rule){.ops = FAULT_ON_READ, .block_first = 5, .block_count = 2, .error = -ENOMEDIUM, .shots = 2});
    assert_int_equal(t_read(rig->dev, 4, block), 0);
    assert_int_equal(t_read(rig->dev, 5, block), -ENOMEDIUM);
    assert_int_equal(t_write(rig->dev, 6, 'n', 0), 0);
    assert_int_equal(t_read(rig->dev, 6, block), -ENOMEDIUM);
    assert_int_equal(t_read(rig->dev, 6, block), 0);
    assert_int_equal(t_read(rig->dev, 7, block), 0);
    assert_int_equal(dev_fault_fired(rig->dev, id), 2);

    t_break(rig, (struct fault_rule){.ops = FAULT_ON_WRITE | FAULT_ON_FLUSH});
    assert_int_equal(t_write(rig->dev, 0, 'n', 0), -EIO);
    assert_int_equal(dev_flush(rig->dev), -EIO);
    assert_int_equal(t_letter(rig->home, 0), 'o');
    assert_int_equal(dev_trace_counts(rig->trace)->flushes, 0);
    rig->ran = true;
}

static void a_failing_request_is_not_done_and_shots_are_counted(void **state)
{
    (void)state;
    t_run(fail_body);
}

static void corrupt_body(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *block = xblocks(2);
    struct iovec iov = {block, 2 * BLOCK_BYTES};
    int id = t_break(rig, (struct fault_rule){.ops = FAULT_ON_READ, .kind = FAULT_CORRUPT, .block_first = 6, .block_count = 1, .byte = 4095});
    assert_int_equal(dev_read(rig->dev, 5, &iov, 1), 0);
    assert_int_equal(block[4095], 'o');
    assert_int_equal(block[8191], 'o' ^ 0xff);
    assert_int_equal(block[8190], 'o');
    assert_int_equal(t_letter(rig->home, 6), 'o');
    dev_fault_remove(rig->dev, id);
    dev_fault_remove(rig->dev, id);
    assert_int_equal(t_letter(rig->dev, 6), 'o');

    t_break(rig, (struct fault_rule){.ops = FAULT_ON_WRITE, .kind = FAULT_CORRUPT, .block_first = 12, .block_count = 2, .byte = 1});
    assert_int_equal(t_write_eight(rig), 0);
    t_expect(rig, "onn??nnnno");
    assert_int_equal(t_read(rig->home, 13, block), 0);
    assert_int_equal(block[1], 'n' ^ 0xff);
    rig->ran = true;
}

static void corruption_is_a_success_with_one_wrong_byte_a_block(void **state)
{
    (void)state;
    t_run(corrupt_body);
}

static void lost_body(void *arg)
{
    struct rig *rig = arg;
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_WRITE, .kind = FAULT_LOST, .block_first = 12, .block_count = 3, .shots = 1});
    assert_int_equal(t_write_eight(rig), 0);
    t_expect(rig, "onnooonnno");
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_WRITE | FAULT_ON_FLUSH, .kind = FAULT_LOST, .block_first = 16, .block_count = UINT64_MAX});
    assert_int_equal(t_write_eight(rig), 0);
    t_expect(rig, "onnnnnnnno");        // 16 and 17 as the first time
    assert_int_equal(t_write(rig->dev, 16, 'x', 0), 0);
    t_expect(rig, "onnnnnnnno");
    assert_int_equal(dev_flush(rig->dev), 0);
    assert_int_equal(dev_trace_counts(rig->trace)->flushes, 0);
    rig->ran = true;
}

static void lost_blocks_are_acknowledged_and_not_written(void **state)
{
    (void)state;
    t_run(lost_body);
}

static void torn_body(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *block = xblocks(1);
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_WRITE, .kind = FAULT_TORN, .block_first = 0, .block_count = 12});
    assert_int_equal(t_write_eight(rig), 0);
    t_expect(rig, "o??nnnnnno");
    assert_int_equal(t_read(rig->home, 11, block), 0);
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        assert_int_equal(block[i], i < BLOCK_BYTES / 2 ? 'n' : 'o');
    rig->ran = true;
}

static void torn_blocks_are_half_new_and_half_old(void **state)
{
    (void)state;
    t_run(torn_body);
}

static void delay_body(void *arg)
{
    struct rig *rig = arg;
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_READ | FAULT_ON_WRITE | FAULT_ON_FLUSH, .kind = FAULT_DELAY, .delay_ns = 1000000000, .shots = 3});
    uint64_t start = rt_now_ns(rig->rt);
    assert_int_equal(t_letter(rig->dev, 1), 'o');
    assert_int_equal(t_write(rig->dev, 1, 'n', 0), 0);
    assert_int_equal(dev_flush(rig->dev), 0);
    uint64_t took = rt_now_ns(rig->rt) - start;
    assert_true(took >= 3000000000ull && took < 3100000000ull);
    assert_int_equal(t_letter(rig->dev, 1), 'n');
    rig->ran = true;
}

static void a_delayed_request_is_served_late_but_right(void **state)
{
    (void)state;
    t_run(delay_body);
}

static void order_body(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *block = xblocks(1);
    int first = t_break(rig, (struct fault_rule){.ops = FAULT_ON_READ, .error = -ENOMEDIUM, .skip = 1, .shots = 1});
    int second = t_break(rig, (struct fault_rule){.ops = FAULT_ON_READ, .error = -ENODATA});
    assert_int_equal(t_read(rig->dev, 0, block), -ENODATA);     // the first lets one pass
    assert_int_equal(t_read(rig->dev, 0, block), -ENOMEDIUM);
    assert_int_equal(t_read(rig->dev, 0, block), -ENODATA);
    assert_int_equal(dev_fault_fired(rig->dev, first), 1);
    assert_int_equal(dev_fault_fired(rig->dev, second), 2);
    dev_fault_clear(rig->dev);
    assert_int_equal(t_read(rig->dev, 0, block), 0);
    assert_int_equal(dev_fault_fired(rig->dev, second), 0);
    assert_true(t_break(rig, (struct fault_rule){.ops = FAULT_ON_READ}) > second);
    rig->ran = true;
}

static void the_first_rule_that_matches_fires_and_rules_come_and_go(void **state)
{
    (void)state;
    t_run(order_body);
}

static void nonsense_body(void *arg)
{
    struct rig *rig = arg;
    const struct fault_rule nonsense[] = {
        {.kind = FAULT_FAIL},
        {.ops = FAULT_ON_READ, .kind = FAULT_TORN},
        {.ops = FAULT_ON_READ, .kind = FAULT_LOST},
        {.ops = FAULT_ON_FLUSH, .kind = FAULT_CORRUPT},
        {.ops = FAULT_ON_READ, .error = EIO},
        {.ops = FAULT_ON_READ, .kind = FAULT_CORRUPT, .byte = BLOCK_BYTES},
        {.ops = FAULT_ON_READ, .kind = (enum fault_kind)99},
        {.ops = (enum fault_op)8},
    };
    for (size_t i = 0; i < ARRAY_LEN(nonsense); i++)
        assert_int_equal(dev_fault_add(rig->dev, &nonsense[i]), -EINVAL);
    assert_int_equal(dev_discard(rig->dev, 0, 1), 0);           // passed below
    assert_int_equal(dev_trace_counts(rig->trace)->discards, 1);
    rig->ran = true;
}

static void rules_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    t_run(nonsense_body);
}

static void remove_body(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 1000);
    dev_fault_clear(rig->dev);
}

static void delayed_body(void *arg)
{
    struct rig *rig = arg;
    t_break(rig, (struct fault_rule){.ops = FAULT_ON_READ, .kind = FAULT_DELAY, .delay_ns = 1000000000});
    rt_spawn(rig->rt, "remove", remove_body, rig);
    assert_int_equal(t_letter(rig->dev, 1), 'o');
    assert_true(rt_now_ns(rig->rt) > 1000000000);
    rig->ran = true;
}

static void a_rule_may_be_removed_under_a_request_that_it_delays(void **state)
{
    (void)state;
    t_run(delayed_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_request_is_not_done_and_shots_are_counted),
        cmocka_unit_test(corruption_is_a_success_with_one_wrong_byte_a_block),
        cmocka_unit_test(lost_blocks_are_acknowledged_and_not_written),
        cmocka_unit_test(torn_blocks_are_half_new_and_half_old),
        cmocka_unit_test(a_delayed_request_is_served_late_but_right),
        cmocka_unit_test(the_first_rule_that_matches_fires_and_rules_come_and_go),
        cmocka_unit_test(rules_that_make_no_sense_are_refused),
        cmocka_unit_test(a_rule_may_be_removed_under_a_request_that_it_delays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
