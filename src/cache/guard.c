// SPDX-License-Identifier: MIT
// guard.c - seals: were these bytes changed by anybody but those who may?
//
//     read ──▶ sealed ──(buf_open: it is changed)──▶ open ──(the operation ends)──▶ sealed ...
//
// Comparing costs the checksum of a block, so whoever merely uses a block compares at most once in
// BUF_CHECK_NS; what goes to the journal or home is always compared. A store that strikes a block
// while it is open is not noticed here; the checks of its structure (block_verify) still follow.
#include "base/check.h"
#include "base/crc32c.h"
#include "cache/buf_internal.h"

void buf_cache_set_guard(struct buf_cache *cache, bool on)
{
    cache->guard = on;
}

bool buf_cache_guards(const struct buf_cache *cache)
{
    return cache->guard;
}

void buf_seal(struct buf_cache *cache, struct buf *buf)
{
    list_remove(&buf->open_link);
    if (!cache->guard)
        return;
    buf->seal = crc32c(~0u, buf->bytes, BLOCK_BYTES);
    buf->sealed = true;
    buf->checked_ns = rt_now_ns(cache->rt);
}

// Bitmaps change with almost every operation. They are sealed when they are logged; until then the count
// in their descriptor, which is sealed, says whether a bit was flipped.
static bool is_counted(const struct buf *buf)
{
    return buf->ref.type == BLOCK_BLOCK_BITMAP || buf->ref.type == BLOCK_INODE_BITMAP;
}

void buf_open(struct buf_cache *cache, struct buf *buf)
{
    buf->sealed = false;
    if (cache->guard && !is_counted(buf) && !list_linked(&buf->open_link))
        list_push_back(&cache->open, &buf->open_link);
}

void buf_check_now(struct buf_cache *cache, struct buf *buf)
{
    if (!buf->sealed)
        return;
    buf->checked_ns = rt_now_ns(cache->rt);
    if (crc32c(~0u, buf->bytes, BLOCK_BYTES) != buf->seal)
        damage_found("what=block block=%llu type=%s inode=%u lblock=%llu why=\"changed by nobody who may\"",
                     (unsigned long long)buf->block, block_type_name(buf->ref.type), buf->ref.owner.ino,
                     (unsigned long long)buf->ref.owner.lblock);
}

void buf_check(struct buf_cache *cache, struct buf *buf)
{
    if (buf->sealed && rt_now_ns(cache->rt) - buf->checked_ns >= BUF_CHECK_NS)
        buf_check_now(cache, buf);
}

bool buf_any_open(const struct buf_cache *cache)
{
    return !list_empty(&cache->open);
}

void buf_seal_open(struct buf_cache *cache)
{
    while (!list_empty(&cache->open))
        buf_seal(cache, CONTAINER_OF(cache->open.next, struct buf, open_link));
}
