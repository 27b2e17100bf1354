// SPDX-License-Identifier: MIT
// page.c - the pool: which pages are free, which may be given up, what their descriptors say.
//
//     free ──page_add──▶ mapped, clean ──(flags, pins)──▶ busy ──▶ clean ... ──page_drop──▶ free
//                            └── given up to another page_add, oldest first ──▲
//
// Invariants: a page is in `free_pages` exactly when it has neither a map nor pins; in `clean`
// exactly when it has a map, no flag and no pin. A descriptor's crc is right whenever no page_*
// function is running, so a successor can trust every sealed one.
#include "cache/page.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "cache/page_map.h"

struct page_pool {
    struct page *pages;
    uint64_t size;
    struct list free_pages;
    struct list clean;              // least recently used first
    uint64_t free_count, clean_count, dirty_count;
};

static_assert(sizeof(struct page_desc) == 32, "descriptors outlive the server: their layout is fixed");

static uint64_t descriptor_blocks(uint64_t page_count)
{
    return DIV_ROUND_UP(page_count * sizeof(struct page_desc), BLOCK_BYTES);
}

size_t page_arena_bytes(uint64_t page_count)
{
    return (descriptor_blocks(page_count) + page_count) * BLOCK_BYTES;
}

static void seal(struct page_desc *desc)
{
    desc->crc = crc32c(~0u, desc, offsetof(struct page_desc, crc));
}

static void desc_clear(struct page_desc *desc)
{
    *desc = (struct page_desc){0};
    seal(desc);
}

struct page_pool *page_pool_create(void *arena, uint64_t page_count)
{
    CHECK((uintptr_t)arena % BLOCK_BYTES == 0);
    struct page_pool *pool = xcalloc(1, sizeof(*pool));
    struct page_desc *descs = arena;
    uint8_t *bytes = (uint8_t *)arena + descriptor_blocks(page_count) * BLOCK_BYTES;
    pool->pages = xcalloc(page_count ? page_count : 1, sizeof(*pool->pages));
    pool->size = pool->free_count = page_count;
    list_init(&pool->free_pages);
    list_init(&pool->clean);
    for (uint64_t i = 0; i < page_count; i++) {
        struct page *page = &pool->pages[i];
        page->desc = &descs[i];
        page->bytes = bytes + i * BLOCK_BYTES;
        desc_clear(page->desc);
        list_init(&page->lru);
        list_push_back(&pool->free_pages, &page->lru);
    }
    return pool;
}

void page_pool_destroy(struct page_pool *pool)
{
    free(pool->pages);
    free(pool);
}

uint64_t page_pool_free(const struct page_pool *pool)
{
    return pool->free_count + pool->clean_count;
}

uint64_t page_pool_dirty(const struct page_pool *pool)
{
    return pool->dirty_count;
}

uint64_t page_pool_size(const struct page_pool *pool)
{
    return pool->size;
}

void page_map_init(struct page_map *map, uint32_t ino, uint32_t generation)
{
    *map = (struct page_map){.ino = ino, .generation = generation};
}

void page_map_fini(struct page_pool *pool, struct page_map *map)
{
    struct page *page;
    while ((page = page_next(map, 0, 0)))
        page_drop(pool, page);
}

// Out of whichever list it is in.
static void unlist(struct page_pool *pool, struct page *page)
{
    if (!list_linked(&page->lru))
        return;
    list_remove(&page->lru);
    if (page->map)
        pool->clean_count--;
    else
        pool->free_count--;
}

// Into the list that its state asks for; at the recently used end.
static void enlist(struct page_pool *pool, struct page *page)
{
    if (page->pins || page->desc->flags)
        return;
    if (page->map) {
        list_push_back(&pool->clean, &page->lru);
        pool->clean_count++;
    } else {
        list_push_front(&pool->free_pages, &page->lru);     // still warm in the processor's caches
        pool->free_count++;
    }
}

struct page *page_find(struct page_pool *pool, struct page_map *map, uint64_t index)
{
    struct page *page = page_tree_find(map, index);
    if (page && list_linked(&page->lru)) {
        list_remove(&page->lru);
        list_push_back(&pool->clean, &page->lru);
    }
    return page;
}

static struct page *take_page(struct page_pool *pool)
{
    if (!pool->free_count) {
        if (!pool->clean_count)
            return NULL;
        page_drop(pool, LIST_ENTRY(pool->clean.next, struct page, lru));
    }
    struct page *page = LIST_ENTRY(pool->free_pages.next, struct page, lru);
    unlist(pool, page);
    return page;
}

struct page *page_add(struct page_pool *pool, struct page_map *map, uint64_t index)
{
    struct page *page = take_page(pool);
    if (!page)
        return NULL;
    page_tree_insert(map, index, page);
    map->page_count++;
    page->map = map;
    page->index = index;
    *page->desc = (struct page_desc){.ino = map->ino, .generation = map->generation, .index = index};
    seal(page->desc);
    enlist(pool, page);
    return page;
}

struct page *page_next(struct page_map *map, uint64_t index, uint32_t flags)
{
    return page_tree_next(map, index, flags);
}

void page_set_flags(struct page_pool *pool, struct page *page, uint32_t set, uint32_t clear)
{
    CHECK(page->map != NULL);
    uint32_t before = page->desc->flags;
    uint32_t after = (before & ~clear) | set;
    if (after == before)
        return;
    unlist(pool, page);
    page->desc->flags = after;
    seal(page->desc);
    page_tree_mark(page->map, page->index, after);
    if ((before ^ after) & PAGE_DIRTY) {
        uint64_t change = after & PAGE_DIRTY ? 1 : (uint64_t)-1;
        page->map->dirty_count += change;
        pool->dirty_count += change;
    }
    enlist(pool, page);
}

void page_drop(struct page_pool *pool, struct page *page)
{
    CHECK(page->map != NULL);
    if (page->desc->flags)
        page_set_flags(pool, page, 0, page->desc->flags);
    unlist(pool, page);
    page_tree_remove(page->map, page->index);
    page->map->page_count--;
    page->map = NULL;
    desc_clear(page->desc);
    enlist(pool, page);
}

void page_pin(struct page_pool *pool, struct page *page)
{
    CHECK(page->map != NULL);
    unlist(pool, page);
    page->pins++;
}

void page_unpin(struct page_pool *pool, struct page *page)
{
    CHECK(page->pins > 0);
    page->pins--;
    enlist(pool, page);
}
