// SPDX-License-Identifier: MIT
// trace_test.c - what passes is counted and otherwise left alone.
#include "dev/dev_test.h"

#include "dev/fault.h"
#include "dev/sim.h"
#include "dev/trace.h"
#include "rt/rt_sim.h"

struct rig {
    struct rt *rt;
    struct dev *fault, *trace;
};

static int one_read(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *block = xblocks(1);
    return t_read(rig->trace, 3, block);
}

static void requests(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *blocks = xblocks(4);
    struct iovec iov = {blocks, 4 * BLOCK_BYTES};
    assert_int_equal(dev_write(rig->trace, 0, &iov, 1, 0), 0);
    assert_int_equal(t_write(rig->trace, 0, 'a', DEV_FUA), 0);
    assert_int_equal(t_letter(rig->trace, 0), 'a');
    assert_int_equal(dev_flush(rig->trace), 0);
    assert_int_equal(dev_discard(rig->trace, 1, 2), 0);
    assert_true(dev_fault_add(rig->fault, &(struct fault_rule){.ops = FAULT_ON_READ, .shots = 1}) > 0);

    struct rt_group group;
    rt_group_init(&group, rig->rt);
    for (int i = 0; i < 3; i++)
        rt_group_go(&group, "read", one_read, rig);
    assert_int_equal(rt_group_wait(&group), -EIO);

    const struct trace_counts *counts = dev_trace_counts(rig->trace);
    assert_int_equal(counts->writes, 2);
    assert_int_equal(counts->fua_writes, 1);
    assert_int_equal(counts->blocks_written, 5);
    assert_int_equal(counts->reads, 4);
    assert_int_equal(counts->blocks_read, 4);
    assert_int_equal(counts->flushes, 1);
    assert_int_equal(counts->discards, 1);
    assert_int_equal(counts->errors, 1);
    assert_int_equal(counts->under_way, 0);
    assert_true(counts->under_way_max >= 2);
    dev_trace_reset(rig->trace);
    assert_int_equal(counts->reads + counts->writes + counts->errors, 0);
}

static void every_request_is_counted_by_kind_and_outcome(void **state)
{
    (void)state;
    struct rig rig = {.rt = rt_sim_create(1)};
    struct sim_disk *disk = sim_disk_create(8);
    struct dev *home = dev_sim_create(rig.rt, disk, NULL);
    rig.fault = dev_fault_create(rig.rt, home);
    rig.trace = dev_trace_create(rig.fault, true);
    rt_spawn(rig.rt, "requests", requests, &rig);
    assert_int_equal(rt_run(rig.rt), 0);
    dev_destroy(rig.trace);
    dev_destroy(rig.fault);
    dev_destroy(home);
    sim_disk_destroy(disk);
    rt_destroy(rig.rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_is_counted_by_kind_and_outcome),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
