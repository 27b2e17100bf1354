// SPDX-License-Identifier: MIT
// rt_sim.c - the simulator's worker: time that jumps, an order drawn from the seed.
//
// Every ready fibre holds a number and the lowest goes next. A fibre that becomes ready draws its
// number from a window that begins at the number called last: it may overtake any that waits, yet
// all are called in the end, as the window moves on. A fibre that yields takes a number after all
// others, as rt.h promises. So a seed decides the order, and nothing else does.
#include "rt/rt_sim.h"

#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "rt/internal.h"

#define SIM_EPOCH_S 2000000000          // 2033-05-18: no image in the tests is younger
#define SIM_TURN_NS 1000                // a turn of the loop takes time, so that nothing is simultaneous

struct rt_sim {
    struct rt base;
    struct heap ready;
    uint64_t called;                    // number of the fibre that ran last
    uint64_t highest;                   // number given out
    bool halted;
    uint64_t turns, halt_at;            // fibres run; 0: never
    uint64_t wall_step_ns;              // 0: none
};

static struct rt_sim *sim_of(struct rt *rt)
{
    return CONTAINER_OF(rt, struct rt_sim, base);
}

struct rt *rt_sim_create(uint64_t seed)
{
    struct rt_sim *sim = xcalloc(1, sizeof(*sim));
    rt_core_init(&sim->base, seed);
    return &sim->base;
}

void rt_destroy(struct rt *rt)
{
    struct rt_sim *sim = sim_of(rt);
    rt_core_fini(rt);
    heap_fini(&sim->ready);
    free(sim);
}

void rt_wall_clock(struct rt *rt, struct timespec *out)
{
    uint64_t step = sim_of(rt)->wall_step_ns;
    uint64_t ns = step ? rt->now_ns - rt->now_ns % step : rt->now_ns;
    *out = (struct timespec){
        .tv_sec = (time_t)(SIM_EPOCH_S + ns / 1000000000),
        .tv_nsec = (long)(ns % 1000000000),
    };
}

void rt_sim_wall_step(struct rt *rt, uint64_t step_ns)
{
    sim_of(rt)->wall_step_ns = step_ns;
}

void rt_ready_push(struct rt *rt, struct fibre *fibre, bool yielded)
{
    struct rt_sim *sim = sim_of(rt);
    uint64_t number = yielded ? sim->highest + 1 : sim->called + (uint32_t)prng_next(&rt->prng);
    sim->highest = MAX(sim->highest, number);
    heap_insert(&sim->ready, &fibre->turn, number);
}

static struct fibre *ready_pop(struct rt_sim *sim)
{
    struct heap_node *node = heap_min(&sim->ready);
    if (!node)
        return NULL;
    heap_remove(&sim->ready, node);
    sim->called = node->key;
    return CONTAINER_OF(node, struct fibre, turn);
}

static int report_deadlock(struct rt *rt)
{
    char names[800] = "";
    size_t len = 0;
    LIST_EACH(node, &rt->fibres) {
        const char *name = LIST_ENTRY(node, struct fibre, all)->name;
        int n = snprintf(names + len, sizeof(names) - len, "%s%s", len ? "," : "", name);
        if (n < 0 || len + (size_t)n >= sizeof(names))
            break;
        len += (size_t)n;
    }
    log_error("event=deadlock waiting=%u fibres=%s", rt->fibre_count, names);
    return -EDEADLK;
}

int rt_run(struct rt *rt)
{
    struct rt_sim *sim = sim_of(rt);
    CHECK(!sim->halted);
    int rc = 0;
    while (rt->fibre_count) {
        rt->now_ns += SIM_TURN_NS;
        rt_fire_timers(rt);
        struct fibre *next = ready_pop(sim);
        if (next) {
            if (++sim->turns == sim->halt_at) {
                sim->halted = true;
                return -ECANCELED;
            }
            rt_resume(rt, next);
            if (sim->halted)
                return -ECANCELED;
        } else if (rt->timers.count) {
            rt->now_ns = rt_next_timer(rt);
        } else {
            rc = report_deadlock(rt);
            break;
        }
    }
    rt->stopping = false;
    return rc;
}

void rt_sim_halt(struct rt *rt)
{
    CHECK(rt->running);
    sim_of(rt)->halted = true;
    rt_suspend(rt);
    abort();
}

void rt_sim_rewind(struct rt *rt, uint64_t seed)
{
    struct rt_sim *sim = sim_of(rt);
    CHECK(rt->fibre_count == 0 && !sim->halted);
    sim->called = sim->highest = sim->turns = sim->halt_at = 0;
    rt->now_ns = 0;
    prng_seed(&rt->prng, seed);
}

void rt_sim_halt_after(struct rt *rt, uint64_t nth)
{
    struct rt_sim *sim = sim_of(rt);
    sim->halt_at = nth ? sim->turns + nth : 0;
}

void rt_sim_abandon(struct rt *rt)
{
    struct rt_sim *sim = sim_of(rt);
    heap_fini(&sim->ready);
    rt_abandon_fibres(rt);
    rt->stopping = sim->halted = false;
    sim->halt_at = 0;
}
