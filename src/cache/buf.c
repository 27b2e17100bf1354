// SPDX-License-Identifier: MIT
// buf.c - the life of a buffer: resident, referenced, pinned, idle, dropped.
//
//     read or made new ──▶ resident ──(refs and pins 0)──▶ idle in the LRU ──▶ evicted
//                              │  ▲                           │
//                              │  └────── referenced ─────────┘
//                              └──(its block was freed)──▶ dropped: unhashed, freed by the last holder
//
// Invariant: a buffer in the table is complete. Those that nobody holds are in the LRU; one that was
// taken from there by buf_ref() or buf_pin(), which do not know the cache, leaves it when eviction
// meets it.
#include "cache/buf.h"

#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/buf_internal.h"

struct buf_cache *buf_cache_create(struct rt *rt, struct shepherd *shep, uint64_t limit_bytes)
{
    struct buf_cache *cache = xcalloc(1, sizeof(*cache));
    cache->rt = rt;
    cache->shep = shep;
    cache->limit = limit_bytes;
    htable_init(&cache->bufs);
    htable_init(&cache->reads);
    htable_init(&cache->overlay);
    list_init(&cache->all_reads);
    list_init(&cache->lru);
    list_init(&cache->dropped);
    list_init(&cache->open);
    cache->guard = true;
    waitq_init(&cache->prefetch_done);
    return cache;
}

void buf_cache_destroy(struct buf_cache *cache)
{
    buf_reads_abandon(cache);
    // Pins, and references of fibres that were abandoned, count for nothing any more.
    HTABLE_EACH(node, &cache->bufs)
        buf_free(CONTAINER_OF(node, struct buf, node));
    struct list *link;
    while ((link = list_pop_front(&cache->dropped)))
        buf_free(LIST_ENTRY(link, struct buf, lru));
    htable_fini(&cache->bufs);
    htable_fini(&cache->reads);
    htable_fini(&cache->overlay);
    free(cache);
}

struct buf *buf_create(const struct shep_ref *ref, uint64_t block)
{
    struct buf *buf = xcalloc(1, sizeof(*buf));
    buf->block = block;
    buf->bytes = xblocks(1);
    buf->ref = *ref;
    list_init(&buf->lru);
    list_init(&buf->open_link);
    list_init(&buf->jrn.txn_link);
    list_init(&buf->jrn.ckpt_link);
    return buf;
}

void buf_free(struct buf *buf)
{
    list_remove(&buf->open_link);
    free(buf->bytes);
    free(buf);
}

void buf_publish(struct buf_cache *cache, struct buf *buf)
{
    htable_insert(&cache->bufs, &buf->node, buf->block);
    cache->data_count += buf->ref.type == BLOCK_DATA;
}

static void unhash(struct buf_cache *cache, struct buf *buf)
{
    htable_remove(&cache->bufs, &buf->node);
    cache->data_count -= buf->ref.type == BLOCK_DATA;
}

static void leave_lru(struct buf_cache *cache, struct buf *buf)
{
    if (!list_linked(&buf->lru) || buf->dropped)
        return;
    list_remove(&buf->lru);
    cache->idle_count--;
}

static void evict_to_limit(struct buf_cache *cache)
{
    while (cache->idle_count * BLOCK_BYTES > cache->limit) {
        struct buf *oldest = LIST_ENTRY(cache->lru.next, struct buf, lru);
        leave_lru(cache, oldest);
        if (oldest->refs || oldest->pins)
            continue;
        unhash(cache, oldest);
        buf_free(oldest);
    }
}

void buf_idle_or_gone(struct buf_cache *cache, struct buf *buf)
{
    if (buf->refs || buf->pins)
        return;
    if (buf->dropped) {
        list_remove(&buf->lru);
        buf_free(buf);
        return;
    }
    leave_lru(cache, buf);
    list_push_back(&cache->lru, &buf->lru);
    cache->idle_count++;
    evict_to_limit(cache);
}

struct buf *buf_peek(struct buf_cache *cache, uint64_t block)
{
    struct hnode *node = htable_find(&cache->bufs, block);
    return node ? CONTAINER_OF(node, struct buf, node) : NULL;
}

struct buf *buf_ref(struct buf *buf)
{
    buf->refs++;
    return buf;
}

struct buf *buf_get_new(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block)
{
    buf_read_cancel(cache, block);
    struct buf *buf = buf_peek(cache, block);
    // Somebody still looks at what the block was before: that stays as it is, for him alone.
    if (buf && buf->refs && !buf->pins) {
        buf_drop(cache, buf);
        buf = NULL;
    }
    if (buf) {
        leave_lru(cache, buf);
        unhash(cache, buf);
        memset(buf->bytes, 0, BLOCK_BYTES);
        buf->ref = *ref;
        buf->sealed = false;
    } else {
        buf = buf_create(ref, block);
    }
    buf_publish(cache, buf);
    return buf_ref(buf);
}

void buf_put(struct buf_cache *cache, struct buf *buf)
{
    if (!buf)
        return;
    CHECK(buf->refs > 0);
    buf->refs--;
    buf_idle_or_gone(cache, buf);
}

void buf_pin(struct buf *buf)
{
    buf->pins++;
}

void buf_unpin(struct buf_cache *cache, struct buf *buf)
{
    CHECK(buf->pins > 0);
    buf->pins--;
    buf_idle_or_gone(cache, buf);
}

void buf_drop(struct buf_cache *cache, struct buf *buf)
{
    if (buf->dropped)
        return;
    leave_lru(cache, buf);
    unhash(cache, buf);
    if (!buf->refs && !buf->pins) {
        buf_free(buf);
        return;
    }
    buf->dropped = true;
    list_push_back(&cache->dropped, &buf->lru);
}

void buf_forget(struct buf_cache *cache, uint64_t block)
{
    buf_read_cancel(cache, block);
    struct buf *buf = buf_peek(cache, block);
    if (buf)
        buf_drop(cache, buf);
}

void buf_each(const struct buf_cache *cache, void (*visit)(void *arg, struct buf *buf), void *arg)
{
    HTABLE_EACH(node, &cache->bufs)
        visit(arg, CONTAINER_OF(node, struct buf, node));
}

struct buf_stats buf_stats(const struct buf_cache *cache)
{
    return (struct buf_stats){
        .bytes = cache->bufs.count * BLOCK_BYTES, .limit = cache->limit,
        .hits = cache->hits, .misses = cache->misses,
    };
}
