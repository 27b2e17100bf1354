// SPDX-License-Identifier: MIT
// fuse_rig.c - see fuse_rig.h.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "front/fuse/fuse_rig.h"

#define RELAY_UNIQUE 0x7777777u

static void on_serving(void *arg) { ((struct rig *)arg)->serving = true; }
static void on_gone(void *arg, int error) { ((struct rig *)arg)->gone = true; }
static int notify(void *arg, const void *bytes, size_t len)
{
    struct rig *r = arg;
    fake.notified++;
    while (r->notify_waits)
        rt_yield(r->rt);
    return r->notify_rc;
}

static int post(void *arg, const void *bytes, size_t len)
{
    fake.posted++;
    return 0;
}

// As the kernel does for the relay's syncfs(2): it sends another SYNCFS and waits for its answer.
static int sync_kernel(void *arg, bool (*more)(void *of), void *of)
{
    struct rig *r = arg;
    struct {
        struct fuse_in_header head;
        uint64_t padding;
    } message = {.head = {.len = sizeof(message), .opcode = FUSE_SYNCFS, .unique = RELAY_UNIQUE, .nodeid = 1, .pid = RELAY_PID}};
    struct fuse_out_header out = {0};
    assert_int_equal(send(r->kernel, &message, sizeof(message), 0), sizeof(message));
    while (recv(r->kernel, &out, sizeof(out), MSG_DONTWAIT) < 0 || out.unique == 0)     // notifications
        rt_yield(r->rt);
    assert_int_equal(out.unique, RELAY_UNIQUE);
    assert_int_equal(out.error, 0);
    fake.kernel_syncs++;
    return r->relay_rc;
}

void open_rig(struct rig *r, bool successor)
{
    int ends[2], size = 4 << 20;
    struct err err = {0};
    fake = (struct fake_ops){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
    for (int i = 0; i < 2; i++)
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    r->kernel = ends[0];
    assert_int_equal(rt_ring_create(8, &r->ring, &err), 0);
    assert_int_equal(rt_create(&r->ring, &r->rt, &err), 0);
    rt_set_probe(r->rt, r->probe, r);
    r->answer = xmalloc(ANSWER_MAX);
    assert_int_equal(fuse_door_create(&(struct fuse_door_config){
        .rt = r->rt, .fd = ends[1], .agreed = &r->agreed, .successor = successor, .on_serving = on_serving,
        .on_gone = on_gone, .notify = notify, .post = post, .kernel_dirty_max = r->dirty_max, .sync_kernel = sync_kernel, .sync_kernel_pid = RELAY_PID,
        .distrusted = r->distrusted, .epoch = r->epoch, .records = r->records, .record_count = r->records ? FUSE_RECORDS_MIN : 0,
        .on_request = r->on_request, .arg = r, .poisoned = &r->poisoned, .received = &r->received, .answered = &r->answered,
    }, &r->door, &err), 0);
}

void close_rig(struct rig *r)
{
    fuse_door_destroy(r->door);
    rt_destroy(r->rt);
    close(r->ring.fd);
    close(r->kernel);
    free(r->answer);
}

static void stop(void *arg)
{
    struct rig *r = arg;
    for (int i = 0; i < 50; i++)
        rt_yield(r->rt);
    rt_stop(r->rt);
}

void turn(struct rig *r)
{
    rt_spawn(r->rt, "stop", stop, r);
    assert_int_equal(rt_run(r->rt), 0);
}

int ask(struct rig *r, uint32_t opcode, uint64_t nodeid, const void *body, size_t len)
{
    struct fuse_in_header head = {.len = (uint32_t)(sizeof(head) + len), .opcode = opcode, .unique = ++r->unique, .nodeid = nodeid, .pid = r->pid};
    struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)body, len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    assert_int_equal(sendmsg(r->kernel, &msg, 0), sizeof(head) + len);
    turn(r);
    ssize_t got = recv(r->kernel, r->answer, ANSWER_MAX, MSG_DONTWAIT);
    if (got < 0)
        return 1;
    struct fuse_out_header out;
    memcpy(&out, r->answer, sizeof(out));
    assert_int_equal(out.len, got);
    assert_int_equal(out.unique, r->unique);
    r->answer_len = (size_t)got - sizeof(out);
    return out.error;
}

const void *answer(const struct rig *r)
{
    return r->answer + sizeof(struct fuse_out_header);
}

void greet(struct rig *r)
{
    struct fuse_init_in in = {.major = 7, .minor = 45, .flags = UINT32_MAX, .flags2 = UINT32_MAX, .max_readahead = 131072};
    assert_int_equal(ask(r, FUSE_INIT, 0, &in, sizeof(in)), 0);
}

