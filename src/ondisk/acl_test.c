// SPDX-License-Identifier: MIT
// acl_test.c - access control lists in both encodings, and their bargain with the mode.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "ondisk/acl.h"

enum { U = ACL_TAG_USER_OBJ, NU = ACL_TAG_USER, G = ACL_TAG_GROUP_OBJ, NG = ACL_TAG_GROUP, M = ACL_TAG_MASK, O = ACL_TAG_OTHER, NO = -1 };

// u::rwx,u:1000:rw-,g::r-x,g:50:r--,m::rw-,o::--x, as getfacl(1) would show it.
static struct acl_entry extended[] = {
    {U, 7, NO}, {NU, 6, 1000}, {G, 5, NO}, {NG, 4, 50}, {M, 6, NO}, {O, 1, NO},
};
// The same in ext4's form, written by hand.
static const uint8_t extended_on_disk[] = {
    1, 0, 0, 0,  1, 0, 7, 0,  2, 0, 6, 0, 0xe8, 3, 0, 0,  4, 0, 5, 0,  8, 0, 4, 0, 50, 0, 0, 0,  16, 0, 6, 0,  32, 0, 1, 0,
};
static const struct acl extended_acl = {.entries = extended, .count = ARRAY_LEN(extended)};

static void expect_same(const struct acl *a, const struct acl *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->entries, b->entries, a->count * sizeof(a->entries[0]));
}

static void both_encodings_carry_an_acl_there_and_back(void **state)
{
    (void)state;
    struct acl acl, again;
    uint8_t disk[128], xattr[128];

    assert_int_equal(acl_from_disk(extended_on_disk, sizeof(extended_on_disk), &acl), 0);
    expect_same(&acl, &extended_acl);
    assert_int_equal(acl_to_disk(&acl, NULL), sizeof(extended_on_disk));
    assert_int_equal(acl_to_disk(&acl, disk), sizeof(extended_on_disk));
    assert_memory_equal(disk, extended_on_disk, sizeof(extended_on_disk));

    size_t size = acl_to_xattr(&acl, xattr);
    assert_int_equal(size, 4 + 6 * 8);
    assert_int_equal(xattr[0], ACL_XATTR_VERSION);
    assert_int_equal(acl_from_xattr(xattr, size, &again), 0);
    expect_same(&again, &acl);
    acl_fini(&acl);
    acl_fini(&again);
}

static void an_empty_list_is_no_acl(void **state)
{
    (void)state;
    struct acl acl;
    static const uint8_t disk[] = {1, 0, 0, 0}, xattr[] = {2, 0, 0, 0};
    assert_int_equal(acl_from_disk(disk, sizeof(disk), &acl), 0);
    assert_int_equal(acl.count, 0);
    acl_fini(&acl);
    assert_int_equal(acl_from_xattr(xattr, sizeof(xattr), &acl), 0);
    assert_int_equal(acl.count, 0);
    assert_int_equal(acl_check(&acl), -EINVAL);
    acl_fini(&acl);
}

static void damaged_bytes_are_no_acl(void **state)
{
    (void)state;
    struct acl acl;
    for (size_t size = 0; size < sizeof(extended_on_disk); size++) {
        // Cut between entries it still reads as a list, elsewhere not.
        bool is_whole = size == 4 || size == 8 || size == 16 || size == 20 || size == 28 || size == 32;
        assert_int_equal(acl_from_disk(extended_on_disk, size, &acl), is_whole ? 0 : -EFSCORRUPTED);
        acl_fini(&acl);
    }
    uint8_t bad[sizeof(extended_on_disk)];
    memcpy(bad, extended_on_disk, sizeof(bad));
    bad[0] = 2;
    assert_int_equal(acl_from_disk(bad, sizeof(bad), &acl), -EFSCORRUPTED);
    bad[0] = 1;
    bad[4] = 3;
    assert_int_equal(acl_from_disk(bad, sizeof(bad), &acl), -EFSCORRUPTED);
}

static void what_setxattr_hands_in_is_judged(void **state)
{
    (void)state;
    struct acl acl;
    uint8_t xattr[128];
    size_t size = acl_to_xattr(&extended_acl, xattr);
    assert_int_equal(acl_from_xattr(xattr, size - 1, &acl), -EINVAL);
    assert_int_equal(acl_from_xattr(xattr, 3, &acl), -EINVAL);
    xattr[0] = 1;
    assert_int_equal(acl_from_xattr(xattr, size, &acl), -EOPNOTSUPP);
    xattr[0] = 2;
    memset(xattr + 4 + 8 + 4, 0xff, 4);         // the named user is nobody
    assert_int_equal(acl_from_xattr(xattr, size, &acl), -EINVAL);
}

static int check(const char *tags)
{
    struct acl_entry entries[16];
    struct acl acl = {.entries = entries};
    for (; *tags; tags++, acl.count++) {
        static const char letters[] = "UuGgMO";
        static const uint16_t values[] = {U, NU, G, NG, M, O};
        uint16_t tag = values[strchr(letters, *tags) - letters];
        entries[acl.count] = (struct acl_entry){.tag = tag, .perm = 4, .id = tag == NU || tag == NG ? 5 : ACL_ID_NONE};
    }
    return acl_check(&acl);
}

static void only_complete_lists_in_order_are_valid(void **state)
{
    (void)state;
    static const char *const valid[] = {"UGO", "UGMO", "UuGMO", "UGgMO", "UuuGggMO"};
    static const char *const invalid[] = {"", "U", "UG", "GO", "UuGO", "UGgO", "UUGO", "UGGMO", "UGMMO", "UGOO", "UGOM", "uUGMO", "UgGMO", "UGuMO", "UMGO", "UGMgO"};
    for (size_t i = 0; i < ARRAY_LEN(valid); i++)
        assert_int_equal(check(valid[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(invalid); i++) {
        if (check(invalid[i]) != -EINVAL)
            fail_msg("%s is taken for valid", invalid[i]);
    }
    struct acl_entry entries[] = {{U, 8, NO}, {G, 4, NO}, {O, 4, NO}};
    assert_int_equal(acl_check(&(struct acl){.entries = entries, .count = 3}), -EINVAL);
}

static void the_mode_shows_the_mask_where_there_is_one(void **state)
{
    (void)state;
    uint16_t mode = 0104000;
    bool minimal;
    assert_int_equal(acl_mode(&extended_acl, &mode, &minimal), 0);
    assert_int_equal(mode, 0104761);
    assert_false(minimal);

    struct acl_entry base[] = {{U, 6, NO}, {G, 4, NO}, {O, 0, NO}};
    assert_int_equal(acl_mode(&(struct acl){.entries = base, .count = 3}, &mode, &minimal), 0);
    assert_int_equal(mode, 0104640);
    assert_true(minimal);
}

static void chmod_changes_the_mask_and_not_the_owning_group(void **state)
{
    (void)state;
    struct acl_entry entries[ARRAY_LEN(extended)];
    memcpy(entries, extended, sizeof(extended));
    struct acl acl = {.entries = entries, .count = ARRAY_LEN(entries)};
    assert_int_equal(acl_chmod(&acl, 0424), 0);
    assert_int_equal(entries[0].perm, 4);
    assert_int_equal(entries[2].perm, 5);
    assert_int_equal(entries[4].perm, 2);
    assert_int_equal(entries[5].perm, 4);

    struct acl_entry base[] = {{U, 6, NO}, {G, 4, NO}, {O, 0, NO}};
    assert_int_equal(acl_chmod(&(struct acl){.entries = base, .count = 3}, 0751), 0);
    assert_int_equal(base[1].perm, 5);
    assert_int_equal(acl_chmod(&(struct acl){.entries = base, .count = 1}, 0751), -EIO);
}

static void a_new_inode_gets_no_more_than_was_asked_for_nor_than_the_default_allows(void **state)
{
    (void)state;
    struct acl_entry entries[ARRAY_LEN(extended)];
    memcpy(entries, extended, sizeof(extended));
    struct acl acl = {.entries = entries, .count = ARRAY_LEN(entries)};
    uint16_t mode = 0100664;
    bool minimal;
    // Asked for rw-rw-r--; the default says rwx, mask rw-, other --x.
    assert_int_equal(acl_inherit(&acl, &mode, &minimal), 0);
    assert_int_equal(mode, 0100660);
    assert_false(minimal);
    assert_int_equal(entries[0].perm, 6);
    assert_int_equal(entries[1].perm, 6);
    assert_int_equal(entries[2].perm, 5);
    assert_int_equal(entries[4].perm, 6);
    assert_int_equal(entries[5].perm, 0);

    struct acl_entry base[] = {{U, 7, NO}, {G, 5, NO}, {O, 5, NO}};
    mode = 040770;
    assert_int_equal(acl_inherit(&(struct acl){.entries = base, .count = 3}, &mode, &minimal), 0);
    assert_int_equal(mode, 040750);
    assert_true(minimal);
    assert_int_equal(acl_inherit(&(struct acl){.entries = base, .count = 2}, &mode, &minimal), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_encodings_carry_an_acl_there_and_back),
        cmocka_unit_test(an_empty_list_is_no_acl),
        cmocka_unit_test(damaged_bytes_are_no_acl),
        cmocka_unit_test(what_setxattr_hands_in_is_judged),
        cmocka_unit_test(only_complete_lists_in_order_are_valid),
        cmocka_unit_test(the_mode_shows_the_mask_where_there_is_one),
        cmocka_unit_test(chmod_changes_the_mask_and_not_the_owning_group),
        cmocka_unit_test(a_new_inode_gets_no_more_than_was_asked_for_nor_than_the_default_allows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
