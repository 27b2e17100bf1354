// SPDX-License-Identifier: MIT
// rt_uring_test.c - the real worker: requests, descriptors, sleep, and the fence behind the dead.
#include "rt/rt_uring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/check.h"

#define MS 1000000ull

struct rig {
    struct rt *rt;
    struct rt_ring ring;
    int fd;                     // a file of its own, O_DIRECT where the filesystem can
    int event_fd, other_fd;
    int calls, rounds, done;
    uint64_t block_next;
    volatile uint64_t beat_ns;
};

static int t_file(void)
{
    char path[] = "/tmp/rt_uring_test.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    int direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    unlink(path);
    if (direct < 0)
        return fd;
    close(fd);
    return direct;
}

static struct rig t_rig(uint32_t entries)
{
    struct rig rig = {.fd = t_file(), .event_fd = -1, .other_fd = -1};
    struct err err = {0};
    assert_int_equal(rt_ring_create(entries, &rig.ring, &err), 0);
    assert_int_equal(rt_create(&rig.ring, &rig.rt, &err), 0);
    return rig;
}

static void t_end(struct rig *rig)
{
    if (rig->rt)
        rt_destroy(rig->rt);
    close(rig->ring.fd);
    close(rig->fd);
    if (rig->event_fd >= 0)
        close(rig->event_fd);
    if (rig->other_fd >= 0)
        close(rig->other_fd);
}

static void t_run(struct rig *rig, void (*fn)(void *))
{
    rt_spawn(rig->rt, "main", fn, rig);
    rt_stop(rig->rt);
    assert_int_equal(rt_run(rig->rt), 0);
}

static ssize_t t_io(struct rig *rig, int op, void *block, uint64_t nr)
{
    struct iovec iov = {block, BLOCK_BYTES};
    return rt_io(rig->rt, &(struct rt_io){.op = op, .fd = rig->fd, .iov = &iov, .iovcnt = 1, .off = nr * BLOCK_BYTES});
}

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// --- requests ---------------------------------------------------------------------------------

static void write_and_read_back(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *blocks = xblocks(2);
    for (int i = 0; i < 8; i++) {
        uint64_t nr = rig->block_next++;
        memset(blocks, (int)(nr % 251) + 1, BLOCK_BYTES);
        assert_int_equal(t_io(rig, RT_WRITE, blocks, nr), BLOCK_BYTES);
        assert_int_equal(t_io(rig, RT_READ, blocks + BLOCK_BYTES, nr), BLOCK_BYTES);
        assert_memory_equal(blocks, blocks + BLOCK_BYTES, BLOCK_BYTES);
    }
    rig->done++;
}

static void t_many_writers(uint32_t entries, int fibres)
{
    struct rig rig = t_rig(entries);
    for (int i = 0; i < fibres; i++)
        rt_spawn(rig.rt, "writer", write_and_read_back, &rig);
    rt_stop(rig.rt);
    assert_int_equal(rt_run(rig.rt), 0);
    assert_int_equal(rig.done, fibres);
    struct stat st;
    assert_int_equal(fstat(rig.fd, &st), 0);
    assert_int_equal(st.st_size, fibres * 8 * (int)BLOCK_BYTES);
    t_end(&rig);
}

static void many_fibres_read_what_they_wrote(void **state)
{
    (void)state;
    t_many_writers(64, 60);
}

static void more_requests_than_the_ring_has_entries_take_turns(void **state)
{
    (void)state;
    t_many_writers(2, 60);
}

static void all_operations(void *arg)
{
    struct rig *rig = arg;
    struct rt *rt = rig->rt;
    AUTO_FREE uint8_t *blocks = xblocks(4);
    AUTO_FREE uint8_t *back = xblocks(4);
    memset(blocks, 'x', 4 * BLOCK_BYTES);
    struct iovec out[] = {{blocks, BLOCK_BYTES}, {blocks + BLOCK_BYTES, 3 * BLOCK_BYTES}};
    struct iovec in[] = {{back, 2 * BLOCK_BYTES}, {back + 2 * BLOCK_BYTES, 2 * BLOCK_BYTES}};
    assert_int_equal(rt_io(rt, &(struct rt_io){.op = RT_WRITE, .fd = rig->fd, .iov = out, .iovcnt = 2, .dsync = true}), 4 * BLOCK_BYTES);
    assert_int_equal(rt_io(rt, &(struct rt_io){.op = RT_FSYNC, .fd = rig->fd, .dsync = true}), 0);
    assert_int_equal(rt_io(rt, &(struct rt_io){.op = RT_FSYNC, .fd = rig->fd}), 0);
    assert_int_equal(rt_io(rt, &(struct rt_io){.op = RT_PUNCH, .fd = rig->fd, .off = BLOCK_BYTES, .len = BLOCK_BYTES}), 0);
    ssize_t rc = rt_io(rt, &(struct rt_io){.op = RT_ZERO, .fd = rig->fd, .off = 2 * BLOCK_BYTES, .len = BLOCK_BYTES});
    assert_true(rc == 0 || rc == -EOPNOTSUPP);      // tmpfs cannot
    assert_int_equal(rt_io(rt, &(struct rt_io){.op = RT_READ, .fd = rig->fd, .iov = in, .iovcnt = 2}), 4 * BLOCK_BYTES);
    memset(blocks + BLOCK_BYTES, 0, BLOCK_BYTES);
    if (rc == 0)
        memset(blocks + 2 * BLOCK_BYTES, 0, BLOCK_BYTES);
    assert_memory_equal(blocks, back, 4 * BLOCK_BYTES);
    // Past the end, and a descriptor that is none.
    assert_int_equal(t_io(rig, RT_READ, back, 100), 0);
    assert_int_equal(rt_io(rt, &(struct rt_io){.op = RT_READ, .fd = -1, .iov = in, .iovcnt = 2}), -EBADF);
    rig->done++;
}

static void every_operation_has_the_result_of_its_system_call(void **state)
{
    (void)state;
    struct rig rig = t_rig(8);
    t_run(&rig, all_operations);
    assert_int_equal(rig.done, 1);
    t_end(&rig);
}

static void a_ring_refuses_what_a_server_has_no_business_with(void **state)
{
    (void)state;
    struct rig rig = t_rig(8);
    struct io_uring uring;
    struct io_uring_cqe *cqe;
    assert_int_equal(io_uring_queue_mmap(rig.ring.fd, &rig.ring.params, &uring), 0);
    io_uring_prep_socket(io_uring_get_sqe(&uring), AF_UNIX, SOCK_STREAM, 0, 0);
    io_uring_submit(&uring);
    assert_int_equal(io_uring_wait_cqe(&uring, &cqe), 0);
    assert_int_equal(cqe->res, -EACCES);
    io_uring_cqe_seen(&uring, cqe);
    assert_true(io_uring_register_files(&uring, &rig.fd, 1) < 0);
    munmap(uring.sq.sqes, uring.sq.ring_entries * sizeof(struct io_uring_sqe));
    munmap(uring.sq.ring_ptr, uring.sq.ring_sz);
    t_end(&rig);
}

// --- descriptors, source, sleep ---------------------------------------------------------------

static void count_and_wait(void *arg)
{
    struct rig *rig = arg;
    rig->calls++;
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + MS);
    rig->done++;
}

static void on_event(void *arg, uint32_t events)
{
    struct rig *rig = arg;
    eventfd_t value;
    assert_true(events & EPOLLIN);
    assert_int_equal(eventfd_read(rig->event_fd, &value), 0);
    int before = rig->calls;
    rt_call(rig->rt, "request", count_and_wait, rig);
    assert_int_equal(rig->calls, before + 1);
    if (rig->calls == 5)
        rt_stop(rig->rt);
    else
        eventfd_write(rig->event_fd, 1);
}

static void a_watched_descriptor_is_served_outside_any_fibre(void **state)
{
    (void)state;
    struct rig rig = t_rig(8);
    rig.event_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_int_equal(rt_watch(rig.rt, rig.event_fd, EPOLLIN, on_event, &rig), 0);
    assert_int_equal(rt_watch(rig.rt, rig.event_fd, EPOLLIN, on_event, &rig), -EEXIST);
    assert_int_equal(rt_watch(rig.rt, rig.fd, EPOLLIN, on_event, &rig), -EPERM);
    assert_int_equal(rt_run(rig.rt), 0);
    assert_int_equal(rig.done, 5);      // rt_stop waited for them
    t_end(&rig);
}

// Both descriptors are ready in the same turn; whoever is served first takes both away.
static void unwatch_both(void *arg, uint32_t events)
{
    (void)events;
    struct rig *rig = arg;
    rig->calls++;
    rt_unwatch(rig->rt, rig->event_fd);
    rt_unwatch(rig->rt, rig->other_fd);
    rt_stop(rig->rt);
}

static void a_descriptor_unwatched_in_the_same_turn_is_not_served(void **state)
{
    (void)state;
    struct rig rig = t_rig(8);
    rig.event_fd = eventfd(1, EFD_CLOEXEC);
    rig.other_fd = eventfd(1, EFD_CLOEXEC);
    assert_int_equal(rt_watch(rig.rt, rig.event_fd, EPOLLIN, unwatch_both, &rig), 0);
    assert_int_equal(rt_watch(rig.rt, rig.other_fd, EPOLLIN, unwatch_both, &rig), 0);
    assert_int_equal(rt_run(rig.rt), 0);
    assert_int_equal(rig.calls, 1);
    t_end(&rig);
}

static void count_call(void *arg, uint32_t events)
{
    (void)events;
    struct rig *rig = arg;
    rig->calls++;
}

static void sleep_50_ms(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 50 * MS);
    rig->done++;
}

static void count_and_stop(void *arg, uint32_t events)
{
    count_call(arg, events);
    rt_stop(((struct rig *)arg)->rt);
}

static void after_stop_a_readable_descriptor_neither_calls_nor_burns(void **state)
{
    (void)state;
    struct rig rig = t_rig(8);
    rig.event_fd = eventfd(1, EFD_CLOEXEC);
    assert_int_equal(rt_watch(rig.rt, rig.event_fd, EPOLLIN, count_and_stop, &rig), 0);
    uint64_t before = cpu_ns();
    t_run(&rig, sleep_50_ms);           // stopped before it began
    assert_int_equal(rig.calls, 0);
    assert_int_equal(rig.done, 1);
    assert_true(cpu_ns() - before < 20 * MS);
    assert_int_equal(rt_run(rig.rt), 0);        // armed again for the next run
    assert_int_equal(rig.calls, 1);
    t_end(&rig);
}

static void an_idle_worker_uses_no_processor(void **state)
{
    (void)state;
    struct rig rig = t_rig(8);
    uint64_t before = cpu_ns();
    for (int i = 0; i < 4; i++)
        t_run(&rig, sleep_50_ms);
    assert_true(cpu_ns() - before < 40 * MS);
    t_end(&rig);
}

static bool three_times_work(void *arg)
{
    struct rig *rig = arg;
    rig->rounds++;
    if (rig->rounds <= 3)
        rt_call(rig->rt, "request", count_and_wait, rig);
    return rig->rounds <= 3;
}

static void stop_worker(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 30 * MS);
    rt_stop(rig->rt);
}

static int t_rounds(uint64_t spin_ns)
{
    struct rig rig = t_rig(8);
    rt_set_source(rig.rt, three_times_work, &rig);
    rt_set_spin_ns(rig.rt, spin_ns);
    rt_set_heartbeat(rig.rt, &rig.beat_ns);
    rt_spawn(rig.rt, "stop", stop_worker, &rig);
    assert_int_equal(rt_run(rig.rt), 0);
    assert_int_equal(rig.done, 3);
    assert_true(rig.beat_ns && rig.beat_ns <= rt_now_ns(rig.rt));
    t_end(&rig);
    return rig.rounds;
}

static void the_source_is_asked_each_turn_and_longer_when_spinning(void **state)
{
    (void)state;
    assert_true(t_rounds(0) < 30);
    assert_true(t_rounds(20 * MS) > 50);
}

// --- the fence --------------------------------------------------------------------------------

static void write_for_ever(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *block = xblocks(1);
    uint64_t nr = rig->block_next++;
    for (;;)
        if (t_io(rig, RT_WRITE, block, nr) != BLOCK_BYTES)
            _exit(1);
}

// A server that dies with requests in flight, at whatever moment.
static void t_server_life(struct rig *rig, unsigned us)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (rt_create(&rig->ring, &rig->rt, NULL) < 0)
            _exit(1);
        for (int i = 0; i < 40; i++)
            rt_spawn(rig->rt, "writer", write_for_ever, rig);
        if (write(ready[1], "r", 1) != 1)
            _exit(1);
        _exit(rt_run(rig->rt) ? 1 : 0);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    usleep(us);
    kill(pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    close(ready[0]);
    close(ready[1]);
}

static void check_nothing_is_in_flight(const struct rt_ring *ring)
{
    struct io_uring uring;
    struct io_uring_params params = ring->params;
    assert_int_equal(io_uring_queue_mmap(ring->fd, &params, &uring), 0);
    assert_int_equal(*uring.sq.khead, *uring.sq.ktail);
    assert_int_equal(*uring.sq.khead, *uring.cq.ktail);
    assert_int_equal(*uring.cq.khead, *uring.cq.ktail);
    munmap(uring.sq.sqes, uring.sq.ring_entries * sizeof(struct io_uring_sqe));
    munmap(uring.sq.ring_ptr, uring.sq.ring_sz);
}

static struct rig t_guardian(uint32_t entries)
{
    struct rig rig = t_rig(entries);
    rt_destroy(rig.rt);
    rig.rt = NULL;
    return rig;
}

static void a_successor_waits_for_the_writes_of_killed_servers(void **state)
{
    (void)state;
    struct rig rig = t_guardian(16);
    for (unsigned life = 0; life < 30; life++) {
        t_server_life(&rig, life * 137 % 3000);
        assert_int_equal(rt_create(&rig.ring, &rig.rt, NULL), 0);
        check_nothing_is_in_flight(&rig.ring);
        rig.done = 0;
        t_run(&rig, write_and_read_back);
        assert_int_equal(rig.done, 1);
        rt_destroy(rig.rt);
        rig.rt = NULL;
    }
    t_end(&rig);
}

static void read_for_ever(void *arg)
{
    struct rig *rig = arg;
    uint8_t byte;
    struct iovec iov = {&byte, 1};
    (void)!rt_io(rig->rt, &(struct rt_io){.op = RT_READ, .fd = rig->other_fd, .iov = &iov, .iovcnt = 1});
    _exit(1);
}

static void tell_ready(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 5 * MS);
    eventfd_write(rig->event_fd, 1);
}

// Holds the writing end of the pipe for a while; then every reader sees its end.
static pid_t t_slow_disk(const int pipe_fds[2], unsigned us)
{
    pid_t pid = fork();
    if (pid == 0) {
        usleep(us);
        _exit(0);
    }
    close(pipe_fds[1]);
    return pid;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// Reads of an empty pipe are in flight for certain when the server dies, and stay so: the ring
// outlives it. The pipe plays a disk that takes its time.
static void a_successor_does_not_begin_before_the_last_request_ended(void **state)
{
    (void)state;
    struct rig rig = t_guardian(16);
    int pipe_fds[2];
    eventfd_t value;
    assert_int_equal(pipe(pipe_fds), 0);
    rig.other_fd = pipe_fds[0];
    rig.event_fd = eventfd(0, EFD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        if (rt_create(&rig.ring, &rig.rt, NULL) < 0)
            _exit(1);
        for (int i = 0; i < 16; i++)
            rt_spawn(rig.rt, "reader", read_for_ever, &rig);
        rt_spawn(rig.rt, "tell", tell_ready, &rig);
        _exit(rt_run(rig.rt) ? 1 : 0);
    }
    assert_int_equal(eventfd_read(rig.event_fd, &value), 0);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    uint64_t before = now_ns();
    pid = t_slow_disk(pipe_fds, 100000);
    assert_int_equal(rt_create(&rig.ring, &rig.rt, NULL), 0);
    assert_true(now_ns() - before >= 90 * MS);
    check_nothing_is_in_flight(&rig.ring);
    t_run(&rig, write_and_read_back);
    assert_int_equal(rig.done, 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    t_end(&rig);
}

// Prepares a write as a server does that dies just before the system call.
static void prepare_write_and_die(struct rig *rig)
{
    static _Alignas(BLOCK_BYTES) uint8_t poison[BLOCK_BYTES];
    struct io_uring uring;
    if (io_uring_queue_mmap(rig->ring.fd, &rig->ring.params, &uring) < 0)
        _exit(1);
    unsigned tail = *uring.sq.ktail, slot = tail & uring.sq.ring_mask;
    memset(poison, 'P', sizeof(poison));
    io_uring_prep_write(&uring.sq.sqes[slot], rig->fd, poison, sizeof(poison), 0);
    uring.sq.array[slot] = slot;
    __atomic_store_n(uring.sq.ktail, tail + 1, __ATOMIC_RELEASE);
    _exit(0);
}

static void read_block_0(void *arg)
{
    struct rig *rig = arg;
    AUTO_FREE uint8_t *block = xblocks(1);
    assert_int_equal(t_io(rig, RT_READ, block, 0), BLOCK_BYTES);
    assert_int_equal(block[0], 1);      // what write_and_read_back left
    rig->done++;
}

static void a_write_that_was_prepared_but_not_submitted_never_happens(void **state)
{
    (void)state;
    struct rig rig = t_guardian(8);
    for (int life = 0; life < 20; life++) {
        pid_t pid = fork();
        int status;
        if (pid == 0)
            prepare_write_and_die(&rig);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(rt_create(&rig.ring, &rig.rt, NULL), 0);
        check_nothing_is_in_flight(&rig.ring);
        if (life == 0)
            t_run(&rig, write_and_read_back);
        t_run(&rig, read_block_0);
        rt_destroy(rig.rt);
        rig.rt = NULL;
    }
    assert_int_equal(rig.done, 21);
    t_end(&rig);
}

static void a_ring_with_impossible_counters_is_refused(void **state)
{
    (void)state;
    struct rig rig = t_guardian(8);
    struct io_uring uring;
    struct err err = {0};
    assert_int_equal(io_uring_queue_mmap(rig.ring.fd, &rig.ring.params, &uring), 0);
    __atomic_store_n(uring.cq.ktail, 12345, __ATOMIC_RELEASE);
    assert_int_equal(rt_create(&rig.ring, &rig.rt, &err), -EFSCORRUPTED);
    assert_true(strstr(err.text, "damaged"));
    munmap(uring.sq.sqes, uring.sq.ring_entries * sizeof(struct io_uring_sqe));
    munmap(uring.sq.ring_ptr, uring.sq.ring_sz);
    rig.rt = NULL;
    t_end(&rig);
}

static void a_descriptor_that_is_no_ring_is_refused(void **state)
{
    (void)state;
    struct rig rig = t_guardian(8);
    struct err err = {0};
    rig.event_fd = eventfd(0, EFD_CLOEXEC);
    struct rt_ring wrong = {.fd = rig.event_fd, .params = rig.ring.params};
    assert_true(rt_create(&wrong, &rig.rt, &err) < 0);
    assert_true(err.number > 0);
    assert_true(rt_ring_create(1u << 30, &wrong, &err) < 0);
    rig.rt = NULL;
    t_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_fibres_read_what_they_wrote),
        cmocka_unit_test(more_requests_than_the_ring_has_entries_take_turns),
        cmocka_unit_test(every_operation_has_the_result_of_its_system_call),
        cmocka_unit_test(a_ring_refuses_what_a_server_has_no_business_with),
        cmocka_unit_test(a_watched_descriptor_is_served_outside_any_fibre),
        cmocka_unit_test(a_descriptor_unwatched_in_the_same_turn_is_not_served),
        cmocka_unit_test(after_stop_a_readable_descriptor_neither_calls_nor_burns),
        cmocka_unit_test(an_idle_worker_uses_no_processor),
        cmocka_unit_test(the_source_is_asked_each_turn_and_longer_when_spinning),
        cmocka_unit_test(a_successor_waits_for_the_writes_of_killed_servers),
        cmocka_unit_test(a_successor_does_not_begin_before_the_last_request_ended),
        cmocka_unit_test(a_write_that_was_prepared_but_not_submitted_never_happens),
        cmocka_unit_test(a_ring_with_impossible_counters_is_refused),
        cmocka_unit_test(a_descriptor_that_is_no_ring_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
