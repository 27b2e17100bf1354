// SPDX-License-Identifier: MIT
// volume_test.c - superblock, descriptors, inodes and extents of volumes that mke2fs made.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bitmap.h"
#include "base/check.h"
#include "ondisk/extent.h"
#include "ondisk/group.h"
#include "ondisk/inode.h"

#define IMAGE_BLOCKS 16384u

static uint8_t *image_make(const char *options)
{
    char path[] = "/tmp/drover-ondisk-XXXXXX", command[512];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)IMAGE_BLOCKS * BLOCK_BYTES), 0);
    snprintf(command, sizeof(command), "mke2fs -q -F -t ext4 -b 4096 %s %s >/dev/null 2>&1", options, path);
    int status = system(command);
    uint8_t *image = xblocks(IMAGE_BLOCKS);
    assert_int_equal(pread(fd, image, (size_t)IMAGE_BLOCKS * BLOCK_BYTES, 0), (ssize_t)IMAGE_BLOCKS * BLOCK_BYTES);
    close(fd);
    unlink(path);
    if (status != 0) {
        free(image);
        skip();
    }
    return image;
}

static int decode(const uint8_t *image, struct ext4_geo *geo, struct err *err)
{
    *err = (struct err){0};
    return super_decode(image + EXT4_SUPER_OFFSET, IMAGE_BLOCKS, geo, err);
}

static const char *const layouts[] = {
    "-O metadata_csum,64bit", "-O ^metadata_csum,uninit_bg,^64bit", "-O ^metadata_csum,^uninit_bg,^flex_bg",
    "-O metadata_csum,^64bit", "-I 128 -O metadata_csum", "-g 4096 -O metadata_csum,64bit", "-O metadata_csum,metadata_csum_seed",
    "-O sparse_super2 -g 2048", "-O meta_bg,^resize_inode -g 1024", "-O ^extent,^64bit,^flex_bg,^metadata_csum -I 1024",
};

static void walk_inodes(const struct ext4_geo *geo, const struct ext4_group *group, uint32_t first_ino, const uint8_t *image)
{
    const uint8_t *bitmap = image + group->inode_bitmap * BLOCK_BYTES, *table = image + group->inode_table * BLOCK_BYTES;
    if (group->flags & EXT4_BG_INODE_UNINIT)
        return;
    for (uint32_t i = 0; i < geo->inodes_per_group; i++) {
        if (!bitmap_test(bitmap, i))
            continue;
        struct ext4_inode inode;
        const char *why = NULL;
        uint8_t again[BLOCK_BYTES];
        const uint8_t *raw = table + i * geo->inode_size;
        assert_int_equal(inode_decode(geo, first_ino + i, raw, &inode, &why), 0);
        memcpy(again, raw, geo->inode_size);
        // Decoding and encoding is the identity, but for inodes that were never written.
        if (inode.mode) {
            inode_encode(geo, first_ino + i, &inode, false, again);
            assert_memory_equal(again, raw, geo->inode_size);
        }
        if (inode.flags & EXT4_EXTENTS_FL)
            assert_int_equal(extent_node_verify(geo, inode.block, EXT4_EXTENT_ROOT_BYTES, -1, &why), 0);
        inode_fini(&inode);
    }
}

static void every_layout_of_mke2fs_is_read_and_written_back_alike(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        AUTO_FREE uint8_t *image = image_make(layouts[i]);
        struct ext4_geo geo;
        struct err err;
        if (decode(image, &geo, &err) != 0)
            fail_msg("%s: %s", layouts[i], err.text);
        for (uint32_t g = 0; g < geo.group_count; g++) {
            struct ext4_group group;
            const char *why = NULL;
            uint8_t *raw = image + group_desc_block(&geo, g / geo.desc_per_block) * BLOCK_BYTES + (g % geo.desc_per_block) * geo.desc_size;
            uint8_t again[1024];
            if (group_decode(&geo, g, raw, &group, &why) != 0)
                fail_msg("%s: group %u: %s", layouts[i], g, why);
            memcpy(again, raw, geo.desc_size);
            group_encode(&geo, g, &group, again);
            assert_memory_equal(again, raw, geo.desc_size);
            if (geo.has_metadata_csum && !(group.flags & EXT4_BG_BLOCK_UNINIT))
                assert_int_equal(block_bitmap_csum(&geo, image + group.block_bitmap * BLOCK_BYTES), group.block_bitmap_csum);
            if (geo.has_metadata_csum && !(group.flags & EXT4_BG_INODE_UNINIT))
                assert_int_equal(inode_bitmap_csum(&geo, image + group.inode_bitmap * BLOCK_BYTES), group.inode_bitmap_csum);
            walk_inodes(&geo, &group, g * geo.inodes_per_group + 1, image);
        }
    }
}

static void what_is_not_supported_is_refused_by_name(void **state)
{
    (void)state;
    static const struct { const char *options, *word; } cases[] = {
        {"-O inline_data", "inline_data"}, {"-O encrypt", "encrypt"}, {"-O casefold", "casefold"}, {"-O bigalloc", "bigalloc"},
        {"-O ^has_journal", "has_journal"}, {"-O ea_inode", "ea_inode"}, {"-O mmp", "mmp"}, {"-O verity", "verity"},
        {"-O journal_dev", "journal_dev"}, {"-b 1024", "block size 1024"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE uint8_t *image = image_make(cases[i].options);
        struct ext4_geo geo;
        struct err err;
        assert_int_equal(decode(image, &geo, &err), -EOPNOTSUPP);
        if (!strstr(err.text, cases[i].word) || strchr(err.text, '\n'))
            fail_msg("%s: %s", cases[i].options, err.text);
    }
}

static void an_unknown_read_only_feature_makes_the_volume_read_only(void **state)
{
    (void)state;
    AUTO_FREE uint8_t *image = image_make("-O ^metadata_csum");
    struct ext4_super_raw *raw = (void *)(image + EXT4_SUPER_OFFSET);
    struct ext4_geo geo;
    struct err err;
    raw->feature_ro_compat = to_le32(le32(raw->feature_ro_compat) | 1u << 30);
    assert_int_equal(decode(image, &geo, &err), 0);
    assert_non_null(geo.read_only_why);
    raw->feature_incompat = to_le32(le32(raw->feature_incompat) | 1u << 30);
    assert_int_equal(decode(image, &geo, &err), -EOPNOTSUPP);
}

static void no_flipped_byte_of_superblock_descriptor_or_inode_goes_unnoticed(void **state)
{
    (void)state;
    AUTO_FREE uint8_t *image = image_make("-O metadata_csum,64bit");
    struct ext4_geo geo, other;
    struct err err;
    struct ext4_group group;
    struct ext4_inode inode;
    const char *why;
    assert_int_equal(decode(image, &geo, &err), 0);
    for (uint32_t i = 0; i < EXT4_SUPER_SIZE; i++) {
        image[EXT4_SUPER_OFFSET + i] ^= 0x10;
        assert_true(decode(image, &other, &err) < 0);
        image[EXT4_SUPER_OFFSET + i] ^= 0x10;
    }
    uint8_t *raw = image + group_desc_block(&geo, 0) * BLOCK_BYTES;
    for (uint32_t i = 0; i < geo.desc_size; i++) {
        raw[i] ^= 0x10;
        assert_true(group_decode(&geo, 0, raw, &group, &why) < 0);
        raw[i] ^= 0x10;
    }
    assert_int_equal(group_decode(&geo, 0, raw, &group, &why), 0);
    uint8_t *root = image + group.inode_table * BLOCK_BYTES + geo.inode_size;
    for (uint32_t i = 0; i < geo.inode_size; i++) {
        root[i] ^= 0x10;
        assert_true(inode_decode(&geo, EXT4_ROOT_INO, root, &inode, &why) < 0);
        root[i] ^= 0x10;
    }
}

static void times_reach_from_1901_to_2446(void **state)
{
    (void)state;
    struct ext4_geo geo = {.inode_size = 256, .want_extra_isize = 32};
    static const int64_t seconds[] = {-0x80000000ll, -1, 0, 1, 0x7fffffffll, 0x80000000ll, 0xffffffffll, 0x100000000ll, 0x37fffffffll};
    for (size_t i = 0; i < ARRAY_LEN(seconds); i++) {
        struct ext4_inode in = {.mode = 0100644, .nlink = 1}, out;
        uint8_t raw[256];
        const char *why;
        inode_body_init(&geo, &in);
        in.mtime = in.ctime = in.atime = in.crtime = (struct ext4_time){.sec = seconds[i], .nsec = 999999999};
        inode_encode(&geo, 12, &in, true, raw);
        assert_int_equal(inode_decode(&geo, 12, raw, &out, &why), 0);
        assert_int_equal(out.mtime.sec, seconds[i]);
        assert_int_equal(out.crtime.sec, seconds[i]);
        bool extreme = i == 0 || i == ARRAY_LEN(seconds) - 1;
        assert_int_equal(out.mtime.nsec, extreme ? 0 : 999999999);
        inode_fini(&in);
        inode_fini(&out);
    }
}

static void device_numbers_survive_in_both_encodings(void **state)
{
    (void)state;
    static const uint32_t devices[][2] = {{0, 0}, {1, 3}, {8, 255}, {8, 256}, {259, 1}, {4095, 0xfffff}};
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        struct ext4_inode inode = {0};
        uint32_t major, minor;
        inode_set_device(&inode, devices[i][0], devices[i][1]);
        inode_get_device(&inode, &major, &minor);
        assert_int_equal(major, devices[i][0]);
        assert_int_equal(minor, devices[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_of_mke2fs_is_read_and_written_back_alike),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name),
        cmocka_unit_test(an_unknown_read_only_feature_makes_the_volume_read_only),
        cmocka_unit_test(no_flipped_byte_of_superblock_descriptor_or_inode_goes_unnoticed),
        cmocka_unit_test(times_reach_from_1901_to_2446),
        cmocka_unit_test(device_numbers_survive_in_both_encodings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
