// SPDX-License-Identifier: MIT
// super_fuzz.c - a superblock that is accepted is one that can be calculated with.
#include "fuzz.h"

static void use(const struct ext4_geo *geo, uint64_t device_blocks)
{
    uint64_t blocks = 0;
    CHECK(geo->block_count <= device_blocks);
    CHECK(geo->inode_count <= (uint64_t)geo->group_count * geo->inodes_per_group);
    for (uint32_t group = 0; group < geo->group_count; group++) {
        CHECK(group_first_block(geo, group) < geo->block_count);
        CHECK(group_overhead(geo, group) <= group_blocks(geo, group));
        blocks += group_blocks(geo, group);
    }
    CHECK(blocks == geo->block_count);
    for (uint32_t index = 0; index < geo->gdt_blocks; index++)
        CHECK(group_desc_block(geo, index) < geo->block_count);
    CHECK(block_group(geo, geo->block_count - 1) == geo->group_count - 1);
    CHECK(inode_group(geo, geo->inode_count) < geo->group_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    // A larger device lets larger numbers through; its groups are still few enough to visit.
    static const uint64_t devices[] = {4096, 1u << 26};
    const struct ext4_geo sealing = {.has_metadata_csum = true};
    uint8_t *bytes = fuzz_bytes(data, size, EXT4_SUPER_SIZE);
    struct ext4_geo geo;

    // As it is, then with the right checksum.
    for (uint32_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
            struct err err = {0};
            int rc = super_decode(bytes, devices[i], &geo, &err);
            CHECK(rc == 0 || err.text[0]);
            if (rc == 0)
                use(&geo, devices[i]);
        }
        super_seal(&sealing, (struct ext4_super_raw *)bytes);
    }
    free(bytes);
    return 0;
}
