// SPDX-License-Identifier: MIT
// super.h - ext4's superblock: raw bytes, features, and the geometry that follows from them.
//
// Source of the format: kernel Documentation/filesystems/ext4 (super.rst, blockgroup.rst).
#pragma once

#include "base/byteorder.h"
#include "base/err.h"
#include "base/types.h"

#define EXT4_SUPER_OFFSET 1024u         // bytes from the start of the volume; inside block 0
#define EXT4_SUPER_SIZE 1024u
#define EXT4_MAGIC 0xef53u
#define EXT4_ROOT_INO 2u
#define EXT4_JOURNAL_INO 8u
#define EXT4_GOOD_OLD_INODE_SIZE 128u
#define EXT4_LINK_MAX 65000u

enum ext4_compat {
    EXT4_COMPAT_DIR_PREALLOC = 0x1, EXT4_COMPAT_IMAGIC = 0x2, EXT4_COMPAT_HAS_JOURNAL = 0x4,
    EXT4_COMPAT_EXT_ATTR = 0x8, EXT4_COMPAT_RESIZE_INODE = 0x10, EXT4_COMPAT_DIR_INDEX = 0x20,
    EXT4_COMPAT_LAZY_BG = 0x40, EXT4_COMPAT_EXCLUDE_BITMAP = 0x100, EXT4_COMPAT_SPARSE_SUPER2 = 0x200,
    EXT4_COMPAT_FAST_COMMIT = 0x400, EXT4_COMPAT_STABLE_INODES = 0x800, EXT4_COMPAT_ORPHAN_FILE = 0x1000,
};
enum ext4_incompat {
    EXT4_INCOMPAT_COMPRESSION = 0x1, EXT4_INCOMPAT_FILETYPE = 0x2, EXT4_INCOMPAT_RECOVER = 0x4,
    EXT4_INCOMPAT_JOURNAL_DEV = 0x8, EXT4_INCOMPAT_META_BG = 0x10, EXT4_INCOMPAT_EXTENTS = 0x40,
    EXT4_INCOMPAT_64BIT = 0x80, EXT4_INCOMPAT_MMP = 0x100, EXT4_INCOMPAT_FLEX_BG = 0x200,
    EXT4_INCOMPAT_EA_INODE = 0x400, EXT4_INCOMPAT_DIRDATA = 0x1000, EXT4_INCOMPAT_CSUM_SEED = 0x2000,
    EXT4_INCOMPAT_LARGEDIR = 0x4000, EXT4_INCOMPAT_INLINE_DATA = 0x8000, EXT4_INCOMPAT_ENCRYPT = 0x10000,
    EXT4_INCOMPAT_CASEFOLD = 0x20000,
};
enum ext4_ro_compat {
    EXT4_RO_SPARSE_SUPER = 0x1, EXT4_RO_LARGE_FILE = 0x2, EXT4_RO_BTREE_DIR = 0x4, EXT4_RO_HUGE_FILE = 0x8,
    EXT4_RO_GDT_CSUM = 0x10, EXT4_RO_DIR_NLINK = 0x20, EXT4_RO_EXTRA_ISIZE = 0x40, EXT4_RO_QUOTA = 0x100,
    EXT4_RO_BIGALLOC = 0x200, EXT4_RO_METADATA_CSUM = 0x400, EXT4_RO_REPLICA = 0x800, EXT4_RO_READONLY = 0x1000,
    EXT4_RO_PROJECT = 0x2000, EXT4_RO_SHARED_BLOCKS = 0x4000, EXT4_RO_VERITY = 0x8000, EXT4_RO_ORPHAN_PRESENT = 0x10000,
};
enum ext4_state { EXT4_STATE_VALID = 1, EXT4_STATE_ERROR = 2, EXT4_STATE_ORPHAN = 4 };
enum ext4_super_flags { EXT4_FLAG_SIGNED_HASH = 1, EXT4_FLAG_UNSIGNED_HASH = 2 };

struct ext4_super_raw {
    struct le32 inodes_count, blocks_count_lo, r_blocks_count_lo, free_blocks_count_lo;
    struct le32 free_inodes_count, first_data_block, log_block_size, log_cluster_size;
    struct le32 blocks_per_group, clusters_per_group, inodes_per_group, mtime;
    struct le32 wtime;
    struct le16 mnt_count, max_mnt_count, magic, state, errors, minor_rev_level;
    struct le32 lastcheck, checkinterval, creator_os, rev_level;
    struct le16 def_resuid, def_resgid;
    struct le32 first_ino;
    struct le16 inode_size, block_group_nr;
    struct le32 feature_compat, feature_incompat, feature_ro_compat;
    uint8_t uuid[16];
    char volume_name[16];
    char last_mounted[64];
    struct le32 algorithm_usage_bitmap;
    uint8_t prealloc_blocks, prealloc_dir_blocks;
    struct le16 reserved_gdt_blocks;
    uint8_t journal_uuid[16];
    struct le32 journal_inum, journal_dev, last_orphan, hash_seed[4];
    uint8_t def_hash_version, jnl_backup_type;
    struct le16 desc_size;
    struct le32 default_mount_opts, first_meta_bg, mkfs_time, jnl_blocks[17];
    struct le32 blocks_count_hi, r_blocks_count_hi, free_blocks_count_hi;
    struct le16 min_extra_isize, want_extra_isize;
    struct le32 flags;
    struct le16 raid_stride, mmp_update_interval;
    struct le64 mmp_block;
    struct le32 raid_stripe_width;
    uint8_t log_groups_per_flex, checksum_type, encryption_level, reserved_pad;
    struct le64 kbytes_written;
    struct le32 snapshot_inum, snapshot_id;
    struct le64 snapshot_r_blocks_count;
    struct le32 snapshot_list, error_count, first_error_time, first_error_ino;
    struct le64 first_error_block;
    uint8_t first_error_func[32];
    struct le32 first_error_line, last_error_time, last_error_ino, last_error_line;
    struct le64 last_error_block;
    uint8_t last_error_func[32];
    uint8_t mount_opts[64];
    struct le32 usr_quota_inum, grp_quota_inum, overhead_blocks, backup_bgs[2];
    uint8_t encrypt_algos[4], encrypt_pw_salt[16];
    struct le32 lpf_ino, prj_quota_inum, checksum_seed;
    uint8_t wtime_hi, mtime_hi, mkfs_time_hi, lastcheck_hi, first_error_time_hi, last_error_time_hi;
    uint8_t first_error_errcode, last_error_errcode;
    struct le16 encoding, encoding_flags;
    struct le32 orphan_file_inum, reserved[94], checksum;
};
static_assert(sizeof(struct ext4_super_raw) == EXT4_SUPER_SIZE, "the superblock has 1024 bytes");
static_assert(offsetof(struct ext4_super_raw, uuid) == 0x68, "as documented");
static_assert(offsetof(struct ext4_super_raw, hash_seed) == 0xec, "as documented");
static_assert(offsetof(struct ext4_super_raw, blocks_count_hi) == 0x150, "as documented");
static_assert(offsetof(struct ext4_super_raw, error_count) == 0x194, "as documented");
static_assert(offsetof(struct ext4_super_raw, mount_opts) == 0x200, "as documented");
static_assert(offsetof(struct ext4_super_raw, checksum_seed) == 0x270, "as documented");
static_assert(offsetof(struct ext4_super_raw, orphan_file_inum) == 0x280, "as documented");

// What a volume looks like: constant while it is mounted.
struct ext4_geo {
    uint64_t block_count;
    uint32_t inode_count, group_count;
    uint32_t blocks_per_group, inodes_per_group;
    uint32_t inode_size, desc_size;
    uint32_t desc_per_block, gdt_blocks, reserved_gdt_blocks;
    uint32_t inodes_per_block, itable_blocks;       // itable_blocks: of one group
    uint32_t first_ino;                             // first that is not reserved
    uint32_t compat, incompat, ro_compat;
    uint32_t first_meta_bg;                         // with meta_bg
    uint32_t backup_bgs[2];                         // with sparse_super2
    bool has_metadata_csum, has_gdt_csum, has_64bit, has_extents, has_dir_index, has_filetype, has_huge_file;
    uint32_t csum_seed;                             // of metadata checksums
    uint8_t uuid[16];
    char volume_name[17];
    uint32_t hash_seed[4];
    uint8_t hash_version;                           // default of new indexes, 0..5: unsigned already added
    uint8_t hash_unsigned;                          // 3 when the volume hashes unsigned chars, else 0
    uint16_t want_extra_isize;
    uint32_t flex_bg_groups;                        // groups in a flex group; 1 without flex_bg
    uint32_t journal_ino, last_orphan, orphan_file_ino;
    uint64_t reserved_blocks;                       // for root
    uint32_t reserved_uid, reserved_gid;
    uint16_t state;                                 // EXT4_STATE_*, as read
    uint32_t default_mount_opts;
    uint16_t errors_behaviour;
    const char *read_only_why;                      // unknown ro_compat feature by name, or NULL
};

// Reads and judges all of it: every number is checked against the others and against the device,
// so that what follows may calculate with them. What drover does not support is refused in one
// sentence. -EINVAL (not ext4), -EOPNOTSUPP (a feature), -EFSCORRUPTED, -EFSBADCRC.
MUST_USE int super_decode(const void *bytes1024, uint64_t device_blocks, struct ext4_geo *out, struct err *err);
// Recomputes the checksum of a superblock in memory.
void super_seal(const struct ext4_geo *geo, struct ext4_super_raw *raw);
MUST_USE bool super_checksum_is_right(const struct ext4_super_raw *raw);

// Does the group hold a copy of the superblock and of the descriptors?
bool group_has_super(const struct ext4_geo *geo, uint32_t group);
// Where the index-th block of group descriptors is.
uint64_t group_desc_block(const struct ext4_geo *geo, uint32_t index);
// How many blocks at its start a group gives to superblock, descriptors and their reserve.
uint32_t group_overhead(const struct ext4_geo *geo, uint32_t group);
// Blocks of a group: the last may be short.
uint32_t group_blocks(const struct ext4_geo *geo, uint32_t group);

static inline uint64_t group_first_block(const struct ext4_geo *geo, uint32_t group)
{
    return (uint64_t)group * geo->blocks_per_group;
}
static inline uint32_t block_group(const struct ext4_geo *geo, uint64_t block)
{
    return (uint32_t)(block / geo->blocks_per_group);
}
static inline uint32_t inode_group(const struct ext4_geo *geo, uint32_t ino)
{
    return (ino - 1) / geo->inodes_per_group;
}
