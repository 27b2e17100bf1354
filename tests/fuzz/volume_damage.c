// SPDX-License-Identifier: MIT
// volume_damage.c - see volume_damage.h.
//
// Most damage is small and lands where numbers stand that others are calculated from: field by field at
// the start of a structure, with the values on which calculations break, or with ones that are
// plausible (a block of this volume, an inode that exists): those make structures share and loop.
#include "volume_damage.h"

#include <stdio.h>
#include <string.h>

#include "base/byteorder.h"
#include "ondisk/dir.h"
#include "ondisk/extent.h"
#include "ondisk/inode.h"

static const char *const kind_names[PIECE_KINDS] = {
    "super", "desc", "block-bitmap", "inode-bitmap", "inode", "dir", "extent", "indirect", "xattr", "symlink", "orphan-file", "journal",
};
// How often each kind is hit. The superblock is judged at mount, after which nothing else is reached.
static const uint8_t kind_weights[PIECE_KINDS] = {1, 1, 4, 3, 30, 24, 14, 12, 10, 2, 4, 10};

static uint32_t below(struct prng *chance, uint32_t limit)
{
    return limit ? (uint32_t)(prng_next(chance) % limit) : 0;
}

static size_t count_of(const struct volume *volume, uint32_t kind)
{
    return volume->first[kind + 1] - volume->first[kind];
}

// A journal is mostly empty: its first blocks are what is read.
static const struct piece *pick_of_kind(const struct volume *volume, struct prng *chance, uint32_t kind)
{
    const struct piece *first = &volume->pieces[volume->first[kind]];
    size_t count = count_of(volume, kind);
    if (kind == PIECE_JOURNAL) {
        while (first->owner.lblock != 0)
            first++;
        count = 16;
    }
    return first + below(chance, (uint32_t)count);
}

static const struct piece *pick_piece(const struct volume *volume, struct prng *chance)
{
    uint32_t total = 0, kind = 0;
    for (uint32_t k = 0; k < PIECE_KINDS; k++)
        total += count_of(volume, k) ? kind_weights[k] : 0;
    for (uint32_t left = below(chance, total);; kind++) {
        uint32_t weight = count_of(volume, kind) ? kind_weights[kind] : 0;
        if (left < weight)
            return pick_of_kind(volume, chance, kind);
        left -= weight;
    }
}

static uint32_t a_value(const struct volume *volume, struct prng *chance)
{
    static const uint32_t edges[] = {
        0, 1, 2, 3, 4, 5, 7, 8, 11, 12, 0x7f, 0x80, 0xff, 0x100, 340, 341, 508, 511, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001,
        0xfffc, 0xffff, 0x10000, 0x0fffffff, 0x7fffffff, 0x80000000, 0xf0000000, 0xfffffffe, 0xffffffff,
    };
    switch (below(chance, 8)) {
    case 0: return (uint32_t)prng_next(chance);
    case 1: return below(chance, (uint32_t)volume->geo.block_count);
    case 2: return (uint32_t)volume->geo.block_count - 1 + below(chance, 2);
    case 3: return 1 + below(chance, 40);                                   // an inode, most likely
    case 4: return (uint32_t)pick_piece(volume, chance)->block;             // a block of metadata
    default: return edges[below(chance, ARRAY_LEN(edges))];
    }
}

// Where in the piece: half the time near its start, and usually where a number starts.
static uint32_t a_place(const struct piece *piece, struct prng *chance, uint32_t width)
{
    uint32_t limit = piece->size - width + 1;
    uint32_t at = below(chance, below(chance, 2) ? MIN(limit, piece->kind == PIECE_INODE ? 160u : 64u) : limit);
    return below(chance, 8) ? at - at % MIN(width, 4u) : at;
}

static void set_number(const struct volume *volume, const struct piece *piece, struct prng *chance, uint8_t *bytes)
{
    uint32_t width = 1u << below(chance, 3), at = a_place(piece, chance, width), value = a_value(volume, chance), old = 0;
    bool big_endian = piece->kind == PIECE_JOURNAL;
    for (uint32_t i = 0; i < width; i++)
        old |= (uint32_t)bytes[at + i] << 8 * (big_endian ? width - 1 - i : i);
    if (below(chance, 3) == 0)
        value = old + below(chance, 9) - 4;
    for (uint32_t i = 0; i < width; i++)
        bytes[at + i] = (uint8_t)(value >> 8 * (big_endian ? width - 1 - i : i));
}

static void flip_bits(const struct piece *piece, struct prng *chance, uint8_t *bytes)
{
    for (uint32_t n = 1 + below(chance, 3); n > 0; n--)
        bytes[a_place(piece, chance, 1)] ^= (uint8_t)(1u << below(chance, 8));
}

static void fill(const struct piece *piece, struct prng *chance, uint8_t *bytes)
{
    uint32_t len = MIN(piece->size, 1u << below(chance, 13)), at = below(chance, piece->size - len + 1);
    memset(bytes + at, below(chance, 2) ? 0 : below(chance, 2) ? 0xff : below(chance, 256), len);
}

static void move_bytes(const struct piece *piece, struct prng *chance, uint8_t *bytes)
{
    uint32_t len = MIN(piece->size, 4u << below(chance, 6)), to = a_place(piece, chance, len), from = a_place(piece, chance, len);
    memmove(bytes + to, bytes + from, len);
}

// The bytes of another piece: one of the same kind (a lost write, or two directories in one place), rarely any.
static void replace(const struct volume *volume, const struct piece *piece, struct prng *chance, uint8_t *bytes)
{
    uint8_t other[BLOCK_BYTES];
    const struct piece *from = below(chance, 4) ? pick_of_kind(volume, chance, piece->kind) : pick_piece(volume, chance);
    volume_read(volume, from->block, other);
    memcpy(bytes, other + from->offset, MIN(from->size, piece->size));
}

// One field of one entry: where it leads, how long it is, how long its name, what it says it is.
static void set_entry(const struct volume *volume, struct prng *chance, uint8_t *bytes)
{
    struct ext4_dirent_raw *entry = dirent_at(bytes, 0);
    uint32_t steps = below(chance, 2) ? below(chance, 4) : below(chance, 40);
    for (uint32_t at = 0; steps > 0; steps--) {
        at += le16(entry->rec_len);
        if (le16(entry->rec_len) < EXT4_DIRENT_MIN || at > BLOCK_BYTES - EXT4_DIRENT_MIN)
            break;
        entry = dirent_at(bytes, at);
    }
    switch (below(chance, 6)) {
    case 0: entry->rec_len = to_le16((uint16_t)a_value(volume, chance)); break;
    case 1: entry->name_len = (uint8_t)a_value(volume, chance); break;
    case 2: entry->file_type = (uint8_t)below(chance, 9); break;
    case 3: entry->ino = to_le32(a_value(volume, chance)); break;
    default: entry->ino = to_le32(pick_of_kind(volume, chance, PIECE_INODE)->number); break;
    }
}

static void set_le32(uint8_t *bytes, uint32_t value)
{
    struct le32 raw = to_le32(value);
    memcpy(bytes, &raw, sizeof(raw));
}

// Where an entry of an extent tree's node leads: a place that has an owner already.
static void lead_extent_astray(struct prng *chance, uint8_t *node, uint32_t block)
{
    const struct ext4_extent_header *header = (const void *)node;
    uint32_t entry = below(chance, MIN(le16(header->entries), (uint32_t)EXT4_EXTENT_BLOCK_MAX));
    if (le16(header->max) <= EXT4_EXTENT_ROOT_MAX)
        entry %= EXT4_EXTENT_ROOT_MAX;
    set_le32(node + 12 + 12 * entry + (le16(header->depth) ? 4 : 8), block);
}

static void lead_index_astray(struct prng *chance, uint8_t *entries)
{
    uint32_t entry = below(chance, 12);
    set_le32(entries + 8 * entry + offsetof(struct ext4_dx_entry, block), below(chance, 26));
}

static void lead_inode_astray(struct prng *chance, uint8_t *bytes, uint32_t block)
{
    struct ext4_inode_raw *raw = (void *)bytes;
    if (below(chance, 4) == 0)
        raw->file_acl_lo = to_le32(block);
    else if (le32(raw->flags) & EXT4_EXTENTS_FL)
        lead_extent_astray(chance, raw->block, block);
    else
        set_le32(raw->block + 4 * below(chance, 15), block);
}

static uint32_t somebody_elses_block(const struct volume *volume, const struct piece *piece, struct prng *chance)
{
    switch (below(chance, 4)) {
    case 0: return (uint32_t)pick_of_kind(volume, chance, piece->kind == PIECE_INODE ? PIECE_DIR : piece->kind)->block;
    case 1: return (uint32_t)pick_of_kind(volume, chance, PIECE_SUPER + below(chance, PIECE_INODE + 1))->block;     // fixed metadata
    case 2: return (uint32_t)pick_piece(volume, chance)->block;
    default: return below(chance, (uint32_t)volume->geo.block_count);
    }
}

// A pointer that is right in form leads to what belongs to another, or to the owner itself.
static void lead_astray(const struct volume *volume, const struct piece *piece, struct prng *chance, uint8_t *bytes)
{
    uint32_t block = somebody_elses_block(volume, piece, chance);
    switch (piece->kind) {
    case PIECE_INODE: lead_inode_astray(chance, bytes, block); break;
    case PIECE_EXTENT: lead_extent_astray(chance, bytes, block); break;
    case PIECE_INDIRECT: set_le32(bytes + 4 * below(chance, below(chance, 2) ? 16 : 1024), block); break;
    case PIECE_DIR: {
        enum dir_block_kind kind = dir_block_kind(&volume->geo, bytes);
        if (kind == DIR_LEAF)
            set_entry(volume, chance, bytes);
        else
            lead_index_astray(chance, bytes + (kind == DIR_DX_ROOT ? DX_ROOT_ENTRIES_AT : DX_NODE_ENTRIES_AT));
        break;
    }
    default: set_number(volume, piece, chance, bytes); break;
    }
}

static enum piece_kind damage_one(const struct volume *volume, struct prng *chance, bool tell)
{
    uint8_t block[BLOCK_BYTES], before[BLOCK_BYTES];
    const struct piece *piece = pick_piece(volume, chance);
    uint8_t *bytes = block + piece->offset;
    volume_read(volume, piece->block, block);
    memcpy(before, block, sizeof(before));
    switch (below(chance, 16)) {
    case 0: case 1: case 2: flip_bits(piece, chance, bytes); break;
    case 3: fill(piece, chance, bytes); break;
    case 4: move_bytes(piece, chance, bytes); break;
    case 5: replace(volume, piece, chance, bytes); break;
    case 6: case 7: case 8: case 9: case 10: lead_astray(volume, piece, chance, bytes); break;
    default:
        if (piece->kind == PIECE_DIR && below(chance, 2))
            set_entry(volume, chance, bytes);
        else
            set_number(volume, piece, chance, bytes);
        break;
    }
    sim_disk_poke(volume->disk, piece->block, block);
    uint32_t first = 0, last = BLOCK_BYTES;
    while (first < BLOCK_BYTES && block[first] == before[first])
        first++;
    while (last > first && block[last - 1] == before[last - 1])
        last--;
    if (!tell || first == BLOCK_BYTES)
        return piece->kind;
    fprintf(stderr, "damage: %s %u lblock %llu (block %llu) at %u:", kind_names[piece->kind], piece->number, (unsigned long long)piece->owner.lblock,
            (unsigned long long)piece->block, first - piece->offset);
    for (uint32_t i = first; i < MIN(last, first + 8); i++)
        fprintf(stderr, " %02x>%02x", before[i], block[i]);
    fprintf(stderr, "%s\n", last > first + 8 ? " ..." : "");
    return piece->kind;
}

uint32_t volume_damage(const struct volume *volume, struct prng *chance, const struct damage *damage)
{
    uint32_t kinds = 0;
    for (uint32_t i = 0; i < damage->count; i++)
        kinds |= 1u << damage_one(volume, chance, damage->tell);
    if (!damage->seal)
        return kinds;
    // From the last kind to the first: descriptors carry the bitmaps' checksums.
    for (size_t i = volume->piece_count; i > 0; i--) {
        const struct piece *piece = &volume->pieces[i - 1];
        if (piece->kind != PIECE_JOURNAL || piece->owner.lblock < 16)
            piece_seal(volume, piece);
    }
    return kinds;
}
