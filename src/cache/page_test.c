// SPDX-License-Identifier: MIT
// page_test.c - the pool gives up only what is clean; the map finds by flag like a plain array would.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "cache/page.h"
#include "rt/prng.h"

struct rig {
    void *arena;
    struct page_pool *pool;
    struct page_map map;
};

static struct rig t_rig(uint64_t pages)
{
    struct rig rig = {.arena = xblocks(page_arena_bytes(pages) / BLOCK_BYTES)};
    rig.pool = page_pool_create(rig.arena, pages);
    page_map_init(&rig.map, 12, 3);
    return rig;
}

static void t_end(struct rig *rig)
{
    page_map_fini(rig->pool, &rig->map);
    assert_int_equal(page_pool_free(rig->pool), page_pool_size(rig->pool));
    assert_int_equal(page_pool_dirty(rig->pool), 0);
    page_pool_destroy(rig->pool);
    free(rig->arena);
}

static void only_clean_pages_are_given_up_oldest_first(void **state)
{
    (void)state;
    struct rig rig = t_rig(4);
    for (uint64_t i = 0; i < 4; i++)
        assert_non_null(page_add(rig.pool, &rig.map, i));
    page_set_flags(rig.pool, page_find(rig.pool, &rig.map, 0), PAGE_DIRTY, 0);
    assert_non_null(page_find(rig.pool, &rig.map, 1));          // used: now 2 is the oldest
    assert_int_equal(page_pool_free(rig.pool), 3);
    assert_non_null(page_add(rig.pool, &rig.map, 10));
    assert_null(page_find(rig.pool, &rig.map, 2));
    assert_non_null(page_find(rig.pool, &rig.map, 0));
    for (struct page *page = page_next(&rig.map, 0, 0); page; page = page_next(&rig.map, page->index + 1, 0))
        page_set_flags(rig.pool, page, PAGE_WRITEBACK, 0);
    assert_null(page_add(rig.pool, &rig.map, 11));
    page_set_flags(rig.pool, page_find(rig.pool, &rig.map, 3), 0, PAGE_WRITEBACK);
    assert_non_null(page_add(rig.pool, &rig.map, 11));
    t_end(&rig);
}

static void a_pinned_page_is_neither_given_up_nor_reused(void **state)
{
    (void)state;
    struct rig rig = t_rig(1);
    struct page *page = page_add(rig.pool, &rig.map, 5);
    page_pin(rig.pool, page);
    assert_null(page_add(rig.pool, &rig.map, 6));
    page_drop(rig.pool, page);
    assert_null(page->map);
    assert_null(page_find(rig.pool, &rig.map, 5));
    assert_null(page_add(rig.pool, &rig.map, 6));
    page_unpin(rig.pool, page);
    assert_ptr_equal(page_add(rig.pool, &rig.map, 6), page);
    t_end(&rig);
}

static void descriptors_in_the_arena_are_sealed_and_say_what_is_there(void **state)
{
    (void)state;
    struct rig rig = t_rig(3);
    const struct page_desc *descs = rig.arena;
    struct page *page = page_add(rig.pool, &rig.map, 1ull << 40);
    page_set_flags(rig.pool, page, PAGE_DIRTY | PAGE_RESERVED, 0);
    page_set_flags(rig.pool, page, PAGE_WRITEBACK, PAGE_DIRTY);
    uint32_t used = 0;
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(descs[i].crc, crc32c(~0u, &descs[i], offsetof(struct page_desc, crc)));
        if (!descs[i].ino)
            continue;
        used++;
        assert_int_equal(descs[i].ino, 12);
        assert_int_equal(descs[i].generation, 3);
        assert_int_equal(descs[i].index, 1ull << 40);
        assert_int_equal(descs[i].flags, PAGE_WRITEBACK | PAGE_RESERVED);
    }
    assert_int_equal(used, 1);
    t_end(&rig);
}

// The model: 512 indexes spread over the 64 bits, the flags of each, or none there.
#define SPREAD 512u
#define ABSENT UINT32_MAX

static uint64_t index_of(uint32_t i)
{
    static const uint64_t bases[] = {0, 63, 4096 - 8, 1ull << 24, (1ull << 36) - 3, 1ull << 60, UINT64_MAX - 63};
    return bases[i / 74] + i % 74 % 64;
}

static const struct page *expected_next(struct rig *rig, const uint32_t *model, uint64_t from, uint32_t flags)
{
    uint64_t best = UINT64_MAX;
    bool found = false;
    for (uint32_t i = 0; i < SPREAD; i++) {
        bool fits = model[i] != ABSENT && index_of(i) >= from && (!flags || (model[i] & flags));
        if (fits && (!found || index_of(i) < best)) {
            best = index_of(i);
            found = true;
        }
    }
    return found ? page_find(rig->pool, &rig->map, best) : NULL;
}

static void the_map_agrees_with_an_array(void **state)
{
    (void)state;
    struct rig rig = t_rig(SPREAD);
    struct prng prng;
    uint32_t model[SPREAD];
    memset(model, 0xff, sizeof(model));
    prng_seed(&prng, 1);
    for (uint32_t step = 0; step < 20000; step++) {
        uint32_t i = (uint32_t)(prng_next(&prng) % SPREAD), flags = (uint32_t)(prng_next(&prng) % 8);
        for (uint32_t j = 0; j < i; j++)        // one name for indexes that two bases share
            if (index_of(j) == index_of(i))
                i = j;
        struct page *page = page_find(rig.pool, &rig.map, index_of(i));
        assert_int_equal(page != NULL, model[i] != ABSENT);
        if (!page) {
            page = page_add(rig.pool, &rig.map, index_of(i));
            model[i] = 0;
        } else if (prng_next(&prng) % 3 == 0) {
            page_drop(rig.pool, page);
            model[i] = ABSENT;
        } else {
            page_set_flags(rig.pool, page, flags, ~flags & 7);
            model[i] = flags;
        }
        uint64_t from = index_of((uint32_t)(prng_next(&prng) % SPREAD)) + prng_next(&prng) % 3 - 1;
        flags = (uint32_t)(prng_next(&prng) % 8);
        assert_ptr_equal(page_next(&rig.map, from, flags), expected_next(&rig, model, from, flags));
    }
    uint64_t dirty = 0, pages = 0;
    for (uint32_t i = 0; i < SPREAD; i++) {
        pages += model[i] != ABSENT;
        dirty += model[i] != ABSENT && (model[i] & PAGE_DIRTY);
    }
    assert_int_equal(rig.map.page_count, pages);
    assert_int_equal(rig.map.dirty_count, dirty);
    assert_int_equal(page_pool_dirty(rig.pool), dirty);
    t_end(&rig);
    assert_null(rig.map.root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_clean_pages_are_given_up_oldest_first),
        cmocka_unit_test(a_pinned_page_is_neither_given_up_nor_reused),
        cmocka_unit_test(descriptors_in_the_arena_are_sealed_and_say_what_is_there),
        cmocka_unit_test(the_map_agrees_with_an_array),
    };
    return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
