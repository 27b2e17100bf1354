// SPDX-License-Identifier: MIT
// extent.h - nodes of the extent tree: in the inode (60 bytes) or in a block of their own.
//
// Source of the format: kernel Documentation/filesystems/ext4/ifork.rst.
#pragma once

#include "base/byteorder.h"
#include "ondisk/block_type.h"
#include "ondisk/super.h"

#define EXT4_EXTENT_MAGIC 0xf30au
#define EXT4_EXTENT_DEPTH_MAX 5u
#define EXT4_EXTENT_LEN_MAX 32768u          // of a written extent; one less of an unwritten
#define EXT4_EXTENT_UNWRITTEN_LEN_MAX 32767u

struct ext4_extent_header {
    struct le16 magic, entries, max, depth;
    struct le32 generation;
};
struct ext4_extent {                        // in a leaf (depth 0)
    struct le32 lblock;
    struct le16 len;                        // above 32768: unwritten, len - 32768
    struct le16 start_hi;
    struct le32 start_lo;
};
struct ext4_extent_index {                  // in an inner node
    struct le32 lblock;
    struct le32 leaf_lo;
    struct le16 leaf_hi, unused;
};
struct ext4_extent_tail {                   // behind the last possible entry of a block
    struct le32 checksum;
};
static_assert(sizeof(struct ext4_extent_header) == 12, "12 bytes");
static_assert(sizeof(struct ext4_extent) == 12, "12 bytes");
static_assert(sizeof(struct ext4_extent_index) == 12, "12 bytes");

#define EXT4_EXTENT_ROOT_BYTES 60u
#define EXT4_EXTENT_ROOT_MAX 4u             // entries in the inode
#define EXT4_EXTENT_BLOCK_MAX ((BLOCK_BYTES - 12 - 4) / 12)      // entries in a block: 340

static inline struct ext4_extent *extent_entries(void *node) { return (struct ext4_extent *)((char *)node + 12); }
static inline struct ext4_extent_index *extent_indexes(void *node) { return (struct ext4_extent_index *)((char *)node + 12); }
static inline uint64_t extent_block(const struct ext4_extent *e) { return ((uint64_t)le16(e->start_hi) << 32) | le32(e->start_lo); }
static inline uint64_t extent_index_block(const struct ext4_extent_index *i) { return ((uint64_t)le16(i->leaf_hi) << 32) | le32(i->leaf_lo); }
static inline bool extent_is_unwritten(const struct ext4_extent *e) { return le16(e->len) > EXT4_EXTENT_LEN_MAX; }
static inline uint32_t extent_len(const struct ext4_extent *e)
{
    return extent_is_unwritten(e) ? le16(e->len) - EXT4_EXTENT_LEN_MAX : le16(e->len);
}
static inline void extent_set(struct ext4_extent *e, uint32_t lblock, uint32_t len, bool unwritten, uint64_t block)
{
    e->lblock = to_le32(lblock);
    e->len = to_le16((uint16_t)(unwritten ? len + EXT4_EXTENT_LEN_MAX : len));
    e->start_hi = to_le16((uint16_t)(block >> 32));
    e->start_lo = to_le32((uint32_t)block);
}
static inline void extent_index_set(struct ext4_extent_index *i, uint32_t lblock, uint64_t block)
{
    *i = (struct ext4_extent_index){.lblock = to_le32(lblock), .leaf_lo = to_le32((uint32_t)block), .leaf_hi = to_le16((uint16_t)(block >> 32))};
}

// Structure of one node within `capacity` bytes (60, or BLOCK_BYTES): header, order, no overlap, every
// block number inside the volume. depth -1: any up to 5. Not the checksum. 0 or -EFSCORRUPTED.
MUST_USE int extent_node_verify(const struct ext4_geo *geo, const void *node, uint32_t capacity, int depth, const char **why);
// The checksum of a node in a block of its own.
uint32_t extent_block_csum(const struct ext4_geo *geo, const struct block_owner *owner, const void *node);
MUST_USE bool extent_block_csum_is_right(const struct ext4_geo *geo, const struct block_owner *owner, const void *node);
void extent_block_seal(const struct ext4_geo *geo, const struct block_owner *owner, void *node);
void extent_node_init(void *node, uint32_t entries_max, uint32_t depth);
