// SPDX-License-Identifier: MIT
// rt_uring.c - the real worker: one epoll set, one io_uring, one clock.
//
// A turn of the loop: due timers; the fibres that were ready when the turn began; the source;
// hand prepared requests to the kernel in one system call; take completions. Only when all of
// that found nothing to do does the loop sleep, in epoll, where the ring is one descriptor among
// the watched ones. While there is work, epoll is asked every POLL_EVERY turns, so that no
// descriptor starves.
//
// Requests are named to the kernel by a slot number and this worker's epoch, never by a pointer:
// a completion that belongs to somebody else is recognised and dropped (I5 in README.md).
#include "rt/rt_uring.h"

#include <linux/falloc.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>

#include "base/check.h"
#include "base/log.h"
#include "rt/internal.h"
#include "rt/ring.h"

#define POLL_EVERY 16
#define EVENTS_MAX 64
#define SUBMIT_RETRY_NS 1000000         // the kernel was short of memory: when to ask again

struct watch {
    struct list link;           // in watches; after rt_unwatch in unwatched
    int fd;
    uint32_t events;
    bool armed;                 // in the epoll set
    bool dead;
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

// One request under way; lies on the stack of the fibre that waits for it.
struct io_wait {
    struct fibre *fibre;
    int32_t result;
    bool done;
};

struct rt_uring {
    struct rt base;
    struct ring ring;
    int epoll_fd;
    struct list ready;

    struct io_wait **slots;     // one for each entry of the ring
    uint32_t *free_slots;
    uint32_t free_count;
    struct waitq slot_wanted;
    uint32_t promised;          // free slots that belong to fibres woken from slot_wanted
    uint32_t epoch;             // drawn at random; high half of our requests' user data

    struct list watches, unwatched;
    bool (*source)(void *arg);
    void *source_arg;
    uint64_t spin_ns, last_work_ns;
    uint32_t turns_since_poll;
    volatile uint64_t *beat_ns;
};

static struct rt_uring *uring_of(struct rt *rt)
{
    return CONTAINER_OF(rt, struct rt_uring, base);
}

// --- time and order ---------------------------------------------------------------------------

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void rt_wall_clock(struct rt *rt, struct timespec *out)
{
    (void)rt;
    clock_gettime(CLOCK_REALTIME_COARSE, out);
}

void rt_ready_push(struct rt *rt, struct fibre *fibre, bool yielded)
{
    (void)yielded;              // the end of the list is behind all that are ready
    list_push_back(&uring_of(rt)->ready, &fibre->link);
}

// Those that become ready meanwhile wait for the next turn, so a turn always ends.
static bool run_ready(struct rt_uring *u)
{
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, &u->ready);
    bool ran = !list_empty(&batch);
    for (struct list *node; (node = list_pop_front(&batch));)
        rt_resume(&u->base, LIST_ENTRY(node, struct fibre, link));
    return ran;
}

// --- requests ---------------------------------------------------------------------------------

static uint32_t slot_take(struct rt_uring *u)
{
    // First come, first served: a free slot that was promised to a woken fibre is not ours.
    if (u->free_count <= u->promised) {
        waitq_wait(&u->base, &u->slot_wanted);
        u->promised--;
    }
    CHECK(u->free_count > 0);
    return u->free_slots[--u->free_count];
}

static void slot_give_back(struct rt_uring *u, uint32_t slot)
{
    u->slots[slot] = NULL;
    u->free_slots[u->free_count++] = slot;
    if (!waitq_empty(&u->slot_wanted)) {
        u->promised++;
        waitq_wake_one(&u->base, &u->slot_wanted);
    }
}

static void prepare(struct io_uring_sqe *sqe, const struct rt_io *io)
{
    switch (io->op) {
    case RT_READ:
        if (io->iovcnt == 1)
            io_uring_prep_read(sqe, io->fd, io->iov->iov_base, (unsigned)MIN(io->iov->iov_len, INT32_MAX & ~4095ul), io->off);
        else
            io_uring_prep_readv(sqe, io->fd, io->iov, (unsigned)io->iovcnt, io->off);
        return;
    case RT_WRITE:
        if (io->iovcnt == 1)
            io_uring_prep_write(sqe, io->fd, io->iov->iov_base, (unsigned)MIN(io->iov->iov_len, INT32_MAX & ~4095ul), io->off);
        else
            io_uring_prep_writev(sqe, io->fd, io->iov, (unsigned)io->iovcnt, io->off);
        sqe->rw_flags = io->dsync ? RWF_DSYNC : 0;
        return;
    case RT_FSYNC:
        io_uring_prep_fsync(sqe, io->fd, io->dsync ? IORING_FSYNC_DATASYNC : 0);
        return;
    case RT_PUNCH:
        io_uring_prep_fallocate(sqe, io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                (off_t)io->off, (off_t)io->len);
        return;
    case RT_ZERO:
        io_uring_prep_fallocate(sqe, io->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                (off_t)io->off, (off_t)io->len);
        return;
    }
    CHECK(!"a known operation");
}

ssize_t rt_io(struct rt *rt, const struct rt_io *io)
{
    struct rt_uring *u = uring_of(rt);
    CHECK(rt->running);
    struct io_wait wait = {.fibre = rt->running};
    uint32_t slot = slot_take(u);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring.uring);
    CHECK(sqe);                 // there are as many entries as slots
    prepare(sqe, io);
    sqe->user_data = (uint64_t)u->epoch << 32 | slot;
    u->slots[slot] = &wait;
    rt_suspend(rt);
    CHECK(wait.done);
    return wait.result;
}

static void complete(struct rt_uring *u, uint64_t user_data, int32_t result)
{
    uint32_t slot = (uint32_t)user_data;
    if (user_data >> 32 != u->epoch || slot >= u->ring.uring.sq.ring_entries || !u->slots[slot]) {
        log_warn("event=foreign-completion user_data=%#llx result=%d", (unsigned long long)user_data, result);
        return;
    }
    struct io_wait *wait = u->slots[slot];
    wait->result = result;
    wait->done = true;
    rt_make_ready(&u->base, wait->fibre);
    slot_give_back(u, slot);
}

static bool reap(struct rt_uring *u)
{
    struct io_uring *uring = &u->ring.uring;
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    io_uring_for_each_cqe(uring, head, cqe) {
        complete(u, cqe->user_data, cqe->res);
        count++;
    }
    io_uring_cq_advance(uring, count);
    return count > 0;
}

// 0, also when the kernel would not take them all now; the rest goes with the next turn.
static int submit(struct rt_uring *u)
{
    if (!io_uring_sq_ready(&u->ring.uring))
        return 0;
    int rc = io_uring_submit(&u->ring.uring);
    if (rc < 0 && rc != -EAGAIN && rc != -EBUSY && rc != -EINTR) {
        log_error("event=ring-submit-failed errno=%d", -rc);
        return rc;
    }
    return 0;
}

// --- watched descriptors ----------------------------------------------------------------------

static int watch_arm(struct rt_uring *u, struct watch *watch)
{
    struct epoll_event event = {.events = watch->events, .data.ptr = watch};
    if (epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0)
        return -errno;
    watch->armed = true;
    return 0;
}

static void watch_disarm(struct rt_uring *u, struct watch *watch)
{
    if (watch->armed)
        epoll_ctl(u->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->armed = false;
}

int rt_watch(struct rt *rt, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events), void *arg)
{
    struct rt_uring *u = uring_of(rt);
    struct watch *watch = xcalloc(1, sizeof(*watch));
    *watch = (struct watch){.fd = fd, .events = events, .fn = fn, .arg = arg};
    int rc = watch_arm(u, watch);
    if (rc < 0) {
        free(watch);
        return rc;
    }
    list_push_back(&u->watches, &watch->link);
    return 0;
}

void rt_unwatch(struct rt *rt, int fd)
{
    struct rt_uring *u = uring_of(rt);
    LIST_EACH_SAFE(node, &u->watches) {
        struct watch *watch = LIST_ENTRY(node, struct watch, link);
        if (watch->fd != fd)
            continue;
        watch_disarm(u, watch);
        // Its event may be among those being handled right now: freed only after them.
        watch->dead = true;
        list_remove(&watch->link);
        list_push_back(&u->unwatched, &watch->link);
        return;
    }
}

static void free_watches(struct list *watches)
{
    for (struct list *node; (node = list_pop_front(watches));)
        free(LIST_ENTRY(node, struct watch, link));
}

// A readable descriptor that nobody reads any more would keep epoll from sleeping.
static void disarm_all(struct rt_uring *u)
{
    LIST_EACH(node, &u->watches)
        watch_disarm(u, LIST_ENTRY(node, struct watch, link));
}

static int arm_all(struct rt_uring *u)
{
    LIST_EACH(node, &u->watches) {
        struct watch *watch = LIST_ENTRY(node, struct watch, link);
        int rc = watch->armed ? 0 : watch_arm(u, watch);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void handle_events(struct rt_uring *u, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        struct watch *watch = events[i].data.ptr;       // NULL: the ring, reaped every turn
        if (watch && !watch->dead && !u->base.stopping)
            watch->fn(watch->arg, events[i].events);
    }
    free_watches(&u->unwatched);
}

// --- the loop ---------------------------------------------------------------------------------

static int epoll_wait_ns(int epoll_fd, struct epoll_event *events, uint64_t ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    int count = epoll_pwait2(epoll_fd, events, EVENTS_MAX, ns == UINT64_MAX ? NULL : &timeout, NULL);
    if (count >= 0 || errno != ENOSYS)
        return count;
    // An older kernel: milliseconds, rounded up, so that no timer is found not yet due.
    int ms = ns == UINT64_MAX ? -1 : (int)MIN(DIV_ROUND_UP(ns, 1000000), (uint64_t)INT32_MAX);
    return epoll_wait(epoll_fd, events, EVENTS_MAX, ms);
}

static uint64_t sleep_ns(struct rt_uring *u)
{
    uint64_t deadline = rt_next_timer(&u->base), now = clock_ns();
    uint64_t ns = deadline == UINT64_MAX ? UINT64_MAX : deadline > now ? deadline - now : 0;
    return io_uring_sq_ready(&u->ring.uring) ? MIN(ns, (uint64_t)SUBMIT_RETRY_NS) : ns;
}

// Serves watched descriptors, and sleeps until something happens when there was no work.
static int wait_for_events(struct rt_uring *u, bool worked)
{
    struct rt *rt = &u->base;
    if (worked)
        u->last_work_ns = rt->now_ns;
    bool awake = worked || !list_empty(&u->ready) || rt->now_ns - u->last_work_ns < u->spin_ns;
    if (awake && ++u->turns_since_poll < POLL_EVERY)
        return 0;

    u->turns_since_poll = 0;
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait_ns(u->epoll_fd, events, awake ? 0 : sleep_ns(u));
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    if (count > 0)
        u->last_work_ns = clock_ns();
    handle_events(u, events, count);
    return 0;
}

static int turn(struct rt_uring *u)
{
    struct rt *rt = &u->base;
    rt->now_ns = clock_ns();
    if (u->beat_ns)
        *u->beat_ns = rt->now_ns;
    if (rt->stopping)
        disarm_all(u);

    bool worked = rt_fire_timers(rt);
    worked |= run_ready(u);
    if (u->source && !rt->stopping)
        worked |= u->source(u->source_arg);
    int rc = submit(u);
    if (rc < 0)
        return rc;
    worked |= reap(u);
    if (rt->stopping && rt->fibre_count == 0)
        return 0;
    return wait_for_events(u, worked);
}

int rt_run(struct rt *rt)
{
    struct rt_uring *u = uring_of(rt);
    int rc = arm_all(u);
    while (rc == 0 && !(rt->stopping && rt->fibre_count == 0))
        rc = turn(u);
    rt->stopping = false;
    return rc;
}

void rt_set_source(struct rt *rt, bool (*fn)(void *arg), void *arg)
{
    uring_of(rt)->source = fn;
    uring_of(rt)->source_arg = arg;
}

void rt_set_spin_ns(struct rt *rt, uint64_t ns)
{
    uring_of(rt)->spin_ns = ns;
}

void rt_set_heartbeat(struct rt *rt, volatile uint64_t *beat_ns)
{
    uring_of(rt)->beat_ns = beat_ns;
}

// --- create and destroy -----------------------------------------------------------------------

int rt_fence(struct rt *rt, bool *landed, struct err *err)
{
    struct rt_uring *u = uring_of(rt);
    struct ring_fence fence;
    int rc = ring_fence(&u->ring, &fence, err);
    if (landed)
        *landed = rc == 0 && !fence.fresh && fence.failed == 0;
    if (rc == 0 && (fence.in_flight || fence.unread || fence.dropped))
        log_info("event=ring-fenced in_flight=%u unread=%u dropped=%u waited_us=%llu", fence.in_flight,
                 fence.unread, fence.dropped, (unsigned long long)(fence.waited_ns / 1000));
    return rc;
}

static int open_epoll(struct rt_uring *u, struct err *err)
{
    u->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (u->epoll_fd < 0)
        return err_set(err, errno, "cannot make an epoll set: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, u->ring.uring.ring_fd, &event) < 0) {
        int rc = err_set(err, errno, "cannot watch the I/O ring: %s", strerror(errno));
        close(u->epoll_fd);
        return rc;
    }
    return 0;
}

static void init_slots(struct rt_uring *u)
{
    uint32_t count = u->ring.uring.sq.ring_entries;
    u->slots = xcalloc(count, sizeof(*u->slots));
    u->free_slots = xcalloc(count, sizeof(*u->free_slots));
    while (u->free_count < count) {
        u->free_slots[u->free_count] = count - 1 - u->free_count;
        u->free_count++;
    }
    waitq_init(&u->slot_wanted);
}

int rt_create_waiting(const struct rt_ring *ring, struct rt **out, struct err *err)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return err_set(err, EIO, "the system gives no random numbers");

    struct rt_uring *u = xcalloc(1, sizeof(*u));
    int rc = ring_map(&u->ring, ring, err);
    if (rc < 0)
        goto fail_map;
    rc = open_epoll(u, err);
    if (rc < 0)
        goto fail_epoll;

    rt_core_init(&u->base, seed);
    u->epoch = (uint32_t)rt_random(&u->base);
    u->base.now_ns = clock_ns();
    list_init(&u->ready);
    list_init(&u->watches);
    list_init(&u->unwatched);
    init_slots(u);
    *out = &u->base;
    return 0;

fail_epoll:
    ring_unmap(&u->ring);
fail_map:
    free(u);
    return rc;
}

int rt_create(const struct rt_ring *ring, struct rt **out, struct err *err)
{
    int rc = rt_create_waiting(ring, out, err);
    if (rc < 0)
        return rc;
    rc = rt_fence(*out, NULL, err);
    if (rc < 0)
        rt_destroy(*out);
    return rc;
}

void rt_destroy(struct rt *rt)
{
    struct rt_uring *u = uring_of(rt);
    rt_core_fini(rt);
    free_watches(&u->watches);
    free_watches(&u->unwatched);
    close(u->epoll_fd);
    ring_unmap(&u->ring);
    free(u->slots);
    free(u->free_slots);
    free(u);
}
