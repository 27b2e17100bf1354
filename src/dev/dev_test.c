// SPDX-License-Identifier: MIT
// dev_test.c - the front of every device, over a driver that only counts its calls.
#include "dev/dev_test.h"

#include "dev/internal.h"

struct counting {
    struct dev base;
    int reads, writes, flushes, discards, destroyed;
};

static int count_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt)
{
    return ((struct counting *)dev)->reads++, 0;
}
static int count_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags)
{
    return ((struct counting *)dev)->writes++, 0;
}
static int count_flush(struct dev *dev)
{
    return ((struct counting *)dev)->flushes++, -EIO;
}
static int count_discard(struct dev *dev, uint64_t block, uint64_t count)
{
    return ((struct counting *)dev)->discards++, 0;
}
static void count_destroy(struct dev *dev)
{
    ((struct counting *)dev)->destroyed++;
}

static const struct dev_ops counting_ops = {
    .name = "counting", .read = count_read, .write = count_write, .flush = count_flush,
    .discard = count_discard, .destroy = count_destroy,
};
static const struct dev_ops no_discard_ops = {
    .name = "no-discard", .read = count_read, .write = count_write, .flush = count_flush,
    .destroy = count_destroy,
};
static const struct dev_ops empty_ops = {.name = "empty"};

static struct counting t_counting(const struct dev_ops *ops)
{
    return (struct counting){.base = {.ops = ops, .block_count = 100, .label = "counting"}};
}

static void requests_past_the_end_never_reach_the_driver(void **state)
{
    (void)state;
    struct counting c = t_counting(&counting_ops);
    AUTO_FREE uint8_t *blocks = xblocks(2);
    struct iovec two = {blocks, 2 * BLOCK_BYTES};
    assert_int_equal(dev_read(&c.base, 98, &two, 1), 0);
    assert_int_equal(dev_read(&c.base, 99, &two, 1), -EINVAL);
    assert_int_equal(dev_read(&c.base, UINT64_MAX, &two, 1), -EINVAL);
    assert_int_equal(dev_write(&c.base, 98, &two, 1, 0), 0);
    assert_int_equal(dev_write(&c.base, 99, &two, 1, 0), -EINVAL);
    assert_int_equal(dev_discard(&c.base, 0, 100), 0);
    assert_int_equal(dev_discard(&c.base, 1, 100), -EINVAL);
    assert_int_equal(dev_discard(&c.base, 1, UINT64_MAX), -EINVAL);
    assert_int_equal(c.reads, 1);
    assert_int_equal(c.writes, 1);
    assert_int_equal(c.discards, 1);
}

static void empty_requests_succeed_without_the_driver(void **state)
{
    (void)state;
    struct counting c = t_counting(&counting_ops);
    assert_int_equal(dev_read(&c.base, 100, NULL, 0), 0);
    assert_int_equal(dev_write(&c.base, 100, NULL, 0, DEV_FUA), 0);
    assert_int_equal(dev_discard(&c.base, 100, 0), 0);
    assert_int_equal(c.reads + c.writes + c.discards, 0);
}

static void a_read_only_device_answers_erofs(void **state)
{
    (void)state;
    struct counting c = t_counting(&counting_ops);
    AUTO_FREE uint8_t *block = xblocks(1);
    c.base.read_only = true;
    assert_int_equal(t_write(&c.base, 0, 'a', 0), -EROFS);
    assert_int_equal(dev_discard(&c.base, 0, 1), -EROFS);
    assert_int_equal(t_read(&c.base, 0, block), 0);
    assert_int_equal(c.writes + c.discards, 0);
}

static void what_a_filter_leaves_out_goes_below(void **state)
{
    (void)state;
    struct counting c = t_counting(&counting_ops);
    struct dev lower = dev_on(&empty_ops, &c.base), upper = dev_on(&empty_ops, &lower);
    AUTO_FREE uint8_t *block = xblocks(1);
    assert_string_equal(upper.label, "counting");
    assert_int_equal(upper.block_count, 100);
    assert_int_equal(t_read(&upper, 0, block), 0);
    assert_int_equal(t_write(&upper, 0, 'a', 0), 0);
    assert_int_equal(dev_flush(&upper), -EIO);      // and its answer comes back
    assert_int_equal(dev_discard(&upper, 0, 1), 0);
    assert_int_equal(c.reads + c.writes + c.flushes + c.discards, 4);
}

static void a_driver_without_discard_says_so(void **state)
{
    (void)state;
    struct counting c = t_counting(&no_discard_ops);
    struct dev upper = dev_on(&empty_ops, &c.base);
    assert_int_equal(dev_discard(&upper, 0, 1), -EOPNOTSUPP);
}

static void destroy_reaches_this_device_only_and_takes_null(void **state)
{
    (void)state;
    struct counting below = t_counting(&counting_ops), above = t_counting(&counting_ops);
    above.base.below = &below.base;
    dev_destroy(&above.base);
    dev_destroy(NULL);
    assert_int_equal(above.destroyed, 1);
    assert_int_equal(below.destroyed, 0);
}

static void parts_of_a_scattered_request_are_found(void **state)
{
    (void)state;
    char text[] = "abcdefghij", out[11] = "";
    struct iovec iov[] = {{text, 3}, {text + 3, 0}, {text + 3, 5}, {text + 8, 2}}, part[4];
    assert_int_equal(iov_bytes(iov, 4), 10);
    for (uint64_t off = 0; off <= 10; off++) {
        for (uint64_t len = 0; off + len <= 10; len++) {
            memset(out, 0, sizeof(out));
            iov_gather(out, iov, 4, off, len);
            assert_memory_equal(out, text + off, len);
            int count = iov_slice(part, 4, iov, 4, off, len);
            assert_int_equal(iov_bytes(part, count), len);
            if (count)
                assert_ptr_equal(part[0].iov_base, text + off);
        }
    }
    assert_int_equal(iov_slice(part, 2, iov, 4, 1, 100), 2);
    assert_int_equal(iov_bytes(part, 2), 7);
    iov_scatter(iov, 4, 2, "XYZ", 3);
    assert_string_equal(text, "abXYZfghij");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_past_the_end_never_reach_the_driver),
        cmocka_unit_test(empty_requests_succeed_without_the_driver),
        cmocka_unit_test(a_read_only_device_answers_erofs),
        cmocka_unit_test(what_a_filter_leaves_out_goes_below),
        cmocka_unit_test(a_driver_without_discard_says_so),
        cmocka_unit_test(destroy_reaches_this_device_only_and_takes_null),
        cmocka_unit_test(parts_of_a_scattered_request_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
