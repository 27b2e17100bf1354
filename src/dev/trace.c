// SPDX-License-Identifier: MIT
// trace.c - see trace.h.
#include "dev/trace.h"

#include "base/check.h"
#include "base/log.h"
#include "dev/internal.h"

struct trace_dev {
    struct dev base;
    struct trace_counts counts;
    bool log;
};

static struct trace_dev *trace_of(struct dev *dev)
{
    return CONTAINER_OF(dev, struct trace_dev, base);
}

static void begin(struct trace_dev *t)
{
    t->counts.under_way++;
    t->counts.under_way_max = MAX(t->counts.under_way_max, t->counts.under_way);
}

static int end(struct trace_dev *t, const char *op, uint64_t block, uint64_t count, int rc)
{
    t->counts.under_way--;
    t->counts.errors += rc < 0;
    if (t->log)
        log_debug("event=device-request dev=%s op=%s block=%llu count=%llu rc=%d", t->base.label, op,
                  (unsigned long long)block, (unsigned long long)count, rc);
    return rc;
}

static YIELDS int trace_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt)
{
    struct trace_dev *t = trace_of(dev);
    uint64_t count = iov_bytes(iov, iovcnt) >> BLOCK_SHIFT;
    t->counts.reads++;
    t->counts.blocks_read += count;
    begin(t);
    return end(t, "read", block, count, dev_read(dev->below, block, iov, iovcnt));
}

static YIELDS int trace_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags)
{
    struct trace_dev *t = trace_of(dev);
    uint64_t count = iov_bytes(iov, iovcnt) >> BLOCK_SHIFT;
    t->counts.writes++;
    t->counts.fua_writes += (flags & DEV_FUA) != 0;
    t->counts.blocks_written += count;
    begin(t);
    return end(t, flags & DEV_FUA ? "write-fua" : "write", block, count,
               dev_write(dev->below, block, iov, iovcnt, flags));
}

static YIELDS int trace_flush(struct dev *dev)
{
    struct trace_dev *t = trace_of(dev);
    t->counts.flushes++;
    begin(t);
    return end(t, "flush", 0, 0, dev_flush(dev->below));
}

static YIELDS int trace_discard(struct dev *dev, uint64_t block, uint64_t count)
{
    struct trace_dev *t = trace_of(dev);
    t->counts.discards++;
    begin(t);
    return end(t, "discard", block, count, dev_discard(dev->below, block, count));
}

static void trace_destroy(struct dev *dev)
{
    free(trace_of(dev));
}

static const struct dev_ops trace_ops = {
    .name = "trace",
    .read = trace_read,
    .write = trace_write,
    .flush = trace_flush,
    .discard = trace_discard,
    .destroy = trace_destroy,
};

struct dev *dev_trace_create(struct dev *below, bool log)
{
    struct trace_dev *t = xcalloc(1, sizeof(*t));
    t->base = dev_on(&trace_ops, below);
    t->log = log;
    return &t->base;
}

const struct trace_counts *dev_trace_counts(const struct dev *trace)
{
    CHECK(trace->ops == &trace_ops);
    return &CONTAINER_OF(trace, struct trace_dev, base)->counts;
}

void dev_trace_reset(struct dev *trace)
{
    CHECK(trace->ops == &trace_ops);
    struct trace_counts *counts = &trace_of(trace)->counts;
    *counts = (struct trace_counts){.under_way = counts->under_way, .under_way_max = counts->under_way};
}
