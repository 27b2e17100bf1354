// SPDX-License-Identifier: MIT
// xattr_test.c - attributes that e2fsprogs wrote are read, and e2fsprogs reads what is written here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "ondisk/image_rig.h"
#include "ondisk/xattr.h"

static struct xattr_name name_of(const char *full)
{
    struct xattr_name name;
    assert_int_equal(xattr_name_parse(full, &name), 0);
    return name;
}

static void names_are_split_as_the_kernel_splits_them(void **state)
{
    (void)state;
    struct xattr_name name;
    char longest[300] = "user.";
    memset(longest + 5, 'x', 255);
    assert_int_equal(xattr_name_parse(longest, &name), 0);
    assert_int_equal(name.len, 255);
    longest[260] = 'x';
    assert_int_equal(xattr_name_parse(longest, &name), -ERANGE);

    assert_int_equal(xattr_name_parse("system.posix_acl_access", &name), 0);
    assert_int_equal(name.index, EXT4_XATTR_ACL_ACCESS);
    assert_int_equal(name.len, 0);
    assert_int_equal(xattr_name_parse("security.selinux", &name), 0);
    assert_int_equal(name.index, EXT4_XATTR_SECURITY);
    assert_memory_equal(name.bytes, "selinux", 8);
    assert_int_equal(xattr_name_parse("user.", &name), -EINVAL);
    assert_int_equal(xattr_name_parse("system.posix_acl_access2", &name), -EOPNOTSUPP);
    assert_int_equal(xattr_name_parse("system.data", &name), -EOPNOTSUPP);
    assert_int_equal(xattr_name_parse("nonsense", &name), -EOPNOTSUPP);
    assert_string_equal(xattr_prefix(EXT4_XATTR_TRUSTED), "trusted.");
    assert_null(xattr_prefix(EXT4_XATTR_SYSTEM));
}

static const char *const layouts[] = {"-O metadata_csum,64bit", "-O ^metadata_csum", "-O metadata_csum,metadata_csum_seed", "-I 128 -O metadata_csum"};

// A file with small attributes and large ones, which do not fit in its inode.
static struct image image_with_attributes(const char *options)
{
    struct image image = image_make(options, "write /dev/null file\n");
    assert_int_equal(image_shell(&image,
        "for i in 1 2 3; do head -c $((i * 301)) /dev/zero | tr '\\000' $i > value$i; "
        "debugfs -w -R \"ea_set -f value$i file user.large-$i\" image || exit 1; done; "
        "debugfs -w -R 'ea_set file trusted.t tee' image && debugfs -w -R 'ea_set file security.s ess' image && "
        "debugfs -w -R 'ea_set file user.empty \"\"' image; e2fsck -fn image"), 0);
    return image;
}

static uint8_t *attribute_block(const struct image *image, const char *file, uint64_t *block)
{
    struct ext4_inode inode = image_inode(image, image_lookup(image, 2, file));
    *block = inode.file_acl;
    inode_fini(&inode);
    assert_int_not_equal(*block, 0);
    return image_block(image, *block);
}

// The value, from wherever it stands.
static bool value_is(const struct image *image, const char *full, const void *expected, uint32_t size)
{
    struct ext4_inode inode = image_inode(image, image_lookup(image, 2, "file"));
    struct xattr_name name = name_of(full);
    const struct ext4_xattr_entry *entry = NULL;
    struct xattr_area area;
    const char *why = NULL;

    if (xattr_body_area(inode.body, inode.body_size, &area)) {
        assert_int_equal(xattr_area_verify(&image->geo, &area, &why), 0);
        entry = xattr_find(&area, &name);
    }
    if (!entry) {
        area = xattr_block_area(image_block(image, inode.file_acl));
        entry = xattr_find(&area, &name);
    }
    bool is = entry && le32(entry->value_size) == size && memcmp(xattr_value(&area, entry), expected, size) == 0;
    inode_fini(&inode);
    return is;
}

static void attributes_that_debugfs_set_are_read_from_inode_and_block(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct image image = image_with_attributes(layouts[i]);
        uint64_t number;
        uint8_t *block = attribute_block(&image, "file", &number), again[BLOCK_BYTES], large[903];
        const char *why = NULL;
        if (xattr_block_verify(&image.geo, number, block, &why) != 0)
            fail_msg("%s: %s", layouts[i], why);
        memcpy(again, block, BLOCK_BYTES);
        xattr_header(again)->checksum = to_le32(0);
        xattr_block_seal(&image.geo, number, again);
        assert_memory_equal(again, block, BLOCK_BYTES);

        memset(large, '3', sizeof(large));
        assert_true(value_is(&image, "user.large-3", large, 903));
        memset(large, '1', sizeof(large));
        assert_true(value_is(&image, "user.large-1", large, 301));
        assert_true(value_is(&image, "trusted.t", "tee", 3));
        assert_true(value_is(&image, "security.s", "ess", 3));
        assert_false(value_is(&image, "user.nobody", "", 0));
        image_fini(&image);
    }
}

static void e2fsck_and_debugfs_accept_a_block_edited_here(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct image image = image_with_attributes(layouts[i]);
        uint64_t number;
        uint8_t *block = attribute_block(&image, "file", &number);
        struct xattr_area area = xattr_block_area(block);
        struct xattr_name gone = name_of("user.large-2"), fresh = name_of("user.made-h\303\251re"), bigger = name_of("user.large-3");
        uint8_t value[1111];
        memset(value, 'v', sizeof(value));

        assert_true(xattr_area_remove(&area, &gone));
        assert_int_equal(xattr_area_set(&area, &fresh, "fresh", 5), 0);
        assert_int_equal(xattr_area_set(&area, &bigger, value, sizeof(value)), 0);
        xattr_block_seal(&image.geo, number, block);
        image_store(&image);
        assert_int_equal(image_shell(&image, "e2fsck -fn image"), 0);
        assert_int_equal(image_shell(&image, "debugfs -R 'ea_get file user.made-h\303\251re' image | grep -q fresh"), 0);
        assert_int_equal(image_shell(&image, "debugfs -R 'ea_get -f got file user.large-3' image && test $(tr -d -c v < got | wc -c) = 1111"), 0);
        assert_int_equal(image_shell(&image, "test -z \"$(debugfs -R 'ea_get file user.large-2' image)\""), 0);
        image_fini(&image);
    }
}

static void a_flipped_bit_in_a_block_is_noticed(void **state)
{
    (void)state;
    struct image image = image_with_attributes(layouts[0]);
    uint64_t number;
    uint8_t *block = attribute_block(&image, "file", &number);
    const char *why = NULL;
    for (uint32_t at = 0; at < BLOCK_BYTES; at++) {
        block[at] ^= (uint8_t)(1u << at % 8);
        int rc = xattr_block_verify(&image.geo, number, block, &why);
        if (rc != -EFSBADCRC && rc != -EFSCORRUPTED)
            fail_msg("flip at %u was not noticed", at);
        block[at] ^= (uint8_t)(1u << at % 8);
    }
    assert_int_equal(xattr_block_verify(&image.geo, number + 1, block, &why), -EFSBADCRC);
    image_fini(&image);
}

// Names and values of a small world, to compare an area with.
enum { NAMES = 24, VALUE_MAX = 300 };
struct model {
    bool present[NAMES];
    uint8_t value[NAMES][VALUE_MAX];
    uint32_t size[NAMES];
};

static struct xattr_name model_name(uint32_t n, char text[64])
{
    static const char *const families[] = {"user.", "trusted.", "security."};
    snprintf(text, 64, "%s%0*u", families[n % 3], (int)(1 + n % 7), n);
    return name_of(text);
}

static void expect_as_model(struct xattr_area *area, const struct model *model)
{
    struct ext4_geo geo = {0};
    const char *why = NULL;
    uint32_t found = 0;
    if (xattr_area_verify(&geo, area, &why) != 0)
        fail_msg("%s", why);
    for (const struct ext4_xattr_entry *e = xattr_first(area), *before = NULL; e; before = e, e = xattr_next(area, e)) {
        found++;
        if (area->in_block && before) {
            assert_true(e->name_index >= before->name_index);
            assert_true(e->name_index > before->name_index || e->name_len >= before->name_len);
        }
    }
    for (uint32_t n = 0; n < NAMES; n++) {
        char text[64];
        struct xattr_name name = model_name(n, text);
        const struct ext4_xattr_entry *entry = xattr_find(area, &name);
        assert_int_equal(entry != NULL, model->present[n]);
        if (!entry)
            continue;
        found--;
        assert_int_equal(le32(entry->value_size), model->size[n]);
        assert_memory_equal(xattr_value(area, entry), model->value[n], model->size[n]);
    }
    assert_int_equal(found, 0);
    assert_int_equal(xattr_area_is_empty(area), !xattr_first(area));
}

static uint32_t edit_at_random(struct xattr_area *area, struct model *model, uint64_t *random)
{
    char text[64];
    uint32_t n = test_random(random) % NAMES, size = test_random(random) % VALUE_MAX;
    struct xattr_name name = model_name(n, text);
    if (test_random(random) % 3 == 0) {
        assert_int_equal(xattr_area_remove(area, &name), model->present[n]);
        model->present[n] = false;
        return 0;
    }
    uint8_t value[VALUE_MAX], before[BLOCK_BYTES];
    for (uint32_t i = 0; i < size; i++)
        value[i] = (uint8_t)test_random(random);
    bool fits = xattr_area_fits(area, &name, size);
    memcpy(before, area->base, area->end);
    int rc = xattr_area_set(area, &name, value, size);
    assert_int_equal(rc, fits ? 0 : -ENOSPC);
    if (rc < 0) {
        assert_memory_equal(before, area->base, area->end);
        return 1;
    }
    model->present[n] = true;
    model->size[n] = size;
    memcpy(model->value[n], value, size);
    return 0;
}

static void areas_agree_with_a_model_through_random_edits(void **state)
{
    (void)state;
    uint8_t *bytes = xblocks(1);
    static const uint32_t sizes[] = {BLOCK_BYTES, 96, 97, 864, 8};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct xattr_area area = i == 0 ? xattr_block_init(bytes) : xattr_body_init(bytes, sizes[i]);
        struct model model = {0};
        uint64_t random = i;
        uint32_t refused = 0;
        for (int step = 0; step < 4000; step++) {
            refused += edit_at_random(&area, &model, &random);
            expect_as_model(&area, &model);
        }
        assert_true(refused > 0);
    }
    free(bytes);
}

static void an_attribute_may_fill_all_the_free_room(void **state)
{
    (void)state;
    uint8_t *bytes = xblocks(1), value[BLOCK_BYTES] = {1};
    struct ext4_geo geo = {0};
    const char *why = NULL;
    struct xattr_area area = xattr_block_init(bytes);
    struct xattr_name name = name_of("user.abcd");
    uint32_t most = xattr_area_free(&area) - xattr_entry_size(4);
    assert_int_equal(most, BLOCK_BYTES - 32 - 20 - 4);
    assert_int_equal(xattr_area_set(&area, &name, value, most + 1), -ENOSPC);
    assert_int_equal(xattr_area_set(&area, &name, value, most), 0);
    assert_int_equal(xattr_area_free(&area), 0);
    assert_int_equal(xattr_area_set(&area, &name, value, most - 3), 0);
    assert_int_equal(xattr_block_verify(&geo, 1, bytes, &why), 0);
    free(bytes);
}

static void bytes_that_are_no_attributes_are_refused(void **state)
{
    (void)state;
    struct ext4_geo geo = {0};
    uint8_t *good = xblocks(1), *bad = xblocks(1);
    const char *why = NULL;
    struct xattr_area area = xattr_block_init(good);
    struct xattr_name one = name_of("user.one"), two = name_of("user.two");
    assert_int_equal(xattr_area_set(&area, &one, "first!", 6), 0);
    assert_int_equal(xattr_area_set(&area, &two, "second", 6), 0);
    assert_int_equal(xattr_block_verify(&geo, 1, good, &why), 0);

    // The first entry is at 32: name_len, index, value_offs 2, inum 4, size 8, hash 12, name.
    static const struct { uint32_t at; uint8_t value; } damages[] = {
        {0, 1}, {4, 0}, {8, 2}, {32, 255}, {34, 0xf1}, {34, 0xf0}, {35, 0}, {35, 0xff}, {36, 1}, {40, 200}, {43, 1}, {44, 1}, {48, 0}, {50, 'x'},
    };
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        memcpy(bad, good, BLOCK_BYTES);
        bad[damages[i].at] = damages[i].value;
        if (xattr_block_verify(&geo, 1, bad, &why) != -EFSCORRUPTED)
            fail_msg("damage %zu was not noticed", i);
    }
    // Entries up to the very end, without a terminator.
    memset(bad + 32, 1, BLOCK_BYTES - 32);
    assert_int_equal(xattr_block_verify(&geo, 1, bad, &why), -EFSCORRUPTED);
    free(good);
    free(bad);
}

static void hashes_of_signed_characters_are_accepted_too(void **state)
{
    (void)state;
    struct ext4_geo geo = {0};
    uint8_t *block = xblocks(1);
    const char *why = NULL;
    struct xattr_area area = xattr_block_init(block);
    struct xattr_name name = name_of("user.\351");
    assert_int_equal(xattr_area_set(&area, &name, NULL, 0), 0);
    struct ext4_xattr_entry *entry = (struct ext4_xattr_entry *)(block + 32);
    assert_int_equal(le32(entry->hash), 0xe9);
    entry->hash = to_le32(0xffffffe9);
    assert_int_equal(xattr_block_verify(&geo, 1, block, &why), 0);
    // A hash of nothing but a name is checked only with a value: nothing is lost by a wrong one.
    assert_int_equal(xattr_area_set(&area, &name, "value", 5), 0);
    entry->hash = to_le32(le32(entry->hash) + 1);
    assert_int_equal(xattr_block_verify(&geo, 1, block, &why), -EFSCORRUPTED);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_split_as_the_kernel_splits_them),
        cmocka_unit_test(attributes_that_debugfs_set_are_read_from_inode_and_block),
        cmocka_unit_test(e2fsck_and_debugfs_accept_a_block_edited_here),
        cmocka_unit_test(a_flipped_bit_in_a_block_is_noticed),
        cmocka_unit_test(areas_agree_with_a_model_through_random_edits),
        cmocka_unit_test(an_attribute_may_fill_all_the_free_room),
        cmocka_unit_test(bytes_that_are_no_attributes_are_refused),
        cmocka_unit_test(hashes_of_signed_characters_are_accepted_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
