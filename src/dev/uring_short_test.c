// SPDX-License-Identifier: MIT
// uring_short_test.c - the driver over a kernel that answers little, late or not at all.
//
// This file is the kernel: it defines rt_io() over memory, linked with the simulator's worker.
#include "dev/dev_test.h"

#include <sys/mman.h>

#include "dev/internal.h"
#include "dev/uring.h"
#include "rt/rt_sim.h"
#include "rt/rt_uring.h"

#define BLOCKS 256

static struct {
    uint8_t disk[BLOCKS * BLOCK_BYTES];
    int calls;
    int error;                  // answered `errors` times first; -1: for ever
    int errors;
    size_t bytes_max;           // transferred by one call
    int dsync_writes, other_writes;
} kernel;

ssize_t rt_io(struct rt *rt, const struct rt_io *io)
{
    kernel.calls++;
    rt_yield(rt);
    if (kernel.errors) {
        kernel.errors -= kernel.errors > 0;
        return kernel.error;
    }
    if (io->op == RT_FSYNC || io->op == RT_PUNCH)
        return 0;
    assert_true(io->iovcnt <= 1024);
    assert_int_equal(io->off % BLOCK_BYTES, 0);
    size_t len = MIN(iov_bytes(io->iov, io->iovcnt), kernel.bytes_max);
    if (io->op == RT_READ)
        iov_scatter(io->iov, io->iovcnt, 0, kernel.disk + io->off, len);
    else
        iov_gather(kernel.disk + io->off, io->iov, io->iovcnt, 0, len);
    kernel.dsync_writes += io->op == RT_WRITE && io->dsync;
    kernel.other_writes += io->op == RT_WRITE && !io->dsync;
    return (ssize_t)len;
}

struct rig {
    struct dev *dev;
    uint64_t blocks;
    int rc_write, rc_read, rc_flush, rc_discard;
    bool same;
};

static void write_and_read(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *out = xblocks(rig->blocks);
    AUTO_FREE uint8_t *in = xblocks(rig->blocks);
    for (uint64_t i = 0; i < rig->blocks * BLOCK_BYTES; i += 8)
        memcpy(out + i, &i, 8);
    struct iovec a[] = {{out, BLOCK_BYTES}, {out + BLOCK_BYTES, (rig->blocks - 1) * BLOCK_BYTES}};
    struct iovec b[] = {{in, (rig->blocks - 1) * BLOCK_BYTES}, {in + (rig->blocks - 1) * BLOCK_BYTES, BLOCK_BYTES}};
    rig->rc_write = dev_write(rig->dev, 3, a, 2, DEV_FUA);
    rig->rc_read = dev_read(rig->dev, 3, b, 2);
    rig->same = memcmp(out, in, rig->blocks * BLOCK_BYTES) == 0;
}

static void flush_and_discard(void *arg)
{
    struct rig *rig = arg;
    int errors = kernel.errors;
    rig->rc_flush = dev_flush(rig->dev);
    kernel.errors = errors;
    rig->rc_discard = dev_discard(rig->dev, 0, 1);
}

static struct rig t_run(void (*fn)(void *), size_t bytes_max, int error, int errors)
{
    struct rig rig = {.blocks = 20};
    struct rt *rt = rt_sim_create(1);
    memset(&kernel, 0, sizeof(kernel));
    kernel.bytes_max = bytes_max;
    kernel.error = error;
    kernel.errors = errors;
    AUTO_FD int fd = memfd_create("disk", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, BLOCKS * BLOCK_BYTES), 0);
    assert_int_equal(dev_uring_create(rt, fd, false, BLOCKS, false, "kernel", &rig.dev), 0);
    rt_spawn(rt, "test", fn, &rig);
    assert_int_equal(rt_run(rt), 0);
    dev_destroy(rig.dev);
    rt_destroy(rt);
    return rig;
}

static void short_transfers_are_continued_from_a_whole_block(void **state)
{
    (void)state;
    const size_t sizes[] = {BLOCK_BYTES, BLOCK_BYTES + 512, 3 * BLOCK_BYTES - 1, 7 * BLOCK_BYTES, 1 << 30};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct rig rig = t_run(write_and_read, sizes[i], 0, 0);
        assert_int_equal(rig.rc_write, 0);
        assert_int_equal(rig.rc_read, 0);
        assert_true(rig.same);
        uint64_t whole = sizes[i] / BLOCK_BYTES;
        assert_int_equal(kernel.calls, 2 * DIV_ROUND_UP(20ull, whole));
    }
}

static void every_part_of_a_fua_write_asks_for_dsync(void **state)
{
    (void)state;
    struct rig rig = t_run(write_and_read, BLOCK_BYTES, 0, 0);
    assert_int_equal(rig.rc_write, 0);
    assert_int_equal(kernel.dsync_writes, 20);
    assert_int_equal(kernel.other_writes, 0);
}

static void a_kernel_that_asks_to_be_asked_again_is(void **state)
{
    (void)state;
    const int errors[] = {-EAGAIN, -EINTR};
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        struct rig rig = t_run(write_and_read, BLOCK_BYTES, errors[i], 10);
        assert_int_equal(rig.rc_write, 0);
        assert_true(rig.same);
        rig = t_run(flush_and_discard, BLOCK_BYTES, errors[i], 10);
        assert_int_equal(rig.rc_flush, 0);
        assert_int_equal(rig.rc_discard, 0);
    }
}

static void one_that_never_makes_progress_is_given_up(void **state)
{
    (void)state;
    struct rig rig = t_run(write_and_read, 100, 0, 0);
    assert_int_equal(rig.rc_write, -EIO);
    rig = t_run(write_and_read, BLOCK_BYTES, -EAGAIN, -1);
    assert_int_equal(rig.rc_write, -EIO);
    assert_int_equal(rig.rc_read, -EIO);
    rig = t_run(flush_and_discard, BLOCK_BYTES, -EAGAIN, -1);
    assert_int_equal(rig.rc_flush, -EIO);
    assert_int_equal(rig.rc_discard, -EIO);
}

static void other_errors_pass(void **state)
{
    (void)state;
    struct rig rig = t_run(write_and_read, BLOCK_BYTES, -ENOSPC, -1);
    assert_int_equal(rig.rc_write, -ENOSPC);
    assert_int_equal(kernel.calls, 2);
    rig = t_run(flush_and_discard, BLOCK_BYTES, -EOPNOTSUPP, -1);
    assert_int_equal(rig.rc_flush, -EOPNOTSUPP);
    assert_int_equal(rig.rc_discard, -EOPNOTSUPP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_transfers_are_continued_from_a_whole_block),
        cmocka_unit_test(every_part_of_a_fua_write_asks_for_dsync),
        cmocka_unit_test(a_kernel_that_asks_to_be_asked_again_is),
        cmocka_unit_test(one_that_never_makes_progress_is_given_up),
        cmocka_unit_test(other_errors_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
