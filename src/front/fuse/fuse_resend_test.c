// SPDX-License-Identifier: MIT
// fuse_resend_test.c - the door of a successor: what the dead had applied, begun, or died of.
//
// A death is a copy of the records, taken when the server would have died: the next door gets the copy.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "front/fuse/fuse_rig.h"

#define RECORDS_BYTES (FUSE_RECORDS_MIN * sizeof(struct fuse_record))
#define AGAIN FUSE_UNIQUE_RESEND

static struct fuse_record living[FUSE_RECORDS_MIN], left[FUSE_RECORDS_MIN];
static enum { ON_REQUEST, ON_REPLY } death;
static bool died;

static void die(void)
{
    memcpy(left, living, sizeof(left));
    died = true;
}

static void on_request(void *rig, uint32_t opcode, uint32_t ino)
{
    (void)rig, (void)ino;
    if (death == ON_REQUEST && opcode != FUSE_INIT)
        die();
}

static void probe(void *rig, enum rt_probe point)
{
    (void)rig;
    if (death == ON_REPLY && point == RT_PROBE_REPLY)
        die();
}

static void first_server(struct rig *r)
{
    *r = (struct rig){.records = living, .on_request = on_request, .probe = probe, .pid = 9};
    memset(living, 0, sizeof(living));
    died = false;
    open_rig(r, false);
    greet(r);
}

// Its kernel sends again from `unique` on.
static void successor(struct rig *r, uint64_t unique)
{
    *r = (struct rig){.agreed = AGREED, .records = living, .pid = 9, .unique = (unique | AGAIN) - 1};
    struct fuse_out_header note;
    memcpy(living, left, sizeof(living));
    open_rig(r, true);
    assert_int_equal(recv(r->kernel, &note, sizeof(note), 0), sizeof(note));
    assert_int_equal(note.error, FUSE_NOTIFY_RESEND);
}

static bool is_free(const struct fuse_record *records)
{
    for (uint32_t i = 0; i < FUSE_RECORDS_MIN; i++)
        if (records[i].unique)
            return false;
    return true;
}

// --- every change --------------------------------------------------------------------------------

struct message {
    uint32_t opcode;
    size_t len;
    union {
        uint8_t bytes[128];
        struct {
            struct fuse_create_in in;
            char name[8];
        } create;
        struct {
            struct fuse_mknod_in in;
            char name[8];
        } mknod;
        struct {
            struct fuse_mkdir_in in;
            char name[8];
        } mkdir;
        struct {
            struct fuse_link_in in;
            char name[8];
        } link;
        struct {
            struct fuse_rename_in in;
            char names[8];
        } rename;
        struct {
            struct fuse_rename2_in in;
            char names[8];
        } rename2;
        struct {
            struct fuse_setxattr_in in;
            char name[8], value[4];
        } setxattr;
        struct {
            struct fuse_write_in in;
            char bytes[16];
        } write;
        struct {
            struct fuse_ioctl_in in;
            uint32_t flags;
        } ioctl;
        struct fuse_setattr_in setattr;
        struct fuse_fallocate_in fallocate;
        struct fuse_copy_file_range_in copy;
    } body;
};
#define MESSAGE(op, member, ...) {.opcode = (op), .len = sizeof(((struct message *)0)->body.member), .body.member = __VA_ARGS__}

static const struct message changes[] = {
    MESSAGE(FUSE_CREATE, create, {.in.flags = O_EXCL, .name = "created"}),
    {.opcode = FUSE_TMPFILE, .len = sizeof(struct fuse_create_in) + 2, .body.create.name = "/"},
    MESSAGE(FUSE_MKNOD, mknod, {.name = "madenod"}),
    MESSAGE(FUSE_MKDIR, mkdir, {.name = "madedir"}),
    {.opcode = FUSE_SYMLINK, .len = 4, .body.bytes = "a\0b"},
    MESSAGE(FUSE_LINK, link, {.in.oldnodeid = 12, .name = "newlink"}),
    {.opcode = FUSE_UNLINK, .len = 2, .body.bytes = "a"},
    {.opcode = FUSE_RMDIR, .len = 2, .body.bytes = "a"},
    MESSAGE(FUSE_RENAME, rename, {.in.newdir = 1, .names = "abc\0def"}),
    MESSAGE(FUSE_RENAME2, rename2, {.in.newdir = 1, .names = "abc\0def"}),
    MESSAGE(FUSE_SETATTR, setattr, {.valid = FATTR_SIZE, .size = 5}),
    MESSAGE(FUSE_SETXATTR, setxattr, {.in.size = 4, .name = "user.ab"}),
    {.opcode = FUSE_REMOVEXATTR, .len = 7, .body.bytes = "user.a"},
    MESSAGE(FUSE_WRITE, write, {.in.size = 16, .in.offset = 3}),
    MESSAGE(FUSE_FALLOCATE, fallocate, {.length = 4096}),
    MESSAGE(FUSE_COPY_FILE_RANGE, copy, {.nodeid_out = 12, .len = 77}),
    MESSAGE(FUSE_COPY_FILE_RANGE_64, copy, {.nodeid_out = 12, .len = 1ull << 40}),
    MESSAGE(FUSE_IOCTL, ioctl, {.in = {.cmd = FS_IOC_SETFLAGS, .in_size = 4}}),
};

static uint64_t nodeid_of(const struct message *message)
{
    switch (message->opcode) {
    case FUSE_SETATTR:
    case FUSE_SETXATTR:
    case FUSE_REMOVEXATTR:
    case FUSE_WRITE:
    case FUSE_FALLOCATE:
    case FUSE_COPY_FILE_RANGE:
    case FUSE_COPY_FILE_RANGE_64:
    case FUSE_IOCTL:
        return 12;
    default:
        return FUSE_ROOT_ID;
    }
}

// A notification may come before the answer.
static int ask_again(struct rig *r, const struct message *message)
{
    struct fuse_in_header head = {.len = (uint32_t)(sizeof(head) + message->len), .opcode = message->opcode,
                                  .unique = ++r->unique, .nodeid = nodeid_of(message), .pid = r->pid};
    struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)message->body.bytes, message->len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    struct fuse_out_header out = {0};
    assert_int_equal(sendmsg(r->kernel, &msg, 0), head.len);
    turn(r);
    do {
        ssize_t got = recv(r->kernel, r->answer, ANSWER_MAX, MSG_DONTWAIT);
        assert_true(got >= (ssize_t)sizeof(out));
        memcpy(&out, r->answer, sizeof(out));
        r->answer_len = (size_t)got - sizeof(out);
    } while (out.unique == 0);
    assert_int_equal(out.unique, r->unique);
    return out.error;
}

static void every_change_whose_answer_was_lost_is_answered_the_same_and_made_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        uint8_t before[512];
        death = ON_REPLY;
        struct rig r;
        first_server(&r);
        assert_int_equal(ask_again(&r, &changes[i]), 0);
        assert_true(died);
        assert_int_equal(fake.changes, 1);
        assert_int_equal(fake.client, FUSE_CLIENT);
        assert_int_equal(fake.request, r.unique);
        assert_true(is_free(living));
        uint64_t unique = r.unique;
        size_t len = r.answer_len;
        memcpy(before, answer(&r), len);
        close_rig(&r);

        successor(&r, unique);
        assert_int_equal(ask_again(&r, &changes[i]), 0);
        assert_int_equal(fake.changes, 0);
        assert_int_equal(r.answer_len, len);
        assert_memory_equal(answer(&r), before, len);
        assert_int_equal(fuse_door_stats(r.door).from_records, 1);
        assert_true(is_free(living));
        close_rig(&r);
    }
}

static void every_change_that_was_not_made_is_made_by_the_successor(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        death = ON_REQUEST;
        struct rig r;
        first_server(&r);
        assert_int_equal(ask_again(&r, &changes[i]), 0);
        assert_true(died);
        uint64_t unique = r.unique;
        close_rig(&r);

        successor(&r, unique);
        assert_int_equal(ask_again(&r, &changes[i]), 0);
        assert_int_equal(fake.changes, 1);
        assert_int_equal(fake.request, unique);
        assert_int_equal(fuse_door_stats(r.door).from_records, 0);
        assert_true(is_free(living));
        close_rig(&r);
    }
}

static void recovery_completes_the_record_and_the_change_is_not_made_again(void **state)
{
    (void)state;
    death = ON_REQUEST;
    struct rig r;
    first_server(&r);
    assert_int_equal(ask(&r, FUSE_CREATE, 1, &changes[0].body, changes[0].len), 0);
    uint64_t unique = r.unique;
    close_rig(&r);
    fuse_records_applied(left, FUSE_RECORDS_MIN, unique, &(struct ops_answer){.seq = 77, .ino = 13, .generation = 3});
    successor(&r, unique);
    assert_int_equal(ask(&r, FUSE_CREATE, 1, &changes[0].body, changes[0].len), 0);
    assert_int_equal(((const struct fuse_entry_out *)answer(&r))->nodeid, 13);
    assert_int_equal(fake.changes, 0);
    close_rig(&r);
}

static void an_inode_that_is_not_the_one_that_was_made_is_stale(void **state)
{
    (void)state;
    death = ON_REPLY;
    struct rig r;
    first_server(&r);
    assert_int_equal(ask(&r, FUSE_CREATE, 1, &changes[0].body, changes[0].len), 0);
    uint64_t unique = r.unique;
    close_rig(&r);
    for (uint32_t i = 0; i < FUSE_RECORDS_MIN; i++)
        left[i].answer.generation++;
    log_set_level(LOG_ERROR_LEVEL);
    successor(&r, unique);
    assert_int_equal(ask(&r, FUSE_CREATE, 1, &changes[0].body, changes[0].len), -ESTALE);
    assert_int_equal(fake.changes, 0);
    close_rig(&r);
}

static void a_successor_that_dies_too_leaves_the_answer_to_the_next(void **state)
{
    (void)state;
    death = ON_REPLY;
    struct rig r;
    first_server(&r);
    assert_int_equal(ask(&r, FUSE_UNLINK, 1, "a", 2), 0);
    uint64_t unique = r.unique;
    close_rig(&r);
    for (int i = 0; i < 3; i++) {
        died = false;
        memcpy(living, left, sizeof(living));
        r = (struct rig){.agreed = AGREED, .records = living, .pid = 9, .unique = (unique | AGAIN) - 1, .probe = probe};
        open_rig(&r, true);
        struct fuse_out_header note;
        assert_int_equal(recv(r.kernel, &note, sizeof(note), 0), sizeof(note));
        assert_int_equal(ask(&r, FUSE_UNLINK, 1, "a", 2), 0);
        assert_int_equal(fake.changes, 0);
        assert_true(died);
        close_rig(&r);
    }
}

static void records_of_the_dead_are_dropped_at_the_first_new_request(void **state)
{
    (void)state;
    death = ON_REPLY;
    struct rig r;
    first_server(&r);
    assert_int_equal(ask(&r, FUSE_UNLINK, 1, "a", 2), 0);
    uint64_t unique = r.unique;
    close_rig(&r);

    successor(&r, 0);
    r.unique = 1000;
    struct fuse_forget_in forget = {.nlookup = 1};
    assert_int_equal(ask(&r, FUSE_FORGET, 12, &forget, sizeof(forget)), 1);
    assert_false(is_free(living));
    struct fuse_getattr_in in = {0};
    assert_int_equal(ask(&r, FUSE_GETATTR, 1, &in, sizeof(in)), 0);
    assert_true(is_free(living));
    r.unique = (unique | AGAIN) - 1;
    assert_int_equal(ask(&r, FUSE_UNLINK, 1, "a", 2), 0);
    assert_int_equal(fake.changes, 1);
    close_rig(&r);
}

// --- deaths ----------------------------------------------------------------------------------------

static void a_request_that_killed_two_servers_is_refused_alone(void **state)
{
    (void)state;
    death = ON_REQUEST;
    struct rig r;
    first_server(&r);
    struct fuse_getattr_in in = {0};
    assert_int_equal(ask(&r, FUSE_GETATTR, 12, &in, sizeof(in)), 0);
    uint64_t unique = r.unique;
    close_rig(&r);

    assert_int_equal(fuse_records_blame(left, FUSE_RECORDS_MIN, unique), 1);
    successor(&r, unique);
    r.on_request = on_request;
    assert_int_equal(ask(&r, FUSE_GETATTR, 12, &in, sizeof(in)), 0);
    close_rig(&r);

    assert_int_equal(fuse_records_blame(left, FUSE_RECORDS_MIN, unique), 2);
    successor(&r, unique);
    uint64_t calls = fake.calls;
    log_set_level(LOG_ERROR_LEVEL);
    assert_int_equal(ask(&r, FUSE_GETATTR, 12, &in, sizeof(in)), -EIO);
    assert_int_equal(fake.calls, calls);
    assert_int_equal(fuse_door_stats(r.door).poisoned, 1);
    assert_int_equal(r.poisoned, 1);
    assert_int_equal(ask(&r, FUSE_GETATTR, 12, &in, sizeof(in)), 0);
    assert_true(is_free(living));
    close_rig(&r);
}

static uint64_t seen_tag;
static uint32_t seen_opcode, seen_ino;

static void look(void *rig, uint32_t opcode, uint32_t ino)
{
    seen_tag = rt_tag(((struct rig *)rig)->rt);
    seen_opcode = opcode;
    seen_ino = ino;
}

static void the_request_on_the_processor_is_known_by_its_first_number(void **state)
{
    (void)state;
    struct rig r = {.agreed = AGREED, .on_request = look, .unique = AGAIN | 41};
    struct fuse_getattr_in in = {0};
    struct fuse_out_header note;
    open_rig(&r, true);
    assert_int_equal(recv(r.kernel, &note, sizeof(note), 0), sizeof(note));
    assert_int_equal(ask(&r, FUSE_GETATTR, 12, &in, sizeof(in)), 0);
    assert_int_equal(seen_tag, 42);
    assert_int_equal(seen_opcode, FUSE_GETATTR);
    assert_int_equal(seen_ino, 12);
    close_rig(&r);
}

// --- a crowd ----------------------------------------------------------------------------------------

static uint32_t crowd_records;

static void send_request(struct rig *r, uint32_t opcode, const void *body, size_t len)
{
    struct fuse_in_header head = {.len = (uint32_t)(sizeof(head) + len), .opcode = opcode, .unique = ++r->unique, .nodeid = 12, .pid = r->pid};
    struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)body, len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    (void)!sendmsg(r->kernel, &msg, 0);
    rt_yield(r->rt);
}

static void crowd(void *arg)
{
    struct rig *r = arg;
    struct fuse_lseek_in in = {.whence = SEEK_DATA};
    for (int i = 0; i < 300; i++)
        send_request(r, FUSE_LSEEK, &in, sizeof(in));
    for (int i = 0; i < 20; i++)
        rt_yield(r->rt);
    for (uint32_t i = 0; i < FUSE_RECORDS_MIN; i++)
        crowd_records += living[i].unique != 0;
    send_request(r, FUSE_UNLINK, "a", 2);
    for (int i = 0; i < 20; i++)
        rt_yield(r->rt);
    r->notify_waits = false;
    rt_stop(r->rt);
}

static void requests_that_wait_for_others_leave_records_to_those_that_change(void **state)
{
    (void)state;
    death = ON_REPLY;
    struct rig r;
    first_server(&r);
    r.notify_waits = true;
    rt_spawn(r.rt, "crowd", crowd, &r);
    assert_int_equal(rt_run(r.rt), 0);
    assert_int_equal(crowd_records, FUSE_RECORDS_MIN / 2);
    assert_true(died);
    uint32_t unlinks = 0;
    for (uint32_t i = 0; i < FUSE_RECORDS_MIN; i++)
        unlinks += left[i].opcode == FUSE_UNLINK && left[i].unique == r.unique && left[i].answer.seq;
    assert_int_equal(unlinks, 1);
    assert_true(is_free(living));
    close_rig(&r);
}

// --- epochs and doubts -------------------------------------------------------------------------------

static void handles_of_another_epoch_are_stale_but_the_root_never(void **state)
{
    (void)state;
    struct rig r = {.epoch = 5};
    struct fuse_getattr_in in = {0};
    struct fuse_forget_in forget = {.nlookup = 1};
    uint64_t file = 5ull << 32 | 12;
    open_rig(&r, false);
    greet(&r);
    assert_int_equal(ask(&r, FUSE_LOOKUP, 1, "file", 5), 0);
    assert_int_equal(((const struct fuse_entry_out *)answer(&r))->nodeid, file);
    assert_int_equal(((const struct fuse_entry_out *)answer(&r))->attr.ino, 12);
    assert_int_equal(ask(&r, FUSE_LOOKUP, file, "..", 3), 0);
    assert_int_equal(((const struct fuse_entry_out *)answer(&r))->nodeid, FUSE_ROOT_ID);
    assert_int_equal(ask(&r, FUSE_GETATTR, file, &in, sizeof(in)), 0);
    assert_int_equal(ask(&r, FUSE_GETATTR, 12, &in, sizeof(in)), -ESTALE);
    assert_int_equal(ask(&r, FUSE_GETATTR, 4ull << 32 | 12, &in, sizeof(in)), -ESTALE);
    assert_int_equal(ask(&r, FUSE_GETATTR, 5ull << 32 | 1, &in, sizeof(in)), -ESTALE);
    assert_int_equal(ask(&r, FUSE_FORGET, 12, &forget, sizeof(forget)), 1);
    assert_int_equal(fake.forgotten, 0);
    assert_int_equal(ask(&r, FUSE_FORGET, file, &forget, sizeof(forget)), 1);
    assert_int_equal(fake.forgotten, 1);
    close_rig(&r);
}

static void names_are_doubted_and_answers_not_believed_after_distrust(void **state)
{
    (void)state;
    death = ON_REPLY;
    struct rig r;
    first_server(&r);
    assert_int_equal(ask(&r, FUSE_UNLINK, 1, "a", 2), 0);
    uint64_t unique = r.unique;
    close_rig(&r);
    memcpy(living, left, sizeof(living));
    r = (struct rig){.agreed = AGREED, .records = living, .pid = 9, .unique = (unique | AGAIN) - 1, .distrusted = true};
    struct fuse_out_header note;
    open_rig(&r, true);
    assert_int_equal(recv(r.kernel, &note, sizeof(note), 0), sizeof(note));
    assert_int_equal(note.error, FUSE_NOTIFY_INC_EPOCH);
    assert_int_equal(recv(r.kernel, &note, sizeof(note), 0), sizeof(note));
    assert_int_equal(note.error, FUSE_NOTIFY_RESEND);
    assert_int_equal(ask(&r, FUSE_UNLINK, 1, "a", 2), 0);
    assert_int_equal(fake.changes, 1);
    close_rig(&r);
}

// --- orphans -----------------------------------------------------------------------------------------

static bool knows;

static void ask_about_12(void *arg)
{
    struct rig *r = arg;
    knows = fuse_door_knows(r->door, 12);
    rt_stop(r->rt);
}

static void the_kernel_is_asked_twice_before_an_orphan_is_nobodys(void **state)
{
    (void)state;
    struct rig r = {0};
    open_rig(&r, false);
    rt_spawn(r.rt, "ask", ask_about_12, &r);
    assert_int_equal(rt_run(r.rt), 0);
    assert_true(knows);
    assert_int_equal(fake.notified, 1);
    r.notify_rc = -EPIPE;
    rt_spawn(r.rt, "ask", ask_about_12, &r);
    assert_int_equal(rt_run(r.rt), 0);
    assert_true(knows);
    r.notify_rc = -ENOENT;
    rt_spawn(r.rt, "ask", ask_about_12, &r);
    assert_int_equal(rt_run(r.rt), 0);
    assert_false(knows);
    assert_int_equal(fake.notified, 4);
    close_rig(&r);
}

static void a_file_without_name_that_is_yet_to_be_told_of_is_known(void **state)
{
    (void)state;
    struct fuse_records dead;
    struct fuse_in_header head = {.unique = 40, .opcode = FUSE_TMPFILE, .nodeid = 1, .pid = 9};
    memset(left, 0, sizeof(left));
    fuse_records_init(&dead, left, FUSE_RECORDS_MIN, FUSE_RECORDS_NEW);
    fuse_records_take(&dead, &head)->answer = (struct ops_answer){.seq = 1, .ino = 12, .generation = 3};
    fuse_records_fini(&dead);
    struct rig r;
    successor(&r, 40);
    r.notify_rc = -ENOENT;
    rt_spawn(r.rt, "ask", ask_about_12, &r);
    assert_int_equal(rt_run(r.rt), 0);
    assert_true(knows);
    close_rig(&r);
}

// --- space ---------------------------------------------------------------------------------------------

static void drain(void *arg)
{
    struct rig *r = arg;
    fuse_door_drain(r->door);
    rt_stop(r->rt);
}

// Whatever the predecessor granted is written out before anything is granted again, and a file that only it
// has told of is gated as soon as its pages arrive.
static void a_successor_that_is_low_on_space_has_the_kernel_write_everything_first(void **state)
{
    (void)state;
    struct rig r = {.agreed = AGREED, .dirty_max = 1 << 20};
    struct {
        struct fuse_write_in in;
        char bytes[16];
    } body = {.in = {.size = 16, .write_flags = FUSE_WRITE_CACHE}};
    open_rig(&r, true);
    assert_int_equal(recv(r.kernel, r.answer, ANSWER_MAX, 0), sizeof(struct fuse_out_header));
    rt_spawn(r.rt, "drain", drain, &r);
    assert_int_equal(rt_run(r.rt), 0);
    assert_int_equal(fake.kernel_syncs, 2);
    while (recv(r.kernel, r.answer, ANSWER_MAX, MSG_DONTWAIT) > 0)
        ;
    int posted = fake.posted;
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&r, FUSE_WRITE, 55, &body, sizeof(body)), 0);
    assert_int_equal(fake.posted, posted + 1);
    close_rig(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_change_whose_answer_was_lost_is_answered_the_same_and_made_once),
        cmocka_unit_test(every_change_that_was_not_made_is_made_by_the_successor),
        cmocka_unit_test(recovery_completes_the_record_and_the_change_is_not_made_again),
        cmocka_unit_test(an_inode_that_is_not_the_one_that_was_made_is_stale),
        cmocka_unit_test(a_successor_that_dies_too_leaves_the_answer_to_the_next),
        cmocka_unit_test(records_of_the_dead_are_dropped_at_the_first_new_request),
        cmocka_unit_test(a_request_that_killed_two_servers_is_refused_alone),
        cmocka_unit_test(the_request_on_the_processor_is_known_by_its_first_number),
        cmocka_unit_test(requests_that_wait_for_others_leave_records_to_those_that_change),
        cmocka_unit_test(handles_of_another_epoch_are_stale_but_the_root_never),
        cmocka_unit_test(names_are_doubted_and_answers_not_believed_after_distrust),
        cmocka_unit_test(the_kernel_is_asked_twice_before_an_orphan_is_nobodys),
        cmocka_unit_test(a_file_without_name_that_is_yet_to_be_told_of_is_known),
        cmocka_unit_test(a_successor_that_is_low_on_space_has_the_kernel_write_everything_first),
    };
    log_set_level(LOG_ERROR_LEVEL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
