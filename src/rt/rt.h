// SPDX-License-Identifier: MIT
// rt.h - one worker: its event loop, its fibres, its timers; the only source of time and chance.
//
// A worker is a thread that owns all it touches. Work that may wait runs in a fibre: a function
// with a stack of its own that gives up the processor only inside functions marked YIELDS. Between
// two such calls nothing else runs on this worker, so code above rt needs no lock and no atomic.
//
// There are two implementations of this header, chosen at link time: rt_uring.c (the real loop:
// epoll and an io_uring that somebody else may have made) and rt_sim.c (the simulator: virtual
// time, one seed, fibres woken in an order drawn from the seed). Whatever is not here cannot be
// waited for.
#pragma once

#include <sys/uio.h>
#include <time.h>

#include "base/list.h"
#include "base/types.h"

struct rt;
struct fibre;

// --- the loop ---------------------------------------------------------------------------------

// Runs until rt_stop() and no fibre is left. Returns 0, or a negative errno of the loop itself.
MUST_USE int rt_run(struct rt *rt);
// Asks rt_run() to return once every fibre has ended. Watches and the source are no longer called.
// Holds for one rt_run(), the present or else the next one; after it the worker may run again.
void rt_stop(struct rt *rt);
// Frees the worker; no fibre may be left.
void rt_destroy(struct rt *rt);

// --- time and chance --------------------------------------------------------------------------

uint64_t rt_now_ns(struct rt *rt);                     // monotonic, cached once a loop turn
void rt_wall_clock(struct rt *rt, struct timespec *out);   // CLOCK_REALTIME_COARSE: the clock of
                                                       // the kernel's own time stamps
uint64_t rt_random(struct rt *rt);

// --- fibres -----------------------------------------------------------------------------------

// Starts fn(arg) on a fibre of its own, at the next turn of the loop. `name` is borrowed for ever.
void rt_spawn(struct rt *rt, const char *name, void (*fn)(void *arg), void *arg);
// Starts fn(arg) at once, on a fibre of its own, and returns when it first waits or ends. Only
// from outside a fibre (a watch callback): the cheap path of a request that never waits.
void rt_call(struct rt *rt, const char *name, void (*fn)(void *arg), void *arg);

bool rt_in_fibre(struct rt *rt);
// How often the running fibre has given up the processor since it began. Plans compare two
// values of it: equal means that nothing else ran in between. 0 outside a fibre.
uint64_t rt_waits(struct rt *rt);
uint32_t rt_fibre_count(struct rt *rt);

YIELDS void rt_yield(struct rt *rt);                   // lets every other ready fibre run first
YIELDS void rt_sleep_until(struct rt *rt, uint64_t now_ns);

// --- waiting for each other -------------------------------------------------------------------

// A queue of waiting fibres, first come first served. No memory of its own: a wake-up with
// nobody waiting is lost, so the condition itself is always checked in a loop.
struct waitq {
    struct list fibres;
};
void waitq_init(struct waitq *queue);
bool waitq_empty(const struct waitq *queue);
YIELDS void waitq_wait(struct rt *rt, struct waitq *queue);
// As waitq_wait, at latest until `deadline_ns`. True when woken, false when time was up.
YIELDS bool waitq_wait_until(struct rt *rt, struct waitq *queue, uint64_t deadline_ns);
void waitq_wake_one(struct rt *rt, struct waitq *queue);
void waitq_wake_all(struct rt *rt, struct waitq *queue);

// Several fibres that one fibre waits for. The group must outlive rt_group_wait(), which must be
// called, by the fibre that owns the group, before the group goes out of scope.
struct rt_group {
    struct rt *rt;
    uint32_t running;
    int rc;                 // the first error that a member returned, else 0
    struct waitq done;
};
void rt_group_init(struct rt_group *group, struct rt *rt);
void rt_group_go(struct rt_group *group, const char *name, int (*fn)(void *arg), void *arg);
YIELDS MUST_USE int rt_group_wait(struct rt_group *group);
