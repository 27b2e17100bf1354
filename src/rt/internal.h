// SPDX-License-Identifier: MIT
// internal.h - what rt_core.c shares with the two implementations of rt.h.
//
// The core knows fibres, wait queues, groups and which timer is due. An implementation says what
// time it is, which ready fibre is next and how to sleep. It embeds `struct rt` as first member.
//
//                 rt_spawn                  rt_resume
//      (pool) ───────────────▶ ready ────────────────────▶ running ──▶ ended, back to the pool
//                                ▲                            │
//                                │  waitq_wake, timer, I/O    │ rt_suspend
//                                └───────── waiting ◀─────────┘
#pragma once

#include "rt/fibre.h"
#include "rt/heap.h"
#include "rt/prng.h"
#include "rt/rt.h"

struct fibre {
    struct list link;           // in a wait queue, or in the ready list of rt_uring.c
    struct list all;            // in rt->fibres while alive, in rt->spare while not
    struct heap_node timer;     // in rt->timers while it waits with a deadline
    struct heap_node turn;      // rt_sim.c: its place among the ready fibres
    struct rt *rt;
    const char *name;
    void (*fn)(void *arg);      // or, when it is a member of a group, group_fn
    int (*group_fn)(void *arg);
    struct rt_group *group;
    void *arg;
    uint64_t waits;
    uint64_t tag;               // the request that it works for
    bool timed_out;             // why its last wait with a deadline ended
    bool over;
    struct stack stack;
    struct context context;
};

struct rt {
    uint64_t now_ns;
    struct prng prng;
    struct fibre *running;      // NULL while the loop itself runs
    struct context loop;
    struct list fibres;         // all that live
    uint32_t fibre_count;
    struct list spare;          // ended ones with their stacks, the warmest first
    uint32_t spare_count;
    struct heap timers;
    bool stopping;
    volatile uint64_t *tag_word;
    void (*probe)(void *arg, enum rt_probe point);
    void *probe_arg;
};

void rt_core_init(struct rt *rt, uint64_t seed);
void rt_core_fini(struct rt *rt);       // CHECKs that no fibre is left

// Runs `fibre` until it waits or ends. From the loop only.
void rt_resume(struct rt *rt, struct fibre *fibre);
// Gives up the processor; whoever wakes the fibre must know it: rt_make_ready().
YIELDS void rt_suspend(struct rt *rt);
void rt_make_ready(struct rt *rt, struct fibre *fibre);
// Makes ready every fibre whose deadline is not after rt->now_ns. True if there was one.
bool rt_fire_timers(struct rt *rt);
// The earliest deadline, or UINT64_MAX.
uint64_t rt_next_timer(const struct rt *rt);
// Forgets every living fibre where it stands.
void rt_abandon_fibres(struct rt *rt);

// Each implementation's own: takes a fibre that can go on. `yielded`: after all that are ready now.
void rt_ready_push(struct rt *rt, struct fibre *fibre, bool yielded);
