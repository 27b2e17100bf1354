// SPDX-License-Identifier: MIT
// rt_sim_test.c - the simulator's worker: one seed, one run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "rt/rt_sim.h"

#define RUNNERS 8

struct rig {
    struct rt *rt;
    struct waitq queue;
    char log[512];
    size_t len;
};

struct runner {
    struct rig *rig;
    char letter;
};

static void run_and_wait(void *arg)
{
    struct runner *runner = arg;
    struct rig *rig = runner->rig;
    for (int i = 0; i < 8; i++) {
        rig->log[rig->len++] = runner->letter;
        switch (rt_random(rig->rt) % 4) {
        case 0: rt_yield(rig->rt); break;
        case 1: rt_sleep_until(rig->rt, rt_now_ns(rig->rt) + rt_random(rig->rt) % 100000); break;
        case 2: waitq_wake_one(rig->rt, &rig->queue); break;
        case 3: waitq_wait_until(rig->rt, &rig->queue, rt_now_ns(rig->rt) + 50000); break;
        }
    }
}

static void t_race(uint64_t seed, char out[512])
{
    struct rig rig = {.rt = rt_sim_create(seed)};
    struct runner runners[RUNNERS];
    waitq_init(&rig.queue);
    for (int i = 0; i < RUNNERS; i++) {
        runners[i] = (struct runner){&rig, (char)('a' + i)};
        rt_spawn(rig.rt, "runner", run_and_wait, &runners[i]);
    }
    assert_int_equal(rt_run(rig.rt), 0);
    assert_int_equal(rig.len, RUNNERS * 8);
    rt_destroy(rig.rt);
    memcpy(out, rig.log, sizeof(rig.log));
}

static void one_seed_is_one_run_and_another_seed_another(void **state)
{
    (void)state;
    int differ = 0;
    char first[512], again[512], other[512];
    for (uint64_t seed = 0; seed < 50; seed++) {
        t_race(seed, first);
        t_race(seed, again);
        t_race(seed + 1000, other);
        assert_string_equal(first, again);
        differ += strcmp(first, other) != 0;
    }
    assert_true(differ >= 49);
}

static void note_once(void *arg)
{
    struct runner *runner = arg;
    runner->rig->log[runner->rig->len++] = runner->letter;
}

static void every_order_of_three_fibres_happens(void **state)
{
    (void)state;
    int seen[256] = {0}, orders = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rig rig = {.rt = rt_sim_create(seed)};
        struct runner runners[3];
        for (int i = 0; i < 3; i++) {
            runners[i] = (struct runner){&rig, (char)('1' + i)};
            rt_spawn(rig.rt, "runner", note_once, &runners[i]);
        }
        assert_int_equal(rt_run(rig.rt), 0);
        orders += seen[atoi(rig.log) - 100]++ == 0;
        rt_destroy(rig.rt);
    }
    assert_int_equal(orders, 6);
}

static void sleep_a_year(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, 365ull * 86400 * 1000000000);
}

static void time_jumps_to_the_next_timer(void **state)
{
    (void)state;
    struct rig rig = {.rt = rt_sim_create(1)};
    struct timespec wall;
    rt_wall_clock(rig.rt, &wall);
    assert_int_equal(wall.tv_sec, 2000000000);
    rt_spawn(rig.rt, "sleeper", sleep_a_year, &rig);
    assert_int_equal(rt_run(rig.rt), 0);
    rt_wall_clock(rig.rt, &wall);
    assert_int_equal(wall.tv_sec, 2000000000 + 365 * 86400);
    rt_destroy(rig.rt);
}

static void wait_for_nobody(void *arg)
{
    struct rig *rig = arg;
    waitq_wait(rig->rt, &rig->queue);
}

static void fibres_that_nothing_can_wake_are_a_deadlock(void **state)
{
    (void)state;
    struct rig rig = {.rt = rt_sim_create(1)};
    waitq_init(&rig.queue);
    rt_spawn(rig.rt, "philosopher", wait_for_nobody, &rig);
    rt_spawn(rig.rt, "sleeper", sleep_a_year, &rig);
    assert_int_equal(rt_run(rig.rt), -EDEADLK);
    assert_int_equal(rt_fibre_count(rig.rt), 1);
    rt_sim_abandon(rig.rt);
    rt_destroy(rig.rt);
}

static void halt_here(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, 1000000);
    rig->log[rig->len++] = 'h';
    rt_sim_halt(rig->rt);
}

static void note_after_the_halt(void *arg)
{
    struct rig *rig = arg;
    rt_sleep_until(rig->rt, 2000000);
    rig->log[rig->len++] = '!';
}

static void note_alive(void *arg)
{
    struct rig *rig = arg;
    rig->log[rig->len++] = 'a';
}

static void after_a_halt_nothing_runs_again_but_the_worker_can(void **state)
{
    (void)state;
    struct rig rig = {.rt = rt_sim_create(3)};
    waitq_init(&rig.queue);
    for (int i = 0; i < 5; i++)
        rt_spawn(rig.rt, "waiter", wait_for_nobody, &rig);
    rt_spawn(rig.rt, "after", note_after_the_halt, &rig);
    rt_spawn(rig.rt, "halt", halt_here, &rig);
    rt_stop(rig.rt);
    assert_int_equal(rt_run(rig.rt), -ECANCELED);
    assert_int_equal(rt_fibre_count(rig.rt), 7);
    uint64_t now = rt_now_ns(rig.rt);
    rt_sim_abandon(rig.rt);
    assert_int_equal(rt_fibre_count(rig.rt), 0);

    rt_spawn(rig.rt, "successor", note_alive, &rig);
    assert_int_equal(rt_run(rig.rt), 0);
    assert_string_equal(rig.log, "ha");
    assert_true(rt_now_ns(rig.rt) > now);
    rt_destroy(rig.rt);
}

static void count_turns(void *arg)
{
    struct rig *rig = arg;
    for (;;) {
        rig->len++;
        rt_yield(rig->rt);
    }
}

static void it_halts_instead_of_the_turn_that_was_named(void **state)
{
    (void)state;
    struct rig rig = {.rt = rt_sim_create(1)};
    rt_spawn(rig.rt, "turns", count_turns, &rig);
    rt_sim_halt_after(rig.rt, 8);
    assert_int_equal(rt_run(rig.rt), -ECANCELED);
    assert_int_equal(rig.len, 7);
    rt_sim_abandon(rig.rt);
    assert_int_equal(rt_run(rig.rt), 0);
    rt_destroy(rig.rt);
}

static void read_the_clock(void *arg)
{
    struct rig *rig = arg;
    struct timespec a, b, c;
    rt_sleep_until(rig->rt, 2100000000);
    rt_wall_clock(rig->rt, &a);
    rt_sleep_until(rig->rt, 3900000000);
    rt_wall_clock(rig->rt, &b);
    rt_sleep_until(rig->rt, 4000000000);
    rt_wall_clock(rig->rt, &c);
    assert_true(a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec);
    assert_int_equal(c.tv_sec, a.tv_sec + 2);
}

static void the_wall_clock_can_move_in_steps(void **state)
{
    (void)state;
    struct rig rig = {.rt = rt_sim_create(1)};
    rt_sim_wall_step(rig.rt, 2000000000);
    rt_spawn(rig.rt, "clock", read_the_clock, &rig);
    assert_int_equal(rt_run(rig.rt), 0);
    rt_destroy(rig.rt);
}

static void a_worker_that_was_rewound_runs_the_same_again(void **state)
{
    (void)state;
    struct rt *rt = rt_sim_create(7);
    uint64_t first[2], again[2];
    for (int i = 0; i < 2; i++) {
        struct rig rig = {.rt = rt};
        uint64_t *seen = i ? again : first;
        rt_sim_rewind(rt, 7);
        rt_spawn(rt, "turns", count_turns, &rig);
        rt_sim_halt_after(rt, 30);
        assert_int_equal(rt_run(rt), -ECANCELED);
        rt_sim_abandon(rt);
        seen[0] = rt_now_ns(rt);
        seen[1] = rt_random(rt);
    }
    assert_int_equal(first[0], again[0]);
    assert_int_equal(first[1], again[1]);
    rt_destroy(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_seed_is_one_run_and_another_seed_another),
        cmocka_unit_test(every_order_of_three_fibres_happens),
        cmocka_unit_test(time_jumps_to_the_next_timer),
        cmocka_unit_test(fibres_that_nothing_can_wake_are_a_deadlock),
        cmocka_unit_test(it_halts_instead_of_the_turn_that_was_named),
        cmocka_unit_test(a_worker_that_was_rewound_runs_the_same_again),
        cmocka_unit_test(the_wall_clock_can_move_in_steps),
        cmocka_unit_test(after_a_halt_nothing_runs_again_but_the_worker_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
