// SPDX-License-Identifier: MIT
// acl_fuzz.c - an ACL that is accepted is the same after either encoding.
#include "fuzz.h"

#include <string.h>

#include "ondisk/acl.h"

static void expect_same(const struct acl *a, const struct acl *b)
{
    CHECK(a->count == b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        CHECK(a->entries[i].tag == b->entries[i].tag && a->entries[i].perm == b->entries[i].perm);
        CHECK(a->entries[i].id == b->entries[i].id);
    }
}

// What passed acl_check() is carried by both forms, and is still valid after chmod and inheritance.
static void use(struct acl *acl)
{
    size_t disk_size = acl_to_disk(acl, NULL), xattr_size = acl_to_xattr(acl, NULL);
    uint8_t *disk = xcalloc(1, disk_size), *xattr = xcalloc(1, xattr_size);
    struct acl again;
    uint16_t mode = 0654;
    bool minimal;

    CHECK(acl_to_disk(acl, disk) == disk_size && acl_to_xattr(acl, xattr) == xattr_size);
    CHECK(acl_from_disk(disk, disk_size, &again) == 0);
    expect_same(acl, &again);
    acl_fini(&again);
    CHECK(acl_from_xattr(xattr, xattr_size, &again) == 0);
    expect_same(acl, &again);
    acl_fini(&again);

    CHECK(acl_chmod(acl, mode) == 0 && acl_check(acl) == 0);
    CHECK(acl_mode(acl, &mode, &minimal) == 0 && mode == 0654);
    mode = 0437;
    CHECK(acl_inherit(acl, &mode, &minimal) == 0 && acl_check(acl) == 0 && mode == (0654 & 0437));
    free(disk);
    free(xattr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = fuzz_bytes(data, size, size);
    struct acl acl;
    uint16_t mode = 0;
    bool minimal;

    // Also what is not valid must not hurt whoever calculates with it.
    if (acl_from_disk(bytes, size, &acl) == 0) {
        if (acl_check(&acl) == 0)
            use(&acl);
        (void)!acl_mode(&acl, &mode, &minimal);
        (void)!acl_inherit(&acl, &mode, &minimal);
        (void)!acl_chmod(&acl, 0777);
        acl_fini(&acl);
    }
    if (acl_from_xattr(bytes, size, &acl) == 0) {
        if (acl_check(&acl) == 0)
            use(&acl);
        acl_fini(&acl);
    }
    free(bytes);
    return 0;
}
