// SPDX-License-Identifier: MIT
// ring_create.c - makes a ring that can be handed to a sandboxed server and outlive it.
//
// A file of its own, for the guardian links nothing else of rt. io_uring requests pass by seccomp,
// so the ring itself must refuse what a server has no business with (kernel-facts, section 9).
#include "rt/rt_uring.h"

#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <sys/syscall.h>

static const uint8_t allowed_ops[] = {
    IORING_OP_READ, IORING_OP_READV, IORING_OP_WRITE, IORING_OP_WRITEV,
    IORING_OP_FSYNC, IORING_OP_FALLOCATE,
};

// By hand: the shared liburing 2.3 does not export the two wrappers for this.
static int ring_register(int fd, unsigned op, const void *arg, unsigned count)
{
    return syscall(__NR_io_uring_register, fd, op, arg, count) < 0 ? -errno : 0;
}

// After this, no other operation and no request flag is accepted, and nothing can be registered.
static int restrict_and_enable(int fd)
{
    struct io_uring_restriction allow[ARRAY_LEN(allowed_ops)];
    memset(allow, 0, sizeof(allow));
    for (size_t i = 0; i < ARRAY_LEN(allowed_ops); i++) {
        allow[i].opcode = IORING_RESTRICTION_SQE_OP;
        allow[i].sqe_op = allowed_ops[i];
    }
    int rc = ring_register(fd, IORING_REGISTER_RESTRICTIONS, allow, ARRAY_LEN(allow));
    return rc < 0 ? rc : ring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int rt_ring_create(uint32_t entries, struct rt_ring *out, struct err *err)
{
    // Not DEFER_TASKRUN, not SINGLE_ISSUER: completions of a dead server would be lost.
    // SUBMIT_ALL: one refused request does not hold up those behind it.
    *out = (struct rt_ring){
        .fd = -1,
        .params.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL,
    };
    struct io_uring uring;
    int rc = io_uring_queue_init_params(entries, &uring, &out->params);
    if (rc < 0)
        return err_set(err, -rc, "cannot make an I/O ring of %u entries: %s%s", entries, strerror(-rc),
                       rc == -EPERM ? " (is kernel.io_uring_disabled set?)" : "");
    rc = restrict_and_enable(uring.ring_fd);
    if (rc == 0) {
        // The mapping was needed for liburing's sake only; the ring lives on in the copy.
        out->fd = fcntl(uring.ring_fd, F_DUPFD_CLOEXEC, 3);
        rc = out->fd < 0 ? -errno : 0;
    }
    io_uring_queue_exit(&uring);
    if (rc < 0)
        return err_set(err, -rc, "cannot restrict the I/O ring: %s", strerror(-rc));
    return 0;
}
