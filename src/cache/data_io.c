// SPDX-License-Identifier: MIT
// data_io.c - file data on its way between fs and the shepherd, past the buffer cache.
//
// Only journal=data makes the two meet: a data block that is pinned in the buffer cache was logged
// and is not yet home, so a read takes it from there; and one that a predecessor has logged is read
// through the overlay. Runs are cut at such blocks, and each piece is judged at the moment it is read:
// what is neither pinned nor in the overlay by then is home.
#include <string.h>

#include "cache/buf_internal.h"
#include "cache/page.h"

#define SLICE_IOVS 64

// A place in an iovec array.
struct cursor {
    const struct iovec *iov;
    int iovcnt, index;
    size_t offset;                  // in iov[index]
};

static void cursor_settle(struct cursor *at)
{
    while (at->index < at->iovcnt && at->offset == at->iov[at->index].iov_len) {
        at->index++;
        at->offset = 0;
    }
}

// Takes up to `blocks` blocks' worth of pieces and moves on; returns the blocks taken.
static uint64_t cursor_take(struct cursor *at, uint64_t blocks, struct iovec out[SLICE_IOVS], int *count)
{
    uint64_t taken = 0;
    *count = 0;
    cursor_settle(at);
    while (taken < blocks && at->index < at->iovcnt && *count < SLICE_IOVS) {
        const struct iovec *piece = &at->iov[at->index];
        size_t len = MIN(piece->iov_len - at->offset, (blocks - taken) * BLOCK_BYTES);
        out[(*count)++] = (struct iovec){.iov_base = (char *)piece->iov_base + at->offset, .iov_len = len};
        taken += len / BLOCK_BYTES;
        at->offset += len;
        cursor_settle(at);
    }
    return taken;
}

static uint64_t blocks_of(const struct iovec *iov, int iovcnt)
{
    uint64_t bytes = 0;
    for (int i = 0; i < iovcnt; i++)
        bytes += iov[i].iov_len;
    return bytes / BLOCK_BYTES;
}

static struct buf *logged(struct buf_cache *cache, uint64_t block)
{
    struct buf *buf = cache->data_count ? buf_peek(cache, block) : NULL;
    return buf && buf->pins && buf->ref.type == BLOCK_DATA ? buf : NULL;
}

// How many blocks from `block` on are answered by the disk, from home.
static uint64_t home_run(struct buf_cache *cache, uint64_t block, uint64_t max)
{
    uint64_t run = 0;
    while (run < max && !logged(cache, block + run) && !buf_overlay_find(cache, block + run))
        run++;
    return run;
}

// One block, by whoever has its newest content.
static YIELDS int read_logged(struct buf_cache *cache, uint64_t block, uint8_t *bytes)
{
    struct buf *buf = logged(cache, block);
    if (!buf)
        return buf_overlay_read(cache, buf_overlay_find(cache, block), bytes);
    memcpy(bytes, buf->bytes, BLOCK_BYTES);
    return 0;
}

int data_read_blocks(struct buf_cache *cache, const struct block_owner *owner, uint64_t block, const struct iovec *iov, int iovcnt)
{
    struct shep_ref ref = {.type = BLOCK_DATA, .owner = *owner};
    if (!cache->data_count && !cache->overlay.count)
        return shep_read_run(cache->shep, &ref, block, iov, iovcnt);

    struct cursor at = {.iov = iov, .iovcnt = iovcnt};
    struct iovec slice[SLICE_IOVS];
    int count;
    for (uint64_t left = blocks_of(iov, iovcnt); left;) {
        struct cursor before = at;
        uint64_t home = home_run(cache, block, left);
        uint64_t run = cursor_take(&at, home ? home : 1, slice, &count);
        int rc = home ? shep_read_run(cache->shep, &ref, block, slice, count)
                      : read_logged(cache, block, slice[0].iov_base);
        if (rc == -EAGAIN) {
            at = before;
            continue;
        }
        if (rc < 0)
            return rc;
        block += run;
        left -= run;
        ref.owner.lblock += run;
    }
    return 0;
}

// What the buffer cache still knows of blocks that are written past it is out of date.
static void drop_stale(struct buf_cache *cache, uint64_t block, uint64_t count)
{
    for (uint64_t i = 0; cache->data_count && i < count; i++) {
        struct buf *buf = buf_peek(cache, block + i);
        if (buf && !buf->pins && buf->ref.type == BLOCK_DATA)
            buf_drop(cache, buf);
    }
}

int data_write_blocks(struct buf_cache *cache, const struct block_owner *owner, uint64_t block, const struct iovec *iov, int iovcnt)
{
    struct shep_ref ref = {.type = BLOCK_DATA, .owner = *owner};
    struct shep_result result;
    drop_stale(cache, block, blocks_of(iov, iovcnt));
    return shep_write(cache->shep, &ref, block, iov, iovcnt, 0, &result);
}

int data_flush(struct buf_cache *cache)
{
    return shep_flush(cache->shep);
}

int data_discard(struct buf_cache *cache, uint64_t block, uint64_t count)
{
    drop_stale(cache, block, count);
    return shep_discard(cache->shep, block, count);
}
