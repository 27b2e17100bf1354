// SPDX-License-Identifier: MIT
// xattr_set.c - changing extended attributes: the pass makes the new bytes, the apply half puts them.
//
// As ext4 does, a value goes into the inode's body if it fits there, else into the block; what it
// replaces is taken from where it stood. A block with other users is not changed but left to them, and
// the inode gets a copy of its own; an empty block is given up.
#include "fs/xattr.h"

#include <string.h>
#include <sys/xattr.h>

#include "base/check.h"
#include "fs/alloc.h"
#include "fs/fs_internal.h"
#include "fs/map_internal.h"
#include "fs/xattr_internal.h"

struct xattr_steps {
    uint8_t *body;                      // d.body as it will be; NULL: as it is
    enum { BLOCK_STAYS, BLOCK_CHANGES, BLOCK_IS_NEW, BLOCK_GOES } block_step;
    uint8_t *bytes;                     // what the block (changed or new) will hold
    struct buf *old;                    // the inode's block until now, NULL: none
    uint64_t block;                     // BLOCK_IS_NEW: claimed
};

static bool is_shared(const struct buf *block)
{
    return le32(xattr_header(block->bytes)->refcount) > 1;
}

static void steps_free(struct xattr_steps *steps)
{
    if (!steps)
        return;
    free(steps->body);
    free(steps->bytes);
    free(steps);
}

void xattr_set_fini(struct xattr_set *set)
{
    steps_free(set->steps);
    set->steps = NULL;
}

// --- the new bytes ----------------------------------------------------------------------------------

struct change {
    struct inode *inode;
    struct xattr_places places;
    struct xattr_steps *steps;
    struct xattr_name name;
    const void *value;                  // as stored; NULL: remove
    uint32_t size;
};

static bool in_body(const struct change *c)
{
    return c->places.has_body && xattr_find(&c->places.body, &c->name);
}

static bool in_block(const struct change *c)
{
    return c->places.block && xattr_find(&c->places.block_area, &c->name);
}

// A copy of the body to change; an area without a magic number gets one. False: there is no room for any.
static bool open_body_copy(struct change *c, struct xattr_area *area)
{
    const struct ext4_inode *d = &c->inode->d;
    if (d->body_size < XATTR_BODY_MIN)
        return false;
    c->steps->body = xmalloc(d->body_size);
    memcpy(c->steps->body, d->body, d->body_size);
    if (!xattr_body_area(c->steps->body, d->body_size, area))
        *area = xattr_body_init(c->steps->body, d->body_size);
    return true;
}

static struct xattr_area open_block_copy(struct change *c)
{
    c->steps->bytes = xmalloc(BLOCK_BYTES);
    if (!c->places.block)
        return xattr_block_init(c->steps->bytes);
    memcpy(c->steps->bytes, c->places.block->bytes, BLOCK_BYTES);
    xattr_header(c->steps->bytes)->refcount = to_le32(1);
    return xattr_block_area(c->steps->bytes);
}

static void forget_body_copy(struct change *c)
{
    free(c->steps->body);
    c->steps->body = NULL;
}

static bool put_into_body(struct change *c)
{
    struct xattr_area area;
    if (!open_body_copy(c, &area))
        return false;
    if (xattr_area_set(&area, &c->name, c->value, c->size) == 0)
        return true;
    forget_body_copy(c);
    return false;
}

static void take_from_body(struct change *c)
{
    struct xattr_area area;
    if (!in_body(c) || !open_body_copy(c, &area))
        return;
    xattr_area_remove(&area, &c->name);
    // As the kernel: a body without attributes has no magic number, either.
    if (xattr_area_is_empty(&area))
        memset(c->steps->body, 0, sizeof(struct ext4_xattr_body_header));
}

static void take_from_block(struct change *c)
{
    if (!in_block(c))
        return;
    struct xattr_area area = open_block_copy(c);
    xattr_area_remove(&area, &c->name);
    if (xattr_area_is_empty(&area))
        c->steps->block_step = BLOCK_GOES;
    else
        c->steps->block_step = is_shared(c->places.block) ? BLOCK_IS_NEW : BLOCK_CHANGES;
}

static int put_into_block(struct change *c)
{
    struct xattr_area area = open_block_copy(c);
    int rc = xattr_area_set(&area, &c->name, c->value, c->size);
    if (rc < 0)
        return rc;
    bool changes = c->places.block && !is_shared(c->places.block);
    c->steps->block_step = changes ? BLOCK_CHANGES : BLOCK_IS_NEW;
    return 0;
}

static int make_bytes(struct change *c)
{
    if (c->value && put_into_body(c)) {
        take_from_block(c);
        return 0;
    }
    if (c->value) {
        int rc = put_into_block(c);
        if (rc == 0)
            take_from_body(c);
        return rc;
    }
    if (in_body(c))
        take_from_body(c);
    else
        take_from_block(c);
    return 0;
}

// --- the pass -----------------------------------------------------------------------------------------

int xattr_plan_block(struct plan *plan, uint64_t goal, uint64_t *block)
{
    plan_credits(plan, 2);              // the block; the superblock, which names the feature
    return alloc_claim_block(plan, goal, block);
}

// What becomes of the old block, and whether there is a new one.
static int plan_blocks(struct plan *plan, struct inode *inode, struct xattr_steps *steps)
{
    bool leaves = steps->old && (steps->block_step == BLOCK_IS_NEW || steps->block_step == BLOCK_GOES);
    int rc = 0;
    if (steps->block_step == BLOCK_CHANGES || (leaves && is_shared(steps->old)))
        plan_credits(plan, 1);
    else if (leaves)
        rc = alloc_plan_free(plan, steps->old->block, 1);
    if (rc == 0 && steps->block_step == BLOCK_IS_NEW)
        rc = xattr_plan_block(plan, map_group_goal(inode), &steps->block);
    if (rc == 0 && steps->block_step == BLOCK_IS_NEW && steps->old && steps->block == steps->old->block)
        rc = xattr_damaged(inode, "free block is in use");
    return rc;
}

static int check_flags(const struct change *c, int flags)
{
    bool exists = in_body(c) || in_block(c);
    if (!exists && (!c->value || (flags & XATTR_REPLACE)))
        return -ENODATA;
    if (exists && c->value && (flags & XATTR_CREATE))
        return -EEXIST;
    return 0;
}

// The value in the form in which it is stored; *owned is for the caller to free.
static int stored_form(const struct xattr_set *set, struct change *c, void **owned)
{
    *owned = NULL;
    c->value = set->value;
    c->size = set->value ? (uint32_t)set->size : 0;
    if (!set->value || !xattr_is_acl(&c->name))
        return 0;
    struct acl acl = {0};
    int rc = acl_from_xattr(set->value, set->size, &acl);
    if (rc == 0)
        rc = acl_check(&acl);
    if (rc == 0) {
        c->size = (uint32_t)acl_to_disk(&acl, NULL);
        c->value = *owned = xmalloc(c->size);
        acl_to_disk(&acl, *owned);
    }
    acl_fini(&acl);
    return rc;
}

int xattr_plan_set(struct plan *plan, struct inode *inode, struct xattr_set *set)
{
    struct change c = {.inode = inode};
    AUTO_FREE void *owned = NULL;
    xattr_set_fini(set);                // of an earlier pass
    int rc = xattr_name_parse(set->name, &c.name);
    if (rc == 0 && set->value && set->size > XATTR_VALUE_MAX)
        rc = -E2BIG;
    if (rc == 0)
        rc = stored_form(set, &c, &owned);
    if (rc == 0)
        rc = xattr_open(plan, inode, &c.places);
    if (rc == 0)
        rc = check_flags(&c, set->flags);
    if (rc < 0)
        return rc;
    c.steps = set->steps = xcalloc(1, sizeof *c.steps);
    c.steps->old = c.places.block;
    rc = make_bytes(&c);
    if (rc == 0)
        rc = plan_blocks(plan, inode, c.steps);
    if (rc == 0)
        plan_will_dirty_inode(plan, inode);
    return rc;
}

// --- the apply half ---------------------------------------------------------------------------------

// ext4 names the feature in the superblock when the first block comes into being.
static void name_feature(struct fs *fs)
{
    if (fs->geo.compat & EXT4_COMPAT_EXT_ATTR)
        return;
    fs->geo.compat |= EXT4_COMPAT_EXT_ATTR;
    guard_seal_geo(fs);
    fs_super_raw(fs)->feature_compat = to_le32(fs->geo.compat);
    super_seal(&fs->geo, fs_super_raw(fs));
    jrn_dirty(fs->jrn, fs->super);
}

void xattr_apply_block(struct plan *plan, struct inode *inode, uint64_t block, const void *bytes)
{
    struct fs *fs = inode->fs;
    struct shep_ref ref = {.type = BLOCK_XATTR};
    alloc_apply_use(plan, block, 1, 0);
    struct buf *buf = buf_get_new(fs->bufs, &ref, block);
    plan_hold_buf(plan, buf);
    memcpy(buf->bytes, bytes, BLOCK_BYTES);
    jrn_dirty(fs->jrn, buf);
    inode->d.file_acl = block;
    inode->d.blocks += SECTORS_PER_BLOCK;
    name_feature(fs);
}

// The inode uses its block no more; somebody else may.
static void leave_block(struct plan *plan, struct inode *inode, struct buf *old)
{
    struct ext4_xattr_header *header = xattr_header(old->bytes);
    inode->d.file_acl = 0;
    inode->d.blocks -= MIN(inode->d.blocks, (uint64_t)SECTORS_PER_BLOCK);
    if (is_shared(old)) {
        header->refcount = to_le32(le32(header->refcount) - 1);
        jrn_dirty(inode->fs->jrn, old);
    } else {
        alloc_apply_free(plan, old->block, 1, true);
    }
}

void xattr_apply_set(struct plan *plan, struct inode *inode, struct xattr_set *set)
{
    struct xattr_steps *steps = set->steps;
    CHECK(steps != NULL);
    if (steps->body)
        memcpy(inode->d.body, steps->body, inode->d.body_size);
    if (steps->block_step == BLOCK_CHANGES) {
        memcpy(steps->old->bytes, steps->bytes, BLOCK_BYTES);
        jrn_dirty(inode->fs->jrn, steps->old);
    }
    if (steps->old && (steps->block_step == BLOCK_GOES || steps->block_step == BLOCK_IS_NEW))
        leave_block(plan, inode, steps->old);
    if (steps->block_step == BLOCK_IS_NEW)
        xattr_apply_block(plan, inode, steps->block, steps->bytes);
    inode_dirty(inode, true);
}

// --- the inode goes away ------------------------------------------------------------------------------

int xattr_plan_free(struct plan *plan, struct inode *inode)
{
    struct buf *old;
    int rc = xattr_open_block(plan, inode, &old);
    if (rc < 0 || !old)
        return rc;
    plan_will_dirty_inode(plan, inode);
    if (!is_shared(old))
        return alloc_plan_free(plan, old->block, 1);
    plan_credits(plan, 1);
    return 0;
}

void xattr_apply_free(struct plan *plan, struct inode *inode)
{
    if (inode->d.file_acl == 0)
        return;
    struct buf *old = buf_peek(inode->fs->bufs, inode->d.file_acl);
    CHECK(old != NULL);                 // the plan holds it
    leave_block(plan, inode, old);
    inode_dirty(inode, true);
}
