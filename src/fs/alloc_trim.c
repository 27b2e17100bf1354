// SPDX-License-Identifier: MIT
// alloc_trim.c - FITRIM: tells the disk which blocks are free.
//
// A run that is being discarded is busy meanwhile, so that nobody writes into it; it is not counted
// as claimed, for it comes back, and whoever finds no other block waits for that.
#include "base/bitmap.h"
#include "cache/page.h"
#include "fs/alloc_internal.h"

// Discarded at once: large enough for any disk, small enough not to hold up others for long.
#define TRIM_BLOCKS_MAX 8192u

static YIELDS int trim_run(struct fs *fs, uint32_t g, uint32_t first, uint32_t count)
{
    struct fs_group *group = &fs->groups[g];
    bitmap_set_range(group->busy, first, count);
    group->free_claimable -= count;
    group->holds += count;
    fs->trims++;
    int rc = data_discard(fs->bufs, group_first_block(&fs->geo, g) + first, count);
    bitmap_clear_range(group->busy, first, count);
    group->free_claimable += count;
    group->holds -= count;
    group->run_max = group_blocks(&fs->geo, g);
    fs->trims--;
    waitq_wake_all(fs->rt, &fs->trim_turn);
    return rc;
}

static YIELDS int trim_group(struct fs *fs, uint32_t g, uint32_t first, uint32_t end, uint64_t min, uint64_t *trimmed)
{
    if (fs->groups[g].desc.free_blocks < min)
        return 0;
    for (uint32_t bit = first; bit < end;) {
        int rc = group_load_blocks(fs, g);
        if (rc < 0)
            return fs->groups[g].bad ? 0 : rc;
        const uint8_t *busy = fs->groups[g].busy;
        bit = bitmap_next_clear(busy, bit, end);
        if (bit >= end)
            break;
        uint32_t stop = bitmap_next_set(busy, bit, end), count = stop - bit;
        while (count >= min && bit < stop && rc == 0) {
            // What waited may have been taken meanwhile: look again before each piece.
            uint32_t piece = bitmap_next_set(fs->groups[g].busy, bit, MIN(stop, bit + TRIM_BLOCKS_MAX)) - bit;
            if (piece == 0)
                break;
            rc = trim_run(fs, g, bit, piece);
            *trimmed += rc == 0 ? piece : 0;
            bit += piece;
        }
        if (rc < 0)
            return rc;
        bit = MAX(bit, stop);
    }
    return 0;
}

int alloc_trim(struct fs *fs, uint64_t first, uint64_t count, uint64_t min, uint64_t *trimmed)
{
    *trimmed = 0;
    if (first >= fs->geo.block_count || count == 0)
        return first >= fs->geo.block_count ? -EINVAL : 0;
    uint64_t end = first + MIN(count, fs->geo.block_count - first);
    for (uint32_t g = block_group(&fs->geo, first); g <= block_group(&fs->geo, end - 1); g++) {
        uint64_t start = group_first_block(&fs->geo, g);
        uint32_t from = first > start ? (uint32_t)(first - start) : 0;
        uint32_t to = (uint32_t)MIN(end - start, (uint64_t)group_blocks(&fs->geo, g));
        int rc = trim_group(fs, g, from, to, MAX(min, (uint64_t)1), trimmed);
        if (rc < 0)
            return rc;
    }
    return 0;
}
