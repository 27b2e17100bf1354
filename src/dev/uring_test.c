// SPDX-License-Identifier: MIT
// uring_test.c - the driver over a real file and the real worker.
#include "dev/dev_test.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "dev/uring.h"
#include "rt/rt_uring.h"

#define BLOCKS 4096

struct rig {
    struct rt *rt;
    struct rt_ring ring;
    int fd;
    struct dev *dev;
    bool ran;
};

static int t_file(void)
{
    char path[] = "/tmp/uring_test.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    int direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    unlink(path);
    if (direct >= 0) {
        close(fd);
        fd = direct;
    }
    assert_int_equal(ftruncate(fd, BLOCKS * (off_t)BLOCK_BYTES), 0);
    return fd;
}

static struct rig t_rig(void)
{
    struct rig rig = {.fd = t_file()};
    assert_int_equal(rt_ring_create(16, &rig.ring, NULL), 0);
    assert_int_equal(rt_create(&rig.ring, &rig.rt, NULL), 0);
    assert_int_equal(dev_uring_create(rig.rt, rig.fd, false, BLOCKS, false, "file", &rig.dev), 0);
    return rig;
}

static void t_run(void (*fn)(void *))
{
    struct rig rig = t_rig();
    rt_spawn(rig.rt, "test", fn, &rig);
    rt_stop(rig.rt);
    assert_int_equal(rt_run(rig.rt), 0);
    assert_true(rig.ran);
    dev_destroy(rig.dev);
    rt_destroy(rig.rt);
    close(rig.ring.fd);
    close(rig.fd);
}

static void all_body(void *arg)
{
    struct rig *rig = arg;
    assert_int_equal(t_write(rig->dev, BLOCKS - 1, 'a', 0), 0);
    assert_int_equal(t_write(rig->dev, 5, 'b', DEV_FUA), 0);
    assert_int_equal(dev_flush(rig->dev), 0);
    assert_int_equal(t_letter(rig->dev, BLOCKS - 1), 'a');
    assert_int_equal(t_letter(rig->dev, 5), 'b');
    assert_int_equal(t_letter(rig->dev, 6), 0);
    int rc = dev_discard(rig->dev, 5, 1);
    assert_true(rc == 0 || rc == -EOPNOTSUPP);
    assert_int_equal(t_letter(rig->dev, 5), rc ? 'b' : 0);
    assert_int_equal(t_write(rig->dev, BLOCKS, 'c', 0), -EINVAL);
    rig->ran = true;
}

static void blocks_are_written_read_flushed_and_discarded(void **state)
{
    (void)state;
    t_run(all_body);
}

// More pieces than one system call takes.
static void scattered_body(void *arg)
{
    struct rig *rig = arg;
    enum { N = 2500 };
    AUTO_FREE uint8_t *out = xblocks(N);
    AUTO_FREE uint8_t *in = xblocks(N);
    AUTO_FREE struct iovec *iov = xcalloc(N, sizeof(struct iovec));
    for (uint64_t i = 0; i < N * BLOCK_BYTES; i += 8)
        memcpy(out + i, &i, 8);
    for (size_t i = 0; i < N; i++)
        iov[i] = (struct iovec){out + i * BLOCK_BYTES, BLOCK_BYTES};
    assert_int_equal(dev_write(rig->dev, 100, iov, N, 0), 0);
    for (size_t i = 0; i < N; i++)
        iov[i].iov_base = in + i * BLOCK_BYTES;
    assert_int_equal(dev_read(rig->dev, 100, iov, N), 0);
    assert_memory_equal(out, in, N * BLOCK_BYTES);
    rig->ran = true;
}

static void a_request_of_thousands_of_pieces_arrives_whole(void **state)
{
    (void)state;
    t_run(scattered_body);
}

static void shrunk_body(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *blocks = xblocks(4);
    struct iovec iov = {blocks, 4 * BLOCK_BYTES};
    assert_int_equal(ftruncate(rig->fd, 10 * (off_t)BLOCK_BYTES), 0);
    assert_int_equal(dev_read(rig->dev, 6, &iov, 1), 0);
    assert_int_equal(dev_read(rig->dev, 8, &iov, 1), -EIO);
    assert_int_equal(dev_read(rig->dev, 20, &iov, 1), -EIO);
    rig->ran = true;
}

static void a_file_that_became_shorter_is_an_error_not_a_short_read(void **state)
{
    (void)state;
    t_run(shrunk_body);
}

static void a_device_that_does_not_fit_its_description_is_refused(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    struct dev *none;
    assert_int_equal(dev_uring_create(rig.rt, rig.fd, false, BLOCKS + 1, false, "x", &none), -EINVAL);
    assert_int_equal(dev_uring_create(rig.rt, rig.fd, true, BLOCKS, false, "x", &none), -EINVAL);
    assert_int_equal(dev_uring_create(rig.rt, -1, false, BLOCKS, false, "x", &none), -EBADF);
    dev_destroy(rig.dev);
    rt_destroy(rig.rt);
    close(rig.ring.fd);
    close(rig.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_written_read_flushed_and_discarded),
        cmocka_unit_test(a_request_of_thousands_of_pieces_arrives_whole),
        cmocka_unit_test(a_file_that_became_shorter_is_an_error_not_a_short_read),
        cmocka_unit_test(a_device_that_does_not_fit_its_description_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
