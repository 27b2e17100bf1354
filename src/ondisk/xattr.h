// SPDX-License-Identifier: MIT
// xattr.h - areas of extended attributes: in the inode behind its fields, or in a block.
//
// Source of the format: kernel Documentation/filesystems/ext4/attributes.rst.
//
//   body:   | magic 4 | entry | entry | 0 0 0 0 | ... free ... | value | value |
//   block:  | header 32 | entry | entry | 0 0 0 0 | ... free ... | value | value |
//
// Entries grow up, values grow down from the end, each padded to 4 bytes. In a block entries are
// sorted and carry hashes, and the block has one of its own; in a body neither.
#pragma once

#include "base/byteorder.h"
#include "ondisk/super.h"

#define EXT4_XATTR_MAGIC 0xea020000u
#define EXT4_XATTR_NAME_MAX 255u

enum ext4_xattr_index {
    EXT4_XATTR_USER = 1, EXT4_XATTR_ACL_ACCESS = 2, EXT4_XATTR_ACL_DEFAULT = 3, EXT4_XATTR_TRUSTED = 4,
    EXT4_XATTR_LUSTRE = 5, EXT4_XATTR_SECURITY = 6, EXT4_XATTR_SYSTEM = 7, EXT4_XATTR_RICHACL = 8,
    EXT4_XATTR_ENCRYPTION = 9, EXT4_XATTR_HURD = 10,
};

struct ext4_xattr_header {              // of a block
    struct le32 magic, refcount, blocks, hash, checksum, reserved[3];
};
struct ext4_xattr_body_header {
    struct le32 magic;
};
struct ext4_xattr_entry {
    uint8_t name_len, name_index;
    struct le16 value_offs;             // from the block's start; in a body from the first entry
    struct le32 value_inum;             // not 0: the value is an inode of its own (ea_inode)
    struct le32 value_size, hash;
    char name[];                        // without the prefix that name_index stands for
};
static_assert(sizeof(struct ext4_xattr_header) == 32, "32 bytes");
static_assert(sizeof(struct ext4_xattr_entry) == 16, "16 bytes before the name");

static inline uint32_t xattr_entry_size(uint32_t name_len)
{
    return (16 + name_len + 3) & ~3u;
}
static inline uint32_t xattr_value_size(uint32_t size)
{
    return (size + 3) & ~3u;
}

// A name as it is stored.
struct xattr_name {
    uint8_t index;
    uint8_t len;
    const char *bytes;                  // borrowed
};
// Splits "user.x". -EOPNOTSUPP: no such prefix; -EINVAL: nothing behind it; -ERANGE: too long.
MUST_USE int xattr_name_parse(const char *full, struct xattr_name *out);
// "user.", or for an ACL the whole name. NULL for an index that programs never see.
const char *xattr_prefix(uint8_t index);

struct xattr_area {
    uint8_t *base;                      // value offsets count from here
    uint32_t first;                     // offset of the first entry
    uint32_t end;                       // of the area
    bool in_block;                      // sorted, with hashes
};
struct xattr_area xattr_block_area(void *block);
// The area of an inode's body (ext4_inode.body). False when there is none: too small, or no magic
// (then xattr_body_init() makes one if size is at least XATTR_BODY_MIN).
#define XATTR_BODY_MIN 8u
MUST_USE bool xattr_body_area(void *body, uint32_t size, struct xattr_area *out);
// An empty area.
MUST_USE struct xattr_area xattr_body_init(void *body, uint32_t size);
MUST_USE struct xattr_area xattr_block_init(void *block);       // refcount 1

// Everything below expects an area that passed this. -EFSCORRUPTED with the reason: bounds, names,
// overlapping values, wrong hashes (either of the two that kernels have written). A value in an inode
// of its own is corruption, since volumes with ea_inode are refused. Order is not demanded: older
// e2fsprogs wrote none.
MUST_USE int xattr_area_verify(const struct ext4_geo *geo, const struct xattr_area *area, const char **why);

// The first entry, and the one after; NULL at the end.
const struct ext4_xattr_entry *xattr_first(const struct xattr_area *area);
const struct ext4_xattr_entry *xattr_next(const struct xattr_area *area, const struct ext4_xattr_entry *entry);
// NULL when there is none.
const struct ext4_xattr_entry *xattr_find(const struct xattr_area *area, const struct xattr_name *name);
// Its bytes (value_size of them). NULL when they are in an inode of their own; not NULL when empty.
const void *xattr_value(const struct xattr_area *area, const struct ext4_xattr_entry *entry);
bool xattr_area_is_empty(const struct xattr_area *area);
// Bytes between the entries and the values, less the terminator: what one more entry and its value may take.
uint32_t xattr_area_free(const struct xattr_area *area);
// Would xattr_area_set() succeed, taking into account that an entry of that name is replaced?
bool xattr_area_fits(const struct xattr_area *area, const struct xattr_name *name, uint32_t value_size);

// Sets or replaces; the value does not stand in this area. -ENOSPC leaves the area as it was.
MUST_USE int xattr_area_set(struct xattr_area *area, const struct xattr_name *name, const void *value, uint32_t size);
// False when there was none.
bool xattr_area_remove(struct xattr_area *area, const struct xattr_name *name);

// Blocks:

static inline struct ext4_xattr_header *xattr_header(void *block)
{
    return block;
}
// Header, area and checksum. 0, -EFSBADCRC, -EFSCORRUPTED with the reason.
MUST_USE int xattr_block_verify(const struct ext4_geo *geo, uint64_t block_nr, const void *block, const char **why);
// Recomputes the checksum; nothing without metadata_csum.
void xattr_block_seal(const struct ext4_geo *geo, uint64_t block_nr, void *block);
