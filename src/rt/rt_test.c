// SPDX-License-Identifier: MIT
// rt_test.c - what rt.h promises, whichever implementation is linked.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "rt/fibre.h"
#include "rt/rt.h"

#ifdef RT_TEST_URING
#include "rt/rt_uring.h"

static struct rt_ring ring;

static struct rt *t_create(void)
{
    struct rt *rt;
    struct err err = {0};
    assert_int_equal(rt_ring_create(8, &ring, &err), 0);
    assert_int_equal(rt_create(&ring, &rt, &err), 0);
    return rt;
}

static void t_destroy(struct rt *rt)
{
    rt_destroy(rt);
    close(ring.fd);
}
#else
#include "rt/rt_sim.h"

static uint64_t seed;

static struct rt *t_create(void) { return rt_sim_create(++seed); }
static void t_destroy(struct rt *rt) { rt_destroy(rt); }
#endif

#define MS 1000000ull

// Fibres record what they did by letters.
struct rig {
    struct rt *rt;
    struct waitq queue;
    char log[256];
    size_t len;
    int woken, timed_out;
    bool patient_waits;
    uint64_t deadline_ns;
};

static void note(struct rig *rig, char letter)
{
    CHECK(rig->len < sizeof(rig->log) - 1);
    rig->log[rig->len++] = letter;
}

static struct rig t_rig(void)
{
    struct rig rig = {.rt = t_create()};
    return rig;
}

// Runs fn on a fibre until nothing is left to run.
static void t_run(struct rig *rig, void (*fn)(void *))
{
    waitq_init(&rig->queue);
    rt_spawn(rig->rt, "main", fn, rig);
    rt_stop(rig->rt);
    assert_int_equal(rt_run(rig->rt), 0);
    assert_int_equal(rt_fibre_count(rig->rt), 0);
}

// --- fibres -----------------------------------------------------------------------------------

static void do_nothing(void *arg) { (void)arg; }

static void three_yields(void *arg)
{
    struct rig *rig = arg;
    for (int i = 0; i < 3; i++) {
        note(rig, 'y');
        rt_yield(rig->rt);
    }
}

static void yield_among_others(void *arg)
{
    struct rig *rig = arg;
    for (int i = 0; i < 5; i++)
        rt_spawn(rig->rt, "other", three_yields, rig);
    rt_yield(rig->rt);
    note(rig, '|');
}

static void a_yield_lets_every_other_ready_fibre_run_first(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct rig rig = t_rig();
        t_run(&rig, yield_among_others);
        assert_memory_equal(rig.log, "yyyyy|", 6);
        assert_int_equal(rig.len, 16);
        t_destroy(rig.rt);
    }
}

static void begin_and_wait(void *arg)
{
    struct rig *rig = arg;
    note(rig, 'b');
    assert_true(rt_in_fibre(rig->rt));
    rt_yield(rig->rt);
    note(rig, 'e');
}

static void a_call_runs_at_once_until_it_first_waits(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    rt_call(rig.rt, "call", begin_and_wait, &rig);
    assert_string_equal(rig.log, "b");
    assert_false(rt_in_fibre(rig.rt));
    assert_int_equal(rt_fibre_count(rig.rt), 1);
    rt_call(rig.rt, "short", do_nothing, NULL);
    assert_int_equal(rt_fibre_count(rig.rt), 1);
    t_run(&rig, do_nothing);
    assert_string_equal(rig.log, "be");
    t_destroy(rig.rt);
}

static void waits_and_does_not(void *arg)
{
    struct rig *rig = arg;
    uint64_t before = rt_waits(rig->rt);
    waitq_wake_all(rig->rt, &rig->queue);
    rt_spawn(rig->rt, "other", do_nothing, NULL);
    assert_int_equal(rt_waits(rig->rt), before);
    rt_yield(rig->rt);
    assert_int_equal(rt_waits(rig->rt), before + 1);
    rt_sleep_until(rig->rt, 0);
    assert_int_equal(rt_waits(rig->rt), before + 2);
}

static void waits_are_counted_and_nothing_else_is(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    t_run(&rig, waits_and_does_not);
    t_destroy(rig.rt);
}

// Touches most of the stack, keeps it across a wait, and finds it as it was.
static void use_the_stack(void *arg)
{
    struct rig *rig = arg;
    volatile char bytes[40 << 10];
    char mark = (char)rt_random(rig->rt);
    for (size_t i = 0; i < sizeof(bytes); i += 64)
        bytes[i] = (char)(mark + (char)i);
    double x = (double)mark;
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + rt_random(rig->rt) % MS);
    for (size_t i = 0; i < sizeof(bytes); i += 64)
        assert_int_equal(bytes[i], (char)(mark + (char)i));
    assert_true(x == (double)mark);
    rig->woken++;
}

static void spawn_many(void *arg)
{
    struct rig *rig = arg;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 120; i++)
            rt_spawn(rig->rt, "stack", use_the_stack, rig);
        rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + MS / 2);
    }
}

static void many_fibres_keep_their_stacks_apart(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    t_run(&rig, spawn_many);
    assert_int_equal(rig.woken, 1200);
    t_destroy(rig.rt);
}

static void sleep_a_little(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + MS);
    rig->woken++;
}

// More than the pool of spare stacks keeps.
static void a_peak_of_fibres_passes(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    for (int i = 0; i < 1500; i++)
        rt_spawn(rig.rt, "peak", sleep_a_little, &rig);
    assert_int_equal(rt_fibre_count(rig.rt), 1500);
    t_run(&rig, sleep_a_little);
    assert_int_equal(rig.woken, 1501);
    t_destroy(rig.rt);
}

static int eat(volatile char *above, int depth)
{
    volatile char here[1024];
    here[0] = above[0];
    return depth ? eat(here, depth - 1) + here[0] : 0;
}

static void overflow(void *arg)
{
    (void)arg;
    volatile char first = 1;
    eat(&first, FIBRE_STACK_SIZE / 1024 + 16);
}

static void a_stack_that_overflows_ends_the_process(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    pid_t pid = fork();
    if (pid == 0) {
        close(STDERR_FILENO);           // the sanitizers' report is expected
        rt_call(rig.rt, "overflow", overflow, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    t_destroy(rig.rt);
}

// --- waiting ----------------------------------------------------------------------------------

static void wait_once(void *arg)
{
    struct rig *rig = arg;
    char mine = (char)('a' + rig->woken++);
    waitq_wait(rig->rt, &rig->queue);
    note(rig, mine);
}

static void wake_in_turn(void *arg)
{
    struct rig *rig = arg;
    waitq_wake_one(rig->rt, &rig->queue);       // nobody there: lost
    for (int i = 0; i < 6; i++)
        rt_spawn(rig->rt, "waiter", wait_once, rig);
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + MS);
    assert_string_equal(rig->log, "");
    for (int i = 0; i < 3; i++) {
        waitq_wake_one(rig->rt, &rig->queue);
        rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + MS);
    }
    assert_string_equal(rig->log, "abc");
    waitq_wake_all(rig->rt, &rig->queue);
    assert_true(waitq_empty(&rig->queue));
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + MS);
    assert_int_equal(rig->len, 6);
}

static void a_queue_wakes_first_come_first_served(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    t_run(&rig, wake_in_turn);
    t_destroy(rig.rt);
}

static void wait_with_deadline(void *arg)
{
    struct rig *rig = arg;
    if (waitq_wait_until(rig->rt, &rig->queue, rig->deadline_ns))
        rig->woken++;
    else
        rig->timed_out++;
}

static void both_outcomes(void *arg)
{
    struct rig *rig = arg;
    rig->deadline_ns = rt_now_ns(rig->rt) + 200 * MS;      // far off: the machine may be slow
    rt_spawn(rig->rt, "woken", wait_with_deadline, rig);
    rt_spawn(rig->rt, "late", wait_with_deadline, rig);
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + MS);
    waitq_wake_one(rig->rt, &rig->queue);
    rt_sleep_until(rig->rt, rig->deadline_ns + MS);
    assert_int_equal(rig->woken, 1);
    assert_int_equal(rig->timed_out, 1);
    assert_true(waitq_empty(&rig->queue));
    assert_true(rt_now_ns(rig->rt) >= rig->deadline_ns + MS);
}

static void a_wait_ends_by_a_wake_or_by_its_deadline(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    t_run(&rig, both_outcomes);
    t_destroy(rig.rt);
}

static void wake_at_deadline(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, rig->deadline_ns);
    while (!rig->patient_waits)         // a slow machine: the instant passed before all were there
        rt_yield(rig->rt);
    waitq_wake_one(rig->rt, &rig->queue);
}

static void wait_patiently(void *arg)
{
    struct rig *rig = arg;
    rig->patient_waits = true;
    waitq_wait(rig->rt, &rig->queue);
    note(rig, 'p');
}

// Two waiters, one wake-up, and the deadline of the first due at the same instant. However it
// falls, the wake-up is not spent on a fibre that reports a time-out: the second gets it then.
static void wake_and_deadline_together(void *arg)
{
    struct rig *rig = arg;
    for (int i = 0; i < 50; i++) {
        rig->woken = rig->timed_out = 0;
        rig->len = 0;
        rig->patient_waits = false;
        rig->deadline_ns = rt_now_ns(rig->rt) + MS / 10;
        if (i % 2)
            rt_spawn(rig->rt, "waker", wake_at_deadline, rig);
        rt_yield(rig->rt);
        rt_spawn(rig->rt, "deadline", wait_with_deadline, rig);
        rt_yield(rig->rt);
        rt_spawn(rig->rt, "patient", wait_patiently, rig);
        if (i % 2 == 0)
            rt_spawn(rig->rt, "waker", wake_at_deadline, rig);
        while (rt_fibre_count(rig->rt) > (rig->woken ? 2 : 1))
            rt_yield(rig->rt);
        assert_int_equal(rig->woken + rig->timed_out, 1);
        assert_int_equal(rig->timed_out, rig->len);
        if (rig->woken)
            waitq_wake_one(rig->rt, &rig->queue);
        while (rt_fibre_count(rig->rt) > 1)
            rt_yield(rig->rt);
        assert_string_equal(rig->log, "p");
    }
}

static void a_wake_at_the_deadline_is_never_lost(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        struct rig rig = t_rig();
        t_run(&rig, wake_and_deadline_together);
        t_destroy(rig.rt);
    }
}

struct sleeper {
    struct rig *rig;
    uint64_t until_ns;
};

static void sleep_to(void *arg)
{
    struct sleeper *sleeper = arg;
    struct rig *rig = sleeper->rig;
    rt_sleep_until(rig->rt, sleeper->until_ns);
    assert_true(rt_now_ns(rig->rt) >= sleeper->until_ns);
    assert_true(sleeper->until_ns >= rig->deadline_ns);
    rig->deadline_ns = sleeper->until_ns;
    rig->woken++;
}

static void sleep_in_order(void *arg)
{
    struct rig *rig = arg;
    struct sleeper sleepers[30];
    for (int i = 0; i < 30; i++) {
        sleepers[i] = (struct sleeper){rig, rt_now_ns(rig->rt) + (uint64_t)((i * 7) % 30 + 1) * 2 * MS};
        rt_spawn(rig->rt, "sleeper", sleep_to, &sleepers[i]);
    }
    rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + 80 * MS);
}

static void sleepers_wake_in_the_order_of_their_deadlines(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    t_run(&rig, sleep_in_order);
    assert_int_equal(rig.woken, 30);
    t_destroy(rig.rt);
}

static void stay_busy(void *arg)
{
    struct rig *rig = arg;
    uint64_t start = rt_now_ns(rig->rt);
    rt_spawn(rig->rt, "sleeper", sleep_a_little, rig);
    while (!rig->woken && rt_now_ns(rig->rt) < start + 10000 * MS)
        rt_yield(rig->rt);
    assert_int_equal(rig->woken, 1);
    assert_true(rt_now_ns(rig->rt) >= start + MS);
}

static void time_goes_on_and_timers_fire_while_a_fibre_is_busy(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    t_run(&rig, stay_busy);
    t_destroy(rig.rt);
}

// --- groups -----------------------------------------------------------------------------------

struct member {
    struct rig *rig;
    uint64_t sleep_ns;
    int rc;
};

static int member_run(void *arg)
{
    struct member *member = arg;
    if (member->sleep_ns)
        rt_sleep_until(member->rig->rt, rt_now_ns(member->rig->rt) + member->sleep_ns);
    return member->rc;
}

static void group_with_errors(void *arg)
{
    struct rig *rig = arg;
    struct rt_group group;
    rt_group_init(&group, rig->rt);
    assert_int_equal(rt_group_wait(&group), 0);

    struct member members[] = {
        {rig, 3 * MS, -EIO}, {rig, 0, 0}, {rig, MS, -ENOSPC}, {rig, 5 * MS, 0}, {rig, 2 * MS, 7},
    };
    uint64_t start = rt_now_ns(rig->rt);
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        rt_group_go(&group, "member", member_run, &members[i]);
    assert_int_equal(group.running, 5);
    assert_int_equal(rt_group_wait(&group), -ENOSPC);       // the first in time, not in order
    assert_int_equal(group.running, 0);
    assert_true(rt_now_ns(rig->rt) >= start + 5 * MS);
}

static void a_group_waits_for_all_and_returns_the_first_error(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    t_run(&rig, group_with_errors);
    t_destroy(rig.rt);
}

// --- the loop ---------------------------------------------------------------------------------

static void stop_early(void *arg)
{
    struct rig *rig = arg;
    rt_spawn(rig->rt, "sleeper", sleep_a_little, rig);
    rt_stop(rig->rt);
}

static void stop_waits_for_the_last_fibre_and_the_worker_can_run_again(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    for (int i = 1; i <= 3; i++) {
        rt_spawn(rig.rt, "stop", stop_early, &rig);
        assert_int_equal(rt_run(rig.rt), 0);
        assert_int_equal(rig.woken, i);
    }
    t_destroy(rig.rt);
}

static void look_at_clocks(void *arg)
{
    struct rig *rig = arg;
    struct timespec a, b;
    rt_wall_clock(rig->rt, &a);
    uint64_t before = rt_now_ns(rig->rt);
    rt_sleep_until(rig->rt, before + 50 * MS);
    rt_wall_clock(rig->rt, &b);
    uint64_t wall = (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000 + (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
    assert_true(rt_now_ns(rig->rt) - before >= 50 * MS);
    assert_true(wall >= 30 * MS);       // the coarse clock moves in steps of up to 10 ms
    assert_true(a.tv_nsec < 1000000000 && b.tv_nsec < 1000000000);
    assert_true(rt_random(rig->rt) != rt_random(rig->rt));
}

static void both_clocks_move_together(void **state)
{
    (void)state;
    struct rig rig = t_rig();
    t_run(&rig, look_at_clocks);
    t_destroy(rig.rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_yield_lets_every_other_ready_fibre_run_first),
        cmocka_unit_test(a_call_runs_at_once_until_it_first_waits),
        cmocka_unit_test(waits_are_counted_and_nothing_else_is),
        cmocka_unit_test(many_fibres_keep_their_stacks_apart),
        cmocka_unit_test(a_peak_of_fibres_passes),
        cmocka_unit_test(a_stack_that_overflows_ends_the_process),
        cmocka_unit_test(a_queue_wakes_first_come_first_served),
        cmocka_unit_test(a_wait_ends_by_a_wake_or_by_its_deadline),
        cmocka_unit_test(a_wake_at_the_deadline_is_never_lost),
        cmocka_unit_test(sleepers_wake_in_the_order_of_their_deadlines),
        cmocka_unit_test(time_goes_on_and_timers_fire_while_a_fibre_is_busy),
        cmocka_unit_test(a_group_waits_for_all_and_returns_the_first_error),
        cmocka_unit_test(stop_waits_for_the_last_fibre_and_the_worker_can_run_again),
        cmocka_unit_test(both_clocks_move_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
