// SPDX-License-Identifier: MIT
// rt_core.c - fibres, wait queues, timers and groups: the part of rt.h that knows no clock.
//
// A waiting fibre is known to whoever will wake it: a wait queue, a timer, or both. Whichever
// comes first takes it out of the other, so no wake-up is ever spent on a fibre that is already
// on its way (I3 in README.md).
#include "base/check.h"
#include "rt/internal.h"

// Stacks kept warm for the next fibres. More than this many at once is a peak, given back after it.
#define SPARE_MAX 1024u

void rt_core_init(struct rt *rt, uint64_t seed)
{
    *rt = (struct rt){0};
    prng_seed(&rt->prng, seed);
    list_init(&rt->fibres);
    list_init(&rt->spare);
    context_init_loop(&rt->loop);
}

static void fibre_free(struct fibre *fibre)
{
    context_fini(&fibre->context);
    stack_unmap(&fibre->stack);
    free(fibre);
}

void rt_core_fini(struct rt *rt)
{
    CHECK(rt->fibre_count == 0);
    LIST_EACH_SAFE(node, &rt->spare)
        fibre_free(LIST_ENTRY(node, struct fibre, all));
    heap_fini(&rt->timers);
}

// --- the life of a fibre ----------------------------------------------------------------------

static void fibre_main(void *arg)
{
    struct fibre *fibre = arg;
    struct rt_group *group = fibre->group;
    if (group) {
        int rc = fibre->group_fn(fibre->arg);
        if (rc < 0 && group->rc == 0)
            group->rc = rc;
        if (--group->running == 0)
            waitq_wake_all(group->rt, &group->done);
    } else {
        fibre->fn(fibre->arg);
    }
    fibre->over = true;
    context_leave(&fibre->context, &fibre->rt->loop);
}

static struct fibre *fibre_take(struct rt *rt, const char *name, void *arg)
{
    struct list *node = list_pop_front(&rt->spare);
    struct fibre *fibre;
    if (node) {
        fibre = LIST_ENTRY(node, struct fibre, all);
        rt->spare_count--;
    } else {
        fibre = xcalloc(1, sizeof(*fibre));
        stack_map(&fibre->stack);
    }
    // Field by field: stack and context stay as they are.
    list_init(&fibre->link);
    fibre->timer = fibre->turn = (struct heap_node){0};
    fibre->rt = rt;
    fibre->name = name;
    fibre->fn = NULL;
    fibre->group_fn = NULL;
    fibre->group = NULL;
    fibre->arg = arg;
    fibre->waits = 0;
    fibre->tag = rt_tag(rt);
    fibre->timed_out = fibre->over = false;
    context_init(&fibre->context, &fibre->stack, fibre_main, fibre);
    list_push_back(&rt->fibres, &fibre->all);
    rt->fibre_count++;
    return fibre;
}

static void fibre_give_back(struct rt *rt, struct fibre *fibre)
{
    list_remove(&fibre->all);
    rt->fibre_count--;
    if (rt->spare_count == SPARE_MAX) {
        fibre_free(fibre);
        return;
    }
    list_push_front(&rt->spare, &fibre->all);
    rt->spare_count++;
}

void rt_spawn(struct rt *rt, const char *name, void (*fn)(void *arg), void *arg)
{
    struct fibre *fibre = fibre_take(rt, name, arg);
    fibre->fn = fn;
    rt_ready_push(rt, fibre, false);
}

void rt_call(struct rt *rt, const char *name, void (*fn)(void *arg), void *arg)
{
    CHECK(!rt->running);
    struct fibre *fibre = fibre_take(rt, name, arg);
    fibre->fn = fn;
    rt_resume(rt, fibre);
}

static void show_tag(struct rt *rt, uint64_t tag)
{
    if (rt->tag_word)
        *rt->tag_word = tag;
}

void rt_resume(struct rt *rt, struct fibre *fibre)
{
    CHECK(!rt->running);
    rt->running = fibre;
    show_tag(rt, fibre->tag);
    context_switch(&rt->loop, &fibre->context);
    rt->running = NULL;
    show_tag(rt, 0);
    if (fibre->over)
        fibre_give_back(rt, fibre);
}

void rt_suspend(struct rt *rt)
{
    struct fibre *fibre = rt->running;
    CHECK(fibre);
    fibre->waits++;
    context_switch(&fibre->context, &rt->loop);
}

void rt_make_ready(struct rt *rt, struct fibre *fibre)
{
    list_remove(&fibre->link);
    heap_remove(&rt->timers, &fibre->timer);
    rt_ready_push(rt, fibre, false);
}

void rt_abandon_fibres(struct rt *rt)
{
    CHECK(!rt->running);
    // Wait queues they stand in may be gone already, so their links are left alone.
    heap_fini(&rt->timers);
    LIST_EACH_SAFE(node, &rt->fibres)
        fibre_give_back(rt, LIST_ENTRY(node, struct fibre, all));
    CHECK(rt->fibre_count == 0);
}

// --- tags and probes ----------------------------------------------------------------------------

void rt_set_tag(struct rt *rt, uint64_t tag)
{
    CHECK(rt->running);
    rt->running->tag = tag;
    show_tag(rt, tag);
}

uint64_t rt_tag(struct rt *rt)
{
    return rt->running ? rt->running->tag : 0;
}

void rt_set_tag_word(struct rt *rt, volatile uint64_t *word)
{
    rt->tag_word = word;
}

static struct rt_fibre_view view_of(const struct rt *rt, const struct fibre *fibre)
{
    const char *bottom = fibre->stack.bottom;
    struct rt_fibre_view view = {
        .name = fibre->name,
        .waits = fibre->waits,
        .tag = fibre->tag,
        .running = fibre == rt->running,
        .stack_bottom = bottom,
        .stack_top = bottom + FIBRE_STACK_SIZE,
        .stack_pointer = bottom,
    };
#ifndef RT_FIBRE_UCONTEXT
    const char *pointer = fibre->context.sp;
    if (!view.running && pointer >= view.stack_bottom && pointer < view.stack_top)
        view.stack_pointer = pointer;
#endif
    return view;
}

uint32_t rt_view_fibres(const struct rt *rt, struct rt_fibre_view *out, uint32_t max)
{
    uint32_t filled = 0, seen = 0;
    if (rt->running && filled < max)
        out[filled++] = view_of(rt, rt->running);
    for (const struct list *node = rt->fibres.next; node != &rt->fibres && seen++ < rt->fibre_count; node = node->next) {
        const struct fibre *fibre = LIST_ENTRY(node, struct fibre, all);
        if (fibre != rt->running && filled < max)
            out[filled++] = view_of(rt, fibre);
    }
    return rt->fibre_count;
}

void rt_set_probe(struct rt *rt, void (*hook)(void *arg, enum rt_probe point), void *arg)
{
    rt->probe = hook;
    rt->probe_arg = arg;
}

void rt_probe(struct rt *rt, enum rt_probe point)
{
    if (rt->probe)
        rt->probe(rt->probe_arg, point);
}

// --- what a fibre may ask ---------------------------------------------------------------------

void rt_stop(struct rt *rt) { rt->stopping = true; }
uint64_t rt_now_ns(struct rt *rt) { return rt->now_ns; }
uint64_t rt_random(struct rt *rt) { return prng_next(&rt->prng); }
bool rt_in_fibre(struct rt *rt) { return rt->running != NULL; }
uint64_t rt_waits(struct rt *rt) { return rt->running ? rt->running->waits : 0; }
uint32_t rt_fibre_count(struct rt *rt) { return rt->fibre_count; }

void rt_yield(struct rt *rt)
{
    CHECK(rt->running);
    rt_ready_push(rt, rt->running, true);
    rt_suspend(rt);
}

// --- timers -----------------------------------------------------------------------------------

static void timer_set(struct rt *rt, struct fibre *fibre, uint64_t deadline_ns)
{
    fibre->timed_out = false;
    if (deadline_ns != UINT64_MAX)
        heap_insert(&rt->timers, &fibre->timer, deadline_ns);
}

void rt_sleep_until(struct rt *rt, uint64_t now_ns)
{
    CHECK(rt->running);
    timer_set(rt, rt->running, now_ns);
    rt_suspend(rt);
}

uint64_t rt_next_timer(const struct rt *rt)
{
    const struct heap_node *node = heap_min(&rt->timers);
    return node ? node->key : UINT64_MAX;
}

bool rt_fire_timers(struct rt *rt)
{
    bool fired = false;
    while (rt_next_timer(rt) <= rt->now_ns && rt->timers.count) {
        struct fibre *fibre = CONTAINER_OF(heap_min(&rt->timers), struct fibre, timer);
        fibre->timed_out = true;
        rt_make_ready(rt, fibre);
        fired = true;
    }
    return fired;
}

// --- wait queues ------------------------------------------------------------------------------

void waitq_init(struct waitq *queue) { list_init(&queue->fibres); }
bool waitq_empty(const struct waitq *queue) { return list_empty(&queue->fibres); }

void waitq_wait(struct rt *rt, struct waitq *queue)
{
    waitq_wait_until(rt, queue, UINT64_MAX);
}

bool waitq_wait_until(struct rt *rt, struct waitq *queue, uint64_t deadline_ns)
{
    struct fibre *fibre = rt->running;
    CHECK(fibre);
    list_push_back(&queue->fibres, &fibre->link);
    timer_set(rt, fibre, deadline_ns);
    rt_suspend(rt);
    return !fibre->timed_out;
}

void waitq_wake_one(struct rt *rt, struct waitq *queue)
{
    if (!waitq_empty(queue))
        rt_make_ready(rt, LIST_ENTRY(queue->fibres.next, struct fibre, link));
}

void waitq_wake_all(struct rt *rt, struct waitq *queue)
{
    while (!waitq_empty(queue))
        waitq_wake_one(rt, queue);
}

// --- groups -----------------------------------------------------------------------------------

void rt_group_init(struct rt_group *group, struct rt *rt)
{
    *group = (struct rt_group){.rt = rt};
    waitq_init(&group->done);
}

void rt_group_go(struct rt_group *group, const char *name, int (*fn)(void *arg), void *arg)
{
    struct fibre *fibre = fibre_take(group->rt, name, arg);
    fibre->group = group;
    fibre->group_fn = fn;
    group->running++;
    rt_ready_push(group->rt, fibre, false);
}

int rt_group_wait(struct rt_group *group)
{
    while (group->running)
        waitq_wait(group->rt, &group->done);
    return group->rc;
}
