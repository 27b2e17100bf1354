// SPDX-License-Identifier: MIT
// extent_fuzz.c - a node that is accepted has its entries inside itself and its blocks on the volume.
#include "fuzz.h"

#include "ondisk/extent.h"
#include "ondisk/verify.h"

static void visit(const struct ext4_geo *geo, void *node)
{
    const struct ext4_extent_header *header = node;
    uint64_t next = 0;
    for (uint32_t i = 0; i < le16(header->entries); i++) {
        if (le16(header->depth) > 0) {
            CHECK(extent_index_block(&extent_indexes(node)[i]) < geo->block_count);
            continue;
        }
        const struct ext4_extent *extent = &extent_entries(node)[i];
        CHECK(extent_len(extent) > 0 && le32(extent->lblock) >= next);
        CHECK(extent_block(extent) + extent_len(extent) <= geo->block_count);
        next = (uint64_t)le32(extent->lblock) + extent_len(extent);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t rooms[] = {EXT4_EXTENT_ROOT_BYTES, BLOCK_BYTES};
    struct block_owner owner = {.ino = 12, .generation = 1};
    struct ext4_geo geo = fuzz_volume(1);

    for (size_t i = 0; i < ARRAY_LEN(rooms); i++) {
        uint8_t *bytes = fuzz_bytes(data, size, rooms[i]);
        const char *why = NULL;
        int rc = extent_node_verify(&geo, bytes, rooms[i], -1, &why);
        CHECK(rc == 0 || why);
        if (rc == 0)
            visit(&geo, bytes);
        if (rooms[i] == BLOCK_BYTES) {
            extent_block_seal(&geo, &owner, bytes);
            CHECK(block_verify(&geo, BLOCK_EXTENT, &owner, 1, bytes, &why) == rc);
        }
        free(bytes);
    }
    return 0;
}
