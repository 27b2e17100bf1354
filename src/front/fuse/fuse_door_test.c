// SPDX-License-Identifier: MIT
// fuse_door_test.c - the door between a made-up kernel (fuse_rig.c) and a made-up volume (fake_ops.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/log.h"
#include "front/fuse/fuse_rig.h"

static void init_agrees_on_what_both_have(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    struct fuse_getattr_in early = {0};
    assert_int_equal(ask(&r, FUSE_GETATTR, 1, &early, sizeof(early)), -EPROTO);
    struct fuse_init_in in = {.major = 7, .minor = 38, .flags = FUSE_ASYNC_READ | FUSE_INIT_EXT | FUSE_POSIX_LOCKS, .flags2 = 0};
    assert_int_equal(ask(&r, FUSE_INIT, 0, &in, sizeof(in)), 0);
    const struct fuse_init_out *out = answer(&r);
    assert_int_equal(out->flags, FUSE_ASYNC_READ | FUSE_INIT_EXT);
    assert_int_equal(out->flags2, 0);
    assert_int_equal(out->max_write, 131072);
    assert_int_equal(r.agreed.minor, 38);
    assert_true(r.serving);
    close_rig(&r);
}

static void an_old_kernel_is_refused(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    struct fuse_init_in in = {.major = 7, .minor = 19};
    assert_int_equal(ask(&r, FUSE_INIT, 0, &in, offsetof(struct fuse_init_in, flags2)), -EPROTO);
    assert_false(r.serving);
    close_rig(&r);
}

static void a_successor_asks_for_what_was_unanswered_and_serves_without_init(void **state)
{
    (void)state;
    struct rig r = {.agreed = AGREED};
    open_rig(&r, true);
    struct fuse_out_header note;
    assert_int_equal(recv(r.kernel, &note, sizeof(note), 0), sizeof(note));
    assert_int_equal(note.error, FUSE_NOTIFY_RESEND);
    assert_int_equal(note.unique, 0);
    assert_true(r.serving);
    r.unique = 1ull << 63;
    struct fuse_getattr_in in = {0};
    assert_int_equal(ask(&r, FUSE_GETATTR, 1, &in, sizeof(in)), 0);
    assert_int_equal(fuse_door_stats(r.door).resent, 1);
    close_rig(&r);
}

static void the_root_has_another_number_outside(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    struct fuse_getattr_in in = {0};
    assert_int_equal(ask(&r, FUSE_GETATTR, FUSE_ROOT_ID, &in, sizeof(in)), 0);
    assert_int_equal(((const struct fuse_attr_out *)answer(&r))->attr.ino, OPS_ROOT);
    assert_int_equal(ask(&r, FUSE_GETATTR, OPS_ROOT, &in, sizeof(in)), -ESTALE);
    assert_int_equal(ask(&r, FUSE_GETATTR, 1ull << 32, &in, sizeof(in)), -ESTALE);
    assert_int_equal(ask(&r, FUSE_LOOKUP, 12, "..", 3), 0);
    assert_int_equal(((const struct fuse_entry_out *)answer(&r))->nodeid, FUSE_ROOT_ID);
    close_rig(&r);
}

static void a_missing_name_is_an_answer_to_remember(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    assert_int_equal(ask(&r, FUSE_LOOKUP, 1, "nobody", 7), 0);
    const struct fuse_entry_out *out = answer(&r);
    assert_int_equal(out->nodeid, 0);
    assert_true(out->entry_valid > 1000000);
    close_rig(&r);
}

static void written_bytes_arrive_page_aligned(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    struct {
        struct fuse_write_in in;
        char bytes[5000];
    } body = {.in = {.offset = 77, .size = 5000, .write_flags = FUSE_WRITE_CACHE}};
    assert_int_equal(ask(&r, FUSE_WRITE, 12, &body, sizeof(body.in) + 5000), 0);
    assert_int_equal(((const struct fuse_write_out *)answer(&r))->size, 5000);
    assert_true(fake.write_aligned);
    assert_true(fake.write.keep_times);
    assert_int_equal(fake.write.off, 77);
    assert_int_equal(ask(&r, FUSE_WRITE, 12, &body, sizeof(body.in) + 4999), -EINVAL);
    close_rig(&r);
}

static void reading_returns_what_the_volume_says(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    struct fuse_read_in in = {.offset = 4096, .size = 100000};
    assert_int_equal(ask(&r, FUSE_READ, 12, &in, sizeof(in)), 0);
    assert_int_equal(r.answer_len, 100000);
    for (size_t i = 0; i < 100000; i++)
        assert_int_equal(((const uint8_t *)answer(&r))[i], (4096 + i) % 251);
    in.size = (1 << 20) + 1;
    assert_int_equal(ask(&r, FUSE_READ, 12, &in, sizeof(in)), -EINVAL);
    close_rig(&r);
}

static void listing_fills_no_more_than_was_asked_for(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    for (uint32_t size = 0; size < 1500; size += 37) {
        struct fuse_read_in in = {.size = size};
        assert_int_equal(ask(&r, FUSE_READDIRPLUS, 1, &in, sizeof(in)), 0);
        assert_true(r.answer_len <= size);
    }
    // "." carries no inode to count, the file does.
    const struct fuse_direntplus *dot = answer(&r);
    assert_int_equal(dot->entry_out.nodeid, 0);
    const struct fuse_direntplus *file = (const void *)((const uint8_t *)dot + 2 * FUSE_REC_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + 2));
    assert_int_equal(file->entry_out.nodeid, 12);
    assert_int_equal(file->dirent.off, 3);
    close_rig(&r);
}

static void attribute_values_and_their_sizes_are_told_apart(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    struct {
        struct fuse_getxattr_in in;
        char name[8];
    } body = {.name = "user.ab"};
    assert_int_equal(ask(&r, FUSE_GETXATTR, 12, &body, sizeof(body)), 0);
    assert_int_equal(((const struct fuse_getxattr_out *)answer(&r))->size, 7);
    body.in.size = 3;
    assert_int_equal(ask(&r, FUSE_GETXATTR, 12, &body, sizeof(body)), -ERANGE);
    body.in.size = 7;
    assert_int_equal(ask(&r, FUSE_GETXATTR, 12, &body, sizeof(body)), 0);
    assert_memory_equal(answer(&r), "user.ab", 7);
    close_rig(&r);
}

static void errors_are_put_into_words_the_kernel_knows(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    assert_int_equal(ask(&r, FUSE_RMDIR, 1, "file", 5), -EUCLEAN);      // a bad checksum, from below
    assert_int_equal(ask(&r, FUSE_POLL, 1, "", 0), -ENOSYS);
    assert_int_equal(ask(&r, FUSE_LOOKUP, 1, "a/b", 4), -EINVAL);
    close_rig(&r);
}

static void holes_are_looked_for_after_the_kernels_pages_were_fetched(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    struct fuse_lseek_in in = {.offset = 100, .whence = SEEK_DATA};
    assert_int_equal(ask(&r, FUSE_LSEEK, 12, &in, sizeof(in)), 0);
    assert_int_equal(((const struct fuse_lseek_out *)answer(&r))->offset, 101);
    close_rig(&r);
}

static void a_sync_commits_after_the_kernels_pages_were_fetched(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    uint64_t padding = 0, calls = fake.calls;
    assert_int_equal(ask(&r, FUSE_SYNCFS, 1, &padding, sizeof(padding)), 0);
    assert_int_equal(fake.kernel_syncs, 2);
    assert_int_equal(fake.calls, calls + 1);
    r.relay_rc = -ETIMEDOUT;        // the commit does not depend on it
    assert_int_equal(ask(&r, FUSE_SYNCFS, 1, &padding, sizeof(padding)), 0);
    assert_int_equal(fake.calls, calls + 2);
    close_rig(&r);
}

static void device_numbers_survive_the_journey(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    struct {
        struct fuse_mknod_in in;
        char name[4];
    } body = {.in = {.rdev = 0x12300000 | 259 << 8 | 0x45}, .name = "dev"};
    assert_int_equal(ask(&r, FUSE_MKNOD, 1, &body, sizeof(body)), 0);
    assert_int_equal(fake.major, 259);
    assert_int_equal(fake.minor, 0x12345);
    close_rig(&r);
}

static void forgetting_has_no_answer_and_counts_what_is_there(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    struct {
        struct fuse_batch_forget_in in;
        struct fuse_forget_one one[2];
    } body = {.in.count = 1000000, .one = {{12, 3}, {13, 4}}};
    assert_int_equal(ask(&r, FUSE_BATCH_FORGET, 0, &body, sizeof(body)), 1);
    assert_int_equal(fake.forgotten, 7);
    close_rig(&r);
}

// --- the write gate -------------------------------------------------------------------------------

// The kernel's question before write(2), and the notification that comes before the answer, if any.
static int ask_to_write(struct rig *r, bool *doubted)
{
    struct fuse_getattr_in in = {.getattr_flags = FUSE_GETATTR_FH};
    struct fuse_in_header head = {.len = sizeof(head) + sizeof(in), .opcode = FUSE_GETATTR, .unique = ++r->unique, .nodeid = 12, .pid = r->pid};
    struct iovec iov[2] = {{&head, sizeof(head)}, {&in, sizeof(in)}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    struct fuse_out_header out;
    *doubted = false;
    assert_int_equal(sendmsg(r->kernel, &msg, 0), head.len);
    turn(r);
    while (recv(r->kernel, r->answer, ANSWER_MAX, MSG_DONTWAIT) > 0) {
        memcpy(&out, r->answer, sizeof(out));
        if (out.unique == r->unique)
            return out.error;
        assert_int_equal(out.error, FUSE_NOTIFY_INVAL_INODE);
        *doubted = true;
    }
    return 1;
}

static void drain(void *arg)
{
    struct rig *r = arg;
    fuse_door_drain(r->door);
    rt_stop(r->rt);
}

static void a_write_to_an_immutable_file_is_refused_before_it_happens(void **state)
{
    (void)state;
    struct rig r = {0};
    bool doubted;
    open_rig(&r, false);
    greet(&r);
    assert_int_equal(ask_to_write(&r, &doubted), 0);
    assert_false(doubted);
    fake.flags = 0x10;
    assert_int_equal(ask_to_write(&r, &doubted), -EPERM);
    close_rig(&r);
}

static void when_space_is_low_every_writer_is_granted_some_or_refused(void **state)
{
    (void)state;
    struct rig r = {.dirty_max = 1 << 20};
    bool doubted;
    open_rig(&r, false);
    fake.available = 5000;
    greet(&r);
    assert_int_equal(ask_to_write(&r, &doubted), 0);
    assert_false(doubted);
    fake.available = 500;
    assert_int_equal(ask_to_write(&r, &doubted), 0);
    rt_spawn(r.rt, "drain", drain, &r);         // until what may lie in the kernel is fetched
    assert_int_equal(rt_run(r.rt), 0);
    assert_true(fake.notified >= 1);
    while (recv(r.kernel, r.answer, ANSWER_MAX, MSG_DONTWAIT) > 0)
        ;
    r.pid = 1;                                  // is granted 256 blocks
    assert_int_equal(ask_to_write(&r, &doubted), 0);
    assert_true(doubted);
    fake.available = 255;
    assert_int_equal(ask_to_write(&r, &doubted), -ENOSPC);
    close_rig(&r);
}

// Every opcode with every kind of nonsense behind it: an answer or none, never harm.
static void nonsense_does_no_harm(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    greet(&r);
    uint64_t x = 1234567;
    for (int round = 0; round < 3000; round++) {
        uint8_t body[300];
        for (size_t i = 0; i < sizeof(body); i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            body[i] = x & 3 ? (uint8_t)(x >> 32) : 0;
        }
        (void)ask(&r, (uint32_t)round % FUSE_OPCODES, x % 14, body, (x >> 40) % sizeof(body));
    }
    struct fuse_getattr_in in = {0};
    assert_int_equal(ask(&r, FUSE_GETATTR, 1, &in, sizeof(in)), 0);
    close_rig(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_agrees_on_what_both_have),
        cmocka_unit_test(an_old_kernel_is_refused),
        cmocka_unit_test(a_successor_asks_for_what_was_unanswered_and_serves_without_init),
        cmocka_unit_test(the_root_has_another_number_outside),
        cmocka_unit_test(a_missing_name_is_an_answer_to_remember),
        cmocka_unit_test(written_bytes_arrive_page_aligned),
        cmocka_unit_test(reading_returns_what_the_volume_says),
        cmocka_unit_test(listing_fills_no_more_than_was_asked_for),
        cmocka_unit_test(attribute_values_and_their_sizes_are_told_apart),
        cmocka_unit_test(errors_are_put_into_words_the_kernel_knows),
        cmocka_unit_test(holes_are_looked_for_after_the_kernels_pages_were_fetched),
        cmocka_unit_test(a_sync_commits_after_the_kernels_pages_were_fetched),
        cmocka_unit_test(device_numbers_survive_the_journey),
        cmocka_unit_test(forgetting_has_no_answer_and_counts_what_is_there),
        cmocka_unit_test(a_write_to_an_immutable_file_is_refused_before_it_happens),
        cmocka_unit_test(when_space_is_low_every_writer_is_granted_some_or_refused),
        cmocka_unit_test(nonsense_does_no_harm),
    };
    log_set_level(LOG_ERROR_LEVEL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
