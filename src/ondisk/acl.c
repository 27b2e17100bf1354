// SPDX-License-Identifier: MIT
// acl.c - POSIX ACLs: two encodings, their validity, and their bargain with the mode.
#include "ondisk/acl.h"

#include <string.h>

#include "base/check.h"

void acl_fini(struct acl *acl)
{
    free(acl->entries);
    *acl = (struct acl){0};
}

static bool tag_has_id(uint16_t tag)
{
    return tag == ACL_TAG_USER || tag == ACL_TAG_GROUP;
}

static bool tag_is_known(uint16_t tag)
{
    return tag_has_id(tag) || tag == ACL_TAG_USER_OBJ || tag == ACL_TAG_GROUP_OBJ || tag == ACL_TAG_MASK || tag == ACL_TAG_OTHER;
}

// Reads one entry at *at; false when the bytes end before it does or the tag is none.
static bool read_entry(const uint8_t *bytes, size_t size, size_t *at, struct acl_entry *out)
{
    struct ext4_acl_full raw = {0};
    if (size - *at < sizeof(struct ext4_acl_short))
        return false;
    memcpy(&raw, bytes + *at, sizeof(struct ext4_acl_short));
    *out = (struct acl_entry){.tag = le16(raw.tag), .perm = le16(raw.perm), .id = ACL_ID_NONE};

    size_t entry_size = tag_has_id(out->tag) ? sizeof(struct ext4_acl_full) : sizeof(struct ext4_acl_short);
    if (!tag_is_known(out->tag) || size - *at < entry_size)
        return false;
    if (tag_has_id(out->tag)) {
        memcpy(&raw, bytes + *at, sizeof(raw));
        out->id = le32(raw.id);
    }
    *at += entry_size;
    return true;
}

int acl_from_disk(const void *bytes, size_t size, struct acl *out)
{
    struct ext4_acl_header header;
    *out = (struct acl){0};
    if (size < sizeof(header))
        return -EFSCORRUPTED;
    memcpy(&header, bytes, sizeof(header));
    if (le32(header.version) != EXT4_ACL_VERSION)
        return -EFSCORRUPTED;

    struct acl acl = {.entries = xcalloc(size / sizeof(struct ext4_acl_short), sizeof(struct acl_entry))};
    for (size_t at = sizeof(header); at < size;) {
        if (!read_entry(bytes, size, &at, &acl.entries[acl.count])) {
            acl_fini(&acl);
            return -EFSCORRUPTED;
        }
        acl.count++;
    }
    *out = acl;
    return 0;
}

int acl_from_xattr(const void *bytes, size_t size, struct acl *out)
{
    struct ext4_acl_header header;
    *out = (struct acl){0};
    if (size < sizeof(header))
        return -EINVAL;
    memcpy(&header, bytes, sizeof(header));
    if (le32(header.version) != ACL_XATTR_VERSION)
        return -EOPNOTSUPP;
    if ((size - sizeof(header)) % sizeof(struct ext4_acl_full))
        return -EINVAL;

    uint32_t count = (uint32_t)((size - sizeof(header)) / sizeof(struct ext4_acl_full));
    struct acl acl = {.entries = xcalloc(count + 1, sizeof(struct acl_entry)), .count = count};
    for (uint32_t i = 0; i < count; i++) {
        struct ext4_acl_full raw;
        memcpy(&raw, (const char *)bytes + sizeof(header) + i * sizeof(raw), sizeof(raw));
        uint16_t tag = le16(raw.tag);
        acl.entries[i] = (struct acl_entry){.tag = tag, .perm = le16(raw.perm), .id = tag_has_id(tag) ? le32(raw.id) : ACL_ID_NONE};
        if (!tag_is_known(tag) || (tag_has_id(tag) && le32(raw.id) == ACL_ID_NONE)) {
            acl_fini(&acl);
            return -EINVAL;
        }
    }
    *out = acl;
    return 0;
}

size_t acl_to_disk(const struct acl *acl, void *out)
{
    struct ext4_acl_header header = {.version = to_le32(EXT4_ACL_VERSION)};
    size_t at = sizeof(header);
    if (out)
        memcpy(out, &header, sizeof(header));
    for (uint32_t i = 0; i < acl->count; i++) {
        const struct acl_entry *entry = &acl->entries[i];
        struct ext4_acl_full raw = {.tag = to_le16(entry->tag), .perm = to_le16(entry->perm), .id = to_le32(entry->id)};
        size_t entry_size = tag_has_id(entry->tag) ? sizeof(struct ext4_acl_full) : sizeof(struct ext4_acl_short);
        if (out)
            memcpy((char *)out + at, &raw, entry_size);
        at += entry_size;
    }
    return at;
}

size_t acl_to_xattr(const struct acl *acl, void *out)
{
    struct ext4_acl_header header = {.version = to_le32(ACL_XATTR_VERSION)};
    if (out)
        memcpy(out, &header, sizeof(header));
    for (uint32_t i = 0; out && i < acl->count; i++) {
        const struct acl_entry *entry = &acl->entries[i];
        struct ext4_acl_full raw = {.tag = to_le16(entry->tag), .perm = to_le16(entry->perm), .id = to_le32(entry->id)};
        memcpy((char *)out + sizeof(header) + i * sizeof(raw), &raw, sizeof(raw));
    }
    return sizeof(header) + acl->count * sizeof(struct ext4_acl_full);
}

// Which tag may come next: USER_OBJ first, then USER*, GROUP_OBJ, GROUP*, MASK?, OTHER.
static bool tag_may_follow(uint16_t before, uint16_t tag, bool needs_mask)
{
    switch (tag) {
    case ACL_TAG_USER_OBJ: return before == 0;
    case ACL_TAG_USER:
    case ACL_TAG_GROUP_OBJ: return before == ACL_TAG_USER_OBJ || before == ACL_TAG_USER;
    case ACL_TAG_GROUP:
    case ACL_TAG_MASK: return before == ACL_TAG_GROUP_OBJ || before == ACL_TAG_GROUP;
    case ACL_TAG_OTHER: return before == ACL_TAG_MASK || (before == ACL_TAG_GROUP_OBJ && !needs_mask);
    }
    return false;
}

int acl_check(const struct acl *acl)
{
    uint16_t before = 0;
    bool needs_mask = false;
    for (uint32_t i = 0; i < acl->count; i++) {
        const struct acl_entry *entry = &acl->entries[i];
        if (entry->perm & ~7 || !tag_may_follow(before, entry->tag, needs_mask))
            return -EINVAL;
        if (tag_has_id(entry->tag) && entry->id == ACL_ID_NONE)
            return -EINVAL;
        needs_mask |= tag_has_id(entry->tag);
        before = entry->tag;
    }
    return before == ACL_TAG_OTHER ? 0 : -EINVAL;
}

int acl_mode(const struct acl *acl, uint16_t *mode, bool *minimal)
{
    uint16_t bits = 0;
    *minimal = true;
    for (uint32_t i = 0; i < acl->count; i++) {
        uint16_t perm = acl->entries[i].perm & 7;
        switch (acl->entries[i].tag) {
        case ACL_TAG_USER_OBJ: bits |= (uint16_t)(perm << 6); break;
        case ACL_TAG_GROUP_OBJ: bits |= (uint16_t)(perm << 3); break;
        case ACL_TAG_OTHER: bits |= perm; break;
        case ACL_TAG_MASK:
            // The mode's group bits then are the mask, not the owning group.
            bits = (uint16_t)((bits & ~070) | perm << 3);
            *minimal = false;
            break;
        case ACL_TAG_USER:
        case ACL_TAG_GROUP: *minimal = false; break;
        default: return -EINVAL;
        }
    }
    if (acl->count)
        *mode = (uint16_t)((*mode & ~0777) | bits);
    return 0;
}

static struct acl_entry *entry_of(const struct acl *acl, uint16_t tag)
{
    for (uint32_t i = 0; i < acl->count; i++) {
        if (acl->entries[i].tag == tag)
            return &acl->entries[i];
    }
    return NULL;
}

// The entry behind the mode's group bits.
static struct acl_entry *group_class(const struct acl *acl)
{
    struct acl_entry *mask = entry_of(acl, ACL_TAG_MASK);
    return mask ? mask : entry_of(acl, ACL_TAG_GROUP_OBJ);
}

int acl_chmod(struct acl *acl, uint16_t mode)
{
    struct acl_entry *user = entry_of(acl, ACL_TAG_USER_OBJ), *group = group_class(acl), *other = entry_of(acl, ACL_TAG_OTHER);
    if (!group)
        return -EIO;
    group->perm = mode >> 3 & 7;
    if (user)
        user->perm = mode >> 6 & 7;
    if (other)
        other->perm = mode & 7;
    return 0;
}

int acl_inherit(struct acl *acl, uint16_t *mode, bool *minimal)
{
    struct acl_entry *user = entry_of(acl, ACL_TAG_USER_OBJ), *group = group_class(acl), *other = entry_of(acl, ACL_TAG_OTHER);
    if (!user || !group || !other)
        return -EIO;
    // Both give way to each other: the ACL keeps what the caller asked for, the mode what the ACL allows.
    user->perm &= *mode >> 6 & 7;
    group->perm &= *mode >> 3 & 7;
    other->perm &= *mode & 7;
    int rc = acl_mode(acl, mode, minimal);
    return rc < 0 ? -EIO : 0;
}
