// SPDX-License-Identifier: MIT
// inode.h - ext4's inodes: raw bytes and the form that drover works with.
//
// Source of the format: kernel Documentation/filesystems/ext4/inodes.rst.
#pragma once

#include "base/byteorder.h"
#include "ondisk/super.h"

enum ext4_inode_flags {
    EXT4_SECRM_FL = 0x1, EXT4_UNRM_FL = 0x2, EXT4_COMPR_FL = 0x4, EXT4_SYNC_FL = 0x8, EXT4_IMMUTABLE_FL = 0x10,
    EXT4_APPEND_FL = 0x20, EXT4_NODUMP_FL = 0x40, EXT4_NOATIME_FL = 0x80, EXT4_DIRTY_FL = 0x100, EXT4_COMPRBLK_FL = 0x200,
    EXT4_NOCOMPR_FL = 0x400, EXT4_ENCRYPT_FL = 0x800, EXT4_INDEX_FL = 0x1000, EXT4_IMAGIC_FL = 0x2000,
    EXT4_JOURNAL_DATA_FL = 0x4000, EXT4_NOTAIL_FL = 0x8000, EXT4_DIRSYNC_FL = 0x10000, EXT4_TOPDIR_FL = 0x20000,
    EXT4_HUGE_FILE_FL = 0x40000, EXT4_EXTENTS_FL = 0x80000, EXT4_VERITY_FL = 0x100000, EXT4_EA_INODE_FL = 0x200000,
    EXT4_DAX_FL = 0x2000000, EXT4_INLINE_DATA_FL = 0x10000000, EXT4_PROJINHERIT_FL = 0x20000000, EXT4_CASEFOLD_FL = 0x40000000,
};
// As in the kernel: what lsattr shows, what chattr changes, what a child takes from its directory.
#define EXT4_FL_USER_VISIBLE 0x725bdfffu
#define EXT4_FL_USER_MODIFIABLE 0x624bc0ffu
#define EXT4_FL_INHERITED (EXT4_SECRM_FL | EXT4_UNRM_FL | EXT4_COMPR_FL | EXT4_SYNC_FL | EXT4_NODUMP_FL | EXT4_NOATIME_FL | \
                           EXT4_NOCOMPR_FL | EXT4_JOURNAL_DATA_FL | EXT4_NOTAIL_FL | EXT4_DIRSYNC_FL | EXT4_PROJINHERIT_FL | \
                           EXT4_CASEFOLD_FL | EXT4_DAX_FL)
#define EXT4_REG_FLMASK (~(uint32_t)(EXT4_DIRSYNC_FL | EXT4_TOPDIR_FL | EXT4_CASEFOLD_FL | EXT4_PROJINHERIT_FL))
#define EXT4_OTHER_FLMASK ((uint32_t)(EXT4_NODUMP_FL | EXT4_NOATIME_FL))

struct ext4_inode_raw {
    struct le16 mode, uid_lo;
    struct le32 size_lo, atime, ctime, mtime, dtime;
    struct le16 gid_lo, links_count;
    struct le32 blocks_lo, flags, version_lo;
    uint8_t block[60];
    struct le32 generation, file_acl_lo, size_hi, obso_faddr;
    struct le16 blocks_hi, file_acl_hi, uid_hi, gid_hi, checksum_lo, reserved;
    // With inode_size > 128:
    struct le16 extra_isize, checksum_hi;
    struct le32 ctime_extra, mtime_extra, atime_extra, crtime, crtime_extra, version_hi, projid;
};
static_assert(offsetof(struct ext4_inode_raw, block) == 0x28, "as documented");
static_assert(offsetof(struct ext4_inode_raw, generation) == 0x64, "as documented");
static_assert(offsetof(struct ext4_inode_raw, extra_isize) == 0x80, "as documented");
static_assert(sizeof(struct ext4_inode_raw) == 160, "128 + the 32 bytes that mke2fs asks for");

struct ext4_time {
    int64_t sec;                    // -2^31 .. 2446
    uint32_t nsec;
};

struct ext4_inode {
    uint16_t mode;
    uint32_t uid, gid;
    uint32_t nlink;                 // 1 for a directory also means "more than can be counted"
    uint64_t size;
    uint64_t blocks;                // of 512 bytes
    struct ext4_time atime, mtime, ctime, crtime;
    uint32_t dtime;                 // time of deletion, or the next orphan's number
    uint32_t flags;
    uint32_t generation;
    uint64_t version;
    uint64_t file_acl;              // attribute block, 0: none
    uint32_t project;
    uint16_t extra_isize;           // 0 when the inode has 128 bytes
    uint8_t block[60];              // extent root, block numbers, fast symlink or device, as on the disk
    uint16_t body_size;             // bytes of in-inode attribute area (may be 0)
    uint8_t *body;                  // it, allocated; NULL when body_size is 0
};

// raw: geo->inode_size bytes. 0; -EFSBADCRC; -EFSCORRUPTED with the reason. On success the caller
// owns out->body (inode_fini). An inode that was never used decodes too (mode 0, nlink 0).
MUST_USE int inode_decode(const struct ext4_geo *geo, uint32_t ino, const void *raw, struct ext4_inode *out, const char **why);
// Writes all fields into raw, keeping what drover does not know, with its checksum. `fresh`: what
// stood in raw before was another inode or nothing, so it is zeroed first.
void inode_encode(const struct ext4_geo *geo, uint32_t ino, const struct ext4_inode *in, bool fresh, void *raw);
void inode_fini(struct ext4_inode *inode);
// A body (attribute area) of the size that a new inode of this volume has.
void inode_body_init(const struct ext4_geo *geo, struct ext4_inode *inode);

// Device numbers in i_block: old 8:8 in the first word when they fit, else the new form in the second.
void inode_set_device(struct ext4_inode *inode, uint32_t major, uint32_t minor);
void inode_get_device(const struct ext4_inode *inode, uint32_t *major, uint32_t *minor);
// A symlink whose target stands in i_block.
bool inode_is_fast_symlink(const struct ext4_inode *inode);
// What a time becomes when it is stored in an inode of this volume (range, resolution).
struct ext4_time inode_clamp_time(const struct ext4_inode *inode, struct ext4_time time);
