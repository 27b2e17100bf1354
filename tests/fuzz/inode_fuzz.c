// SPDX-License-Identifier: MIT
// inode_fuzz.c - an inode that is accepted survives being written and read, attributes included.
#include "fuzz.h"

#include <string.h>

#include "ondisk/extent.h"
#include "ondisk/inode.h"
#include "ondisk/xattr.h"

static void look(const struct ext4_geo *geo, const struct ext4_inode *inode)
{
    struct xattr_area area;
    const char *why = NULL;
    uint32_t major, minor;

    if (inode->flags & EXT4_EXTENTS_FL)
        (void)!extent_node_verify(geo, inode->block, EXT4_EXTENT_ROOT_BYTES, -1, &why);
    if (xattr_body_area(inode->body, inode->body_size, &area))
        (void)!xattr_area_verify(geo, &area, &why);
    inode_get_device(inode, &major, &minor);
    (void)inode_is_fast_symlink(inode);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (uint32_t variant = 0; variant < FUZZ_VOLUMES; variant++) {
        struct ext4_geo geo = fuzz_volume(variant & 2);         // read without checksums
        uint8_t *bytes = fuzz_bytes(data, size, geo.inode_size), *out = xcalloc(1, geo.inode_size);
        struct ext4_inode inode, again;
        const char *why = NULL;
        int rc = inode_decode(&geo, 12, bytes, &inode, &why);
        CHECK(rc == 0 || why);
        if (rc == 0) {
            look(&geo, &inode);
            geo.has_metadata_csum = variant & 1;                // and written with
            memcpy(out, bytes, geo.inode_size);
            inode_encode(&geo, 12, &inode, inode.mode == 0, out);
            CHECK(inode_decode(&geo, 12, out, &again, &why) == 0);
            // Writing decides anew about the unit of `blocks`, and about fractions at the ends of time.
            struct ext4_time time = inode_clamp_time(&inode, inode.mtime);
            CHECK(again.mode == inode.mode && again.size == inode.size);
            CHECK((again.flags | EXT4_HUGE_FILE_FL) == (inode.flags | EXT4_HUGE_FILE_FL));
            CHECK(again.mtime.sec == time.sec && again.mtime.nsec == time.nsec);
            CHECK(again.blocks == inode.blocks && again.file_acl == inode.file_acl && again.uid == inode.uid);
            inode_fini(&again);
            inode_fini(&inode);
        }
        free(bytes);
        free(out);
    }
    return 0;
}
