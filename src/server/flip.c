// SPDX-License-Identifier: MIT
// flip.c - see flip.h. A region is a list of ranges; a bit is drawn from all of them together.
//
// heap: the C library's own, and all private anonymous memory (large allocations, zeroed globals, thread
// memory), but no stacks. Memory that was reserved and never touched is among it.
#include "server/flip.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/buf.h"
#include "cache/page.h"
#include "plog/plog.h"
#include "rt/prng.h"
#include "rt/rt.h"

#define FIBRES_MAX 4096u
#define MAPS_BYTES (1u << 20)      // the text of /proc/self/maps; what is behind it has no bits
#define GUARD_BYTES 4096u           // below every stack (rt/fibre.c)

struct range {
    uint8_t *bytes;
    uint64_t len;
    const void *of;                 // what it belongs to, for the log
};

struct ranges {
    struct range *at;
    size_t count, room;
    uint64_t total;
};

static void add(struct ranges *ranges, const void *bytes, uint64_t len, const void *of)
{
    if (ranges->count == ranges->room) {
        ranges->room = ranges->room ? 2 * ranges->room : 64;
        ranges->at = xrealloc(ranges->at, ranges->room * sizeof(*ranges->at));
    }
    ranges->at[ranges->count++] = (struct range){.bytes = (uint8_t *)bytes, .len = len, .of = of};
    ranges->total += len;
}

// --- what the kernel knows ----------------------------------------------------------------------------------

struct mapping {
    uintptr_t start, end;
    char rights[5], name[64];
};

static bool is_heap(const struct mapping *m, const struct mapping *before)
{
    bool is_stack = before->end == m->start && before->rights[0] == '-' && before->end - before->start == GUARD_BYTES;
    bool is_anonymous = !m->name[0] || strncmp(m->name, "[anon", 5) == 0;
    return strcmp(m->rights, "rw-p") == 0 && (strcmp(m->name, "[heap]") == 0 || (is_anonymous && !is_stack));
}

static bool parse(const char *line, struct mapping *out)
{
    *out = (struct mapping){0};
    return sscanf(line, "%zx-%zx %4s %*s %*s %*s %63s", &out->start, &out->end, out->rights, out->name) >= 3;
}

// Shared memory, so that the text does not list itself, nor is gone when the bits are flipped.
static char *read_maps(int fd)
{
    char *text = mmap(NULL, MAPS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(text != MAP_FAILED);
    size_t len = 0;
    if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return text;
    for (ssize_t got; len < MAPS_BYTES - 1 && (got = read(fd, text + len, MAPS_BYTES - 1 - len)) > 0;)
        len += (size_t)got;
    return text;
}

static void add_mappings(struct ranges *ranges, int maps_fd, bool (*wanted)(const struct mapping *m, const struct mapping *before))
{
    char *text = read_maps(maps_fd);
    struct mapping before = {0}, now;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        if (!parse(line, &now))
            break;
        if (wanted(&now, &before))
            add(ranges, (void *)now.start, now.end - now.start, NULL);
        before = now;
    }
    munmap(text, MAPS_BYTES);
}

static void find_heap(const struct flip_world *world, struct ranges *out)
{
    add_mappings(out, world->maps_fd, is_heap);
}

static bool is_this_stack(const struct mapping *m, const struct mapping *before)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    (void)before;
    return here >= m->start && here < m->end;
}

static void find_stacks(const struct flip_world *world, struct ranges *out)
{
    uint32_t count = world->rt ? MIN(rt_view_fibres(world->rt, NULL, 0), FIBRES_MAX) : 0;
    AUTO_FREE struct rt_fibre_view *fibres = xcalloc(count + 1, sizeof(*fibres));
    if (count)
        rt_view_fibres(world->rt, fibres, count);
    for (uint32_t i = 0; i < count; i++)
        if (!fibres[i].running)     // whoever flips runs on that one
            add(out, fibres[i].stack_pointer, (uint64_t)(fibres[i].stack_top - fibres[i].stack_pointer), fibres[i].name);
    // Of this stack what lies above, which is the callers'.
    struct ranges own = {0};
    add_mappings(&own, world->maps_fd, is_this_stack);
    uint8_t *here = __builtin_frame_address(0);
    if (own.count)
        add(out, here, (uint64_t)(own.at[0].bytes + own.at[0].len - here), "none");
    free(own.at);
}

// --- what drover knows --------------------------------------------------------------------------------------

static void add_buf(void *arg, struct buf *buf)
{
    if (buf->ref.type != BLOCK_DATA)            // journal=data logs data through buffers
        add(arg, buf->bytes, BLOCK_BYTES, buf);
}

static void find_metadata(const struct flip_world *world, struct ranges *out)
{
    if (world->bufs)
        buf_each(world->bufs, add_buf, out);
}

static void find_plog(const struct flip_world *world, struct ranges *out)
{
    const struct plog *log = world->plog;
    if (!log)
        return;
    size_t slot = sizeof(*log->slots);
    uint64_t first = log->head->head % log->slot_count, used = MIN(plog_used(log), log->slot_count);
    uint64_t straight = MIN(used, log->slot_count - first);
    add(out, log->head, sizeof(*log->head), "head");
    add(out, log->slots + first, straight * slot, "ring");
    add(out, log->slots, (used - straight) * slot, "ring again");
}

static void find_data(const struct flip_world *world, struct ranges *out)
{
    for (uint64_t i = 0; world->pages && i < page_pool_size(world->pages); i++) {
        const struct page *page = page_pool_page(world->pages, i);
        if (page->desc->ino)
            add(out, page->bytes, BLOCK_BYTES, page->desc);
    }
}

// Those of pages whose loss would be felt; where there are none, of all that are in use.
static void find_descriptors(const struct flip_world *world, struct ranges *out)
{
    for (int busy = 1; busy >= 0 && out->count == 0; busy--)
        for (uint64_t i = 0; world->pages && i < page_pool_size(world->pages); i++) {
            const struct page_desc *desc = page_pool_page(world->pages, i)->desc;
            if (desc->ino && (!busy || desc->flags || desc->tid))
                add(out, desc, sizeof(*desc), desc);
        }
}

// --- flipping -----------------------------------------------------------------------------------------------

static void describe(enum control_region region, const struct range *range, char *out, size_t size)
{
    const struct buf *buf = range->of;
    const struct page_desc *desc = range->of;
    switch (region) {
    case CONTROL_METADATA:
        snprintf(out, size, "block=%llu type=%s pinned=%d", (unsigned long long)buf->block, block_type_name(buf->ref.type), buf->pins > 0);
        return;
    case CONTROL_DATA:
    case CONTROL_DESCRIPTORS:
        snprintf(out, size, "inode=%u index=%llu flags=%#x tid=%llu", desc->ino, (unsigned long long)desc->index, desc->flags,
                 (unsigned long long)desc->tid);
        return;
    case CONTROL_PLOG: snprintf(out, size, "part=\"%s\"", (const char *)range->of); return;
    case CONTROL_STACK: snprintf(out, size, "fibre=%s", (const char *)range->of); return;
    default: snprintf(out, size, "mapping=%p", (void *)range->bytes);
    }
}

static void flip(const struct ranges *ranges, enum control_region region, struct prng *prng)
{
    uint64_t at = prng_below(prng, ranges->total);
    size_t i = 0;
    while (at >= ranges->at[i].len)
        at -= ranges->at[i++].len;
    const struct range *range = &ranges->at[i];
    uint32_t bit = (uint32_t)prng_below(prng, 8);
    uint8_t was = range->bytes[at];
    char what[160];
    describe(region, range, what, sizeof(what));
    log_info("event=flip region=%s %s offset=%llu bit=%u was=%#x", control_region_names[region], what,
             (unsigned long long)at, bit, was);
    range->bytes[at] = (uint8_t)(was ^ 1u << bit);
}

uint32_t flip_bits(const struct flip_world *world, enum control_region region, uint32_t count, uint64_t seed)
{
    static void (*const find[CONTROL_REGIONS])(const struct flip_world *world, struct ranges *out) = {
        [CONTROL_HEAP] = find_heap, [CONTROL_METADATA] = find_metadata, [CONTROL_PLOG] = find_plog,
        [CONTROL_DATA] = find_data, [CONTROL_STACK] = find_stacks, [CONTROL_DESCRIPTORS] = find_descriptors,
    };
    struct ranges ranges = {0};
    struct prng prng;
    prng_seed(&prng, seed);
    find[region](world, &ranges);
    if (ranges.total == 0)
        count = 0;
    for (uint32_t i = 0; i < count; i++)
        flip(&ranges, region, &prng);
    free(ranges.at);
    return count;
}
