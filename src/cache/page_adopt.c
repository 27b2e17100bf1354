// SPDX-License-Identifier: MIT
// page_adopt.c - a predecessor's pages: the busy ones at once, the clean ones when there is time.
//
// Busy pages are found by the bitmaps. They belong to nobody while the replay of the log works on what
// is on the disk, and go back to their inodes at its end. Until then what the replay itself makes busy is
// marked REPLAYED: a second successor replays again and must not find both.
//
// Descriptors of other pages are looked at one after the other, in the background or when a page is wanted.
// A clean page is worth something only while its inode's blocks are those it was read from. An inode that has been in
// memory since the take-over may have lost or changed them: pages of it that are found later are given up. Of
// others nothing can have changed; their pages are kept, can be given up at any time, and become the
// inode's own at the moment it comes into memory. Which inodes those are a second successor does not know: it
// throws away the clean pages that the first had not looked at.
#include "base/check.h"
#include "base/log.h"
#include "cache/page_map.h"
#include "cache/page_pool.h"

#define ADOPT_PAGES 1024u           // descriptors looked at in one step in the background

// --- kin: kept pages by inode -----------------------------------------------------------------------

static struct page_kin *find_kin(struct page_pool *pool, uint32_t ino)
{
    struct hnode *node = htable_find(&pool->kin, ino);
    return node ? CONTAINER_OF(node, struct page_kin, node) : NULL;
}

static struct page_kin *make_kin(struct page_pool *pool, uint32_t ino)
{
    struct page_kin *kin = xcalloc(1, sizeof *kin);
    list_init(&kin->pages);
    htable_insert(&pool->kin, &kin->node, ino);
    return kin;
}

static void forget_kin(struct page_pool *pool, struct page_kin *kin)
{
    htable_remove(&pool->kin, &kin->node);
    free(kin);
}

void page_adopt_let_go(struct page_pool *pool, struct page *page)
{
    struct page_kin *kin = find_kin(pool, page->desc->ino);
    page_unlist(pool, page);
    list_remove(&page->settle);
    if (list_empty(&kin->pages))
        forget_kin(pool, kin);
    page_make_free(pool, page);
}

// A clean page of the predecessor.
static void keep(struct page_pool *pool, struct page *page)
{
    struct page_kin *kin = find_kin(pool, page->desc->ino);
    if ((kin && kin->seen) || page_number(pool, page) >= pool->trusted) {
        page_make_free(pool, page);
        return;
    }
    if (!kin)
        kin = make_kin(pool, page->desc->ino);
    list_push_back(&kin->pages, &page->settle);
    page_enlist(pool, page, PLACE_KEPT);
}

static bool is_scanned(const struct page_pool *pool)
{
    return !pool->adopted || (pool->decided && pool->scanned == pool->size);
}

static void attach(struct page_pool *pool, struct page_map *map, struct page *page)
{
    page_unlist(pool, page);
    list_remove(&page->settle);
    if (page->desc->generation == map->generation && !page_tree_find(map, page->desc->index)) {
        page_enter_map(map, page, page->desc->index);
        page_enlist(pool, page, PLACE_CLEAN);
    } else {
        page_make_free(pool, page);
    }
}

void page_map_adopt(struct page_pool *pool, struct page_map *map)
{
    if (is_scanned(pool) && pool->kin.count == 0)
        return;
    struct page_kin *kin = find_kin(pool, map->ino);
    while (kin && !list_empty(&kin->pages))
        attach(pool, map, LIST_ENTRY(kin->pages.next, struct page, settle));
    if (kin && is_scanned(pool))
        forget_kin(pool, kin);
    else if (!is_scanned(pool))
        (kin ? kin : make_kin(pool, map->ino))->seen = true;
}

// --- looking at descriptors ---------------------------------------------------------------------------

static void end_scan(struct page_pool *pool)
{
    page_arena_set_looked_at(&pool->arena, UINT64_MAX);
    HTABLE_EACH(node, &pool->kin) {
        struct page_kin *kin = CONTAINER_OF(node, struct page_kin, node);
        if (kin->seen)
            forget_kin(pool, kin);
    }
    if (pool->damaged)
        log_warn("event=pages_thrown_away count=%llu why=\"damaged descriptors of clean pages\"", (unsigned long long)pool->damaged);
}

// The bitmaps do not list it, so it is clean or free.
static void look_at(struct page_pool *pool, uint64_t number)
{
    struct page *page = page_begin(pool, number);
    bool whole = !pool->adopted || page_arena_check(&pool->arena, number);
    if (whole && page->desc->ino == 0) {
        page->place = PLACE_FREE;
        list_push_back(&pool->free_pages, &page->lru);      // neighbours are handed out one after the other
        pool->free_count++;
        return;
    }
    if (whole && !(page->desc->flags & PAGE_STATE)) {
        keep(pool, page);
        return;
    }
    if (whole)
        log_error("event=page_lost ino=%u index=%llu why=\"it was busy, but not listed\"", page->desc->ino,
                  (unsigned long long)page->desc->index);
    pool->damaged += !whole;
    page_make_free(pool, page);
}

void page_adopt_scan(struct page_pool *pool, uint64_t count)
{
    if (pool->scanned == pool->size)
        return;
    for (; count && pool->scanned < pool->size; count--) {
        uint64_t number = pool->scanned++;
        if (!pool->pages[number].lru.next)      // else it was busy, and has been dealt with
            look_at(pool, number);
    }
    if (pool->adopted && is_scanned(pool))
        end_scan(pool);
    else if (pool->adopted)
        page_arena_set_looked_at(&pool->arena, pool->scanned);
}

bool page_pool_adopt_some(struct page_pool *pool)
{
    if (is_scanned(pool) || !pool->decided)
        return false;
    page_adopt_scan(pool, ADOPT_PAGES);
    return !is_scanned(pool);
}

// --- busy pages -----------------------------------------------------------------------------------------

static void list_busy(struct page_pool *pool, struct page *page)
{
    if (pool->busy_count == pool->busy_capacity) {
        pool->busy_capacity = pool->busy_capacity ? 2 * pool->busy_capacity : 1024;
        pool->busy = xrealloc(pool->busy, pool->busy_capacity * sizeof *pool->busy);
    }
    pool->busy[pool->busy_count++] = page;
}

int page_pool_adopt(void *arena, uint64_t page_count, struct page_pool **out)
{
    struct page_pool *pool = page_pool_make(arena, page_count);
    pool->adopted = true;
    page_arena_finish_write(&pool->arena);
    pool->trusted = page_arena_looked_at(&pool->arena);
    page_arena_set_looked_at(&pool->arena, 0);
    for (uint64_t at = 0; (at = page_arena_next_busy(&pool->arena, at)) < page_count; at++) {
        if (!page_arena_check(&pool->arena, at)) {
            log_error("event=page_descriptor_damaged page=%llu why=\"more than one bit of a busy page's\"", (unsigned long long)at);
            page_pool_destroy(pool);
            return -EFSCORRUPTED;
        }
        if (pool->arena.descs[at].ino)
            list_busy(pool, page_begin(pool, at));
    }
    *out = pool;
    return 0;
}

struct sort_key {
    uint64_t place;             // in inode and file
    struct page *page;
};

// By one byte of the place, keeping the order of those that are alike in it.
static void sort_by_byte(const struct sort_key *from, struct sort_key *to, uint64_t count, uint32_t shift, const uint64_t *alike)
{
    uint64_t next[256], at = 0;
    for (uint32_t i = 0; i < 256; i++) {
        next[i] = at;
        at += alike[i];
    }
    for (uint64_t i = 0; i < count; i++)
        to[next[(from[i].place >> shift) & 255]++] = from[i];
}

// A gigabyte of dirty pages is 262,144 of them: sorting by comparing would be most of the pause.
static void sort_keys(struct sort_key *keys, struct sort_key *spare, uint64_t count)
{
    uint64_t (*alike)[256] = xcalloc(8, sizeof *alike);
    for (uint64_t i = 0; i < count; i++)
        for (uint32_t byte = 0; byte < 8; byte++)
            alike[byte][(keys[i].place >> (8 * byte)) & 255]++;
    struct sort_key *from = keys, *to = spare;
    for (uint32_t byte = 0; byte < 8; byte++) {
        if (alike[byte][(from[0].place >> (8 * byte)) & 255] == count)
            continue;
        sort_by_byte(from, to, count, 8 * byte, alike[byte]);
        struct sort_key *sorted = to;
        to = from;
        from = sorted;
    }
    for (uint64_t i = 0; from != keys && i < count; i++)
        keys[i] = from[i];
    free(alike);
}

static uint64_t place_of(const struct page *page)
{
    return (uint64_t)page->desc->ino << 32 | MIN(page->desc->index, (uint64_t)UINT32_MAX);
}

static bool are_sorted(const struct page_pool *pool)
{
    uint64_t last = 0;
    for (uint64_t i = 0; i < pool->busy_count; i++) {
        uint64_t place = place_of(pool->busy[i]);
        if (place < last)
            return false;
        last = place;
    }
    return true;
}

static void sort_busy(struct page_pool *pool)
{
    uint64_t count = pool->busy_count;
    if (are_sorted(pool))           // one file, written from its beginning
        return;
    AUTO_FREE struct sort_key *keys = xmalloc(2 * count * sizeof *keys);
    for (uint64_t i = 0; i < count; i++)
        keys[i] = (struct sort_key){place_of(pool->busy[i]), pool->busy[i]};
    sort_keys(keys, keys + count, count);
    for (uint64_t i = 0; i < count; i++)
        pool->busy[i] = keys[i].page;
}

static void release(struct page_pool *pool, struct page *page)
{
    page_make_free(pool, page);
    page_arena_set_busy(&pool->arena, page_number(pool, page), false);
}

// Busy by a transaction's number is busy only for this successor: the next one's transactions have the same
// numbers. So before anything can be committed the descriptor says it otherwise.
static void make_lasting(struct page_pool *pool, struct page *page)
{
    struct page_desc desc = *page->desc;
    if ((desc.flags & PAGE_DIRTY) && !(desc.flags & PAGE_REPLAYED))
        return;
    desc.flags = PAGE_DIRTY;
    desc.tid = 0;
    page_arena_write(&pool->arena, page_number(pool, page), &desc);
}

void page_adopt_decide(struct page_pool *pool)
{
    uint64_t busy_count = 0;
    bool replayed_again = page_arena_replaying(&pool->arena);
    for (uint64_t i = 0; i < pool->busy_count; i++) {
        struct page *page = pool->busy[i];
        bool busy = (page->desc->flags & PAGE_STATE) || page->desc->tid > pool->committed;
        if (!busy) {
            page_arena_set_busy(&pool->arena, page_number(pool, page), false);
            keep(pool, page);
        } else if (replayed_again && (page->desc->flags & PAGE_REPLAYED)) {
            release(pool, page);
        } else {
            pool->busy[busy_count++] = page;
        }
    }
    pool->busy_count = busy_count;
    for (uint64_t i = 0; i < busy_count; i++)
        make_lasting(pool, pool->busy[i]);
    sort_busy(pool);
    pool->replaying = true;
    page_arena_set_replaying(&pool->arena, true);
    pool->decided = true;
}

static void forget_busy(struct page_pool *pool)
{
    free(pool->busy);
    pool->busy = NULL;
    pool->busy_count = pool->busy_capacity = pool->busy_next = 0;
}

bool page_pool_next_busy(struct page_pool *pool, struct page_busy *out)
{
    if (pool->busy_next < pool->busy_count) {
        const struct page_desc *desc = pool->busy[pool->busy_next]->desc;
        *out = (struct page_busy){.ino = desc->ino, .generation = desc->generation, .index = desc->index};
        return true;
    }
    if (pool->replaying) {
        pool->replaying = false;
        page_arena_set_replaying(&pool->arena, false);
        forget_busy(pool);
    }
    return false;
}

struct page *page_pool_claim_busy(struct page_pool *pool, struct page_map *map, uint32_t set, uint64_t tid)
{
    CHECK(pool->busy_next < pool->busy_count);
    struct page *page = pool->busy[pool->busy_next++];
    CHECK(page->desc->ino == map->ino && page->desc->generation == map->generation);
    page_enter_map(map, page, page->desc->index);
    page->claimed = true;
    page_claimed(pool, page, PAGE_DIRTY | set, tid);
    return page;
}

void page_pool_drop_busy(struct page_pool *pool)
{
    CHECK(pool->busy_next < pool->busy_count);
    release(pool, pool->busy[pool->busy_next++]);
}

void page_adopt_fini(struct page_pool *pool)
{
    forget_busy(pool);
    HTABLE_EACH(node, &pool->kin)
        forget_kin(pool, CONTAINER_OF(node, struct page_kin, node));
    htable_fini(&pool->kin);
}
