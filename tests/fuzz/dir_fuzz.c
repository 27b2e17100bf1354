// SPDX-License-Identifier: MIT
// dir_fuzz.c - a directory block that is accepted stays one through every edit.
#include "fuzz.h"

#include <string.h>

#include "ondisk/dir.h"

// Its entries' names are found, then go one by one; new ones take their place.
static void edit_leaf(const struct ext4_geo *geo, uint8_t *leaf)
{
    const char *why = NULL;
    char name[EXT4_NAME_MAX];
    memset(name, 'n', sizeof(name));

    struct dir_walk walk = dir_walk_start(geo, leaf);
    const struct ext4_dirent_raw *entry;
    while ((entry = dir_walk_next(&walk))) {
        (void)dirent_name_is_sane(entry);
        if (le32(entry->ino))
            CHECK(dir_leaf_find(geo, leaf, entry->name, entry->name_len) <= walk.offset);
    }
    CHECK(!walk.why);

    for (uint32_t len = 1; len <= sizeof(name); len = len * 2 + 1) {
        uint32_t at = dir_leaf_room(geo, leaf, dirent_size(len));
        if (at == DIR_NOT_FOUND)
            dir_leaf_compact(geo, leaf);
        else
            at = dir_leaf_put(geo, leaf, at, &(struct dir_put){.name = name, .len = len, .ino = 12, .file_type = EXT4_FT_DIR});
        CHECK(dir_leaf_verify(geo, leaf, &why) == 0);
        if (at != DIR_NOT_FOUND && len % 4 == 3)
            dir_leaf_remove(geo, leaf, at);
        CHECK(dir_leaf_verify(geo, leaf, &why) == 0);
    }
    uint32_t room = dir_leaf_free(geo, leaf);
    dir_leaf_compact(geo, leaf);
    CHECK(dir_leaf_verify(geo, leaf, &why) == 0);
    CHECK(dir_leaf_free(geo, leaf) == room);
}

static void edit_index(const struct ext4_geo *geo, struct dx_view *view, bool is_root)
{
    struct dx_view again;
    const char *why = NULL;
    for (uint32_t hash = 0; view->count < view->limit && hash < 0xf0000000; hash += 0x10000000)
        dx_insert(view, dx_search(view, hash), hash, 1);
    CHECK((is_root ? dx_root_view(geo, view->block, &again, &why) : dx_node_view(geo, view->block, &again, &why)) == 0);
    CHECK(again.count == view->count);
    dx_truncate(view, 1 + view->count / 2);
    CHECK((is_root ? dx_root_view(geo, view->block, &again, &why) : dx_node_view(geo, view->block, &again, &why)) == 0);
}

static void try_volume(const struct ext4_geo *geo, const uint8_t *data, size_t size)
{
    struct block_owner owner = {.ino = 12, .generation = 1, .lblock = 1};
    uint8_t *bytes = fuzz_bytes(data, size, BLOCK_BYTES);
    struct dx_view view;
    const char *why = NULL;

    enum dir_block_kind kind = dir_block_kind(geo, bytes);
    int rc = dir_block_verify(geo, &owner, bytes, &why);
    CHECK(rc == 0 || why);
    if (kind == DIR_LEAF && dir_leaf_verify(geo, bytes, &why) == 0)
        edit_leaf(geo, bytes);
    else if (kind == DIR_DX_ROOT && dx_root_view(geo, bytes, &view, &why) == 0)
        edit_index(geo, &view, true);
    else if (kind == DIR_DX_NODE && dx_node_view(geo, bytes, &view, &why) == 0)
        edit_index(geo, &view, false);
    else
        rc = -EFSCORRUPTED;

    // Whatever was accepted and edited can be sealed, and then passes as a whole.
    if (rc == 0 || (rc == -EFSBADCRC && kind != DIR_DX_ROOT)) {
        dir_block_seal(geo, &owner, bytes);
        CHECK(dir_block_verify(geo, &owner, bytes, &why) == 0);
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dx_hash hash;
    for (uint8_t version = 0; version < 6; version++) {
        CHECK(dx_hash_name(version, NULL, (const char *)data, MIN(size, (size_t)EXT4_NAME_MAX), &hash) == 0);
        CHECK(hash.major % 2 == 0 && hash.major < DX_HASH_EOF);
    }
    for (uint32_t variant = 0; variant < 2; variant++) {
        struct ext4_geo geo = fuzz_volume(variant);
        try_volume(&geo, data, size);
    }
    return 0;
}
