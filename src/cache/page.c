// SPDX-License-Identifier: MIT
// page.c - the pool: which pages are free, which may be given up, what their descriptors say.
//
//     free ──page_add──▶ in a map, unnamed ──touch, filled──▶ busy ◀──▶ settling ──commit──▶ clean ──▶ free
//                                                               └───────(its transaction is durable)──▲
//
// Invariants (README): a page is in `free_pages` exactly when it has neither a map nor pins, in `clean`
// exactly when it can be given up. A page settles exactly while it is in `settling`, which is ordered by
// transaction since the running one's number never falls; a map counts those it has. Unnamed is a page whose
// descriptor still says free: what dies with its bytes half there never was.
#include "cache/page.h"

#include "base/check.h"
#include "cache/page_map.h"
#include "cache/page_pool.h"

#define SCAN_PAGES 64u              // descriptors looked at when a page is wanted
#define REPLAY_PAGES 64u            // kept for a successor's replay, or less in a small pool

struct page_pool *page_pool_make(void *memory, uint64_t page_count)
{
    struct page_pool *pool = xcalloc(1, sizeof(*pool));
    page_arena_open(&pool->arena, memory, page_count);
    pool->pages = xcalloc(page_count ? page_count : 1, sizeof(*pool->pages));   // untouched, it costs nothing yet
    pool->size = pool->unscanned = page_count;
    list_init(&pool->free_pages);
    list_init(&pool->clean);
    list_init(&pool->settling);
    list_init(&pool->settled);
    htable_init(&pool->kin);
    return pool;
}

struct page_pool *page_pool_create(void *arena, uint64_t page_count)
{
    struct page_pool *pool = page_pool_make(arena, page_count);
    page_arena_clear(&pool->arena);
    return pool;
}

void page_pool_destroy(struct page_pool *pool)
{
    page_adopt_fini(pool);
    free(pool->pages);
    free(pool);
}

// --- counts -----------------------------------------------------------------------------------------

uint64_t page_pool_free(const struct page_pool *pool)
{
    return pool->free_count + pool->clean_count + pool->unscanned;
}

uint64_t page_pool_room(const struct page_pool *pool)
{
    uint64_t kept = pool->replaying ? 0 : MIN(pool->size / 16, (uint64_t)REPLAY_PAGES);
    uint64_t can_be_had = page_pool_free(pool);
    return can_be_had > kept ? can_be_had - kept : 0;
}

uint64_t page_pool_dirty(const struct page_pool *pool)
{
    return pool->dirty_count;
}

uint64_t page_pool_settling(const struct page_pool *pool)
{
    return pool->settling_count;
}

uint64_t page_pool_writeback(const struct page_pool *pool)
{
    return pool->writeback_count;
}

uint64_t page_pool_size(const struct page_pool *pool)
{
    return pool->size;
}

struct page *page_pool_page(struct page_pool *pool, uint64_t number)
{
    struct page *page = &pool->pages[number];
    page->desc = &pool->arena.descs[number];
    page->bytes = pool->arena.bytes + number * BLOCK_BYTES;
    return page;
}

uint32_t page_pool_mended(const struct page_pool *pool)
{
    return pool->arena.mended;
}

// --- places -----------------------------------------------------------------------------------------

struct page *page_begin(struct page_pool *pool, uint64_t number)
{
    struct page *page = page_pool_page(pool, number);
    list_init(&page->lru);
    list_init(&page->settle);
    pool->unscanned--;
    return page;
}

static uint64_t *count_of(struct page_pool *pool, enum page_place place)
{
    switch (place) {
    case PLACE_FREE:     return &pool->free_count;
    case PLACE_CLEAN:
    case PLACE_KEPT:     return &pool->clean_count;
    case PLACE_SETTLING: return &pool->settling_count;
    default:             return NULL;
    }
}

void page_unlist(struct page_pool *pool, struct page *page)
{
    uint64_t *count = count_of(pool, page->place);
    if (count)
        --*count;
    list_remove(&page->lru);
    page->place = PLACE_BUSY;
}

// At the recently used end; what was kept for an inode that nobody has asked for goes first.
void page_enlist(struct page_pool *pool, struct page *page, enum page_place place)
{
    uint64_t *count = count_of(pool, place);
    if (count)
        ++*count;
    page->place = (uint8_t)place;
    if (place == PLACE_FREE)
        list_push_front(&pool->free_pages, &page->lru);     // still warm in the processor's caches
    else if (place == PLACE_CLEAN)
        list_push_back(&pool->clean, &page->lru);
    else if (place == PLACE_KEPT)
        list_push_front(&pool->clean, &page->lru);
}

static uint32_t state_of(const struct page *page)
{
    return page->desc->flags & PAGE_STATE;
}

static bool settles(const struct page *page)
{
    return page->map && list_linked(&page->settle);
}

bool page_is_busy(const struct page *page)
{
    return state_of(page) || page->pins || settles(page);
}

// Into the list that its state asks for.
static void enlist(struct page_pool *pool, struct page *page)
{
    if (page->pins || (page->map && state_of(page)))
        page_enlist(pool, page, PLACE_BUSY);
    else if (!page->map)
        page_enlist(pool, page, PLACE_FREE);
    else
        page_enlist(pool, page, settles(page) ? PLACE_SETTLING : PLACE_CLEAN);
}

void page_make_free(struct page_pool *pool, struct page *page)
{
    page_arena_write(&pool->arena, page_number(pool, page), &(struct page_desc){0});
    page->claimed = false;
    enlist(pool, page);
}

// --- maps -------------------------------------------------------------------------------------------

void page_map_init(struct page_map *map, uint32_t ino, uint32_t generation)
{
    *map = (struct page_map){.ino = ino, .generation = generation};
    list_init(&map->settled);
}

void page_map_fini(struct page_pool *pool, struct page_map *map)
{
    struct page *page;
    while ((page = page_next(map, 0, 0)))
        page_drop(pool, page);
    list_remove(&map->settled);
}

void page_enter_map(struct page_map *map, struct page *page, uint64_t index)
{
    page_tree_insert(map, index, page);
    map->page_count++;
    page->map = map;
    page->index = index;
}

struct page *page_find(struct page_pool *pool, struct page_map *map, uint64_t index)
{
    struct page *page = page_tree_find(map, index);
    if (page && page->place == PLACE_CLEAN) {
        list_remove(&page->lru);
        list_push_back(&pool->clean, &page->lru);
    }
    return page;
}

static void give_up_oldest(struct page_pool *pool)
{
    struct page *page = LIST_ENTRY(pool->clean.next, struct page, lru);
    if (page->place == PLACE_KEPT)
        page_adopt_let_go(pool, page);
    else
        page_drop(pool, page);
}

static struct page *take_page(struct page_pool *pool)
{
    if (!pool->free_count && pool->unscanned)
        page_adopt_scan(pool, SCAN_PAGES);
    while (!pool->free_count && !pool->clean_count && pool->unscanned)
        page_adopt_scan(pool, SCAN_PAGES);
    if (!pool->free_count && !pool->clean_count)
        return NULL;
    if (!pool->free_count)
        give_up_oldest(pool);
    struct page *page = LIST_ENTRY(pool->free_pages.next, struct page, lru);
    page_unlist(pool, page);
    return page;
}

struct page *page_add(struct page_pool *pool, struct page_map *map, uint64_t index)
{
    struct page *page = take_page(pool);
    if (!page)
        return NULL;
    page_enter_map(map, page, index);
    enlist(pool, page);
    return page;
}

struct page *page_next(struct page_map *map, uint64_t index, uint32_t flags)
{
    return page_tree_next(map, index, flags);
}

// --- changes ----------------------------------------------------------------------------------------

void page_account(struct page_pool *pool, struct page *page, uint32_t before, uint32_t after)
{
    if (before == after)
        return;
    page_tree_mark(page->map, page->index, after);
    if ((before ^ after) & PAGE_DIRTY) {
        uint64_t change = after & PAGE_DIRTY ? 1 : (uint64_t)-1;
        page->map->dirty_count += change;
        pool->dirty_count += change;
    }
    if ((before ^ after) & PAGE_WRITEBACK)
        pool->writeback_count += after & PAGE_WRITEBACK ? 1 : (uint64_t)-1;
}

// It waits for a transaction newer than all that others wait for, or for the same.
static void begin_to_settle(struct page_pool *pool, struct page *page)
{
    if (!settles(page))
        page->map->settle_count++;
    list_remove(&page->settle);
    list_push_back(&pool->settling, &page->settle);
}

static void write_desc(struct page_pool *pool, struct page *page, uint32_t state, uint64_t tid)
{
    bool replayed = pool->replaying && !page->claimed && (state || settles(page));
    page_arena_write(&pool->arena, page_number(pool, page), &(struct page_desc){
        .ino = page->map->ino, .generation = page->map->generation, .index = page->index,
        .flags = state | (replayed ? PAGE_REPLAYED : 0), .tid = tid,
    });
}

// tid 0: it is changed by no transaction.
static void change(struct page_pool *pool, struct page *page, uint32_t set, uint32_t clear, uint64_t tid)
{
    CHECK(page->map != NULL);
    uint32_t before = state_of(page), after = (before & ~clear) | set;
    bool was_busy = before || settles(page), waits = tid > pool->committed;
    bool named = page->desc->ino != 0;
    if (!waits)
        tid = page->desc->tid;
    if (named && after == before && tid == page->desc->tid && (!waits || settles(page)))
        return;

    page_unlist(pool, page);
    if (waits)
        begin_to_settle(pool, page);
    bool is_busy = after || settles(page);
    if (is_busy && !was_busy)
        page_arena_set_busy(&pool->arena, page_number(pool, page), true);
    write_desc(pool, page, after, tid);
    if (was_busy && !is_busy)
        page_arena_set_busy(&pool->arena, page_number(pool, page), false);
    page_account(pool, page, before, after);
    enlist(pool, page);
}

void page_set_flags(struct page_pool *pool, struct page *page, uint32_t set, uint32_t clear)
{
    if (((page->desc->flags & ~clear) | set) == page->desc->flags)
        return;
    change(pool, page, set, clear, 0);
}

void page_touch(struct page_pool *pool, struct page *page, uint32_t set, uint32_t clear, uint64_t tid)
{
    CHECK(tid >= pool->newest_tid || tid <= pool->committed);
    pool->newest_tid = MAX(pool->newest_tid, tid);
    change(pool, page, set, clear, tid);
}

void page_claimed(struct page_pool *pool, struct page *page, uint32_t state, uint64_t tid)
{
    CHECK(tid >= pool->newest_tid || tid <= pool->committed);
    pool->newest_tid = MAX(pool->newest_tid, tid);
    page_unlist(pool, page);
    if (tid > pool->committed)
        begin_to_settle(pool, page);
    write_desc(pool, page, state, tid);
    page_account(pool, page, 0, state);
    enlist(pool, page);
}

void page_filled(struct page_pool *pool, struct page *page)
{
    if (page->desc->ino == 0)
        change(pool, page, 0, 0, 0);
}

static void stop_settling(struct page *page)
{
    if (!settles(page))
        return;
    list_remove(&page->settle);
    page->map->settle_count--;
}

void page_drop(struct page_pool *pool, struct page *page)
{
    CHECK(page->map != NULL);
    uint32_t before = state_of(page);
    bool was_busy = before || settles(page);
    page_unlist(pool, page);
    page_account(pool, page, before, 0);
    stop_settling(page);
    page_tree_remove(page->map, page->index);
    page->map->page_count--;
    page->map = NULL;
    page_make_free(pool, page);
    if (was_busy)
        page_arena_set_busy(&pool->arena, page_number(pool, page), false);
}

void page_pin(struct page_pool *pool, struct page *page)
{
    CHECK(page->map != NULL);
    page_unlist(pool, page);
    page->pins++;
}

void page_unpin(struct page_pool *pool, struct page *page)
{
    CHECK(page->pins > 0);
    page_unlist(pool, page);
    page->pins--;
    enlist(pool, page);
}

// --- transactions -----------------------------------------------------------------------------------

// Its descriptor stays as it is: an older transaction than the committed one says nothing.
static void settle(struct page_pool *pool, struct page *page)
{
    struct page_map *map = page->map;
    page_unlist(pool, page);
    stop_settling(page);
    if (map->settle_count == 0 && !list_linked(&map->settled))
        list_push_back(&pool->settled, &map->settled);
    if (!state_of(page))
        page_arena_set_busy(&pool->arena, page_number(pool, page), false);
    enlist(pool, page);
}

void page_pool_committed(struct page_pool *pool, uint64_t tid)
{
    pool->committed = MAX(pool->committed, tid);
    if (pool->adopted && !pool->decided)
        page_adopt_decide(pool);
    while (!list_empty(&pool->settling)) {
        struct page *oldest = LIST_ENTRY(pool->settling.next, struct page, settle);
        if (oldest->desc->tid > pool->committed)
            return;
        settle(pool, oldest);
    }
}

void page_pool_all_committed(struct page_pool *pool)
{
    while (!list_empty(&pool->settling))
        settle(pool, LIST_ENTRY(pool->settling.next, struct page, settle));
}

struct page_map *page_pool_next_settled(struct page_pool *pool)
{
    struct list *link = list_pop_front(&pool->settled);
    return link ? LIST_ENTRY(link, struct page_map, settled) : NULL;
}
