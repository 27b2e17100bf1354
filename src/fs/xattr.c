// SPDX-License-Identifier: MIT
// xattr.c - extended attributes: where they stand, reading one, listing all.
//
// An attribute stands in the body of its inode (behind the fields, in memory d.body) or in the one
// attribute block, which several inodes may share as long as their attributes are the same. The body
// comes out of the inode table unjudged, so it is judged each time it is opened; the block was
// verified when it was read.
#include "fs/xattr.h"

#include <string.h>

#include "base/log.h"
#include "fs/alloc.h"
#include "fs/xattr_internal.h"

int xattr_damaged(const struct inode *inode, const char *why)
{
    log_error("event=damaged type=xattr ino=%u block=%llu why=\"%s\"", inode->ino, (unsigned long long)inode->d.file_acl, why);
    return -EFSCORRUPTED;
}

int xattr_open_block(struct plan *plan, struct inode *inode, struct buf **out)
{
    *out = NULL;
    if (inode->d.file_acl == 0)
        return 0;
    if (!alloc_is_data_range(inode->fs, inode->d.file_acl, 1))
        return xattr_damaged(inode, "attribute block outside the volume's data");
    // Shared by many inodes: it has no owner.
    struct block_owner owner = {0};
    return plan_buf(plan, BLOCK_XATTR, &owner, inode->d.file_acl, out);
}

int xattr_open(struct plan *plan, struct inode *inode, struct xattr_places *out)
{
    const char *why = "";
    *out = (struct xattr_places){0};
    out->has_body = inode->d.body_size > 0 && xattr_body_area(inode->d.body, inode->d.body_size, &out->body);
    if (out->has_body && xattr_area_verify(&inode->fs->geo, &out->body, &why) < 0)
        return xattr_damaged(inode, why);
    int rc = xattr_open_block(plan, inode, &out->block);
    if (rc == 0 && out->block)
        out->block_area = xattr_block_area(out->block->bytes);
    return rc;
}

int xattr_stored(const struct inode *inode, const struct xattr_places *places, const struct xattr_name *name, const void **value, size_t *size)
{
    const struct xattr_area *area = &places->body;
    const struct ext4_xattr_entry *entry = places->has_body ? xattr_find(area, name) : NULL;
    if (!entry && places->block) {
        area = &places->block_area;
        entry = xattr_find(area, name);
    }
    if (!entry)
        return -ENODATA;
    *value = xattr_value(area, entry);
    *size = le32(entry->value_size);
    return *value ? 0 : xattr_damaged(inode, "value in an inode of its own");
}

// Both calls can be made without a plan. Then they need one pass that saw everything at one moment.
struct query {
    struct inode *inode;
    const char *name;
    void *out;
    size_t size;
    ssize_t result;
};

static int query_run(struct inode *inode, int (*pass)(struct plan *plan, void *arg), struct query *query)
{
    struct plan own;
    plan_init(&own, inode->fs);
    int rc = plan_run(&own, pass, query);
    plan_end(&own);
    return rc;
}

// --- one value ----------------------------------------------------------------------------------------

static ssize_t copy_out(const struct query *query, const void *value, size_t size)
{
    if (query->size == 0)
        return (ssize_t)size;
    if (size > query->size)
        return -ERANGE;
    memcpy(query->out, value, size);
    return (ssize_t)size;
}

static ssize_t copy_acl(const struct query *query, const struct inode *inode, const void *value, size_t size)
{
    struct acl acl = {0};
    int rc = acl_from_disk(value, size, &acl);
    if (rc < 0)
        return xattr_damaged(inode, "not an access control list");
    size_t shown = acl_to_xattr(&acl, NULL);
    ssize_t result = query->size && shown > query->size ? -ERANGE : (ssize_t)shown;
    if (query->size && result > 0)
        acl_to_xattr(&acl, query->out);
    acl_fini(&acl);
    return result;
}

static int get_pass(struct plan *plan, void *arg)
{
    struct query *query = arg;
    struct xattr_name name;
    struct xattr_places places;
    const void *value;
    size_t size;
    int rc = xattr_name_parse(query->name, &name);
    if (rc == 0)
        rc = xattr_open(plan, query->inode, &places);
    if (rc == 0)
        rc = xattr_stored(query->inode, &places, &name, &value, &size);
    if (rc < 0)
        return rc;
    query->result = xattr_is_acl(&name) ? copy_acl(query, query->inode, value, size) : copy_out(query, value, size);
    return query->result < 0 ? (int)query->result : 0;
}

ssize_t xattr_get(struct plan *plan, struct inode *inode, const char *name, void *out, size_t size)
{
    struct query query = {.inode = inode, .name = name, .out = out, .size = size};
    int rc = plan ? get_pass(plan, &query) : query_run(inode, get_pass, &query);
    return rc < 0 ? rc : query.result;
}

// --- all names ------------------------------------------------------------------------------------------

// Adds the area's names behind the query->result bytes that are there.
static int list_area(struct query *query, const struct xattr_area *area)
{
    for (const struct ext4_xattr_entry *entry = xattr_first(area); entry; entry = xattr_next(area, entry)) {
        const char *prefix = xattr_prefix(entry->name_index);
        if (!prefix)
            continue;                   // the kernel's own, or of a system that we do not know
        size_t prefix_len = strlen(prefix), at = (size_t)query->result;
        size_t len = prefix_len + entry->name_len + 1;
        if (query->size && at + len > query->size)
            return -ERANGE;
        if (query->size) {
            char *to = (char *)query->out + at;
            memcpy(to, prefix, prefix_len);
            memcpy(to + prefix_len, entry->name, entry->name_len);
            to[len - 1] = 0;
        }
        query->result += (ssize_t)len;
    }
    return 0;
}

static int list_pass(struct plan *plan, void *arg)
{
    struct query *query = arg;
    struct xattr_places places;
    query->result = 0;
    int rc = xattr_open(plan, query->inode, &places);
    if (rc == 0 && places.has_body)
        rc = list_area(query, &places.body);
    if (rc == 0 && places.block)
        rc = list_area(query, &places.block_area);
    return rc;
}

ssize_t xattr_list(struct inode *inode, char *out, size_t size)
{
    struct query query = {.inode = inode, .out = out, .size = size};
    int rc = query_run(inode, list_pass, &query);
    return rc < 0 ? rc : query.result;
}
