// SPDX-License-Identifier: MIT
// alloc_zone.c - the blocks that no file may own: superblocks, descriptors, bitmaps, inode tables, journal.
//
// A sorted array of ranges that do not touch, made once at mount. Whatever a damaged extent or a
// damaged bitmap says, a block in a zone is never given to a file and never freed.
#include <string.h>

#include "base/check.h"
#include "fs/alloc_internal.h"

void zones_add(struct fs *fs, uint64_t first, uint64_t count)
{
    if (count == 0)
        return;
    // Powers of two: the array is full exactly when its count is one.
    if ((fs->zone_count & (fs->zone_count - 1)) == 0)
        fs->zones = xrealloc(fs->zones, MAX(8u, 2 * fs->zone_count) * sizeof *fs->zones);
    fs->zones[fs->zone_count++] = (struct system_zone){first, first + count - 1};
}

static int zone_order(const void *left, const void *right)
{
    const struct system_zone *a = left, *b = right;
    return a->first < b->first ? -1 : a->first > b->first;
}

bool zones_finish(struct fs *fs)
{
    bool overlap = false;
    qsort(fs->zones, fs->zone_count, sizeof *fs->zones, zone_order);
    uint32_t kept = 0;
    for (uint32_t i = 1; i < fs->zone_count; i++) {
        struct system_zone *last = &fs->zones[kept], *next = &fs->zones[i];
        overlap = overlap || next->first <= last->last;
        if (next->first <= last->last + 1)
            last->last = MAX(last->last, next->last);
        else
            fs->zones[++kept] = *next;
    }
    fs->zone_count = kept + 1;
    fs->zones = xrealloc(fs->zones, fs->zone_count * sizeof *fs->zones);
    return !overlap;
}

void zones_build(struct fs *fs)
{
    for (uint32_t g = 0; g < fs->geo.group_count; g++) {
        const struct ext4_group *desc = &fs->groups[g].desc;
        zones_add(fs, group_first_block(&fs->geo, g), group_overhead(&fs->geo, g));
        zones_add(fs, desc->block_bitmap, 1);
        zones_add(fs, desc->inode_bitmap, 1);
        zones_add(fs, desc->inode_table, fs->geo.itable_blocks);
    }
}

uint32_t zone_at_or_after(const struct fs *fs, uint64_t block)
{
    uint32_t low = 0, high = fs->zone_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (fs->zones[middle].last < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool alloc_is_data_range(const struct fs *fs, uint64_t block, uint64_t count)
{
    if (count == 0 || block == 0 || block >= fs->geo.block_count || count > fs->geo.block_count - block)
        return false;
    uint32_t zone = zone_at_or_after(fs, block);
    return zone == fs->zone_count || fs->zones[zone].first >= block + count;
}
