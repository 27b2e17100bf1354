// SPDX-License-Identifier: MIT
// sim.c - the device on a simulated disk: requests take time, end in any order, and may be the one
// at which the power fails.
#include "dev/sim.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "dev/internal.h"
#include "dev/sim_disk.h"

#define LATENCY_MIN_NS 20000
#define LATENCY_MAX_NS 500000
#define SLOW_ONE_IN 64
#define SLOW_TIMES 16

struct sim_dev {
    struct dev base;
    struct rt *rt;
    struct sim_disk *disk;
    uint64_t latency_min_ns, latency_max_ns;
    void (*halt)(struct rt *rt);
};

static struct sim_dev *sim_of(struct dev *dev)
{
    return CONTAINER_OF(dev, struct sim_dev, base);
}

// False when the power failed meanwhile: nobody waits for the answer of that disk any more.
static YIELDS MUST_USE bool pass_time(struct sim_dev *s)
{
    uint64_t cuts = s->disk->cuts;
    uint64_t ns = s->latency_min_ns + rt_random(s->rt) % (s->latency_max_ns - s->latency_min_ns + 1);
    if (rt_random(s->rt) % SLOW_ONE_IN == 0)
        ns *= SLOW_TIMES;
    rt_sleep_until(s->rt, rt_now_ns(s->rt) + ns);
    return s->disk->cuts == cuts;
}

static void count_step(struct sim_dev *s)
{
    if (!sim_disk_step(s->disk))
        return;
    CHECK(s->halt);             // whoever plans a power cut says how it is done
    s->halt(s->rt);
    CHECK(!"halt does not return");
}

static YIELDS int sim_read(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt)
{
    struct sim_dev *s = sim_of(dev);
    if (!pass_time(s))
        return -EIO;
    uint64_t count = iov_bytes(iov, iovcnt) >> BLOCK_SHIFT;
    for (uint64_t i = 0; i < count; i++)
        iov_scatter(iov, iovcnt, i << BLOCK_SHIFT, sim_disk_peek(s->disk, block + i), BLOCK_BYTES);
    return 0;
}

// The writes of one request. They are the disk's, so that a power cut finds them whatever became of
// their fibre, and lie side by side in its list, as nothing runs while a request begins.
struct request {
    struct sim_write *first;
    uint64_t count;
};

static void add_write(struct sim_dev *s, struct request *request, uint64_t block, uint8_t *bytes_taken)
{
    struct sim_write *write = sim_write_begin_take(s->disk, block, bytes_taken);
    if (request->count++ == 0)
        request->first = write;
}

static YIELDS int finish(struct sim_dev *s, const struct request *request, bool stable)
{
    struct list *node = request->count ? &request->first->of_disk : NULL;
    for (uint64_t i = 0; i < request->count; i++, node = node->next)
        LIST_ENTRY(node, struct sim_write, of_disk)->fua = stable;
    count_step(s);
    if (!pass_time(s))
        return -EIO;
    struct sim_write *write = request->first;
    for (uint64_t i = 0; i < request->count; i++) {
        struct sim_write *next = LIST_ENTRY(write->of_disk.next, struct sim_write, of_disk);
        sim_write_ack(s->disk, write, stable);
        write = next;
    }
    return 0;
}

static YIELDS int sim_write(struct dev *dev, uint64_t block, const struct iovec *iov, int iovcnt, enum dev_flags flags)
{
    struct sim_dev *s = sim_of(dev);
    uint64_t count = iov_bytes(iov, iovcnt) >> BLOCK_SHIFT;
    struct request request = {0};
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *bytes = xmalloc(BLOCK_BYTES);
        iov_gather(bytes, iov, iovcnt, i << BLOCK_SHIFT, BLOCK_BYTES);
        add_write(s, &request, block + i, bytes);
    }
    return finish(s, &request, flags & DEV_FUA);
}

static YIELDS int sim_flush(struct dev *dev)
{
    struct sim_dev *s = sim_of(dev);
    uint64_t ack_nr = s->disk->ack_nr;
    count_step(s);
    if (!pass_time(s))
        return -EIO;
    sim_disk_settle(s->disk, ack_nr);
    return 0;
}

// Each block that has content becomes zeros or stays, by chance. Of a large range only the blocks
// that exist are looked at.
static YIELDS int sim_discard(struct dev *dev, uint64_t block, uint64_t count)
{
    struct sim_dev *s = sim_of(dev);
    struct request request = {0};
    if (count <= s->disk->blocks.count) {
        for (uint64_t nr = block; nr < block + count; nr++)
            if (sim_block_find(s->disk, nr) && rt_random(s->rt) % 2)
                add_write(s, &request, nr, NULL);
    } else {
        HTABLE_EACH(node, &s->disk->blocks)
            if (node->key >= block && node->key - block < count && rt_random(s->rt) % 2)
                add_write(s, &request, node->key, NULL);
    }
    return finish(s, &request, false);
}

static void sim_destroy(struct dev *dev)
{
    free(sim_of(dev));
}

static const struct dev_ops sim_ops = {
    .name = "sim",
    .read = sim_read,
    .write = sim_write,
    .flush = sim_flush,
    .discard = sim_discard,
    .destroy = sim_destroy,
};

struct dev *dev_sim_create(struct rt *rt, struct sim_disk *disk, const struct sim_dev_options *options)
{
    static const struct sim_dev_options defaults;
    if (!options)
        options = &defaults;
    CHECK(options->latency_min_ns <= options->latency_max_ns);
    struct sim_dev *s = xcalloc(1, sizeof(*s));
    *s = (struct sim_dev){
        .base = {.ops = &sim_ops, .block_count = disk->block_count, .read_only = options->read_only},
        .rt = rt,
        .disk = disk,
        .latency_min_ns = options->latency_max_ns ? options->latency_min_ns : LATENCY_MIN_NS,
        .latency_max_ns = options->latency_max_ns ? options->latency_max_ns : LATENCY_MAX_NS,
        .halt = options->halt,
    };
    snprintf(s->base.label, sizeof(s->base.label), "%s", options->label ? options->label : "sim");
    return &s->base;
}
