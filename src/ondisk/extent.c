// SPDX-License-Identifier: MIT
// extent.c - judges and seals nodes of the extent tree.
#include "ondisk/extent.h"

#include <string.h>

#include "base/crc32c.h"

static bool in_volume(const struct ext4_geo *geo, uint64_t block, uint64_t count)
{
    return block > 0 && block < geo->block_count && count <= geo->block_count - block;
}

static const char *judge_leaf(const struct ext4_geo *geo, const void *node, uint32_t entries)
{
    const struct ext4_extent *e = (const struct ext4_extent *)((const char *)node + 12);
    uint64_t next = 0;
    for (uint32_t i = 0; i < entries; i++, e++) {
        uint32_t len = extent_len(e);
        if (len == 0)
            return "an extent of no blocks";
        if (le32(e->lblock) < next)
            return "extents overlap or are not in order";
        next = (uint64_t)le32(e->lblock) + len;
        if (next > UINT32_MAX)
            return "an extent ends past the largest file";
        if (!in_volume(geo, extent_block(e), len))
            return "an extent points outside the volume";
    }
    return NULL;
}

static const char *judge_index(const struct ext4_geo *geo, const void *node, uint32_t entries)
{
    const struct ext4_extent_index *index = (const struct ext4_extent_index *)((const char *)node + 12);
    if (entries == 0)
        return "an inner node without entries";
    for (uint32_t i = 0; i < entries; i++) {
        if (i && le32(index[i].lblock) <= le32(index[i - 1].lblock))
            return "index entries are not in order";
        if (!in_volume(geo, extent_index_block(&index[i]), 1))
            return "an index entry points outside the volume";
    }
    return NULL;
}

int extent_node_verify(const struct ext4_geo *geo, const void *node, uint32_t capacity, int depth, const char **why)
{
    const struct ext4_extent_header *header = node;
    uint32_t entries = le16(header->entries), max = le16(header->max), found = le16(header->depth);

    if (le16(header->magic) != EXT4_EXTENT_MAGIC)
        *why = "no extent header";
    else if (found > EXT4_EXTENT_DEPTH_MAX || (depth >= 0 && found != (uint32_t)depth))
        *why = "unexpected depth of an extent node";
    else if (max == 0 || max > (capacity - 12) / 12)
        *why = "more extent entries than fit";
    else if (entries > max)
        *why = "more extent entries than the node's own limit";
    else
        *why = found ? judge_index(geo, node, entries) : judge_leaf(geo, node, entries);
    return *why ? -EFSCORRUPTED : 0;
}

// Where the tail stands; the header's `max` was judged or is clamped to the block.
static size_t tail_offset(const void *node)
{
    const struct ext4_extent_header *header = node;
    return 12 + 12 * (size_t)MIN((uint32_t)le16(header->max), (uint32_t)EXT4_EXTENT_BLOCK_MAX);
}

uint32_t extent_block_csum(const struct ext4_geo *geo, const struct block_owner *owner, const void *node)
{
    struct le32 ino = to_le32(owner->ino), generation = to_le32(owner->generation);
    uint32_t crc = crc32c(geo->csum_seed, &ino, sizeof(ino));
    crc = crc32c(crc, &generation, sizeof(generation));
    return crc32c(crc, node, tail_offset(node));
}

static struct ext4_extent_tail *tail_of(const void *node)
{
    return (struct ext4_extent_tail *)((uintptr_t)node + tail_offset(node));
}

bool extent_block_csum_is_right(const struct ext4_geo *geo, const struct block_owner *owner, const void *node)
{
    return !geo->has_metadata_csum || le32(tail_of(node)->checksum) == extent_block_csum(geo, owner, node);
}

void extent_block_seal(const struct ext4_geo *geo, const struct block_owner *owner, void *node)
{
    if (geo->has_metadata_csum)
        tail_of(node)->checksum = to_le32(extent_block_csum(geo, owner, node));
}

void extent_node_init(void *node, uint32_t entries_max, uint32_t depth)
{
    *(struct ext4_extent_header *)node = (struct ext4_extent_header){
        .magic = to_le16(EXT4_EXTENT_MAGIC), .max = to_le16((uint16_t)entries_max), .depth = to_le16((uint16_t)depth),
    };
}
