// SPDX-License-Identifier: MIT
// group.c - decodes, judges and encodes group descriptors.
#include "ondisk/group.h"

#include <string.h>

#include "base/crc32c.h"

// CRC-16/ARC, reflected polynomial 0xa001: what gdt_csum uses. Few bytes, rarely: no table.
static uint16_t crc16(uint16_t crc, const void *bytes, size_t len)
{
    const uint8_t *byte = bytes;
    for (size_t i = 0; i < len; i++) {
        crc ^= byte[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 1 ? (crc >> 1) ^ 0xa001 : crc >> 1);
    }
    return crc;
}

// The checksum covers the descriptor with its checksum field as zero (metadata_csum) or left out
// (gdt_csum).
static uint16_t group_checksum(const struct ext4_geo *geo, uint32_t group, const uint8_t *raw)
{
    size_t field = offsetof(struct ext4_group_raw, checksum), behind = field + sizeof(struct le16);
    struct le32 number = to_le32(group);

    if (geo->has_metadata_csum) {
        uint16_t zero = 0;
        uint32_t crc = crc32c(geo->csum_seed, &number, sizeof(number));
        crc = crc32c(crc, raw, field);
        crc = crc32c(crc, &zero, sizeof(zero));
        return (uint16_t)crc32c(crc, raw + behind, geo->desc_size - behind);
    }
    uint16_t crc = crc16(0xffff, geo->uuid, sizeof(geo->uuid));
    crc = crc16(crc, &number, sizeof(number));
    crc = crc16(crc, raw, field);
    return geo->has_64bit ? crc16(crc, raw + behind, geo->desc_size - behind) : crc;
}

static bool in_volume(const struct ext4_geo *geo, uint64_t block, uint64_t count)
{
    return block > 0 && block < geo->block_count && count <= geo->block_count - block;
}

static int judge(const struct ext4_geo *geo, uint32_t group, const struct ext4_group *in, const char **why)
{
    uint64_t first = group_first_block(geo, group), last = first + group_blocks(geo, group) - 1;
    bool flex = geo->incompat & EXT4_INCOMPAT_FLEX_BG;

    *why = NULL;
    if (!in_volume(geo, in->block_bitmap, 1) || (!flex && (in->block_bitmap < first || in->block_bitmap > last)))
        *why = "block bitmap is outside";
    else if (!in_volume(geo, in->inode_bitmap, 1) || (!flex && (in->inode_bitmap < first || in->inode_bitmap > last)))
        *why = "inode bitmap is outside";
    else if (!in_volume(geo, in->inode_table, geo->itable_blocks) ||
             (!flex && (in->inode_table < first || in->inode_table + geo->itable_blocks - 1 > last)))
        *why = "inode table is outside";
    else if (in->free_blocks > group_blocks(geo, group))
        *why = "more free blocks than blocks";
    else if (in->free_inodes > geo->inodes_per_group || in->itable_unused > geo->inodes_per_group)
        *why = "more free inodes than inodes";
    else if (in->used_dirs > geo->inodes_per_group)
        *why = "more directories than inodes";
    return *why ? -EFSCORRUPTED : 0;
}

int group_decode(const struct ext4_geo *geo, uint32_t group, const void *bytes, struct ext4_group *out, const char **why)
{
    const struct ext4_group_raw *raw = bytes;
    if ((geo->has_metadata_csum || geo->has_gdt_csum) && le16(raw->checksum) != group_checksum(geo, group, bytes)) {
        *why = "wrong checksum";
        return -EFSBADCRC;
    }
    *out = (struct ext4_group){
        .block_bitmap = le32(raw->block_bitmap_lo),
        .inode_bitmap = le32(raw->inode_bitmap_lo),
        .inode_table = le32(raw->inode_table_lo),
        .free_blocks = le16(raw->free_blocks_lo),
        .free_inodes = le16(raw->free_inodes_lo),
        .used_dirs = le16(raw->used_dirs_lo),
        .itable_unused = le16(raw->itable_unused_lo),
        .flags = le16(raw->flags),
        .block_bitmap_csum = le16(raw->block_bitmap_csum_lo),
        .inode_bitmap_csum = le16(raw->inode_bitmap_csum_lo),
    };
    if (geo->desc_size >= 64) {
        out->block_bitmap |= (uint64_t)le32(raw->block_bitmap_hi) << 32;
        out->inode_bitmap |= (uint64_t)le32(raw->inode_bitmap_hi) << 32;
        out->inode_table |= (uint64_t)le32(raw->inode_table_hi) << 32;
        out->free_blocks |= (uint32_t)le16(raw->free_blocks_hi) << 16;
        out->free_inodes |= (uint32_t)le16(raw->free_inodes_hi) << 16;
        out->used_dirs |= (uint32_t)le16(raw->used_dirs_hi) << 16;
        out->itable_unused |= (uint32_t)le16(raw->itable_unused_hi) << 16;
        out->block_bitmap_csum |= (uint32_t)le16(raw->block_bitmap_csum_hi) << 16;
        out->inode_bitmap_csum |= (uint32_t)le16(raw->inode_bitmap_csum_hi) << 16;
    }
    // Without checksums over descriptors the "uninitialised" flags mean nothing.
    if (!geo->has_metadata_csum && !geo->has_gdt_csum) {
        out->flags &= (uint16_t)~(EXT4_BG_INODE_UNINIT | EXT4_BG_BLOCK_UNINIT);
        out->itable_unused = 0;
    }
    return judge(geo, group, out, why);
}

void group_encode(const struct ext4_geo *geo, uint32_t group, const struct ext4_group *in, void *bytes)
{
    struct ext4_group_raw *raw = bytes;
    raw->block_bitmap_lo = to_le32((uint32_t)in->block_bitmap);
    raw->inode_bitmap_lo = to_le32((uint32_t)in->inode_bitmap);
    raw->inode_table_lo = to_le32((uint32_t)in->inode_table);
    raw->free_blocks_lo = to_le16((uint16_t)in->free_blocks);
    raw->free_inodes_lo = to_le16((uint16_t)in->free_inodes);
    raw->used_dirs_lo = to_le16((uint16_t)in->used_dirs);
    raw->itable_unused_lo = to_le16((uint16_t)in->itable_unused);
    raw->flags = to_le16(in->flags);
    raw->block_bitmap_csum_lo = to_le16((uint16_t)in->block_bitmap_csum);
    raw->inode_bitmap_csum_lo = to_le16((uint16_t)in->inode_bitmap_csum);
    if (geo->desc_size >= 64) {
        raw->block_bitmap_hi = to_le32((uint32_t)(in->block_bitmap >> 32));
        raw->inode_bitmap_hi = to_le32((uint32_t)(in->inode_bitmap >> 32));
        raw->inode_table_hi = to_le32((uint32_t)(in->inode_table >> 32));
        raw->free_blocks_hi = to_le16((uint16_t)(in->free_blocks >> 16));
        raw->free_inodes_hi = to_le16((uint16_t)(in->free_inodes >> 16));
        raw->used_dirs_hi = to_le16((uint16_t)(in->used_dirs >> 16));
        raw->itable_unused_hi = to_le16((uint16_t)(in->itable_unused >> 16));
        raw->block_bitmap_csum_hi = to_le16((uint16_t)(in->block_bitmap_csum >> 16));
        raw->inode_bitmap_csum_hi = to_le16((uint16_t)(in->inode_bitmap_csum >> 16));
    }
    if (geo->has_metadata_csum || geo->has_gdt_csum)
        raw->checksum = to_le16(group_checksum(geo, group, bytes));
}

static uint32_t bitmap_csum(const struct ext4_geo *geo, const void *bitmap, size_t len)
{
    uint32_t crc = crc32c(geo->csum_seed, bitmap, len);
    return geo->desc_size >= 64 ? crc : crc & 0xffff;
}

uint32_t block_bitmap_csum(const struct ext4_geo *geo, const void *bitmap)
{
    return bitmap_csum(geo, bitmap, geo->blocks_per_group / 8);
}

uint32_t inode_bitmap_csum(const struct ext4_geo *geo, const void *bitmap)
{
    return bitmap_csum(geo, bitmap, geo->inodes_per_group / 8);
}
