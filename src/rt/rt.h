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

// --- what a crash leaves behind, and crashes on purpose ------------------------------------------

// The running fibre works for this request from now on (0: for nobody); fibres that it starts do so
// too. The loop keeps the number of whoever has the processor in *word, for the crash report and for
// the successor: borrowed, may be NULL.
void rt_set_tag(struct rt *rt, uint64_t tag);
uint64_t rt_tag(struct rt *rt);
void rt_set_tag_word(struct rt *rt, volatile uint64_t *word);

// The living fibres, the running one first, then by age; at most `max` of them. Returns how many there are. Only reads, so that
// a signal handler may ask; what it finds in damaged memory may be anything.
struct rt_fibre_view {
    const char *name;
    uint64_t waits, tag;
    bool running;
    const char *stack_bottom, *stack_top;   // the page below stack_bottom is the guard
    const char *stack_pointer;              // where it stopped; stack_bottom when that is not known
};
uint32_t rt_view_fibres(const struct rt *rt, struct rt_fibre_view *out, uint32_t max);

// Points at which a test or `drover inject` may stop a server: the code there calls rt_probe(), and
// whoever wants to know of it has set a hook, which need not return.
enum rt_probe {
    RT_PROBE_PLAN,              // an operation begins
    RT_PROBE_APPLY,             // it is planned, its apply half comes next
    RT_PROBE_REPLY,             // it was applied, its answer comes next
    RT_PROBE_COMMIT,            // a transaction is about to be written
    RT_PROBE_CHECKPOINT,        // a committed block is about to be written home
    RT_PROBE_RECOVERY,          // a logged operation is about to be applied again
    RT_PROBES
};
void rt_set_probe(struct rt *rt, void (*hook)(void *arg, enum rt_probe point), void *arg);
void rt_probe(struct rt *rt, enum rt_probe point);

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
