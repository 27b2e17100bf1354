// SPDX-License-Identifier: MIT
// overlay.c - blocks whose newest content is not at home: reads go to the copy.
//
// Invariant: as long as an entry stands in the table, the blocks it names on the disk hold the
// copy. Its owner removes it before he gives them up, so a reader looks once more when it has read: if
// the entry has gone meanwhile, what was read may be anything, and the block is looked up anew.
#include "base/check.h"
#include "cache/buf_internal.h"

void buf_overlay_open(struct buf_cache *cache, const struct buf_overlay_source *source)
{
    CHECK(cache->overlay.count == 0);
    cache->overlay_source = *source;
}

void buf_overlay_add(struct buf_cache *cache, struct buf_overlay *entry, uint64_t block)
{
    htable_insert(&cache->overlay, &entry->node, block);
}

struct buf_overlay *buf_overlay_find(struct buf_cache *cache, uint64_t block)
{
    struct hnode *node = cache->overlay.count ? htable_find(&cache->overlay, block) : NULL;
    return node ? CONTAINER_OF(node, struct buf_overlay, node) : NULL;
}

void buf_overlay_remove(struct buf_cache *cache, struct buf_overlay *entry)
{
    if (buf_overlay_find(cache, entry->node.key) == entry)
        htable_remove(&cache->overlay, &entry->node);
}

int buf_overlay_read(struct buf_cache *cache, struct buf_overlay *entry, void *bytes)
{
    const struct buf_overlay_source *source = &cache->overlay_source;
    struct iovec iov = {.iov_base = bytes, .iov_len = BLOCK_BYTES};
    uint64_t block = entry->node.key;
    int rc = shep_read_run(cache->shep, &source->ref, entry->from, &iov, 1);
    if (buf_overlay_find(cache, block) != entry)
        return -EAGAIN;
    return rc < 0 ? rc : source->restore(source->arg, entry, bytes);
}

int buf_read_newest(struct buf_cache *cache, const struct shep_ref *ref, uint64_t block, void *bytes)
{
    struct buf_overlay *entry;
    while ((entry = buf_overlay_find(cache, block))) {
        int rc = buf_overlay_read(cache, entry, bytes);
        if (rc == 0)
            return shep_judge(cache->shep, ref, block, bytes);
        if (rc != -EAGAIN)
            return rc;
    }
    return shep_read(cache->shep, ref, block, bytes);
}
