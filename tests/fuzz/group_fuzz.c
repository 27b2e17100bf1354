// SPDX-License-Identifier: MIT
// group_fuzz.c - a group descriptor that is accepted survives being written and read.
#include "fuzz.h"

#include "ondisk/group.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (uint32_t variant = 0; variant < FUZZ_VOLUMES; variant++) {
        struct ext4_geo geo = fuzz_volume(variant & 2);         // read without checksums
        uint8_t *bytes = fuzz_bytes(data, size, geo.desc_size);
        struct ext4_group group, again;
        const char *why = NULL;
        int rc = group_decode(&geo, variant & 1, bytes, &group, &why);
        CHECK(rc == 0 || why);
        if (rc == 0) {
            geo.has_metadata_csum = variant & 1;                // and written with
            group_encode(&geo, variant & 1, &group, bytes);
            CHECK(group_decode(&geo, variant & 1, bytes, &again, &why) == 0);
            CHECK(again.inode_table == group.inode_table && again.free_blocks == group.free_blocks);
            CHECK(again.flags == group.flags && again.itable_unused == group.itable_unused);
        }
        free(bytes);
    }
    return 0;
}
