// SPDX-License-Identifier: MIT
// super.c - reads and judges the superblock: after it, nobody has to doubt a number of it again.
#include "ondisk/super.h"

#include <string.h>

#include "base/crc32c.h"

struct feature {
    uint32_t bit;
    const char *name;
    const char *advice;
};

// Features that drover cannot serve. The advice is what a person can do about it.
static const struct feature refused_incompat[] = {
    {EXT4_INCOMPAT_COMPRESSION, "compression", "no kernel serves it either; copy the files to a new volume"},
    {EXT4_INCOMPAT_JOURNAL_DEV, "journal_dev", "this is the journal of another volume, name that one"},
    {EXT4_INCOMPAT_MMP, "mmp", "run: tune2fs -O ^mmp DISK"},
    {EXT4_INCOMPAT_EA_INODE, "ea_inode", "copy the files to a volume made by drover mkfs"},
    {EXT4_INCOMPAT_DIRDATA, "dirdata", "copy the files to a volume made by drover mkfs"},
    {EXT4_INCOMPAT_INLINE_DATA, "inline_data", "copy the files to a volume made by drover mkfs"},
    {EXT4_INCOMPAT_ENCRYPT, "encrypt", "copy the files to a volume made by drover mkfs"},
    {EXT4_INCOMPAT_CASEFOLD, "casefold", "run, with no casefolded directory left: tune2fs -O ^casefold DISK"},
};
static const struct feature refused_ro_compat[] = {
    {EXT4_RO_BIGALLOC, "bigalloc", "copy the files to a volume made by drover mkfs"},
    {EXT4_RO_VERITY, "verity", "copy the files to a volume made by drover mkfs"},
};
// Known, but what they ask of a writer drover does not do.
static const struct feature read_only_ro_compat[] = {
    {EXT4_RO_QUOTA, "quota", NULL},
    {EXT4_RO_READONLY, "read-only", NULL},
    {EXT4_RO_SHARED_BLOCKS, "shared_blocks", NULL},
    {EXT4_RO_REPLICA, "replica", NULL},
    {EXT4_RO_BTREE_DIR, "btree_dir", NULL},
};

#define INCOMPAT_SUPPORTED                                                                        \
    (EXT4_INCOMPAT_FILETYPE | EXT4_INCOMPAT_RECOVER | EXT4_INCOMPAT_META_BG | EXT4_INCOMPAT_EXTENTS | \
     EXT4_INCOMPAT_64BIT | EXT4_INCOMPAT_FLEX_BG | EXT4_INCOMPAT_CSUM_SEED | EXT4_INCOMPAT_LARGEDIR)
#define RO_COMPAT_SUPPORTED                                                                       \
    (EXT4_RO_SPARSE_SUPER | EXT4_RO_LARGE_FILE | EXT4_RO_HUGE_FILE | EXT4_RO_GDT_CSUM | EXT4_RO_DIR_NLINK | \
     EXT4_RO_EXTRA_ISIZE | EXT4_RO_METADATA_CSUM | EXT4_RO_PROJECT | EXT4_RO_ORPHAN_PRESENT)

static int refuse_features(const struct ext4_super_raw *raw, struct err *err);
static const char *why_read_only(uint32_t ro_compat);
static int decode_sizes(const struct ext4_super_raw *raw, uint64_t device_blocks, struct ext4_geo *geo, struct err *err);
static void decode_identity(const struct ext4_super_raw *raw, struct ext4_geo *geo);

int super_decode(const void *bytes1024, uint64_t device_blocks, struct ext4_geo *out, struct err *err)
{
    const struct ext4_super_raw *raw = bytes1024;
    *out = (struct ext4_geo){0};
    if (le16(raw->magic) != EXT4_MAGIC)
        return err_set(err, EINVAL, "no ext4 volume here (make one with: drover mkfs DISK)");

    int rc = refuse_features(raw, err);
    if (rc < 0)
        return rc;
    if ((le32(raw->feature_ro_compat) & EXT4_RO_METADATA_CSUM)) {
        if (raw->checksum_type != 1)
            return err_set(err, EFSCORRUPTED, "superblock: unknown checksum type %u (run: e2fsck DISK)", raw->checksum_type);
        if (!super_checksum_is_right(raw))
            return err_set(err, EFSBADCRC, "superblock: wrong checksum (run: e2fsck DISK)");
    }
    decode_identity(raw, out);
    return decode_sizes(raw, device_blocks, out, err);
}

static int refuse_features(const struct ext4_super_raw *raw, struct err *err)
{
    uint32_t incompat = le32(raw->feature_incompat), ro_compat = le32(raw->feature_ro_compat);

    for (size_t i = 0; i < ARRAY_LEN(refused_incompat); i++)
        if (incompat & refused_incompat[i].bit)
            return err_set(err, EOPNOTSUPP, "feature %s is not supported (%s)", refused_incompat[i].name, refused_incompat[i].advice);
    for (size_t i = 0; i < ARRAY_LEN(refused_ro_compat); i++)
        if (ro_compat & refused_ro_compat[i].bit)
            return err_set(err, EOPNOTSUPP, "feature %s is not supported (%s)", refused_ro_compat[i].name, refused_ro_compat[i].advice);
    if (incompat & ~INCOMPAT_SUPPORTED)
        return err_set(err, EOPNOTSUPP, "unknown feature FEATURE_I%d (use a newer drover, or the kernel's ext4)",
                       __builtin_ctz(incompat & ~INCOMPAT_SUPPORTED));
    if (!(le32(raw->feature_compat) & EXT4_COMPAT_HAS_JOURNAL))
        return err_set(err, EOPNOTSUPP, "the volume has no journal, feature has_journal (run: tune2fs -O has_journal DISK)");
    if (le32(raw->journal_inum) == 0)
        return err_set(err, EOPNOTSUPP, "an external journal is not supported "
                       "(run: tune2fs -O ^has_journal DISK, then tune2fs -O has_journal DISK)");
    if (le32(raw->log_block_size) != 2)
        return err_set(err, EOPNOTSUPP, "block size %llu is not supported, only 4096 (copy the files to a volume made by drover mkfs)",
                       le32(raw->log_block_size) <= 6 ? 1024ull << le32(raw->log_block_size) : 0ull);
    return 0;
}

static const char *why_read_only(uint32_t ro_compat)
{
    for (size_t i = 0; i < ARRAY_LEN(read_only_ro_compat); i++)
        if (ro_compat & read_only_ro_compat[i].bit)
            return read_only_ro_compat[i].name;
    return ro_compat & ~RO_COMPAT_SUPPORTED ? "an unknown read-only feature" : NULL;
}

static void decode_identity(const struct ext4_super_raw *raw, struct ext4_geo *geo)
{
    geo->compat = le32(raw->feature_compat);
    geo->incompat = le32(raw->feature_incompat);
    geo->ro_compat = le32(raw->feature_ro_compat);
    geo->read_only_why = why_read_only(geo->ro_compat);
    geo->has_metadata_csum = geo->ro_compat & EXT4_RO_METADATA_CSUM;
    // The kernel lets metadata_csum win where both are set.
    geo->has_gdt_csum = (geo->ro_compat & EXT4_RO_GDT_CSUM) && !geo->has_metadata_csum;
    geo->has_64bit = geo->incompat & EXT4_INCOMPAT_64BIT;
    geo->has_extents = geo->incompat & EXT4_INCOMPAT_EXTENTS;
    geo->has_dir_index = geo->compat & EXT4_COMPAT_DIR_INDEX;
    geo->has_filetype = geo->incompat & EXT4_INCOMPAT_FILETYPE;
    geo->has_huge_file = geo->ro_compat & EXT4_RO_HUGE_FILE;

    memcpy(geo->uuid, raw->uuid, sizeof(geo->uuid));
    memcpy(geo->volume_name, raw->volume_name, sizeof(raw->volume_name));
    geo->csum_seed = geo->incompat & EXT4_INCOMPAT_CSUM_SEED ? le32(raw->checksum_seed)
                                                             : crc32c(~0u, raw->uuid, sizeof(raw->uuid));
    for (int i = 0; i < 4; i++)
        geo->hash_seed[i] = le32(raw->hash_seed[i]);
    geo->hash_unsigned = le32(raw->flags) & EXT4_FLAG_UNSIGNED_HASH ? 3 : 0;
    geo->hash_version = (uint8_t)((raw->def_hash_version <= 2 ? raw->def_hash_version : 1) + geo->hash_unsigned);
    geo->journal_ino = le32(raw->journal_inum);
    geo->last_orphan = le32(raw->last_orphan);
    geo->orphan_file_ino = geo->compat & EXT4_COMPAT_ORPHAN_FILE ? le32(raw->orphan_file_inum) : 0;
    geo->reserved_uid = le16(raw->def_resuid);
    geo->reserved_gid = le16(raw->def_resgid);
    geo->state = le16(raw->state);
    geo->errors_behaviour = le16(raw->errors);
    geo->default_mount_opts = le32(raw->default_mount_opts);
    geo->backup_bgs[0] = le32(raw->backup_bgs[0]);
    geo->backup_bgs[1] = le32(raw->backup_bgs[1]);
}

static bool is_power_of_two(uint32_t n)
{
    return n && !(n & (n - 1));
}

static int decode_inode_size(const struct ext4_super_raw *raw, struct ext4_geo *geo, struct err *err)
{
    bool old = le32(raw->rev_level) == 0;
    geo->inode_size = old ? EXT4_GOOD_OLD_INODE_SIZE : le16(raw->inode_size);
    geo->first_ino = old ? 11 : le32(raw->first_ino);
    if (geo->inode_size < EXT4_GOOD_OLD_INODE_SIZE || geo->inode_size > BLOCK_BYTES || !is_power_of_two(geo->inode_size))
        return err_set(err, EFSCORRUPTED, "superblock: inode size %u (run: e2fsck DISK)", geo->inode_size);
    if (geo->first_ino < 11)
        return err_set(err, EFSCORRUPTED, "superblock: first inode %u (run: e2fsck DISK)", geo->first_ino);
    geo->inodes_per_block = BLOCK_BYTES / geo->inode_size;

    geo->want_extra_isize = le16(raw->want_extra_isize);
    uint32_t extra_max = geo->inode_size - EXT4_GOOD_OLD_INODE_SIZE;
    if (geo->want_extra_isize < 32 || geo->want_extra_isize > extra_max || geo->want_extra_isize % 4)
        geo->want_extra_isize = (uint16_t)MIN(extra_max, 32u);
    return 0;
}

static int decode_sizes(const struct ext4_super_raw *raw, uint64_t device_blocks, struct ext4_geo *geo, struct err *err)
{
    int rc = decode_inode_size(raw, geo, err);
    if (rc < 0)
        return rc;

    uint64_t high = geo->has_64bit ? le32(raw->blocks_count_hi) : 0;
    geo->block_count = high << 32 | le32(raw->blocks_count_lo);
    geo->reserved_blocks = (geo->has_64bit ? (uint64_t)le32(raw->r_blocks_count_hi) << 32 : 0) | le32(raw->r_blocks_count_lo);
    geo->blocks_per_group = le32(raw->blocks_per_group);
    geo->inodes_per_group = le32(raw->inodes_per_group);
    geo->inode_count = le32(raw->inodes_count);
    geo->reserved_gdt_blocks = le16(raw->reserved_gdt_blocks);
    geo->first_meta_bg = le32(raw->first_meta_bg);
    geo->desc_size = geo->has_64bit ? le16(raw->desc_size) : 32;
    geo->flex_bg_groups = 1;
    if ((geo->incompat & EXT4_INCOMPAT_FLEX_BG) && raw->log_groups_per_flex < 31)
        geo->flex_bg_groups = 1u << raw->log_groups_per_flex;

    if (le32(raw->first_data_block) != 0 || le32(raw->log_cluster_size) != le32(raw->log_block_size))
        return err_set(err, EFSCORRUPTED, "superblock: first data block or cluster size is wrong (run: e2fsck DISK)");
    if (geo->block_count > device_blocks)
        return err_set(err, EFSCORRUPTED, "the volume has %llu blocks, the disk only %llu (is it cut short? see: resize2fs)",
                       (unsigned long long)geo->block_count, (unsigned long long)device_blocks);
    if (geo->block_count < 8 || geo->block_count >> 48 || geo->reserved_blocks > geo->block_count / 2)
        return err_set(err, EFSCORRUPTED, "superblock: block counts are wrong (run: e2fsck DISK)");
    if (geo->blocks_per_group == 0 || geo->blocks_per_group % 8 || geo->blocks_per_group > 8 * BLOCK_BYTES || geo->blocks_per_group < 256)
        return err_set(err, EFSCORRUPTED, "superblock: %u blocks in a group (run: e2fsck DISK)", geo->blocks_per_group);
    if (geo->inodes_per_group < geo->inodes_per_block || geo->inodes_per_group > 8 * BLOCK_BYTES || geo->inodes_per_group % 8)
        return err_set(err, EFSCORRUPTED, "superblock: %u inodes in a group (run: e2fsck DISK)", geo->inodes_per_group);
    if (geo->desc_size < (geo->has_64bit ? 64u : 32u) || geo->desc_size > 1024 || !is_power_of_two(geo->desc_size))
        return err_set(err, EFSCORRUPTED, "superblock: descriptor size %u (run: e2fsck DISK)", geo->desc_size);

    uint64_t groups = DIV_ROUND_UP(geo->block_count, geo->blocks_per_group);
    if (groups > UINT32_MAX / geo->inodes_per_group || geo->inode_count != groups * geo->inodes_per_group)
        return err_set(err, EFSCORRUPTED, "superblock: %u inodes do not fit %llu groups (run: e2fsck DISK)",
                       geo->inode_count, (unsigned long long)groups);
    geo->group_count = (uint32_t)groups;
    geo->itable_blocks = DIV_ROUND_UP(geo->inodes_per_group, geo->inodes_per_block);
    geo->desc_per_block = BLOCK_BYTES / geo->desc_size;
    geo->gdt_blocks = DIV_ROUND_UP(geo->group_count, geo->desc_per_block);
    if (geo->first_ino > geo->inodes_per_group || geo->itable_blocks >= geo->blocks_per_group)
        return err_set(err, EFSCORRUPTED, "superblock: a group's inodes do not fit it (run: e2fsck DISK)");
    if ((geo->incompat & EXT4_INCOMPAT_META_BG) && geo->first_meta_bg > geo->gdt_blocks)
        return err_set(err, EFSCORRUPTED, "superblock: first meta block group %u (run: e2fsck DISK)", geo->first_meta_bg);
    if (geo->reserved_gdt_blocks > BLOCK_BYTES / 4 || group_overhead(geo, 0) >= group_blocks(geo, 0))
        return err_set(err, EFSCORRUPTED, "superblock: the descriptors do not fit the first group (run: e2fsck DISK)");
    // mke2fs and resize2fs leave such a rest of the disk unused.
    if (group_overhead(geo, geo->group_count - 1) >= group_blocks(geo, geo->group_count - 1))
        return err_set(err, EFSCORRUPTED, "superblock: the last group is shorter than its descriptors (run: e2fsck DISK)");
    if (geo->journal_ino > geo->inode_count || geo->journal_ino == EXT4_ROOT_INO)
        return err_set(err, EFSCORRUPTED, "superblock: journal inode %u (run: e2fsck DISK)", geo->journal_ino);
    return 0;
}

bool super_checksum_is_right(const struct ext4_super_raw *raw)
{
    return le32(raw->checksum) == crc32c(~0u, raw, offsetof(struct ext4_super_raw, checksum));
}

void super_seal(const struct ext4_geo *geo, struct ext4_super_raw *raw)
{
    if (geo->has_metadata_csum)
        raw->checksum = to_le32(crc32c(~0u, raw, offsetof(struct ext4_super_raw, checksum)));
}

static bool is_power_of(uint32_t n, uint32_t base)
{
    while (n > 1 && n % base == 0)
        n /= base;
    return n == 1;
}

bool group_has_super(const struct ext4_geo *geo, uint32_t group)
{
    if (group == 0)
        return true;
    if (geo->compat & EXT4_COMPAT_SPARSE_SUPER2)
        return group == geo->backup_bgs[0] || group == geo->backup_bgs[1];
    if (group == 1 || !(geo->ro_compat & EXT4_RO_SPARSE_SUPER))
        return true;
    return is_power_of(group, 3) || is_power_of(group, 5) || is_power_of(group, 7);
}

static bool is_in_meta_bg(const struct ext4_geo *geo, uint32_t desc_block)
{
    return (geo->incompat & EXT4_INCOMPAT_META_BG) && desc_block >= geo->first_meta_bg;
}

uint64_t group_desc_block(const struct ext4_geo *geo, uint32_t index)
{
    if (!is_in_meta_bg(geo, index))
        return 1 + (uint64_t)index;
    uint32_t group = index * geo->desc_per_block;
    return group_first_block(geo, group) + group_has_super(geo, group);
}

uint32_t group_overhead(const struct ext4_geo *geo, uint32_t group)
{
    bool super = group_has_super(geo, group);
    uint32_t desc_block = group / geo->desc_per_block;
    if (is_in_meta_bg(geo, desc_block)) {
        uint32_t place = group % geo->desc_per_block;
        return super + (place == 0 || place == 1 || place == geo->desc_per_block - 1);
    }
    if (!super)
        return 0;
    uint32_t gdt = geo->incompat & EXT4_INCOMPAT_META_BG ? MIN(geo->first_meta_bg, geo->gdt_blocks) : geo->gdt_blocks;
    return 1 + gdt + geo->reserved_gdt_blocks;
}

uint32_t group_blocks(const struct ext4_geo *geo, uint32_t group)
{
    return (uint32_t)MIN((uint64_t)geo->blocks_per_group, geo->block_count - group_first_block(geo, group));
}
