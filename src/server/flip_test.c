// SPDX-License-Identifier: MIT
// flip_test.c - bits are flipped where they were asked for, as many as asked for, and the same by the same seed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/buf.h"
#include "cache/page.h"
#include "dev/sim.h"
#include "plog/plog.h"
#include "rt/rt_sim.h"
#include "server/flip.h"
#include "server/sanitized.h"

#define PAGES 8u
#define SLOTS (PLOG_SLOTS_MIN + 1)

static uint32_t bits_that_differ(const void *a, const void *b, size_t len)
{
    uint32_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += (uint32_t)__builtin_popcount(((const uint8_t *)a)[i] ^ ((const uint8_t *)b)[i]);
    return count;
}

// --- pages ------------------------------------------------------------------------------------------------

struct pages {
    uint8_t *arena, *before;
    size_t bytes;
    struct page_pool *pool;
    struct page_map map;
    struct page *page[3];
};

// Pages 0 and 2 are clean, 1 is dirty, the others are free.
static void t_pages(struct pages *p)
{
    *p = (struct pages){.bytes = page_arena_bytes(PAGES)};
    p->arena = xblocks(p->bytes / BLOCK_BYTES);
    p->before = xblocks(p->bytes / BLOCK_BYTES);
    p->pool = page_pool_create(p->arena, PAGES);
    page_map_init(&p->map, 12, 3);
    for (uint64_t i = 0; i < 3; i++) {
        p->page[i] = page_add(p->pool, &p->map, i);
        assert_non_null(p->page[i]);
    }
    page_set_flags(p->pool, p->page[1], PAGE_DIRTY, 0);
    memcpy(p->before, p->arena, p->bytes);
}

static void t_end_pages(struct pages *p)
{
    memcpy(p->arena, p->before, p->bytes);      // what was flipped must not trip the pool
    page_map_fini(p->pool, &p->map);
    page_pool_destroy(p->pool);
    free(p->arena);
    free(p->before);
}

static void data_is_flipped_in_pages_that_are_in_use(void **state)
{
    (void)state;
    struct pages p;
    t_pages(&p);
    assert_int_equal(flip_bits(&(struct flip_world){.maps_fd = -1, .pages = p.pool}, CONTROL_DATA, 1, 7), 1);
    uint32_t found = 0;
    for (uint64_t i = 0; i < 3; i++) {
        const uint8_t *bytes = p.page[i]->bytes;
        found += bits_that_differ(bytes, p.before + (bytes - p.arena), BLOCK_BYTES);
    }
    assert_int_equal(found, 1);
    assert_int_equal(bits_that_differ(p.arena, p.before, p.bytes), 1);
    t_end_pages(&p);
}

static void descriptors_of_busy_pages_are_flipped_first(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct pages p;
        t_pages(&p);
        const struct page_desc *desc = p.page[1]->desc;
        assert_int_equal(flip_bits(&(struct flip_world){.maps_fd = -1, .pages = p.pool}, CONTROL_DESCRIPTORS, 1, seed), 1);
        assert_int_equal(bits_that_differ(desc, p.before + ((const uint8_t *)desc - p.arena), sizeof(*desc)), 1);
        t_end_pages(&p);
    }
}

static void the_same_seed_flips_the_same_bits(void **state)
{
    (void)state;
    struct pages p;
    t_pages(&p);
    const struct flip_world world = {.maps_fd = -1, .pages = p.pool};
    assert_int_equal(flip_bits(&world, CONTROL_DATA, 9, 1), 9);
    assert_int_not_equal(bits_that_differ(p.arena, p.before, p.bytes), 0);
    assert_int_equal(flip_bits(&world, CONTROL_DATA, 9, 1), 9);
    assert_int_equal(bits_that_differ(p.arena, p.before, p.bytes), 0);
    assert_int_equal(flip_bits(&world, CONTROL_DATA, 9, 2), 9);
    assert_int_equal(flip_bits(&world, CONTROL_DATA, 9, 3), 9);
    assert_int_not_equal(bits_that_differ(p.arena, p.before, p.bytes), 0);
    t_end_pages(&p);
}

// --- the log ------------------------------------------------------------------------------------------------

static void of_the_plog_its_head_and_what_is_in_use_is_flipped(void **state)
{
    (void)state;
    size_t bytes = plog_bytes(SLOTS);
    AUTO_FREE uint8_t *memory = aligned_alloc(64, ROUND_UP(bytes, (size_t)64)), *before = xmalloc(bytes);
    uint64_t sequence = 0;
    struct plog log;
    struct plog_room room = {0};
    plog_init(&log, memory, bytes, &sequence);
    for (int i = 0; i < 40; i++) {
        assert_true(plog_reserve(&log, &room, 1));
        plog_append(&log, &room, &(struct plog_entry){.op = PLOG_ATIME, .tid = 1}, NULL, NULL);
    }
    memcpy(before, memory, bytes);
    struct flip_world world = {.maps_fd = -1, .plog = &log};
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_int_equal(flip_bits(&world, CONTROL_PLOG, 1, seed), 1);
        size_t ring = (size_t)((uint8_t *)log.slots - memory);
        assert_int_equal(bits_that_differ(memory, before, sizeof(struct plog_head)) +
                         bits_that_differ(memory + ring, before + ring, 40 * sizeof(struct plog_entry)), 1);
        memcpy(memory, before, bytes);
    }
}

// --- metadata, stacks, heap ---------------------------------------------------------------------------------

static void metadata_is_flipped_in_buffers(void **state)
{
    (void)state;
    struct rt *rt = rt_sim_create(1);
    struct sim_disk *disk = sim_disk_create(16);
    struct dev *dev = dev_sim_create(rt, disk, NULL);
    struct shepherd *shep = shep_create(rt, dev);
    struct buf_cache *cache = buf_cache_create(rt, shep, 16 * BLOCK_BYTES);
    static uint8_t before[BLOCK_BYTES];
    const struct flip_world world = {.maps_fd = -1, .bufs = cache};
    assert_int_equal(flip_bits(&world, CONTROL_METADATA, 1, 5), 0);
    struct buf *buf = buf_get_new(cache, &(struct shep_ref){.type = BLOCK_DIR}, 3);
    struct buf *data = buf_get_new(cache, &(struct shep_ref){.type = BLOCK_DATA}, 4);
    memcpy(before, buf->bytes, BLOCK_BYTES);
    assert_int_equal(flip_bits(&world, CONTROL_METADATA, 1, 5), 1);
    assert_int_equal(bits_that_differ(buf->bytes, before, BLOCK_BYTES), 1);
    memcpy(buf->bytes, before, BLOCK_BYTES);
    buf_put(cache, data);
    buf_put(cache, buf);
    buf_cache_destroy(cache);
    shep_destroy(shep);
    dev_destroy(dev);
    sim_disk_destroy(disk);
    rt_destroy(rt);
}

struct sleeper {
    struct rt *rt;
    volatile uint8_t *room;
    size_t len;
    bool woken;
};

static void sleep_on_stack(void *arg)
{
    struct sleeper *sleeper = arg;
    uint8_t room[40000];
    memset(room, 0, sizeof(room));
    sleeper->room = room;
    sleeper->len = sizeof(room);
    rt_sleep_until(sleeper->rt, rt_now_ns(sleeper->rt) + 1000);
    sleeper->woken = true;
}

// Nearly all of the stacks that are in use is the fibre's array, so that this seed's bit is in it.
static void strike_sleeper(void *arg)
{
    struct sleeper *sleeper = arg;
    struct flip_world world = {.maps_fd = -1, .rt = sleeper->rt};
    uint32_t flipped = 0;
    assert_int_equal(flip_bits(&world, CONTROL_STACK, 1, 3), 1);
    for (size_t i = 0; i < sleeper->len; i++)
        flipped += (uint32_t)__builtin_popcount(sleeper->room[i]);
    assert_int_equal(flipped, 1);
}

static void stacks_of_fibres_that_wait_are_flipped(void **state)
{
    (void)state;
    struct sleeper sleeper = {.rt = rt_sim_create(1)};
    rt_call(sleeper.rt, "sleeper", sleep_on_stack, &sleeper);
    rt_call(sleeper.rt, "striker", strike_sleeper, &sleeper);
    assert_int_equal(rt_run(sleeper.rt), 0);
    assert_true(sleeper.woken);
    rt_destroy(sleeper.rt);
}

// One large block is nearly all of the heap, so that this seed's bit is in it.
static void the_heap_is_flipped_in_this_process(void **state)
{
    (void)state;
    size_t len = 64u << 20;
    AUTO_FREE uint8_t *block = xmalloc(len);
    memset(block, 0, len);
    AUTO_FD int maps_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    assert_true(maps_fd >= 0);
    uint32_t struck = 0;
    assert_int_equal(flip_bits(&(struct flip_world){.maps_fd = maps_fd}, CONTROL_HEAP, 1, 11), 1);
    for (size_t i = 0; i < len; i++)
        struck += (uint32_t)__builtin_popcount(block[i]);
    assert_int_equal(struck, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_is_flipped_in_pages_that_are_in_use),
        cmocka_unit_test(descriptors_of_busy_pages_are_flipped_first),
        cmocka_unit_test(the_same_seed_flips_the_same_bits),
        cmocka_unit_test(of_the_plog_its_head_and_what_is_in_use_is_flipped),
        cmocka_unit_test(metadata_is_flipped_in_buffers),
    };
    // A sanitizer's own memory is anonymous, too, and its red zones lie in the stacks.
    const struct CMUnitTest plain[] = {
        cmocka_unit_test(stacks_of_fibres_that_wait_are_flipped),
        cmocka_unit_test(the_heap_is_flipped_in_this_process),
    };
    log_set_level(LOG_ERROR_LEVEL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + (SANITIZED ? 0 : cmocka_run_group_tests(plain, NULL, NULL));
}
