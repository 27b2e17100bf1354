// SPDX-License-Identifier: MIT
// ring.c - see ring.h.
//
// Both queues are counted by numbers that only grow (modulo 2^32). Every request that the kernel
// took from the submission queue gives exactly one completion, as the restrictions allow no flag
// that would suppress or repeat it. And there is always room for it, as rt_io() has no more
// requests under way than the ring has entries. Hence
//
//     in flight = SQ head - SQ dropped - CQ tail
//
// and the fence is: wait until that is 0. Requests between SQ head and SQ tail never reached the
// kernel; moving the tail back makes them never have been.
#include "rt/ring.h"

#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/log.h"

#define FENCE_POLL_MS 100               // a backstop; the ring's own readiness wakes us
#define FENCE_WARN_NS 1000000000ull     // first warning; then at twice the time, and so on

int ring_map(struct ring *ring, const struct rt_ring *from, struct err *err)
{
    struct io_uring_params params = from->params;
    int rc = io_uring_queue_mmap(from->fd, &params, &ring->uring);
    if (rc < 0)
        return err_set(err, -rc, "cannot map the I/O ring: %s", strerror(-rc));
    return 0;
}

void ring_unmap(struct ring *ring)
{
    // Not io_uring_queue_exit: that would close the guardian's descriptor.
    struct io_uring_sq *sq = &ring->uring.sq;
    struct io_uring_cq *cq = &ring->uring.cq;
    munmap(sq->sqes, sq->ring_entries * sizeof(*sq->sqes));
    if (cq->ring_ptr && cq->ring_ptr != sq->ring_ptr)
        munmap(cq->ring_ptr, cq->ring_sz);
    munmap(sq->ring_ptr, sq->ring_sz);
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint32_t load(const unsigned *counter)
{
    return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

static uint32_t in_flight(const struct ring *ring)
{
    const struct io_uring_sq *sq = &ring->uring.sq;
    return load(sq->khead) - load(sq->kdropped) - load(ring->uring.cq.ktail);
}

// Reads away what has completed, so that poll() waits for what has not. How many had failed.
static uint32_t skip_completions(struct ring *ring)
{
    struct io_uring_cq *cq = &ring->uring.cq;
    uint32_t failed = 0, head = load(cq->khead), tail = load(cq->ktail);
    for (; head != tail; head++)
        failed += cq->cqes[head & cq->ring_mask].res < 0;
    __atomic_store_n(cq->khead, tail, __ATOMIC_RELEASE);
    return failed;
}

// Prepared requests that the kernel has not taken: forgotten.
static uint32_t drop_unsubmitted(struct ring *ring)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    uint32_t head = load(sq->khead);
    uint32_t dropped = load(sq->ktail) - head;
    __atomic_store_n(sq->ktail, head, __ATOMIC_RELEASE);
    // liburing starts counting at 0, this ring has been used.
    sq->sqe_head = sq->sqe_tail = head;
    return dropped;
}

static int drain(struct ring *ring, struct ring_fence *out, struct err *err)
{
    uint64_t start = clock_ns(), warn_at = FENCE_WARN_NS;
    while (out->failed += skip_completions(ring), in_flight(ring)) {
        struct pollfd pollfd = {.fd = ring->uring.ring_fd, .events = POLLIN};
        if (poll(&pollfd, 1, FENCE_POLL_MS) < 0 && errno != EINTR)
            return err_set(err, errno, "cannot wait for the I/O ring: %s", strerror(errno));
        out->waited_ns = clock_ns() - start;
        if (out->waited_ns >= warn_at) {
            log_warn("event=ring-fence-waits in_flight=%u waited_ms=%llu", in_flight(ring),
                     (unsigned long long)(out->waited_ns / 1000000));
            warn_at *= 2;
        }
    }
    return 0;
}

int ring_fence(struct ring *ring, struct ring_fence *out, struct err *err)
{
    struct io_uring_cq *cq = &ring->uring.cq;
    *out = (struct ring_fence){
        .dropped = drop_unsubmitted(ring),
        .fresh = load(ring->uring.sq.khead) == 0,
        .unread = load(cq->ktail) - load(cq->khead),
        .in_flight = in_flight(ring),
    };
    // The counters lie in memory that the predecessor could write to. When they are nonsense,
    // nobody can know what is still under way.
    if (out->in_flight > cq->ring_entries || out->unread > cq->ring_entries)
        return err_set(err, EFSCORRUPTED, "the I/O ring's counters are damaged (in flight %u, unread %u of %u)",
                       out->in_flight, out->unread, cq->ring_entries);
    return drain(ring, out, err);
}
