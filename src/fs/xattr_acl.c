// SPDX-License-Identifier: MIT
// xattr_acl.c - POSIX ACLs: what a new inode inherits, what chmod does to one, what one does to a mode.
//
// An access ACL and the permission bits say the same thing twice, so each change of one changes the
// other. An ACL that says no more than the bits is not stored.
#include "fs/xattr.h"

#include <string.h>

#include "base/check.h"
#include "fs/alloc.h"
#include "fs/xattr_internal.h"

#define ACL_ACCESS_NAME "system.posix_acl_access"

bool xattr_is_acl(const struct xattr_name *name)
{
    return name->index == EXT4_XATTR_ACL_ACCESS || name->index == EXT4_XATTR_ACL_DEFAULT;
}

int xattr_read_acl(struct plan *plan, struct inode *inode, uint8_t index, struct acl *out)
{
    struct xattr_name name = {.index = index, .len = 0, .bytes = ""};
    struct xattr_places places;
    const void *value;
    size_t size;
    *out = (struct acl){0};
    int rc = xattr_open(plan, inode, &places);
    if (rc == 0)
        rc = xattr_stored(inode, &places, &name, &value, &size);
    if (rc == -ENODATA)
        return 0;
    if (rc == 0 && acl_from_disk(value, size, out) < 0)
        rc = xattr_damaged(inode, "not an access control list");
    return rc;
}

int xattr_acl_mode(const void *value, size_t size, uint16_t *mode, bool *minimal)
{
    struct acl acl = {0};
    int rc = acl_from_xattr(value, size, &acl);
    if (rc == 0)
        rc = acl_check(&acl);
    if (rc == 0)
        rc = acl_mode(&acl, mode, minimal);
    acl_fini(&acl);
    return rc;
}

// --- chmod ----------------------------------------------------------------------------------------------

int xattr_plan_chmod(struct plan *plan, struct inode *inode, uint16_t mode, struct xattr_set *set)
{
    struct acl acl;
    bool minimal = false;
    set->name = NULL;
    int rc = xattr_read_acl(plan, inode, EXT4_XATTR_ACL_ACCESS, &acl);
    if (rc < 0 || acl.count == 0)
        return rc;
    rc = acl_chmod(&acl, mode);
    if (rc == 0)
        rc = acl_mode(&acl, &mode, &minimal);
    if (rc == 0) {
        // Planning makes the new bytes, so the value need not outlive it.
        size_t size = acl_to_xattr(&acl, NULL);
        AUTO_FREE void *value = xmalloc(size);
        acl_to_xattr(&acl, value);
        set->name = ACL_ACCESS_NAME;
        set->flags = 0;
        set->size = size;
        set->value = minimal ? NULL : value;
        rc = xattr_plan_set(plan, inode, set);
        set->value = NULL;
    }
    acl_fini(&acl);
    return rc;
}

// --- a new inode ----------------------------------------------------------------------------------------

static bool is_mode_dir(uint16_t mode)
{
    return (mode & 0170000) == 0040000;
}

static void *disk_form(const struct acl *acl, size_t *size)
{
    *size = acl_to_disk(acl, NULL);
    void *bytes = xmalloc(*size);
    acl_to_disk(acl, bytes);
    return bytes;
}

// Puts both lists into a new inode's areas, body first. *block_used: the second was needed.
static int put_inherited(const struct xattr_inherit *inherit, struct xattr_area *body, struct xattr_area *block, bool *block_used)
{
    const struct { uint8_t index; const void *bytes; size_t size; } lists[] = {
        {EXT4_XATTR_ACL_DEFAULT, inherit->defaults, inherit->default_size},
        {EXT4_XATTR_ACL_ACCESS, inherit->access, inherit->access_size},
    };
    *block_used = false;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct xattr_name name = {.index = lists[i].index, .len = 0, .bytes = ""};
        if (!lists[i].bytes)
            continue;
        if (body && xattr_area_set(body, &name, lists[i].bytes, (uint32_t)lists[i].size) == 0)
            continue;
        *block_used = true;
        int rc = xattr_area_set(block, &name, lists[i].bytes, (uint32_t)lists[i].size);
        if (rc < 0)
            return rc;
    }
    return 0;
}

// Will it fit, and where? Tried on scratch areas, exactly as the apply half will do it.
static int plan_places(struct plan *plan, struct inode *parent, struct xattr_inherit *inherit)
{
    struct ext4_inode scratch = {.mode = inherit->mode};
    struct xattr_area body, block;
    bool block_used;
    inode_body_init(&plan->fs->geo, &scratch);
    bool has_body = scratch.body_size >= XATTR_BODY_MIN;
    if (has_body)
        body = xattr_body_init(scratch.body, scratch.body_size);
    AUTO_FREE void *bytes = xmalloc(BLOCK_BYTES);
    block = xattr_block_init(bytes);
    int rc = put_inherited(inherit, has_body ? &body : NULL, &block, &block_used);
    inode_fini(&scratch);
    if (rc == 0 && block_used) {
        uint64_t goal = group_first_block(&plan->fs->geo, inode_group(&plan->fs->geo, parent->ino));
        rc = xattr_plan_block(plan, goal, &inherit->block.block);
    }
    return rc;
}

int xattr_plan_inherit(struct plan *plan, struct inode *parent, struct xattr_inherit *inherit)
{
    struct acl acl;
    bool minimal = false;
    xattr_inherit_fini(inherit);        // of an earlier pass
    inherit->block = (struct map_append){0};
    int rc = xattr_read_acl(plan, parent, EXT4_XATTR_ACL_DEFAULT, &acl);
    if (rc < 0)
        return rc;
    if (acl.count == 0) {
        inherit->mode &= (uint16_t)~(inherit->umask & 0777);
        return 0;
    }
    if (is_mode_dir(inherit->mode))
        inherit->defaults = disk_form(&acl, &inherit->default_size);
    rc = acl_inherit(&acl, &inherit->mode, &minimal);
    if (rc == 0 && !minimal)
        inherit->access = disk_form(&acl, &inherit->access_size);
    acl_fini(&acl);
    return rc < 0 ? rc : plan_places(plan, parent, inherit);
}

void xattr_apply_inherit(struct plan *plan, struct inode *inode, struct xattr_inherit *inherit)
{
    struct xattr_area body, block;
    bool block_used;
    if (!inherit->access && !inherit->defaults)
        return;
    bool has_body = inode->d.body_size >= XATTR_BODY_MIN;
    if (has_body)
        body = xattr_body_init(inode->d.body, inode->d.body_size);
    AUTO_FREE void *bytes = xmalloc(BLOCK_BYTES);
    block = xattr_block_init(bytes);
    int rc = put_inherited(inherit, has_body ? &body : NULL, &block, &block_used);
    CHECK(rc == 0);
    CHECK(block_used == (inherit->block.block != 0));
    if (has_body && xattr_area_is_empty(&body))
        memset(inode->d.body, 0, inode->d.body_size);
    if (block_used)
        xattr_apply_block(plan, inode, inherit->block.block, bytes);
    inode_dirty(inode, true);
}

void xattr_inherit_fini(struct xattr_inherit *inherit)
{
    free(inherit->access);
    free(inherit->defaults);
    inherit->access = inherit->defaults = NULL;
    inherit->access_size = inherit->default_size = 0;
}
