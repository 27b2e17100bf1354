// SPDX-License-Identifier: MIT
// xattr_fuzz.c - an area of attributes that is accepted stays one through every edit.
#include "fuzz.h"

#include <string.h>

#include "ondisk/xattr.h"

static void visit(const struct xattr_area *area)
{
    for (const struct ext4_xattr_entry *e = xattr_first(area); e; e = xattr_next(area, e)) {
        struct xattr_name name = {.index = e->name_index, .len = e->name_len, .bytes = e->name};
        const uint8_t *value = xattr_value(area, e);
        CHECK(value && value >= area->base && value + le32(e->value_size) <= area->base + area->end);
        CHECK(xattr_find(area, &name));
        (void)xattr_prefix(e->name_index);
    }
}

static void edit(const struct ext4_geo *geo, struct xattr_area *area)
{
    static const char *const names[] = {"user.a", "user.longer-name", "security.selinux", "system.posix_acl_access", "trusted.x"};
    uint8_t value[300];
    const char *why = NULL;
    memset(value, 'v', sizeof(value));
    for (uint32_t i = 0; i < 3 * ARRAY_LEN(names); i++) {
        struct xattr_name name;
        uint32_t size = i * 97 % sizeof(value);
        CHECK(xattr_name_parse(names[i % ARRAY_LEN(names)], &name) == 0);
        bool fits = xattr_area_fits(area, &name, size);
        CHECK(xattr_area_set(area, &name, value, size) == (fits ? 0 : -ENOSPC));
        CHECK(!fits || le32(xattr_find(area, &name)->value_size) == size);
        CHECK(xattr_area_verify(geo, area, &why) == 0);
        if (i % 3 == 0)
            CHECK(xattr_area_remove(area, &name) || !fits);
        CHECK(xattr_area_verify(geo, area, &why) == 0);
    }
    // Everything goes, from the front.
    const struct ext4_xattr_entry *first;
    while ((first = xattr_first(area))) {
        char text[EXT4_XATTR_NAME_MAX];
        memcpy(text, first->name, first->name_len);
        CHECK(xattr_area_remove(area, &(struct xattr_name){.index = first->name_index, .len = first->name_len, .bytes = text}));
        CHECK(xattr_area_verify(geo, area, &why) == 0);
    }
    CHECK(xattr_area_free(area) == area->end - area->first - 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t body_sizes[] = {96, 97, 4, 864};
    struct ext4_geo geo = fuzz_volume(0), checked = fuzz_volume(1);
    uint8_t *bytes = fuzz_bytes(data, size, BLOCK_BYTES);
    struct xattr_area area = xattr_block_area(bytes);
    const char *why = NULL;

    if (xattr_block_verify(&geo, 9, bytes, &why) == 0) {
        visit(&area);
        edit(&geo, &area);
        xattr_block_seal(&checked, 9, bytes);
        CHECK(xattr_block_verify(&checked, 9, bytes, &why) == 0);
    }
    free(bytes);

    for (size_t i = 0; i < ARRAY_LEN(body_sizes); i++) {
        bytes = fuzz_bytes(data, size, body_sizes[i]);
        if (xattr_body_area(bytes, body_sizes[i], &area) && xattr_area_verify(&geo, &area, &why) == 0) {
            visit(&area);
            edit(&geo, &area);
        }
        free(bytes);
    }
    char text[300] = "user.";
    struct xattr_name name;
    memcpy(text + 5, data, MIN(size, (size_t)290));
    (void)!xattr_name_parse(text, &name);
    return 0;
}
