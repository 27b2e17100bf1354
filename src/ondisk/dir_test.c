// SPDX-License-Identifier: MIT
// dir_test.c - directories that e2fsprogs made are read; what is edited here stays a directory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "ondisk/dir.h"
#include "ondisk/image_rig.h"
#include "ondisk/verify.h"

static const char *const layouts[] = {"-O metadata_csum,64bit", "-O ^metadata_csum", "-O ^metadata_csum,^uninit_bg,^64bit -I 128"};

// A directory of many names, some with bytes above 127, indexed by e2fsck.
static struct image image_with_names(const char *options)
{
    struct image image = image_make(options, NULL);
    char command[1024];
    // 2500 names of about 60 bytes: some 45 leaves below a root.
    snprintf(command, sizeof(command),
             "mkdir -p tree/big tree/small tree/empty && (cd tree/big && seq -f 'n\303\244me-%%048.0f' 2500 | xargs touch) && "
             ": > tree/small/one && : > tree/small/two && "
             "mke2fs -q -F -t ext4 -b 4096 %s -d tree image && { e2fsck -fyD image; test $? -le 1; }", options);
    assert_int_equal(image_shell(&image, command), 0);
    return image;
}

static struct block_owner owner_of(const struct ext4_inode *inode, uint32_t ino, uint32_t lblock)
{
    return (struct block_owner){.ino = ino, .generation = inode->generation, .lblock = lblock};
}

static void every_directory_block_of_e2fsprogs_is_right_and_sealed_alike(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct image image = image_with_names(layouts[i]);
        const uint32_t dirs[] = {EXT4_ROOT_INO, image_lookup(&image, 2, "big"), image_lookup(&image, 2, "small"),
                                 image_lookup(&image, 2, "empty"), image_lookup(&image, 2, "lost+found")};
        for (size_t d = 0; d < ARRAY_LEN(dirs); d++) {
            struct ext4_inode dir = image_inode(&image, dirs[d]);
            for (uint32_t lblock = 0; lblock < dir.size / BLOCK_BYTES; lblock++) {
                struct block_owner owner = owner_of(&dir, dirs[d], lblock);
                const uint8_t *block = image_block(&image, image_map(&image, &dir, lblock));
                uint8_t again[BLOCK_BYTES];
                const char *why = NULL;
                if (block_verify(&image.geo, BLOCK_DIR, &owner, 0, block, &why) != 0)
                    fail_msg("%s: directory %u block %u: %s", layouts[i], dirs[d], lblock, why);
                memcpy(again, block, BLOCK_BYTES);
                memset(again + BLOCK_BYTES - 4, 0, image.geo.has_metadata_csum ? 4 : 0);
                block_seal(&image.geo, BLOCK_DIR, &owner, 0, again);
                assert_memory_equal(again, block, BLOCK_BYTES);
                bool is_root = (dir.flags & EXT4_INDEX_FL) && lblock == 0;
                assert_int_equal(dir_block_kind(&image.geo, block) == DIR_DX_ROOT, is_root);
            }
            inode_fini(&dir);
        }
        image_fini(&image);
    }
}

// The leaf that a name must be in: root, then nodes, then leaf.
static uint8_t *dx_leaf(const struct image *image, const struct ext4_inode *dir, const char *name, size_t len)
{
    struct dx_view view;
    struct dx_hash hash;
    const char *why = NULL;
    uint8_t *block = image_block(image, image_map(image, dir, 0));
    assert_int_equal(dx_root_view(&image->geo, block, &view, &why), 0);
    assert_int_equal(dx_hash_name(view.hash_version, image->geo.hash_seed, name, len, &hash), 0);
    for (int below = view.levels; below >= 0; below--) {
        block = image_block(image, image_map(image, dir, dx_block_at(&view, dx_search(&view, hash.major))));
        if (below)
            assert_int_equal(dx_node_view(&image->geo, block, &view, &why), 0);
    }
    return block;
}

static void every_name_is_in_the_leaf_that_its_hash_leads_to(void **state)
{
    (void)state;
    // The flags say whether names were hashed as signed or unsigned characters.
    static const char *const signs[] = {"1", "2"};
    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        struct image image = image_with_names(layouts[0]);
        char command[256];
        snprintf(command, sizeof(command), "debugfs -w -R 'ssv flags %s' image && { e2fsck -fyD image; test $? -le 1; }", signs[i]);
        assert_int_equal(image_shell(&image, command), 0);
        assert_int_equal(image.geo.hash_unsigned, i ? 3 : 0);

        struct ext4_inode dir = image_inode(&image, image_lookup(&image, 2, "big"));
        for (int n = 1; n <= 2500; n++) {
            char name[80];
            int len = snprintf(name, sizeof(name), "n\303\244me-%048d", n);
            uint8_t *leaf = dx_leaf(&image, &dir, name, (size_t)len);
            if (dir_leaf_find(&image.geo, leaf, name, (size_t)len) == DIR_NOT_FOUND)
                fail_msg("%s is not where its hash is", name);
        }
        inode_fini(&dir);
        image_fini(&image);
    }
}

// Flips one bit in each byte of [0, end) and expects it to be noticed.
static void expect_every_flip_noticed(const struct ext4_geo *geo, const struct block_owner *owner, const uint8_t *block, uint32_t end)
{
    uint8_t copy[BLOCK_BYTES];
    const char *why = NULL;
    memcpy(copy, block, BLOCK_BYTES);
    for (uint32_t at = 0; at < end; at++) {
        copy[at] ^= (uint8_t)(1u << at % 8);
        int rc = dir_block_verify(geo, owner, copy, &why);
        if (rc != -EFSBADCRC && rc != -EFSCORRUPTED)
            fail_msg("flip at %u was not noticed", at);
        copy[at] = block[at];
    }
}

static void a_flipped_bit_is_noticed_in_leaf_and_root(void **state)
{
    (void)state;
    struct image image = image_with_names(layouts[0]);
    uint32_t ino = image_lookup(&image, 2, "big");
    struct ext4_inode dir = image_inode(&image, ino);
    struct block_owner first = owner_of(&dir, ino, 0), second = owner_of(&dir, ino, 1);
    struct dx_view view;
    const char *why = NULL;

    uint8_t *root = image_block(&image, image_map(&image, &dir, 0));
    assert_int_equal(dx_root_view(&image.geo, root, &view, &why), 0);
    expect_every_flip_noticed(&image.geo, &first, root, DX_ROOT_ENTRIES_AT + view.count * 8);
    expect_every_flip_noticed(&image.geo, &second, image_block(&image, image_map(&image, &dir, 1)), BLOCK_BYTES);

    // A whole block of another file, or of an earlier file of that number, is noticed too.
    second.generation++;
    assert_int_equal(dir_block_verify(&image.geo, &second, image_block(&image, image_map(&image, &dir, 1)), &why), -EFSBADCRC);
    inode_fini(&dir);
    image_fini(&image);
}

static uint32_t parse_hash(const char *line, const char *before)
{
    const char *at = strstr(line, before);
    assert_non_null(at);
    return (uint32_t)strtoul(at + strlen(before), NULL, 16);
}

static void hashes_agree_with_debugfs(void **state)
{
    (void)state;
    static const char *const seeds[] = {"", "-s 01020304-0506-0708-090a-0b0c0d0e0f10"};
    static const uint32_t seed[2][4] = {{0}, {0x04030201, 0x08070605, 0x0c0b0a09, 0x100f0e0d}};
    struct image image = image_make("", NULL);
    char name[256] = "", path[64], line[512];
    snprintf(path, sizeof(path), "%s/hashes", image.dir);

    FILE *commands = fopen(path, "w");
    assert_non_null(commands);
    for (uint32_t len = 1; len <= 255; len++) {
        // Letters, and every fourth byte above 127.
        name[len - 1] = (char)(len % 4 ? 'a' + len % 26 : 0x80 + len % 100);
        for (int version = 0; version <= 5; version++)
            fprintf(commands, "dx_hash -h %d %s %s\n", version, seeds[len % 2], name);
    }
    assert_int_equal(fclose(commands), 0);
    assert_int_equal(image_shell(&image, "debugfs -f hashes image | grep -a minor > answers && cp answers hashes"), 0);

    FILE *answers = fopen(path, "r");
    assert_non_null(answers);
    for (uint32_t len = 1; len <= 255; len++) {
        for (uint8_t version = 0; version <= 5; version++) {
            struct dx_hash hash;
            assert_non_null(fgets(line, sizeof(line), answers));
            assert_int_equal(dx_hash_name(version, seed[len % 2], name, len, &hash), 0);
            assert_int_equal(hash.major, parse_hash(line, " is 0x"));
            assert_int_equal(hash.minor, parse_hash(line, "(minor 0x"));
        }
    }
    fclose(answers);
    struct dx_hash hash;
    assert_int_equal(dx_hash_name(6, seed[0], "x", 1, &hash), -EINVAL);
    image_fini(&image);
}

static struct ext4_geo some_geo(bool has_csum)
{
    return (struct ext4_geo){.inode_count = 1000, .has_metadata_csum = has_csum, .has_filetype = true, .csum_seed = 99,
                             .hash_version = DX_HASH_HALF_MD4, .block_count = 1000};
}

static void a_leaf_stays_a_leaf_through_random_edits(void **state)
{
    (void)state;
    enum { NAMES = 120 };
    uint64_t random = 1;
    for (int has_csum = 0; has_csum < 2; has_csum++) {
        struct ext4_geo geo = some_geo(has_csum);
        struct block_owner owner = {.ino = 12, .generation = 5, .lblock = 3};
        uint8_t leaf[BLOCK_BYTES];
        bool present[NAMES] = {0};
        uint32_t refused = 0;
        dir_leaf_init(&geo, leaf);
        for (int step = 0; step < 20000; step++) {
            uint32_t n = test_random(&random) % NAMES, len = 1 + n * 2 % 91;
            char name[100];
            const char *why = NULL;
            snprintf(name, sizeof(name), "%03u%0*u", n, (int)len, n);
            len = (uint32_t)strlen(name);
            uint32_t at = dir_leaf_find(&geo, leaf, name, len);
            assert_int_equal(at != DIR_NOT_FOUND, present[n]);
            if (present[n]) {
                assert_int_equal(le32(dirent_at(leaf, at)->ino), n + 1);
                dir_leaf_remove(&geo, leaf, at);
                present[n] = false;
            } else if ((at = dir_leaf_room(&geo, leaf, dirent_size(len))) != DIR_NOT_FOUND) {
                uint32_t made = dir_leaf_put(&geo, leaf, at, &(struct dir_put){.name = name, .len = len, .ino = n + 1, .file_type = EXT4_FT_REG_FILE});
                assert_int_equal(made, dir_leaf_find(&geo, leaf, name, len));
                present[n] = true;
            } else {
                refused++;
                uint32_t room = dir_leaf_free(&geo, leaf);
                dir_leaf_compact(&geo, leaf);
                assert_int_equal(dir_leaf_free(&geo, leaf), room);
                assert_int_equal(dir_leaf_room(&geo, leaf, dirent_size(len)) != DIR_NOT_FOUND, room >= dirent_size(len));
            }
            dir_block_seal(&geo, &owner, leaf);
            assert_int_equal(dir_block_verify(&geo, &owner, leaf, &why), 0);
        }
        assert_true(refused > 0);
    }
}

static void bytes_that_are_no_entries_are_refused(void **state)
{
    (void)state;
    struct ext4_geo geo = some_geo(true);
    struct block_owner owner = {.ino = 12};
    static const struct { uint32_t at; uint8_t value; } damages[] = {
        {4, 0}, {4, 13}, {4, 8}, {5, 0xff}, {12 + 4, 16}, {6, 255}, {3, 1}, {12 + 3, 0xff}, {BLOCK_BYTES - 8, 16}, {BLOCK_BYTES - 5, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        uint8_t leaf[BLOCK_BYTES];
        const char *why = NULL;
        dir_first_init(&geo, leaf, 12, 2);
        assert_int_equal(dir_first_verify(&geo, &owner, leaf, &why), 0);
        leaf[damages[i].at] = damages[i].value;
        if (dir_leaf_verify(&geo, leaf, &why) != -EFSCORRUPTED)
            fail_msg("damage %zu was not noticed", i);
        assert_non_null(why);
    }
}

static void the_first_block_names_its_directory_and_its_parent(void **state)
{
    (void)state;
    struct ext4_geo geo = some_geo(false);
    struct block_owner owner = {.ino = 12}, other = {.ino = 13};
    uint8_t leaf[BLOCK_BYTES];
    const char *why = NULL;
    dir_first_init(&geo, leaf, 12, 2);
    assert_int_equal(dir_block_verify(&geo, &owner, leaf, &why), 0);
    // A block that came from another place is what this finds on volumes without checksums.
    assert_int_equal(dir_block_verify(&geo, &other, leaf, &why), -EFSCORRUPTED);
    dirent_at(leaf, 12)->ino = to_le32(0);
    assert_int_equal(dir_block_verify(&geo, &owner, leaf, &why), -EFSCORRUPTED);
}

static void a_node_filled_in_any_order_is_searched_like_a_sorted_list(void **state)
{
    (void)state;
    for (int has_csum = 0; has_csum < 2; has_csum++) {
        struct ext4_geo geo = some_geo(has_csum);
        struct block_owner owner = {.ino = 12, .lblock = 7};
        uint8_t bytes[BLOCK_BYTES], half[BLOCK_BYTES];
        struct dx_view node, again, other;
        const char *why = NULL;
        uint64_t random = 3;

        dx_node_init(&geo, bytes, 1, &node);
        while (node.count < node.limit) {
            uint32_t hash = test_random(&random) & ~1u;
            dx_insert(&node, dx_search(&node, hash), hash, hash % 997 + 1);
        }
        dir_block_seal(&geo, &owner, bytes);
        assert_int_equal(dir_block_verify(&geo, &owner, bytes, &why), 0);
        assert_int_equal(dir_block_kind(&geo, bytes), DIR_DX_NODE);
        assert_int_equal(dx_node_view(&geo, bytes, &again, &why), 0);
        assert_int_equal(again.count, has_csum ? 510 : 511);
        for (uint32_t i = 1; i < again.count; i++) {
            uint32_t found = dx_search(&again, dx_hash_at(&again, i));
            assert_int_equal(dx_hash_at(&again, found), dx_hash_at(&again, i));
            assert_int_equal(dx_block_at(&again, i), dx_hash_at(&again, i) % 997 + 1);
            assert_true(dx_search(&again, dx_hash_at(&again, i) - 1) < i);
        }

        // The upper half moves to a node of its own, where its first hash is kept by the parent.
        dx_node_init(&geo, half, 1, &other);
        dx_fill(&other, &node, 255, node.count - 255);
        uint32_t moved = dx_block_at(&node, 255);
        dx_truncate(&node, 255);
        assert_int_equal(dx_node_view(&geo, half, &again, &why), 0);
        assert_int_equal(dx_block_at(&again, 0), moved);
        assert_int_equal(dx_node_view(&geo, bytes, &again, &why), 0);
        assert_int_equal(again.count, 255);
    }
}

static void a_root_made_of_a_linear_directory_keeps_its_parent(void **state)
{
    (void)state;
    struct ext4_geo geo = some_geo(true);
    struct block_owner owner = {.ino = 12};
    uint8_t bytes[BLOCK_BYTES];
    struct dx_view root, again;
    const char *why = NULL;

    geo.hash_version = DX_HASH_TEA_UNSIGNED;
    geo.hash_unsigned = 3;
    dir_first_init(&geo, bytes, 12, 2);
    dir_leaf_put(&geo, bytes, 12, &(struct dir_put){.name = "gone", .len = 4, .ino = 20});
    dx_root_init(&geo, bytes, 1, &root);
    dx_root_set_levels(&root, 1);
    dir_block_seal(&geo, &owner, bytes);
    assert_int_equal(dir_block_verify(&geo, &owner, bytes, &why), 0);
    assert_int_equal(dx_root_view(&geo, bytes, &again, &why), 0);
    assert_int_equal(again.hash_version, DX_HASH_TEA_UNSIGNED);
    assert_int_equal(again.levels, 1);
    assert_int_equal(again.limit, 507);
    assert_int_equal(le32(dirent_at(bytes, dir_leaf_find(&geo, bytes, "..", 2))->ino), 2);
    assert_int_equal(dir_leaf_find(&geo, bytes, "gone", 4), DIR_NOT_FOUND);

    static const struct { uint32_t at; uint8_t value; } damages[] = {
        {24, 1}, {28, 3}, {29, 9}, {30, 2}, {31, 1}, {32, 0}, {34, 0}, {35, 2}, {36, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        uint8_t copy[BLOCK_BYTES];
        memcpy(copy, bytes, BLOCK_BYTES);
        copy[damages[i].at] = damages[i].value;
        if (dx_root_view(&geo, copy, &again, &why) != -EFSCORRUPTED)
            fail_msg("damage %zu was not noticed", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_directory_block_of_e2fsprogs_is_right_and_sealed_alike),
        cmocka_unit_test(every_name_is_in_the_leaf_that_its_hash_leads_to),
        cmocka_unit_test(a_flipped_bit_is_noticed_in_leaf_and_root),
        cmocka_unit_test(hashes_agree_with_debugfs),
        cmocka_unit_test(a_leaf_stays_a_leaf_through_random_edits),
        cmocka_unit_test(bytes_that_are_no_entries_are_refused),
        cmocka_unit_test(the_first_block_names_its_directory_and_its_parent),
        cmocka_unit_test(a_node_filled_in_any_order_is_searched_like_a_sorted_list),
        cmocka_unit_test(a_root_made_of_a_linear_directory_keeps_its_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
