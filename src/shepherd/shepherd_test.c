// SPDX-License-Identifier: MIT
// shepherd_test.c - the plain policy: sane or an honest error, and nothing outside the volume.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "dev/fault.h"
#include "dev/sim.h"
#include "dev/trace.h"
#include "ondisk/extent.h"
#include "ondisk/verify.h"
#include "rt/rt_sim.h"
#include "shepherd/shepherd.h"

#define BLOCKS 64u

static const struct shep_ref EXTENT_REF = {.type = BLOCK_EXTENT, .owner = {.ino = 12, .generation = 1}};

struct rig {
    struct rt *rt;
    struct sim_disk *disk;
    struct dev *home, *trace, *dev;
    struct shepherd *shep;
    struct ext4_geo geo;
    uint8_t *bytes;
    void (*body)(struct rig *rig);
};

static void run_body(void *arg)
{
    struct rig *rig = arg;
    rig->body(rig);
}

// Block 7 is a good extent node, block 8 one whose checksum is wrong, block 9 nothing of the kind.
static void prepare(struct rig *rig)
{
    uint8_t block[BLOCK_BYTES] = {0};
    extent_node_init(block, EXT4_EXTENT_BLOCK_MAX, 0);
    block_seal(&rig->geo, BLOCK_EXTENT, &EXTENT_REF.owner, 7, block);
    sim_disk_poke(rig->disk, 7, block);
    block[BLOCK_BYTES - sizeof(struct ext4_extent_tail)] ^= 1;
    sim_disk_poke(rig->disk, 8, block);
}

static void t_run(void (*body)(struct rig *rig))
{
    struct rig rig = {
        .rt = rt_sim_create(1), .disk = sim_disk_create(BLOCKS), .body = body, .bytes = xblocks(4),
        .geo = {.block_count = BLOCKS, .has_metadata_csum = true, .csum_seed = 5},
    };
    prepare(&rig);
    rig.home = dev_sim_create(rig.rt, rig.disk, NULL);
    rig.trace = dev_trace_create(rig.home, false);
    rig.dev = dev_fault_create(rig.rt, rig.trace);
    rig.shep = shep_create(rig.rt, rig.dev);
    rt_spawn(rig.rt, "test", run_body, &rig);
    assert_int_equal(rt_run(rig.rt), 0);
    shep_destroy(rig.shep);
    dev_destroy(rig.dev);
    dev_destroy(rig.trace);
    dev_destroy(rig.home);
    rt_destroy(rig.rt);
    sim_disk_destroy(rig.disk);
    free(rig.bytes);
}

static void judge(struct rig *rig)
{
    // Without a geometry nothing is known to be wrong.
    assert_int_equal(shep_read(rig->shep, &EXTENT_REF, 9, rig->bytes), 0);
    shep_set_geometry(rig->shep, &rig->geo);
    assert_int_equal(shep_read(rig->shep, &EXTENT_REF, 7, rig->bytes), 0);
    assert_int_equal(shep_read(rig->shep, &EXTENT_REF, 8, rig->bytes), -EFSBADCRC);
    assert_int_equal(shep_read(rig->shep, &EXTENT_REF, 9, rig->bytes), -EFSCORRUPTED);
    assert_int_equal(shep_stats(rig->shep).corruptions, 2);
    struct iovec iov = {rig->bytes, 3 * BLOCK_BYTES};
    assert_int_equal(shep_read_run(rig->shep, &EXTENT_REF, 7, &iov, 1), 0);
}
static void a_block_is_judged_by_its_type_once_the_geometry_is_known(void **state) { (void)state; t_run(judge); }

static void errors(struct rig *rig)
{
    struct fault_rule rule = {.ops = FAULT_ON_READ, .kind = FAULT_FAIL, .error = -ENODATA, .shots = 1};
    assert_true(dev_fault_add(rig->dev, &rule) > 0);
    assert_int_equal(shep_read(rig->shep, &EXTENT_REF, 7, rig->bytes), -EIO);
    rule = (struct fault_rule){.ops = FAULT_ON_WRITE, .kind = FAULT_FAIL, .error = -ENOSPC, .shots = 1};
    assert_true(dev_fault_add(rig->dev, &rule) > 0);
    struct iovec iov = {rig->bytes, BLOCK_BYTES};
    assert_int_equal(shep_write(rig->shep, &EXTENT_REF, 7, &iov, 1, 0, NULL), -ENOSPC);
    rule = (struct fault_rule){.ops = FAULT_ON_FLUSH, .kind = FAULT_FAIL, .shots = 1};
    assert_true(dev_fault_add(rig->dev, &rule) > 0);
    assert_int_equal(shep_flush(rig->shep), -EIO);
    struct shep_stats stats = shep_stats(rig->shep);
    assert_int_equal(stats.read_errors, 1);
    assert_int_equal(stats.write_errors, 2);
}
static void errors_of_the_device_are_passed_on_and_counted(void **state) { (void)state; t_run(errors); }

static void outside(struct rig *rig)
{
    struct iovec iov = {rig->bytes, 4 * BLOCK_BYTES};
    assert_int_equal(shep_read(rig->shep, &EXTENT_REF, BLOCKS, rig->bytes), -EFSCORRUPTED);
    assert_int_equal(shep_read(rig->shep, &EXTENT_REF, UINT64_MAX, rig->bytes), -EFSCORRUPTED);
    assert_int_equal(shep_read_run(rig->shep, &EXTENT_REF, BLOCKS - 3, &iov, 1), -EFSCORRUPTED);
    assert_int_equal(shep_write(rig->shep, &EXTENT_REF, BLOCKS - 3, &iov, 1, 0, NULL), -EFSCORRUPTED);
    assert_int_equal(dev_trace_counts(rig->trace)->reads + dev_trace_counts(rig->trace)->writes, 0);
}
static void a_block_outside_the_volume_never_reaches_the_device(void **state) { (void)state; t_run(outside); }

static void fua(struct rig *rig)
{
    struct iovec iov = {rig->bytes, BLOCK_BYTES};
    struct shep_result result = {.map_count = 99};
    assert_int_equal(shep_write(rig->shep, &EXTENT_REF, 20, &iov, 1, SHEP_FUA, &result), 0);
    assert_int_equal(result.map_count, 0);
    assert_int_equal(dev_trace_counts(rig->trace)->fua_writes, 1);
    assert_int_equal(sim_disk_unstable(rig->disk), 0);
}
static void a_forced_write_is_stable_when_it_returns(void **state) { (void)state; t_run(fua); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_judged_by_its_type_once_the_geometry_is_known),
        cmocka_unit_test(errors_of_the_device_are_passed_on_and_counted),
        cmocka_unit_test(a_block_outside_the_volume_never_reaches_the_device),
        cmocka_unit_test(a_forced_write_is_stable_when_it_returns),
    };
    return cmocka_run_group_tests_name("shepherd", tests, NULL, NULL);
}
