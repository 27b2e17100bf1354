// SPDX-License-Identifier: MIT
// buf_read.c - how a block comes into the buffer cache, and goes home: one read for all who want it.
//
// A block being read is not in the cache. Its struct buf_read stands in a table of its own, later
// comers wait there. When the block is freed or made new during the read, the read is cancelled:
// its bytes are thrown away and those who waited look again.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/buf_internal.h"

struct buf_read *buf_read_find(struct buf_cache *cache, uint64_t block)
{
    struct hnode *node = htable_find(&cache->reads, block);
    return node ? CONTAINER_OF(node, struct buf_read, node) : NULL;
}

static struct buf_read *read_begin(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block)
{
    struct buf_read *read = xcalloc(1, sizeof(*read));
    read->cache = cache;
    read->buf = buf_create(ref, block);
    read->holders = 1;
    waitq_init(&read->waiters);
    htable_insert(&cache->reads, &read->node, block);
    list_push_back(&cache->all_reads, &read->all);
    cache->misses++;
    return read;
}

static void read_put(struct buf_read *read)
{
    if (--read->holders)
        return;
    list_remove(&read->all);
    free(read);
}

void buf_read_cancel(struct buf_cache *cache, uint64_t block)
{
    struct buf_read *read = buf_read_find(cache, block);
    if (!read)
        return;
    htable_remove(&cache->reads, &read->node);
    read->cancelled = true;
}

void buf_reads_abandon(struct buf_cache *cache)
{
    struct list *link;
    while ((link = list_pop_front(&cache->all_reads))) {
        struct buf_read *read = LIST_ENTRY(link, struct buf_read, all);
        if (read->buf)
            buf_free(read->buf);
        free(read);
    }
}

// Does the I/O, publishes the buffer if all went well, wakes those who wait. The reader's own hold
// goes with read_put().
static YIELDS void read_run(struct buf_cache *cache, struct buf_read *read)
{
    struct buf *buf = read->buf;
    read->rc = buf_read_newest(cache, &buf->ref, buf->block, buf->bytes);
    read->buf = NULL;
    if (!read->cancelled)
        htable_remove(&cache->reads, &read->node);
    if (read->rc == 0 && !read->cancelled) {
        buf_seal(cache, buf);
        buf_publish(cache, buf);
        buf_idle_or_gone(cache, buf);
    } else {
        buf_free(buf);
    }
    waitq_wake_all(cache->rt, &read->waiters);
}

static YIELDS int wait_for(struct buf_cache *cache, struct buf_read *read)
{
    read->holders++;
    while (read->buf)
        waitq_wait(cache->rt, &read->waiters);
    int rc = read->cancelled ? 0 : read->rc;
    read_put(read);
    return rc;
}

// The reference is taken before anything could evict the buffer.
static YIELDS int read_now(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block, struct buf **out)
{
    struct buf_read *read = read_begin(cache, ref, block);
    struct buf *buf = buf_ref(read->buf);
    read_run(cache, read);
    int rc = read->cancelled ? 0 : read->rc;
    *out = rc == 0 && !read->cancelled ? buf : NULL;
    read_put(read);
    return rc;
}

// Two owners of one block: the second to ask is told, since nobody can say who is right.
static int check_type(const struct buf *buf, const struct shep_ref *ref)
{
    if (buf->ref.type == ref->type)
        return 0;
    log_error("event=block_claimed_twice block=%llu type=%s inode=%u other_type=%s other_inode=%u",
              (unsigned long long)buf->block, block_type_name(ref->type), ref->owner.ino,
              block_type_name(buf->ref.type), buf->ref.owner.ino);
    return -EFSCORRUPTED;
}

int buf_get(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block, struct buf **out)
{
    *out = NULL;
    for (;;) {
        struct buf *buf = buf_peek(cache, block);
        if (buf) {
            if (check_type(buf, ref) < 0)
                return -EFSCORRUPTED;
            cache->hits++;
            *out = buf_ref(buf);
            return 0;
        }
        struct buf_read *read = buf_read_find(cache, block);
        int rc = read ? wait_for(cache, read) : read_now(cache, ref, block, out);
        if (rc < 0 || *out)
            return rc;
    }
}

static YIELDS void prefetch_fibre(void *arg)
{
    struct buf_read *read = arg;
    struct buf_cache *cache = read->cache;
    read_run(cache, read);
    read_put(read);
    if (--cache->prefetches == 0)
        waitq_wake_all(cache->rt, &cache->prefetch_done);
}

void buf_prefetch(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block, uint32_t count)
{
    enum { PREFETCH_MAX = 64 };     // under way at once; more would only queue up before the reader
    uint64_t end = shep_block_count(cache->shep);
    for (uint64_t at = block; at < end && at - block < count; at++) {
        if (cache->prefetches >= PREFETCH_MAX)
            return;
        if (buf_peek(cache, at) || buf_read_find(cache, at))
            continue;
        struct shep_ref one = *ref;
        one.owner.lblock += at - block;
        cache->prefetches++;
        rt_spawn(cache->rt, "prefetch", prefetch_fibre, read_begin(cache, &one, at));
    }
}

void buf_cache_quiesce(struct buf_cache *cache)
{
    while (cache->prefetches)
        waitq_wait(cache->rt, &cache->prefetch_done);
}

int buf_write_home(struct buf_cache *cache, struct buf *buf)
{
    void *copy = xblocks(1);
    buf_check_now(cache, buf);
    memcpy(copy, buf->bytes, BLOCK_BYTES);
    struct iovec iov = {.iov_base = copy, .iov_len = BLOCK_BYTES};
    struct shep_result result;
    int rc = shep_write(cache->shep, &buf->ref, buf->block, &iov, 1, 0, &result);
    free(copy);
    return rc;
}
