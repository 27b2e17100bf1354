// SPDX-License-Identifier: MIT
// fault.c - see fault.h.
//
// A fault that waits may find its rule removed afterwards, so what fires is a copy.
#include "dev/fault.h"

#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "dev/internal.h"

#define TORN_AT (BLOCK_BYTES / 2)

struct rule {
    struct list link;
    int id;
    uint64_t seen, fired;
    struct fault_rule what;
};

struct fault_dev {
    struct dev base;
    struct rt *rt;
    struct list rules;
    int id_last;
};

// The blocks of one request that a rule spoils, counted from the start of the request.
struct hit {
    bool fires;
    struct fault_rule rule;
    uint64_t first, end;
};

static struct fault_dev *fault_of(const struct dev *dev)
{
    return CONTAINER_OF(dev, struct fault_dev, base);
}

// --- rules ------------------------------------------------------------------------------------

static bool touches(const struct fault_rule *rule, enum fault_op op, uint64_t block, uint64_t count)
{
    if (!(rule->ops & op))
        return false;
    if (op == FAULT_ON_FLUSH || rule->block_count == 0)
        return true;
    return block < rule->block_first ? rule->block_first - block < count
                                     : block - rule->block_first < rule->block_count;
}

static bool fires(struct rule *rule)
{
    uint64_t nr = rule->seen++;
    if (nr < rule->what.skip || (rule->what.shots && rule->fired == rule->what.shots))
        return false;
    rule->fired++;
    return true;
}

static struct hit aim(const struct fault_rule *rule, uint64_t block, uint64_t count)
{
    struct hit hit = {.fires = true, .rule = *rule, .end = count};
    if (rule->block_count == 0)
        return hit;
    if (rule->block_first > block)
        hit.first = rule->block_first - block;
    // Of a rule "from here to the end", first + count may not fit into 64 bits.
    if (rule->block_count < UINT64_MAX - rule->block_first)
        hit.end = MIN(count, rule->block_first + rule->block_count - block);
    return hit;
}

static struct hit match(struct fault_dev *f, enum fault_op op, uint64_t block, uint64_t count)
{
    LIST_EACH(node, &f->rules) {
        struct rule *rule = LIST_ENTRY(node, struct rule, link);
        if (touches(&rule->what, op, block, count) && fires(rule))
            return aim(&rule->what, block, count);
    }
    return (struct hit){0};
}

// --- requests ---------------------------------------------------------------------------------

static YIELDS void delay(struct fault_dev *f, const struct hit *hit)
{
    if (hit->fires && hit->rule.kind == FAULT_DELAY)
        rt_sleep_until(f->rt, rt_now_ns(f->rt) + hit->rule.delay_ns);
}

static int failure(const struct hit *hit)
{
    return hit->rule.error ? hit->rule.error : -EIO;
}

static void flip(const struct iovec *iov, int iovcnt, const struct hit *hit)
{
    for (uint64_t i = hit->first; i < hit->end; i++) {
        uint64_t off = (i << BLOCK_SHIFT) + hit->rule.byte;
        uint8_t byte;
        iov_gather(&byte, iov, iovcnt, off, 1);
        byte ^= 0xff;
        iov_scatter(iov, iovcnt, off, &byte, 1);
    }
}

static YIELDS int fault_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt)
{
    struct fault_dev *f = fault_of(dev);
    struct hit hit = match(f, FAULT_ON_READ, block, iov_bytes(iov, iovcnt) >> BLOCK_SHIFT);
    if (hit.fires && hit.rule.kind == FAULT_FAIL)
        return failure(&hit);
    delay(f, &hit);
    int rc = dev_read(dev->below, block, iov, iovcnt);
    if (rc == 0 && hit.fires && hit.rule.kind == FAULT_CORRUPT)
        flip(iov, iovcnt, &hit);        // success, wrong data: the fault that nobody reports
    return rc;
}

// Writes the blocks [first, end) of a request that was copied to `bytes`.
static YIELDS int write_part(struct dev *below, uint64_t block, uint8_t *bytes, uint64_t first,
                             uint64_t end, enum dev_flags flags)
{
    struct iovec iov = {bytes + (first << BLOCK_SHIFT), (end - first) << BLOCK_SHIFT};
    return end > first ? dev_write(below, block + first, &iov, 1, flags) : 0;
}

static YIELDS int write_around(struct dev *below, uint64_t block, uint8_t *bytes, uint64_t count,
                               const struct hit *hit, enum dev_flags flags)
{
    int rc = write_part(below, block, bytes, 0, hit->first, flags);
    return rc < 0 ? rc : write_part(below, block, bytes, hit->end, count, flags);
}

// The second half of each spoilt block becomes what the disk holds.
static YIELDS int tear(struct dev *below, uint64_t block, uint8_t *bytes, const struct hit *hit)
{
    uint64_t count = hit->end - hit->first;
    AUTO_FREE uint8_t *old = xblocks(count);
    struct iovec iov = {old, count << BLOCK_SHIFT};
    int rc = dev_read(below, block + hit->first, &iov, 1);
    for (uint64_t i = 0; rc == 0 && i < count; i++)
        memcpy(bytes + ((hit->first + i) << BLOCK_SHIFT) + TORN_AT, old + (i << BLOCK_SHIFT) + TORN_AT,
               BLOCK_BYTES - TORN_AT);
    return rc;
}

// The caller's memory is never touched: the spoilt request is a copy.
static YIELDS int write_spoilt(struct dev *below, uint64_t block, const struct iovec *iov, int iovcnt,
                               const struct hit *hit, enum dev_flags flags)
{
    uint64_t count = iov_bytes(iov, iovcnt) >> BLOCK_SHIFT;
    AUTO_FREE uint8_t *bytes = xblocks(count);
    iov_gather(bytes, iov, iovcnt, 0, count << BLOCK_SHIFT);
    if (hit->rule.kind == FAULT_LOST)
        return write_around(below, block, bytes, count, hit, flags);

    struct iovec copy = {bytes, count << BLOCK_SHIFT};
    if (hit->rule.kind == FAULT_CORRUPT)
        flip(&copy, 1, hit);
    int rc = hit->rule.kind == FAULT_TORN ? tear(below, block, bytes, hit) : 0;
    return rc < 0 ? rc : dev_write(below, block, &copy, 1, flags);
}

static YIELDS int fault_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags)
{
    struct fault_dev *f = fault_of(dev);
    struct hit hit = match(f, FAULT_ON_WRITE, block, iov_bytes(iov, iovcnt) >> BLOCK_SHIFT);
    if (hit.fires && hit.rule.kind == FAULT_FAIL)
        return failure(&hit);
    delay(f, &hit);
    if (!hit.fires || hit.rule.kind == FAULT_DELAY)
        return dev_write(dev->below, block, iov, iovcnt, flags);
    return write_spoilt(dev->below, block, iov, iovcnt, &hit, flags);
}

static YIELDS int fault_flush(struct dev *dev)
{
    struct fault_dev *f = fault_of(dev);
    struct hit hit = match(f, FAULT_ON_FLUSH, 0, 0);
    if (hit.fires && hit.rule.kind == FAULT_FAIL)
        return failure(&hit);
    if (hit.fires && hit.rule.kind == FAULT_LOST)
        return 0;
    delay(f, &hit);
    return dev_flush(dev->below);
}

static void fault_destroy(struct dev *dev)
{
    dev_fault_clear(dev);
    free(fault_of(dev));
}

static const struct dev_ops fault_ops = {
    .name = "fault",
    .read = fault_read,
    .write = fault_write,
    .flush = fault_flush,       // discard: left out, so the device core passes it below
    .destroy = fault_destroy,
};

// --- the public face --------------------------------------------------------------------------

struct dev *dev_fault_create(struct rt *rt, struct dev *below)
{
    struct fault_dev *f = xcalloc(1, sizeof(*f));
    f->base = dev_on(&fault_ops, below);
    f->rt = rt;
    list_init(&f->rules);
    return &f->base;
}

static bool makes_sense(const struct fault_rule *rule)
{
    static const unsigned possible[] = {
        [FAULT_FAIL] = FAULT_ON_READ | FAULT_ON_WRITE | FAULT_ON_FLUSH,
        [FAULT_CORRUPT] = FAULT_ON_READ | FAULT_ON_WRITE,
        [FAULT_LOST] = FAULT_ON_WRITE | FAULT_ON_FLUSH,
        [FAULT_TORN] = FAULT_ON_WRITE,
        [FAULT_DELAY] = FAULT_ON_READ | FAULT_ON_WRITE | FAULT_ON_FLUSH,
    };
    return rule->ops && (size_t)rule->kind < ARRAY_LEN(possible) && !(rule->ops & ~possible[rule->kind]) &&
           rule->error <= 0 && rule->byte < BLOCK_BYTES;
}

int dev_fault_add(struct dev *fault, const struct fault_rule *what)
{
    CHECK(fault->ops == &fault_ops);
    if (!makes_sense(what))
        return -EINVAL;
    struct fault_dev *f = fault_of(fault);
    struct rule *rule = xcalloc(1, sizeof(*rule));
    *rule = (struct rule){.id = ++f->id_last, .what = *what};
    list_push_back(&f->rules, &rule->link);
    return rule->id;
}

static struct rule *find(const struct dev *fault, int id)
{
    CHECK(fault->ops == &fault_ops);
    LIST_EACH(node, &fault_of(fault)->rules)
        if (LIST_ENTRY(node, struct rule, link)->id == id)
            return LIST_ENTRY(node, struct rule, link);
    return NULL;
}

void dev_fault_remove(struct dev *fault, int id)
{
    struct rule *rule = find(fault, id);
    if (rule)
        list_remove(&rule->link);
    free(rule);
}

void dev_fault_clear(struct dev *fault)
{
    CHECK(fault->ops == &fault_ops);
    for (struct list *node; (node = list_pop_front(&fault_of(fault)->rules));)
        free(LIST_ENTRY(node, struct rule, link));
}

uint64_t dev_fault_fired(const struct dev *fault, int id)
{
    struct rule *rule = find(fault, id);
    return rule ? rule->fired : 0;
}
