// SPDX-License-Identifier: MIT
// dirindex.c - blocks of a directory's hash tree: told from leaves, judged, edited, sealed.
#include "ondisk/dir.h"

#include <string.h>

#include "base/check.h"
#include "ondisk/internal.h"

#define ROOT_INFO_AT 24u

static struct ext4_dx_root_info *root_info(const void *block)
{
    return (struct ext4_dx_root_info *)((uintptr_t)block + ROOT_INFO_AT);
}
static struct ext4_dx_countlimit *countlimit(const struct dx_view *view)
{
    return (struct ext4_dx_countlimit *)view->entries;
}

static void set_count(struct dx_view *view, uint32_t count)
{
    CHECK(count >= 1 && count <= view->limit);
    view->count = count;
    countlimit(view)->limit = to_le16((uint16_t)view->limit);
    countlimit(view)->count = to_le16((uint16_t)count);
}

static struct dx_view view_of(void *block, uint32_t entries_at)
{
    struct dx_view view = {.block = block, .entries = (struct ext4_dx_entry *)((char *)block + entries_at)};
    view.count = le16(countlimit(&view)->count);
    view.limit = le16(countlimit(&view)->limit);
    return view;
}

static const char *entries_fault(const struct dx_view *view, uint32_t limit)
{
    if (view->limit != limit)
        return "unexpected limit of a hash tree's block";
    if (view->count < 1 || view->count > limit)
        return "impossible count of a hash tree's block";
    // Every path judges its blocks anew: all entries at once, without a branch for each.
    const struct ext4_dx_entry *entries = view->entries;
    uint32_t disorder = 0, roots = dx_block_at(view, 0) == 0;
    for (uint32_t i = 1; i < view->count; i++)
        roots |= (le32(entries[i].block) & DX_BLOCK_MASK) == 0;
    for (uint32_t i = 2; i < view->count; i++)      // the first has no hash
        disorder |= le32(entries[i].hash) < le32(entries[i - 1].hash);
    if (disorder)
        return "hash tree is not in order";
    return roots ? "hash tree leads to its own root" : NULL;
}

static const char *root_fault(const struct ext4_geo *geo, const struct ext4_dx_root_info *info)
{
    if (le32(info->reserved_zero) != 0 || info->info_length != sizeof(*info))
        return "no header of a hash tree";
    if (info->hash_version > DX_HASH_TEA)
        return "unknown hash of a hash tree";
    if (info->unused_flags & 1)
        return "unknown flags of a hash tree";
    if (info->indirect_levels > dx_levels_max(geo))
        return "hash tree is too deep";
    return NULL;
}

int dx_root_view(const struct ext4_geo *geo, void *block, struct dx_view *out, const char **why)
{
    const struct ext4_dx_root_info *info = root_info(block);
    struct dx_view view = view_of(block, DX_ROOT_ENTRIES_AT);

    const char *fault = root_fault(geo, info);
    if (!fault)
        fault = entries_fault(&view, dx_root_limit(geo));
    if (fault) {
        *why = fault;
        return -EFSCORRUPTED;
    }
    view.hash_version = (uint8_t)(info->hash_version + geo->hash_unsigned);
    view.levels = info->indirect_levels;
    *out = view;
    return 0;
}

int dx_node_view(const struct ext4_geo *geo, void *block, struct dx_view *out, const char **why)
{
    const struct ext4_dirent_raw *cover = dirent_in(block, 0);
    struct dx_view view = view_of(block, DX_NODE_ENTRIES_AT);

    const char *fault = entries_fault(&view, dx_node_limit(geo));
    if (le32(cover->ino) != 0 || le16(cover->rec_len) != BLOCK_BYTES)
        fault = "no node of a hash tree";
    if (fault) {
        *why = fault;
        return -EFSCORRUPTED;
    }
    *out = view;
    return 0;
}

uint32_t dx_search(const struct dx_view *view, uint32_t major)
{
    uint32_t low = 0, high = view->count;       // entry `low` is not above, entry `high` is
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (dx_hash_at(view, middle) > major)
            high = middle;
        else
            low = middle;
    }
    return low;
}

void dx_insert(struct dx_view *view, uint32_t index, uint32_t hash, uint32_t block)
{
    CHECK(index < view->count);
    struct ext4_dx_entry *place = &view->entries[index + 1];
    uint32_t behind = view->count - (index + 1);
    set_count(view, view->count + 1);
    memmove(place + 1, place, behind * sizeof(*place));
    *place = (struct ext4_dx_entry){.hash = to_le32(hash), .block = to_le32(block)};
}

void dx_truncate(struct dx_view *view, uint32_t count)
{
    CHECK(count <= view->count);
    memset(&view->entries[count], 0, (view->count - count) * sizeof(view->entries[0]));
    set_count(view, count);
}

void dx_set_block(struct dx_view *view, uint32_t index, uint32_t block)
{
    CHECK(index < view->count);
    view->entries[index].block = to_le32(block);
}

static struct dx_view one_entry(void *block, uint32_t entries_at, uint32_t limit, uint32_t lblock)
{
    struct dx_view view = {.block = block, .entries = (struct ext4_dx_entry *)((char *)block + entries_at), .limit = limit};
    view.entries[0].block = to_le32(lblock);
    set_count(&view, 1);
    return view;
}

void dx_root_init(const struct ext4_geo *geo, void *block, uint32_t lblock, struct dx_view *out)
{
    uint8_t version = (uint8_t)(geo->hash_version % 3);

    memset((char *)block + ROOT_INFO_AT, 0, BLOCK_BYTES - ROOT_INFO_AT);
    dirent_in(block, 0)->rec_len = to_le16(12);
    dirent_in(block, 12)->rec_len = to_le16(BLOCK_BYTES - 12);
    *root_info(block) = (struct ext4_dx_root_info){.hash_version = version, .info_length = sizeof(struct ext4_dx_root_info)};
    *out = one_entry(block, DX_ROOT_ENTRIES_AT, dx_root_limit(geo), lblock);
    out->hash_version = (uint8_t)(version + geo->hash_unsigned);
}

void dx_root_set_levels(struct dx_view *root, uint8_t levels)
{
    root->levels = levels;
    root_info(root->block)->indirect_levels = levels;
}

void dx_node_init(const struct ext4_geo *geo, void *block, uint32_t lblock, struct dx_view *out)
{
    memset(block, 0, BLOCK_BYTES);
    dirent_in(block, 0)->rec_len = to_le16(BLOCK_BYTES);
    *out = one_entry(block, DX_NODE_ENTRIES_AT, dx_node_limit(geo), lblock);
}

void dx_fill(struct dx_view *to, const struct dx_view *from, uint32_t first, uint32_t count)
{
    CHECK(to->block != from->block);
    CHECK(first + count <= from->count && count <= to->limit);
    memset(to->entries, 0, to->limit * sizeof(to->entries[0]));
    memcpy(to->entries, &from->entries[first], count * sizeof(to->entries[0]));
    set_count(to, count);
}

// What the entries that cover it for readers of plain leaves make of a block.
static enum dir_block_kind covered_as(const void *block)
{
    const struct ext4_dirent_raw *first = dirent_in(block, 0);
    if (le16(first->rec_len) == BLOCK_BYTES && le32(first->ino) == 0 && first->name_len == 0)
        return DIR_DX_NODE;
    if (le16(first->rec_len) == 12 && le16(dirent_in(block, 12)->rec_len) == BLOCK_BYTES - 12)
        return DIR_DX_ROOT;
    return DIR_LEAF;
}

enum dir_block_kind dir_block_kind(const struct ext4_geo *geo, const void *block)
{
    enum dir_block_kind kind = covered_as(block);
    // Of an index block the last eight bytes are its own tail, which starts with a zero.
    if (geo->has_metadata_csum)
        return dir_has_tail(block) ? DIR_LEAF : kind;

    // Without tails, an empty leaf and a directory of two names are covered alike.
    void *bytes = (void *)(uintptr_t)block;
    struct dx_view view;
    const char *why;
    if (kind == DIR_DX_NODE && dx_node_view(geo, bytes, &view, &why) == 0)
        return DIR_DX_NODE;
    if (kind == DIR_DX_ROOT && dx_root_view(geo, bytes, &view, &why) == 0)
        return DIR_DX_ROOT;
    return DIR_LEAF;
}

// Bounds only: a checksum is compared before the order of the hashes is looked at.
static struct ext4_dx_tail *dx_tail(const struct ext4_geo *geo, const void *block, struct dx_view *view)
{
    bool is_node = covered_as(block) == DIR_DX_NODE;
    *view = view_of((void *)(uintptr_t)block, is_node ? DX_NODE_ENTRIES_AT : DX_ROOT_ENTRIES_AT);
    if (view->limit != (is_node ? dx_node_limit(geo) : dx_root_limit(geo)) || view->count > view->limit)
        return NULL;
    return (struct ext4_dx_tail *)&view->entries[view->limit];
}

// Everything up to the last entry, then the tail with no checksum in it.
static uint32_t dx_csum(const struct ext4_geo *geo, const struct block_owner *owner, const struct dx_view *view, const struct ext4_dx_tail *tail)
{
    size_t size = (size_t)((const char *)&view->entries[view->count] - (const char *)view->block);
    struct ext4_dx_tail blank = {.reserved = tail->reserved};
    uint32_t crc = crc32c(owner_csum(geo, owner), view->block, size);
    return crc32c(crc, &blank, sizeof(blank));
}

bool dx_csum_is_right(const struct ext4_geo *geo, const struct block_owner *owner, const void *block)
{
    struct dx_view view;
    const struct ext4_dx_tail *tail = dx_tail(geo, block, &view);
    return tail && le32(tail->checksum) == dx_csum(geo, owner, &view, tail);
}

void dx_seal(const struct ext4_geo *geo, const struct block_owner *owner, void *block)
{
    struct dx_view view;
    struct ext4_dx_tail *tail = dx_tail(geo, block, &view);
    CHECK(tail);
    tail->checksum = to_le32(dx_csum(geo, owner, &view, tail));
}
