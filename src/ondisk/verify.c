// SPDX-License-Identifier: MIT
// verify.c - dispatches by block type to the files that know each format.
#include "ondisk/verify.h"

#include "base/byteorder.h"
#include "base/check.h"
#include "ondisk/dir.h"
#include "ondisk/extent.h"
#include "ondisk/orphan_file.h"
#include "ondisk/xattr.h"

const char *block_type_name(enum block_type type)
{
    static const char *const names[BLOCK_TYPE_COUNT] = {
        [BLOCK_SUPERBLOCK] = "superblock", [BLOCK_GROUP_DESC] = "group-descriptor",
        [BLOCK_BLOCK_BITMAP] = "block-bitmap", [BLOCK_INODE_BITMAP] = "inode-bitmap",
        [BLOCK_INODE_TABLE] = "inode", [BLOCK_DIR] = "directory", [BLOCK_EXTENT] = "extent",
        [BLOCK_INDIRECT] = "indirect", [BLOCK_XATTR] = "xattr", [BLOCK_SYMLINK] = "symlink",
        [BLOCK_DATA] = "data", [BLOCK_JOURNAL_SUPER] = "journal-superblock",
        [BLOCK_JOURNAL] = "journal", [BLOCK_ORPHAN_FILE] = "orphan-file",
    };
    CHECK(type < BLOCK_TYPE_COUNT);
    return names[type];
}

static int verify_extent(const struct ext4_geo *geo, const struct block_owner *owner, const void *bytes, const char **why)
{
    int rc = extent_node_verify(geo, bytes, BLOCK_BYTES, owner->depth ? owner->depth - 1 : -1, why);
    if (rc == 0 && !extent_block_csum_is_right(geo, owner, bytes)) {
        *why = "wrong checksum";
        rc = -EFSBADCRC;
    }
    return rc;
}

static int verify_indirect(const struct ext4_geo *geo, const void *bytes, const char **why)
{
    const struct le32 *blocks = bytes;
    for (size_t i = 0; i < BLOCK_BYTES / sizeof(*blocks); i++) {
        if (le32(blocks[i]) >= geo->block_count) {
            *why = "a block number outside the volume";
            return -EFSCORRUPTED;
        }
    }
    return 0;
}

int block_verify(const struct ext4_geo *geo, enum block_type type, const struct block_owner *owner, uint64_t block, const void *bytes, const char **why)
{
    *why = NULL;
    switch (type) {
    case BLOCK_DIR: return dir_block_verify(geo, owner, bytes, why);
    case BLOCK_EXTENT: return verify_extent(geo, owner, bytes, why);
    case BLOCK_INDIRECT: return verify_indirect(geo, bytes, why);
    case BLOCK_XATTR: return xattr_block_verify(geo, block, bytes, why);
    case BLOCK_ORPHAN_FILE: return orphan_block_verify(geo, owner, block, bytes, why);
    // Judged by their readers, who hold what they are checked against.
    case BLOCK_SUPERBLOCK:
    case BLOCK_GROUP_DESC:
    case BLOCK_BLOCK_BITMAP:
    case BLOCK_INODE_BITMAP:
    case BLOCK_INODE_TABLE:
    case BLOCK_JOURNAL_SUPER:
    case BLOCK_JOURNAL:
    // Nothing can be said of their bytes.
    case BLOCK_SYMLINK:
    case BLOCK_DATA:
    case BLOCK_TYPE_COUNT:
        return 0;
    }
    CHECK(!"a block type has a name");
}

void block_seal(const struct ext4_geo *geo, enum block_type type, const struct block_owner *owner, uint64_t block, void *bytes)
{
    switch (type) {
    case BLOCK_SUPERBLOCK: super_seal(geo, (struct ext4_super_raw *)((char *)bytes + EXT4_SUPER_OFFSET)); return;
    case BLOCK_DIR: dir_block_seal(geo, owner, bytes); return;
    case BLOCK_EXTENT: extent_block_seal(geo, owner, bytes); return;
    case BLOCK_XATTR: xattr_block_seal(geo, block, bytes); return;
    case BLOCK_ORPHAN_FILE: orphan_block_seal(geo, owner, block, bytes); return;
    default: return;        // sealed when encoded, or without a checksum
    }
}
