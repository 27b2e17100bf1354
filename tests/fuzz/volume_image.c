// SPDX-License-Identifier: MIT
// volume_image.c - see volume_image.h. Only pristine volumes are mapped, so nothing here is suspicious.
#include "volume_image.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "ondisk/dir.h"
#include "ondisk/extent.h"
#include "ondisk/group.h"
#include "ondisk/inode.h"
#include "ondisk/jbd2.h"
#include "ondisk/orphan_file.h"
#include "ondisk/verify.h"

void volume_read(const struct volume *volume, uint64_t block, void *bytes)
{
    memcpy(bytes, sim_disk_peek(volume->disk, block), BLOCK_BYTES);
}

static void add(struct volume *volume, const struct piece *piece)
{
    if (volume->piece_count == volume->piece_capacity) {
        volume->piece_capacity = volume->piece_capacity * 2 + 64;
        volume->pieces = xrealloc(volume->pieces, volume->piece_capacity * sizeof(*volume->pieces));
    }
    volume->pieces[volume->piece_count++] = *piece;
}

// --- the map --------------------------------------------------------------------------------------

struct file {
    struct volume *volume;
    uint32_t ino;
    const struct ext4_inode_raw *raw;
    enum piece_kind kind;           // of its blocks; PIECE_KINDS: data, not mapped
};

static struct block_owner owner_of(const struct file *file, uint64_t lblock)
{
    return (struct block_owner){.ino = file->ino, .generation = le32(file->raw->generation), .lblock = lblock};
}

static void add_block(const struct file *file, enum piece_kind kind, uint64_t block, uint64_t lblock)
{
    if (block == 0 || kind == PIECE_KINDS)
        return;
    add(file->volume, &(struct piece){.kind = kind, .block = block, .size = BLOCK_BYTES, .number = file->ino, .owner = owner_of(file, lblock)});
}

static void map_extents(const struct file *file, const void *node, size_t size)
{
    uint8_t copy[BLOCK_BYTES], child[BLOCK_BYTES];
    const struct ext4_extent_header *header = node;
    memcpy(copy, node, size);
    for (uint32_t i = 0; i < le16(header->entries); i++) {
        if (le16(header->depth)) {
            const struct ext4_extent_index *index = extent_indexes(copy) + i;
            add_block(file, PIECE_EXTENT, extent_index_block(index), le32(index->lblock));
            volume_read(file->volume, extent_index_block(index), child);
            map_extents(file, child, sizeof(child));
            continue;
        }
        const struct ext4_extent *extent = extent_entries(copy) + i;
        for (uint32_t k = 0; k < extent_len(extent); k++)
            add_block(file, file->kind, extent_block(extent) + k, le32(extent->lblock) + k);
    }
}

static void map_indirect(const struct file *file, uint64_t block, uint32_t height, uint64_t *lblock)
{
    uint64_t span = 1;
    for (uint32_t i = 0; i < height; i++)
        span *= BLOCK_BYTES / 4;
    if (block && height) {
        struct le32 blocks[BLOCK_BYTES / 4];
        volume_read(file->volume, block, blocks);
        add_block(file, PIECE_INDIRECT, block, *lblock);
        for (uint32_t i = 0; i < ARRAY_LEN(blocks); i++)
            map_indirect(file, le32(blocks[i]), height - 1, lblock);
        return;
    }
    add_block(file, file->kind, block, *lblock);
    *lblock += span;
}

static enum piece_kind content_kind(const struct volume *volume, uint32_t ino, const struct ext4_inode *inode)
{
    if (ino == volume->geo.journal_ino)
        return PIECE_JOURNAL;
    if (ino == volume->geo.orphan_file_ino)
        return PIECE_ORPHAN_FILE;
    switch (inode->mode & 0170000) {
    case 0040000: return PIECE_DIR;
    case 0120000: return PIECE_SYMLINK;
    default: return PIECE_KINDS;
    }
}

static void map_inode(struct volume *volume, uint32_t ino, uint64_t block, uint32_t offset)
{
    uint8_t bytes[BLOCK_BYTES];
    struct ext4_inode inode;
    const char *why;
    volume_read(volume, block, bytes);
    const struct ext4_inode_raw *raw = (const void *)(bytes + offset);
    if (inode_decode(&volume->geo, ino, raw, &inode, &why) < 0 || inode.mode == 0) {
        inode_fini(&inode);
        return;
    }
    struct file file = {.volume = volume, .ino = ino, .raw = raw, .kind = content_kind(volume, ino, &inode)};
    add(volume, &(struct piece){.kind = PIECE_INODE, .block = block, .offset = offset, .size = volume->geo.inode_size, .number = ino});
    if (inode.file_acl)
        add_block(&file, PIECE_XATTR, inode.file_acl, 0);
    bool has_blocks = (inode.mode & 0170000) == 0100000 || (inode.mode & 0170000) == 0040000 ||
                      ((inode.mode & 0170000) == 0120000 && !inode_is_fast_symlink(&inode));
    if (has_blocks && (inode.flags & EXT4_EXTENTS_FL)) {
        map_extents(&file, inode.block, sizeof(inode.block));
    } else if (has_blocks) {
        const struct le32 *blocks = (const void *)inode.block;
        uint64_t lblock = 0;
        for (uint32_t i = 0; i < 15; i++)
            map_indirect(&file, le32(blocks[i]), i < 12 ? 0 : i - 11, &lblock);
    }
    inode_fini(&inode);
}

static struct ext4_group map_group(struct volume *volume, uint32_t number)
{
    const struct ext4_geo *geo = &volume->geo;
    uint8_t bytes[BLOCK_BYTES];
    struct ext4_group group;
    const char *why;
    uint64_t block = group_desc_block(geo, number / geo->desc_per_block);
    uint32_t offset = number % geo->desc_per_block * geo->desc_size;
    volume_read(volume, block, bytes);
    CHECK(group_decode(geo, number, bytes + offset, &group, &why) == 0);
    add(volume, &(struct piece){.kind = PIECE_DESC, .block = block, .offset = offset, .size = geo->desc_size, .number = number});
    add(volume, &(struct piece){.kind = PIECE_BLOCK_BITMAP, .block = group.block_bitmap, .size = BLOCK_BYTES, .number = number});
    add(volume, &(struct piece){.kind = PIECE_INODE_BITMAP, .block = group.inode_bitmap, .size = geo->inodes_per_group / 8, .number = number});
    return group;
}

static int by_kind(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    uint64_t p = x->block * BLOCK_BYTES + x->offset, q = y->block * BLOCK_BYTES + y->offset;
    return (p > q) - (p < q);
}

static void map(struct volume *volume)
{
    const struct ext4_geo *geo = &volume->geo;
    volume->piece_count = 0;
    add(volume, &(struct piece){.kind = PIECE_SUPER, .block = 0, .offset = EXT4_SUPER_OFFSET, .size = EXT4_SUPER_SIZE});
    for (uint32_t g = 0; g < geo->group_count; g++) {
        struct ext4_group group = map_group(volume, g);
        for (uint32_t i = 0; i < geo->inodes_per_group; i++)
            if (!(group.flags & EXT4_BG_INODE_UNINIT))
                map_inode(volume, g * geo->inodes_per_group + i + 1, group.inode_table + i / geo->inodes_per_block,
                          i % geo->inodes_per_block * geo->inode_size);
    }
    qsort(volume->pieces, volume->piece_count, sizeof(*volume->pieces), by_kind);
    size_t at = 0;
    for (uint32_t kind = 0; kind <= PIECE_KINDS; kind++) {
        while (at < volume->piece_count && volume->pieces[at].kind < kind)
            at++;
        volume->first[kind] = at;
    }
}

bool volume_is_fixed(const struct volume *volume, uint64_t block)
{
    for (size_t i = 0; i < volume->first[PIECE_INODE + 1]; i++)
        if (volume->pieces[i].block == block)
            return true;
    return false;
}

// --- checksums ------------------------------------------------------------------------------------

static void seal_inode(const struct ext4_geo *geo, const struct piece *piece, uint8_t *bytes)
{
    struct ext4_inode_raw *raw = (void *)(bytes + piece->offset);
    struct le32 number = to_le32(piece->number);
    bool wide = geo->inode_size > EXT4_GOOD_OLD_INODE_SIZE && le16(raw->extra_isize) >= 4;
    raw->checksum_lo = to_le16(0);
    if (wide)
        raw->checksum_hi = to_le16(0);
    uint32_t crc = crc32c(geo->csum_seed, &number, sizeof(number));
    crc = crc32c(crc, &raw->generation, sizeof(raw->generation));
    crc = crc32c(crc, raw, geo->inode_size);
    raw->checksum_lo = to_le16((uint16_t)crc);
    if (wide)
        raw->checksum_hi = to_le16((uint16_t)(crc >> 16));
}

static uint32_t count_zeros(const uint8_t *bitmap, uint32_t bits)
{
    uint32_t zeros = 0;
    for (uint32_t i = 0; i < bits; i++)
        zeros += !(bitmap[i / 8] & (1u << i % 8));
    return zeros;
}

// Also the count of free bits, without which no group with a damaged bitmap would be used.
static void seal_bitmap(const struct volume *volume, const struct piece *piece, const uint8_t *bitmap)
{
    const struct ext4_geo *geo = &volume->geo;
    uint8_t bytes[BLOCK_BYTES];
    bool of_blocks = piece->kind == PIECE_BLOCK_BITMAP;
    const struct piece *desc = &volume->pieces[volume->first[PIECE_DESC] + piece->number];
    volume_read(volume, desc->block, bytes);
    struct ext4_group_raw *raw = (void *)(bytes + desc->offset);
    if (!(le16(raw->flags) & (of_blocks ? EXT4_BG_BLOCK_UNINIT : EXT4_BG_INODE_UNINIT)))
        *(of_blocks ? &raw->free_blocks_lo : &raw->free_inodes_lo) =
            to_le16((uint16_t)count_zeros(bitmap, of_blocks ? group_blocks(geo, piece->number) : geo->inodes_per_group));
    if (geo->has_metadata_csum) {
        uint32_t crc = of_blocks ? block_bitmap_csum(geo, bitmap) : inode_bitmap_csum(geo, bitmap);
        *(of_blocks ? &raw->block_bitmap_csum_lo : &raw->inode_bitmap_csum_lo) = to_le16((uint16_t)crc);
        if (desc->size >= sizeof(*raw))
            *(of_blocks ? &raw->block_bitmap_csum_hi : &raw->inode_bitmap_csum_hi) = to_le16((uint16_t)(crc >> 16));
    }
    sim_disk_poke(volume->disk, desc->block, bytes);
}

// As metadata_csum has it. The CRC-16 of gdt_csum is not made: there it guards the descriptors.
static void seal_desc(const struct ext4_geo *geo, const struct piece *piece, uint8_t *bytes)
{
    struct ext4_group_raw *raw = (void *)(bytes + piece->offset);
    struct le32 number = to_le32(piece->number);
    if (!geo->has_metadata_csum)
        return;
    raw->checksum = to_le16(0);
    raw->checksum = to_le16((uint16_t)crc32c(crc32c(geo->csum_seed, &number, sizeof(number)), raw, piece->size));
}

// dir_block_seal() takes directory blocks that have a place for the checksum.
static bool dir_is_sealable(const struct ext4_geo *geo, const uint8_t *bytes)
{
    const struct ext4_dir_tail *tail = (const void *)(bytes + BLOCK_BYTES - EXT4_DIR_TAIL_SIZE);
    enum dir_block_kind kind = dir_block_kind(geo, bytes);
    if (kind == DIR_LEAF)
        return le32(tail->zero_ino) == 0 && le16(tail->rec_len) == EXT4_DIR_TAIL_SIZE && tail->zero_name_len == 0 && tail->type == EXT4_DIR_TAIL_TYPE;
    const struct ext4_dx_countlimit *limits = (const void *)(bytes + (kind == DIR_DX_NODE ? DX_NODE_ENTRIES_AT : DX_ROOT_ENTRIES_AT));
    return le16(limits->limit) == (kind == DIR_DX_NODE ? dx_node_limit(geo) : dx_root_limit(geo)) && le16(limits->count) <= le16(limits->limit);
}

static void seal_journal(const struct volume *volume, const struct piece *piece, uint8_t *bytes)
{
    uint8_t first[BLOCK_BYTES];
    struct jbd2_super super;
    const char *why;
    const struct piece *start = &volume->pieces[volume->first[PIECE_JOURNAL]];
    while (start->owner.lblock != 0)
        start++;
    volume_read(volume, start->block, first);
    struct jbd2_super_raw *raw = (void *)(piece == start ? bytes : first);
    if (piece == start && raw->checksum_type == JBD2_CHECKSUM_CRC32C) {
        raw->checksum = to_be32(0);
        raw->checksum = to_be32(crc32c(~0u, raw, sizeof(*raw)));
    }
    if (piece == start || jbd2_super_decode(first, 1u << 20, &super, &why) < 0)
        return;
    const struct jbd2_header *header = (const void *)bytes;
    if (be32(header->magic) != JBD2_MAGIC)
        return;
    if (be32(header->type) == JBD2_DESCRIPTOR || be32(header->type) == JBD2_REVOKE)
        jbd2_tail_seal(&super, bytes);
    // A fixed time, so that the same commands make the same bytes.
    else if (be32(header->type) == JBD2_COMMIT)
        jbd2_commit_init(&super, &(struct jbd2_commit){.sequence = be32(header->sequence), .sec = 1500000000}, bytes);
}

void piece_seal(const struct volume *volume, const struct piece *piece)
{
    const struct ext4_geo *geo = &volume->geo;
    uint8_t bytes[BLOCK_BYTES];
    volume_read(volume, piece->block, bytes);
    switch (piece->kind) {
    case PIECE_SUPER: block_seal(geo, BLOCK_SUPERBLOCK, &piece->owner, 0, bytes); break;
    case PIECE_DESC: seal_desc(geo, piece, bytes); break;
    case PIECE_BLOCK_BITMAP:
    case PIECE_INODE_BITMAP:
        if (!geo->has_gdt_csum)
            seal_bitmap(volume, piece, bytes);
        return;
    case PIECE_INODE:
        if (geo->has_metadata_csum)
            seal_inode(geo, piece, bytes);
        break;
    case PIECE_DIR:
        if (geo->has_metadata_csum && dir_is_sealable(geo, bytes))
            dir_block_seal(geo, &piece->owner, bytes);
        break;
    case PIECE_EXTENT: {
        const struct ext4_extent_header *header = (const void *)bytes;
        if (le16(header->max) <= EXT4_EXTENT_BLOCK_MAX)
            extent_block_seal(geo, &piece->owner, bytes);
        break;
    }
    case PIECE_XATTR: block_seal(geo, BLOCK_XATTR, &piece->owner, piece->block, bytes); break;
    case PIECE_ORPHAN_FILE: orphan_block_seal(geo, &piece->owner, piece->block, bytes); break;
    case PIECE_JOURNAL: seal_journal(volume, piece, bytes); break;
    default: return;
    }
    sim_disk_poke(volume->disk, piece->block, bytes);
}

// --- what debugfs cannot make ---------------------------------------------------------------------

// A root of a hash tree whose directory ends with two unused blocks gets a second level: they become
// its nodes, and share its entries.
static void deepen(struct volume *volume, struct piece *root, struct piece *left, struct piece *right)
{
    const struct ext4_geo *geo = &volume->geo;
    uint8_t top[BLOCK_BYTES], low[BLOCK_BYTES], high[BLOCK_BYTES];
    struct dx_view at, to;
    const char *why;
    volume_read(volume, root->block, top);
    CHECK(dx_root_view(geo, top, &at, &why) == 0);
    for (uint32_t i = 0; i < at.count; i++)
        CHECK(dx_block_at(&at, i) < left->owner.lblock);
    uint32_t half = at.count / 2, hash = dx_hash_at(&at, half);
    dx_node_init(geo, low, 0, &to);
    dx_fill(&to, &at, 0, half);
    dx_node_init(geo, high, 0, &to);
    dx_fill(&to, &at, half, at.count - half);
    dx_truncate(&at, 1);
    dx_set_block(&at, 0, (uint32_t)left->owner.lblock);
    dx_insert(&at, 0, hash, (uint32_t)right->owner.lblock);
    dx_root_set_levels(&at, 1);
    sim_disk_poke(volume->disk, root->block, top);
    sim_disk_poke(volume->disk, left->block, low);
    sim_disk_poke(volume->disk, right->block, high);
    piece_seal(volume, root);
    piece_seal(volume, left);
    piece_seal(volume, right);
}

static void deepen_largest(struct volume *volume)
{
    const struct piece *end = volume->pieces + volume->first[PIECE_DIR + 1];
    struct piece *last = NULL;
    for (struct piece *p = volume->pieces + volume->first[PIECE_DIR]; p < end; p++)
        if (!last || p->owner.lblock > last->owner.lblock)
            last = p;
    struct piece *root = NULL, *before = NULL;
    for (struct piece *p = volume->pieces + volume->first[PIECE_DIR]; p < end; p++) {
        if (p->number == last->number && p->owner.lblock == 0)
            root = p;
        if (p->number == last->number && p->owner.lblock + 1 == last->owner.lblock)
            before = p;
    }
    if (volume->geo.has_dir_index && root && before && dir_block_kind(&volume->geo, sim_disk_peek(volume->disk, root->block)) == DIR_DX_ROOT)
        deepen(volume, root, before, last);
}

// The orphan that the superblock's list begins with stands in the orphan file as well as a second one.
static void fill_orphan_file(struct volume *volume)
{
    uint8_t bytes[BLOCK_BYTES];
    if (volume->first[PIECE_ORPHAN_FILE] == volume->first[PIECE_ORPHAN_FILE + 1])
        return;
    const struct piece *piece = &volume->pieces[volume->first[PIECE_ORPHAN_FILE]];
    volume_read(volume, piece->block, bytes);
    struct ext4_orphan_block *orphans = (void *)bytes;
    uint32_t ino = volume->geo.last_orphan;
    orphans->inos[3] = to_le32(ino);
    sim_disk_poke(volume->disk, piece->block, bytes);
    piece_seal(volume, piece);
    volume_read(volume, 0, bytes);
    struct ext4_super_raw *raw = (void *)(bytes + EXT4_SUPER_OFFSET);
    raw->last_orphan = to_le32(0);
    raw->feature_ro_compat = to_le32(le32(raw->feature_ro_compat) | EXT4_RO_ORPHAN_PRESENT);
    super_seal(&volume->geo, raw);
    sim_disk_poke(volume->disk, 0, bytes);
}

void volume_load(struct volume *volume, const char *path)
{
    struct err err = {0};
    *volume = (struct volume){0};
    if (sim_disk_load(path, &volume->disk, &err) < 0 ||
        super_decode((const char *)sim_disk_peek(volume->disk, 0) + EXT4_SUPER_OFFSET, sim_disk_block_count(volume->disk), &volume->geo, &err) < 0) {
        fprintf(stderr, "volume_fuzz: %s: %s\n", path, err.text);
        exit(1);
    }
    map(volume);
    deepen_largest(volume);
    fill_orphan_file(volume);
    for (size_t i = volume->first[PIECE_JOURNAL]; i < volume->first[PIECE_JOURNAL + 1]; i++)
        if (volume->pieces[i].owner.lblock < 16)
            piece_seal(volume, &volume->pieces[i]);
}

void volume_fini(struct volume *volume)
{
    sim_disk_destroy(volume->disk);
    free(volume->pieces);
}
