// SPDX-License-Identifier: MIT
// page_test.c - the pool gives up only what is clean; a successor finds all that is not; the map finds by flag
// like a plain array would.
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
    struct page_map *map;
};

static struct rig t_rig(uint64_t pages)
{
    struct rig rig = {.arena = xblocks(page_arena_bytes(pages) / BLOCK_BYTES), .map = xmalloc(sizeof *rig.map)};
    rig.pool = page_pool_create(rig.arena, pages);
    page_map_init(rig.map, 12, 3);
    return rig;
}

static void t_end(struct rig *rig)
{
    for (struct page_busy busy; page_pool_next_busy(rig->pool, &busy);)
        page_pool_drop_busy(rig->pool);
    page_map_fini(rig->pool, rig->map);
    assert_int_equal(page_pool_free(rig->pool), page_pool_size(rig->pool));
    assert_int_equal(page_pool_dirty(rig->pool), 0);
    page_pool_destroy(rig->pool);
    free(rig->arena);
    free(rig->map);
}

static void only_clean_pages_are_given_up_oldest_first(void **state)
{
    (void)state;
    struct rig rig = t_rig(4);
    for (uint64_t i = 0; i < 4; i++)
        assert_non_null(page_add(rig.pool, rig.map, i));
    page_set_flags(rig.pool, page_find(rig.pool, rig.map, 0), PAGE_DIRTY, 0);
    assert_non_null(page_find(rig.pool, rig.map, 1));          // used: now 2 is the oldest
    assert_int_equal(page_pool_free(rig.pool), 3);
    assert_non_null(page_add(rig.pool, rig.map, 10));
    assert_null(page_find(rig.pool, rig.map, 2));
    assert_non_null(page_find(rig.pool, rig.map, 0));
    for (struct page *page = page_next(rig.map, 0, 0); page; page = page_next(rig.map, page->index + 1, 0))
        page_set_flags(rig.pool, page, PAGE_WRITEBACK, 0);
    assert_null(page_add(rig.pool, rig.map, 11));
    page_set_flags(rig.pool, page_find(rig.pool, rig.map, 3), 0, PAGE_WRITEBACK);
    assert_non_null(page_add(rig.pool, rig.map, 11));
    t_end(&rig);
}

static void a_pinned_page_is_neither_given_up_nor_reused(void **state)
{
    (void)state;
    struct rig rig = t_rig(1);
    struct page *page = page_add(rig.pool, rig.map, 5);
    page_pin(rig.pool, page);
    assert_null(page_add(rig.pool, rig.map, 6));
    page_drop(rig.pool, page);
    assert_null(page->map);
    assert_null(page_find(rig.pool, rig.map, 5));
    assert_null(page_add(rig.pool, rig.map, 6));
    page_unpin(rig.pool, page);
    assert_ptr_equal(page_add(rig.pool, rig.map, 6), page);
    t_end(&rig);
}

static uint32_t crc_of(const struct page_desc *desc)
{
    return crc32c(crc32c(~0u, desc, offsetof(struct page_desc, crc)), &desc->tid, sizeof desc->tid);
}

static void descriptors_in_the_arena_are_sealed_and_say_what_is_there(void **state)
{
    (void)state;
    struct rig rig = t_rig(3);
    const struct page_desc *descs = rig.arena;
    struct page *page = page_add(rig.pool, rig.map, 1ull << 40);
    page_touch(rig.pool, page, PAGE_DIRTY | PAGE_RESERVED, 0, 77);
    page_set_flags(rig.pool, page, PAGE_WRITEBACK, PAGE_DIRTY);
    uint32_t used = 0;
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(descs[i].crc, crc_of(&descs[i]));
        if (!descs[i].ino)
            continue;
        used++;
        assert_int_equal(descs[i].ino, 12);
        assert_int_equal(descs[i].generation, 3);
        assert_int_equal(descs[i].index, 1ull << 40);
        assert_int_equal(descs[i].flags, PAGE_WRITEBACK | PAGE_RESERVED);
        assert_int_equal(descs[i].tid, 77);
    }
    assert_int_equal(used, 1);
    t_end(&rig);
}

// --- settling ---------------------------------------------------------------------------------------

static void a_page_is_not_given_up_before_its_transaction_has_committed(void **state)
{
    (void)state;
    struct rig rig = t_rig(2);
    struct page *page = page_add(rig.pool, rig.map, 0);
    page_touch(rig.pool, page, PAGE_DIRTY, 0, 5);
    assert_int_equal(page_pool_settling(rig.pool), 0);
    page_set_flags(rig.pool, page, PAGE_WRITEBACK, PAGE_DIRTY);
    assert_int_equal(page_pool_writeback(rig.pool), 1);
    page_set_flags(rig.pool, page, 0, PAGE_WRITEBACK);
    assert_int_equal(page_pool_writeback(rig.pool), 0);
    assert_int_equal(page_pool_settling(rig.pool), 1);
    assert_int_equal(page_pool_free(rig.pool), 1);
    assert_true(page_is_busy(page));
    assert_non_null(page_add(rig.pool, rig.map, 1));
    assert_non_null(page_add(rig.pool, rig.map, 2));           // in place of 1
    assert_ptr_equal(page_find(rig.pool, rig.map, 0), page);
    page_pool_committed(rig.pool, 4);
    assert_int_equal(page_pool_free(rig.pool), 1);
    assert_null(page_pool_next_settled(rig.pool));
    page_pool_committed(rig.pool, 5);
    assert_int_equal(page_pool_settling(rig.pool), 0);
    assert_int_equal(page_pool_free(rig.pool), 2);
    assert_false(page_is_busy(page));
    assert_ptr_equal(page_pool_next_settled(rig.pool), rig.map);
    assert_null(page_pool_next_settled(rig.pool));
    page_touch(rig.pool, page, 0, 0, 5);                        // long durable
    assert_int_equal(page_pool_free(rig.pool), 2);
    t_end(&rig);
}

static void a_page_that_is_changed_again_waits_for_the_later_transaction(void **state)
{
    (void)state;
    struct rig rig = t_rig(3);
    struct page *pages[3];
    for (uint32_t i = 0; i < 3; i++) {
        pages[i] = page_add(rig.pool, rig.map, i);
        page_touch(rig.pool, pages[i], 0, 0, 5 + i);
    }
    page_touch(rig.pool, pages[0], 0, 0, 7);
    assert_int_equal(rig.map->settle_count, 3);
    page_pool_committed(rig.pool, 6);
    assert_int_equal(page_pool_settling(rig.pool), 2);
    assert_false(page_is_busy(pages[1]));
    page_drop(rig.pool, pages[2]);
    assert_int_equal(rig.map->settle_count, 1);
    page_pool_committed(rig.pool, 7);
    assert_int_equal(page_pool_settling(rig.pool), 0);
    assert_int_equal(rig.map->settle_count, 0);
    t_end(&rig);
}

static void when_nothing_runs_nothing_settles(void **state)
{
    (void)state;
    struct rig rig = t_rig(2);
    struct page *page = page_add(rig.pool, rig.map, 0);
    page_touch(rig.pool, page, 0, 0, 5);
    page_touch(rig.pool, page_add(rig.pool, rig.map, 1), PAGE_DIRTY, 0, 5);
    page_pool_all_committed(rig.pool);
    assert_int_equal(page_pool_settling(rig.pool), 0);
    assert_int_equal(page_pool_free(rig.pool), 1);
    assert_int_equal(rig.map->settle_count, 0);
    page_touch(rig.pool, page, 0, 0, 5);                        // 5 runs again
    assert_int_equal(page_pool_settling(rig.pool), 1);
    page_pool_committed(rig.pool, 5);
    assert_int_equal(page_pool_free(rig.pool), 1);
    t_end(&rig);
}

static void a_pinned_page_settles_like_any_other(void **state)
{
    (void)state;
    struct rig rig = t_rig(1);
    struct page *page = page_add(rig.pool, rig.map, 0);
    page_pin(rig.pool, page);
    page_touch(rig.pool, page, 0, 0, 5);
    page_unpin(rig.pool, page);
    assert_int_equal(page_pool_settling(rig.pool), 1);
    page_pin(rig.pool, page);
    assert_int_equal(page_pool_settling(rig.pool), 0);
    page_pool_committed(rig.pool, 5);
    page_unpin(rig.pool, page);
    assert_int_equal(page_pool_free(rig.pool), 1);
    t_end(&rig);
}

static void a_few_pages_are_kept_for_a_replay(void **state)
{
    (void)state;
    struct rig rig = t_rig(64);
    assert_int_equal(page_pool_room(rig.pool), 60);
    for (uint32_t i = 0; i < 62; i++)
        page_touch(rig.pool, page_add(rig.pool, rig.map, i), PAGE_DIRTY, 0, 1);
    assert_int_equal(page_pool_room(rig.pool), 0);
    assert_int_equal(page_pool_free(rig.pool), 2);
    t_end(&rig);
}

// --- successors -------------------------------------------------------------------------------------

// What a successor finds: a copy of the memory as it is now. The maps of the dead are not among it.
static struct rig t_crash(const struct rig *dead, uint64_t committed)
{
    uint64_t pages = page_pool_size(dead->pool);
    struct rig rig = {.arena = xblocks(page_arena_bytes(pages) / BLOCK_BYTES), .map = xmalloc(sizeof *rig.map)};
    memcpy(rig.arena, dead->arena, page_arena_bytes(pages));
    assert_int_equal(page_pool_adopt(rig.arena, pages, &rig.pool), 0);
    if (committed != UINT64_MAX)
        page_pool_committed(rig.pool, committed);
    page_map_init(rig.map, 12, 3);
    return rig;
}

static struct page *t_page(struct rig *rig, uint64_t index, uint32_t flags, uint64_t tid)
{
    struct page *page = page_add(rig->pool, rig->map, index);
    assert_non_null(page);
    memset(page->bytes, (int)(index + 1), BLOCK_BYTES);
    page_filled(rig->pool, page);
    page_touch(rig->pool, page, flags, 0, tid);
    return page;
}

// Claims all that the dead one had busy; they must be these.
// In place of what the replay made.
static struct page *t_claim_next(struct rig *rig, const struct page_busy *busy, uint64_t tid)
{
    struct page *replayed = page_find(rig->pool, rig->map, busy->index);
    if (replayed)
        page_drop(rig->pool, replayed);
    return page_pool_claim_busy(rig->pool, rig->map, 0, tid);
}

static void t_claim(struct rig *rig, const uint64_t *indexes, uint32_t count)
{
    struct page_busy busy;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(page_pool_next_busy(rig->pool, &busy));
        assert_int_equal(busy.ino, 12);
        assert_int_equal(busy.generation, 3);
        assert_int_equal(busy.index, indexes[i]);
        struct page *page = t_claim_next(rig, &busy, 0);
        assert_ptr_equal(page_find(rig->pool, rig->map, indexes[i]), page);
        assert_int_equal(page_flags(page) & ~(uint32_t)PAGE_REPLAYED, PAGE_DIRTY);
        assert_int_equal(page->bytes[BLOCK_BYTES - 1], (uint8_t)(indexes[i] + 1));
    }
    assert_false(page_pool_next_busy(rig->pool, &busy));
    assert_int_equal(page_pool_dirty(rig->pool), count);
}

static void t_adopt_all(struct rig *rig)
{
    while (page_pool_adopt_some(rig->pool))
        ;
}

static void a_successor_is_given_the_pages_that_are_not_durable(void **state)
{
    (void)state;
    struct rig rig = t_rig(200);
    t_page(&rig, 150, PAGE_DIRTY | PAGE_RESERVED, 3);
    t_page(&rig, 9, PAGE_WRITEBACK, 3);
    t_page(&rig, 70, 0, 7);
    t_page(&rig, 71, 0, 8);
    page_drop(rig.pool, t_page(&rig, 72, PAGE_DIRTY, 8));
    page_add(rig.pool, rig.map, 73);                           // not yet filled
    struct rig next = t_crash(&rig, 7);
    assert_int_equal(page_pool_free(next.pool), 197);
    t_claim(&next, (uint64_t[]){9, 71, 150}, 3);
    assert_false(page_pool_adopt_some(next.pool));
    assert_int_equal(page_pool_free(next.pool), 197);
    t_end(&next);
    t_end(&rig);
}

static void what_nobody_claims_is_dropped(void **state)
{
    (void)state;
    struct rig rig = t_rig(8);
    t_page(&rig, 1, PAGE_DIRTY, 3);
    t_page(&rig, 2, PAGE_DIRTY, 3);
    struct rig next = t_crash(&rig, 2);
    struct page_busy busy;
    assert_true(page_pool_next_busy(next.pool, &busy));
    page_pool_drop_busy(next.pool);
    t_claim(&next, (uint64_t[]){2}, 1);
    struct rig third = t_crash(&next, 2);
    t_claim(&third, (uint64_t[]){2}, 1);
    t_end(&third);
    t_end(&next);
    t_end(&rig);
}

static void clean_pages_become_the_inodes_own_when_it_is_loaded(void **state)
{
    (void)state;
    struct rig rig = t_rig(100);
    for (uint64_t i = 0; i < 50; i++)
        t_page(&rig, i, 0, 2);
    page_pool_committed(rig.pool, 2);
    struct rig next = t_crash(&rig, 2);
    assert_int_equal(page_pool_free(next.pool), 100);
    t_adopt_all(&next);
    assert_int_equal(page_pool_free(next.pool), 100);
    page_map_adopt(next.pool, next.map);
    assert_int_equal(next.map->page_count, 50);
    assert_int_equal(page_find(next.pool, next.map, 49)->bytes[7], 50);
    assert_int_equal(page_pool_free(next.pool), 100);
    t_end(&next);
    t_end(&rig);
}

static void clean_pages_of_another_generation_or_found_late_are_given_up(void **state)
{
    (void)state;
    struct rig rig = t_rig(100);
    for (uint64_t i = 0; i < 50; i++)
        t_page(&rig, i, 0, 2);
    page_pool_committed(rig.pool, 2);
    struct rig next = t_crash(&rig, 2), other = t_crash(&rig, 2);
    t_adopt_all(&next);
    page_map_init(next.map, 12, 4);
    page_map_adopt(next.pool, next.map);
    assert_int_equal(next.map->page_count, 0);

    page_map_adopt(other.pool, other.map);                     // before anything was looked at
    t_adopt_all(&other);
    page_map_fini(other.pool, other.map);
    page_map_adopt(other.pool, other.map);
    assert_int_equal(other.map->page_count, 0);
    t_end(&other);
    t_end(&next);
    t_end(&rig);
}

static void kept_pages_are_given_up_when_pages_are_wanted(void **state)
{
    (void)state;
    struct rig rig = t_rig(300);
    for (uint64_t i = 0; i < 300; i++)
        t_page(&rig, i, 0, 2);
    page_pool_committed(rig.pool, 2);
    struct rig next = t_crash(&rig, 2);
    for (uint64_t i = 1000; i < 1300; i++)
        t_page(&next, i, PAGE_DIRTY, 3);
    assert_null(page_add(next.pool, next.map, 2000));
    page_map_adopt(next.pool, next.map);
    assert_int_equal(next.map->page_count, 300);
    t_end(&next);
    t_end(&rig);
}

// The first successor has loaded the inode, changed its blocks, and dies before it has looked at all descriptors.
static void what_a_first_successor_has_not_looked_at_a_second_does_not_trust(void **state)
{
    (void)state;
    struct rig rig = t_rig(100);
    for (uint64_t i = 0; i < 50; i++)
        t_page(&rig, i, 0, 2);
    page_pool_committed(rig.pool, 2);
    struct rig second = t_crash(&rig, 2);
    page_map_adopt(second.pool, second.map);
    struct rig third = t_crash(&second, 9);
    t_adopt_all(&third);
    page_map_adopt(third.pool, third.map);
    assert_int_equal(third.map->page_count, 0);

    t_adopt_all(&second);
    t_page(&second, 3, 0, 4);
    struct rig fourth = t_crash(&second, 9);
    t_adopt_all(&fourth);
    page_map_adopt(fourth.pool, fourth.map);
    assert_int_equal(fourth.map->page_count, 1);
    t_end(&fourth);
    t_end(&third);
    t_end(&second);
    t_end(&rig);
}

// Transactions of a successor have the numbers of the dead one's.
static void a_second_successor_finds_the_same_busy_pages_and_none_of_the_replay(void **state)
{
    (void)state;
    struct rig rig = t_rig(64);
    t_page(&rig, 5, 0, 9);
    t_page(&rig, 6, PAGE_DIRTY, 9);
    struct rig second = t_crash(&rig, 8);
    memset(t_page(&second, 5, PAGE_DIRTY, 9)->bytes, 0, BLOCK_BYTES);
    t_page(&second, 40, PAGE_DIRTY, 10);
    t_page(&second, 41, 0, 11);
    page_pool_committed(second.pool, 10);
    struct rig third = t_crash(&second, 10);
    t_page(&third, 6, PAGE_DIRTY, 11);
    t_claim(&third, (uint64_t[]){5, 6}, 2);

    // Recovered: what comes now is worth as much as before.
    t_page(&third, 50, PAGE_DIRTY, 11);
    struct rig fourth = t_crash(&third, 10);
    t_claim(&fourth, (uint64_t[]){5, 6, 50}, 3);
    t_end(&fourth);
    t_end(&third);
    t_end(&second);
    t_end(&rig);
}

static void a_successor_that_dies_while_it_gives_pages_back_loses_none(void **state)
{
    (void)state;
    struct rig rig = t_rig(64);
    for (uint64_t i = 0; i < 8; i++)
        t_page(&rig, i, PAGE_DIRTY, 9);
    struct rig second = t_crash(&rig, 8);
    struct page_busy busy;
    t_page(&second, 2, PAGE_DIRTY, 9);
    for (uint64_t i = 0; i < 4; i++) {
        assert_true(page_pool_next_busy(second.pool, &busy));
        t_claim_next(&second, &busy, 9);
    }
    struct rig third = t_crash(&second, 9);
    t_claim(&third, (uint64_t[]){0, 1, 2, 3, 4, 5, 6, 7}, 8);
    t_end(&third);
    t_end(&second);
    t_end(&rig);
}

// --- damage -----------------------------------------------------------------------------------------

static void one_flipped_bit_loses_no_busy_page(void **state)
{
    (void)state;
    struct rig rig = t_rig(130);
    t_page(&rig, 500, PAGE_DIRTY, 3);
    t_page(&rig, 600, 0, 4);            // the newest is in the slot, too
    uint8_t *arena = rig.arena;
    size_t desc_at = (size_t)((uint8_t *)page_find(rig.pool, rig.map, 500)->desc - arena);
    size_t head_at = page_arena_descs(130) * BLOCK_BYTES, bits_at = head_at + BLOCK_BYTES;
    for (uint32_t bit = 0; bit < 8 * (PAGE_DESC_BYTES + 128 + 17 + 17); bit++) {
        uint32_t byte = bit / 8;
        size_t at = byte < 32 ? desc_at + byte : byte < 160 ? head_at + byte - 32 :
                    byte < 177 ? bits_at + byte - 160 : bits_at + BLOCK_BYTES + byte - 177;
        arena[at] ^= (uint8_t)(1u << (bit & 7));
        struct rig next = t_crash(&rig, 3);
        t_claim(&next, (uint64_t[]){500, 600}, 2);
        assert_int_equal(page_pool_mended(next.pool), byte < 32);
        t_adopt_all(&next);
        t_end(&next);
        arena[at] ^= (uint8_t)(1u << (bit & 7));
    }
    t_end(&rig);
}

static void more_damage_to_a_busy_page_is_refused_and_to_a_clean_one_costs_the_page(void **state)
{
    (void)state;
    struct rig rig = t_rig(20);
    struct page *busy = t_page(&rig, 1, PAGE_DIRTY, 3), *clean = t_page(&rig, 2, 0, 3);
    t_page(&rig, 4, 0, 3);
    page_pool_committed(rig.pool, 3);
    clean->desc->index ^= 5;
    struct rig next = t_crash(&rig, 3);
    t_adopt_all(&next);
    page_map_adopt(next.pool, next.map);
    assert_int_equal(next.map->page_count, 1);
    t_claim(&next, (uint64_t[]){1}, 1);
    t_end(&next);

    // What was written last is in the slot, too.
    page_set_flags(rig.pool, clean, PAGE_DIRTY, 0);
    busy->desc->index ^= 6;
    AUTO_FREE void *copy = xblocks(page_arena_bytes(20) / BLOCK_BYTES);
    memcpy(copy, rig.arena, page_arena_bytes(20));
    struct page_pool *pool;
    assert_int_equal(page_pool_adopt(copy, 20, &pool), -EFSCORRUPTED);
    t_end(&rig);
}

// A descriptor is 32 bytes, and its owner may die after any of them.
static void a_half_written_descriptor_is_the_new_one_or_the_old(void **state)
{
    (void)state;
    struct rig rig = t_rig(20);
    struct page *page = t_page(&rig, 1, PAGE_DIRTY, 3);
    struct page_desc before = *page->desc;
    page_touch(rig.pool, page, PAGE_WRITEBACK, PAGE_DIRTY, 4);
    struct page_desc after = *page->desc;
    for (uint32_t bytes = 0; bytes <= PAGE_DESC_BYTES; bytes++) {
        memcpy(page->desc, &before, sizeof before);
        memcpy(page->desc, &after, bytes);
        struct rig next = t_crash(&rig, 2);
        t_claim(&next, (uint64_t[]){1}, 1);
        assert_int_equal(page_pool_mended(next.pool), 0);
        t_end(&next);
    }
    // The slot itself is torn: its descriptor was not begun.
    uint8_t *head = (uint8_t *)rig.arena + page_arena_descs(20) * BLOCK_BYTES;
    for (uint32_t byte = 24; byte < 80; byte++) {
        memcpy(page->desc, &before, sizeof before);
        head[byte] ^= 0x3c;
        struct rig next = t_crash(&rig, 2);
        t_claim(&next, (uint64_t[]){1}, 1);
        t_end(&next);
        head[byte] ^= 0x3c;
    }
    memcpy(page->desc, &after, sizeof after);
    t_end(&rig);
}

static void a_pool_made_over_a_predecessors_arena_knows_nothing_of_it(void **state)
{
    (void)state;
    struct rig rig = t_rig(20);
    t_page(&rig, 1, PAGE_DIRTY, 3);
    t_page(&rig, 2, 0, 3);
    AUTO_FREE void *copy = xblocks(page_arena_bytes(20) / BLOCK_BYTES);
    memcpy(copy, rig.arena, page_arena_bytes(20));
    struct rig empty = {.arena = copy, .pool = page_pool_create(copy, 20)};
    struct rig next = t_crash(&empty, 1);
    t_claim(&next, NULL, 0);
    t_adopt_all(&next);
    page_map_adopt(next.pool, next.map);
    assert_int_equal(next.map->page_count, 0);
    t_end(&next);
    page_pool_destroy(empty.pool);
    t_end(&rig);
}

// --- the map ----------------------------------------------------------------------------------------

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
    return found ? page_find(rig->pool, rig->map, best) : NULL;
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
        struct page *page = page_find(rig.pool, rig.map, index_of(i));
        assert_int_equal(page != NULL, model[i] != ABSENT);
        if (!page) {
            page = page_add(rig.pool, rig.map, index_of(i));
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
        assert_ptr_equal(page_next(rig.map, from, flags), expected_next(&rig, model, from, flags));
    }
    uint64_t dirty = 0, pages = 0;
    for (uint32_t i = 0; i < SPREAD; i++) {
        pages += model[i] != ABSENT;
        dirty += model[i] != ABSENT && (model[i] & PAGE_DIRTY);
    }
    assert_int_equal(rig.map->page_count, pages);
    assert_int_equal(rig.map->dirty_count, dirty);
    assert_int_equal(page_pool_dirty(rig.pool), dirty);
    page_map_fini(rig.pool, rig.map);
    assert_null(rig.map->root);
    t_end(&rig);
}

// Any history, any committed transaction: the busy pages come back, and only those.
static void a_random_history_is_taken_over_exactly(void **state)
{
    (void)state;
    struct prng prng;
    prng_seed(&prng, 5);
    for (uint32_t round = 0; round < 60; round++) {
        struct rig rig = t_rig(96);
        uint64_t tid = 1, tids[128] = {0}, busy[128], committed = 0;
        for (uint32_t step = 0; step < 400; step++) {
            uint64_t index = prng_next(&prng) % 128;
            struct page *page = page_find(rig.pool, rig.map, index);
            uint32_t what = (uint32_t)(prng_next(&prng) % 16);
            if (what == 0) {
                committed = tid++ - prng_next(&prng) % 2;
                page_pool_committed(rig.pool, committed);
            } else if (!page && page_pool_free(rig.pool) > 0) {
                t_page(&rig, index, PAGE_DIRTY, tid);
                tids[index] = tid;
            } else if (page && what < 4) {
                page_drop(rig.pool, page);
            } else if (page) {
                page_touch(rig.pool, page, prng_next(&prng) % 8, prng_next(&prng) % 8, what < 8 ? tid : 0);
                tids[index] = what < 8 ? tid : tids[index];
            }
        }
        uint32_t count = 0;
        for (struct page *page = page_next(rig.map, 0, 0); page; page = page_next(rig.map, page->index + 1, 0))
            if (page_flags(page) || tids[page->index] > committed)
                busy[count++] = page->index;
        assert_int_equal(page_pool_free(rig.pool), 96 - count);
        struct rig next = t_crash(&rig, committed);
        assert_int_equal(page_pool_free(next.pool), 96 - count);
        uint64_t steps = prng_next(&prng) % 2;
        if (steps)
            t_adopt_all(&next);
        page_map_adopt(next.pool, next.map);
        t_claim(&next, busy, count);
        t_adopt_all(&next);
        assert_int_equal(next.map->page_count, steps ? rig.map->page_count : count);
        t_end(&next);
        t_end(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_clean_pages_are_given_up_oldest_first),
        cmocka_unit_test(a_pinned_page_is_neither_given_up_nor_reused),
        cmocka_unit_test(descriptors_in_the_arena_are_sealed_and_say_what_is_there),
        cmocka_unit_test(a_page_is_not_given_up_before_its_transaction_has_committed),
        cmocka_unit_test(a_page_that_is_changed_again_waits_for_the_later_transaction),
        cmocka_unit_test(when_nothing_runs_nothing_settles),
        cmocka_unit_test(a_pinned_page_settles_like_any_other),
        cmocka_unit_test(a_few_pages_are_kept_for_a_replay),
        cmocka_unit_test(a_successor_is_given_the_pages_that_are_not_durable),
        cmocka_unit_test(what_nobody_claims_is_dropped),
        cmocka_unit_test(clean_pages_become_the_inodes_own_when_it_is_loaded),
        cmocka_unit_test(clean_pages_of_another_generation_or_found_late_are_given_up),
        cmocka_unit_test(kept_pages_are_given_up_when_pages_are_wanted),
        cmocka_unit_test(what_a_first_successor_has_not_looked_at_a_second_does_not_trust),
        cmocka_unit_test(a_second_successor_finds_the_same_busy_pages_and_none_of_the_replay),
        cmocka_unit_test(a_successor_that_dies_while_it_gives_pages_back_loses_none),
        cmocka_unit_test(one_flipped_bit_loses_no_busy_page),
        cmocka_unit_test(more_damage_to_a_busy_page_is_refused_and_to_a_clean_one_costs_the_page),
        cmocka_unit_test(a_half_written_descriptor_is_the_new_one_or_the_old),
        cmocka_unit_test(a_pool_made_over_a_predecessors_arena_knows_nothing_of_it),
        cmocka_unit_test(the_map_agrees_with_an_array),
        cmocka_unit_test(a_random_history_is_taken_over_exactly),
    };
    return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
