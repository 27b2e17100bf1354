// SPDX-License-Identifier: MIT
// xattr.c - areas of extended attributes: judged on any bytes, then searched and edited.
#include "ondisk/xattr.h"

#include <string.h>

#include "base/bitmap.h"
#include "base/check.h"
#include "base/crc32c.h"

#define TERMINATOR_SIZE 4u      // a zero where the next entry would start

static const struct {
    uint8_t index;
    bool is_whole;              // the name is complete, nothing may follow
    const char *text;
} prefixes[] = {
    {EXT4_XATTR_USER, false, "user."},
    {EXT4_XATTR_ACL_ACCESS, true, "system.posix_acl_access"},
    {EXT4_XATTR_ACL_DEFAULT, true, "system.posix_acl_default"},
    {EXT4_XATTR_TRUSTED, false, "trusted."},
    {EXT4_XATTR_SECURITY, false, "security."},
    {EXT4_XATTR_HURD, false, "gnu."},
};

int xattr_name_parse(const char *full, struct xattr_name *out)
{
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t prefix_len = strlen(prefixes[i].text);
        if (strncmp(full, prefixes[i].text, prefix_len) != 0)
            continue;
        const char *rest = full + prefix_len;
        size_t len = strlen(rest);
        if (prefixes[i].is_whole && len > 0)
            continue;
        if (!prefixes[i].is_whole && len == 0)
            return -EINVAL;
        if (len > EXT4_XATTR_NAME_MAX)
            return -ERANGE;
        *out = (struct xattr_name){.index = prefixes[i].index, .len = (uint8_t)len, .bytes = rest};
        return 0;
    }
    return -EOPNOTSUPP;
}

const char *xattr_prefix(uint8_t index)
{
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (prefixes[i].index == index)
            return prefixes[i].text;
    }
    return NULL;
}

struct xattr_area xattr_block_area(void *block)
{
    return (struct xattr_area){.base = block, .first = sizeof(struct ext4_xattr_header), .end = BLOCK_BYTES, .in_block = true};
}

static struct xattr_area body_area(void *body, uint32_t size)
{
    uint32_t header = sizeof(struct ext4_xattr_body_header);
    return (struct xattr_area){.base = (uint8_t *)body + header, .end = (size - header) & ~3u};
}

bool xattr_body_area(void *body, uint32_t size, struct xattr_area *out)
{
    const struct ext4_xattr_body_header *header = body;
    if (size < XATTR_BODY_MIN || le32(header->magic) != EXT4_XATTR_MAGIC)
        return false;
    *out = body_area(body, size);
    return true;
}

struct xattr_area xattr_body_init(void *body, uint32_t size)
{
    CHECK(size >= XATTR_BODY_MIN);
    memset(body, 0, size);
    ((struct ext4_xattr_body_header *)body)->magic = to_le32(EXT4_XATTR_MAGIC);
    return body_area(body, size);
}

struct xattr_area xattr_block_init(void *block)
{
    memset(block, 0, BLOCK_BYTES);
    *xattr_header(block) = (struct ext4_xattr_header){
        .magic = to_le32(EXT4_XATTR_MAGIC), .refcount = to_le32(1), .blocks = to_le32(1),
    };
    return xattr_block_area(block);
}

static struct ext4_xattr_entry *entry_at(const struct xattr_area *area, uint32_t offset)
{
    return (struct ext4_xattr_entry *)(area->base + offset);
}

static uint32_t offset_of(const struct xattr_area *area, const struct ext4_xattr_entry *entry)
{
    return (uint32_t)((const uint8_t *)entry - area->base);
}

static bool is_terminator(const struct xattr_area *area, uint32_t offset)
{
    struct le32 word;
    memcpy(&word, area->base + offset, sizeof(word));
    return le32(word) == 0;
}

// Hashes: rotations of the name's characters and then of the value's words, last word padded.
static uint32_t entry_hash(const struct xattr_area *area, const struct ext4_xattr_entry *entry, bool signed_chars)
{
    uint32_t hash = 0;
    for (uint32_t i = 0; i < entry->name_len; i++) {
        uint32_t c = signed_chars ? (uint32_t)(int32_t)(int8_t)entry->name[i] : (uint8_t)entry->name[i];
        hash = (hash << 5) ^ (hash >> 27) ^ c;
    }
    for (uint32_t at = 0; at < le32(entry->value_size); at += 4) {
        struct le32 word;
        memcpy(&word, area->base + le16(entry->value_offs) + at, sizeof(word));
        hash = (hash << 16) ^ (hash >> 16) ^ le32(word);
    }
    return hash;
}

// Walks the names. *terminator is where the list ends.
static const char *names_fault(const struct xattr_area *area, uint32_t *terminator)
{
    uint32_t offset = area->first;
    for (;;) {
        if (area->end - offset < TERMINATOR_SIZE)
            return "list of attributes has no end";
        if (is_terminator(area, offset))
            break;
        if (area->end - offset < sizeof(struct ext4_xattr_entry))
            return "attribute runs past its area";
        const struct ext4_xattr_entry *entry = entry_at(area, offset);
        if (area->end - offset < xattr_entry_size(entry->name_len))
            return "attribute's name runs past its area";
        // Without its value it would read as the end of the list.
        if (entry->name_len == 0 && entry->name_index == 0)
            return "attribute has no name";
        if (memchr(entry->name, 0, entry->name_len))
            return "attribute's name contains a zero";
        offset += xattr_entry_size(entry->name_len);
    }
    *terminator = offset;
    return NULL;
}

// `taken` has a bit for every word of the area, so that two values cannot share one.
static const char *value_fault(const struct xattr_area *area, const struct ext4_xattr_entry *entry, uint32_t terminator, uint8_t *taken)
{
    uint32_t size = le32(entry->value_size), offset = le16(entry->value_offs);

    if (le32(entry->value_inum))
        return "attribute's value is in an inode of its own";
    if (size == 0)
        return NULL;
    if (offset % 4 || offset < terminator + TERMINATOR_SIZE || offset >= area->end || size > area->end - offset)
        return "attribute's value is outside its area";

    uint32_t words = xattr_value_size(size) / 4;
    if (!bitmap_all_clear(taken, offset / 4, words))
        return "values of attributes overlap";
    bitmap_set_range(taken, offset / 4, words);

    uint32_t hash = le32(entry->hash);
    if (area->in_block && hash && hash != entry_hash(area, entry, false) && hash != entry_hash(area, entry, true))
        return "attribute's hash is wrong";
    return NULL;
}

static const char *area_fault(const struct xattr_area *area)
{
    uint8_t taken[BLOCK_BYTES / 4 / 8] = {0};
    uint32_t terminator;

    if (area->end > BLOCK_BYTES || area->first > area->end || area->end % 4)
        return "impossible area of attributes";
    const char *fault = names_fault(area, &terminator);
    for (uint32_t offset = area->first; !fault && offset < terminator;) {
        const struct ext4_xattr_entry *entry = entry_at(area, offset);
        fault = value_fault(area, entry, terminator, taken);
        offset += xattr_entry_size(entry->name_len);
    }
    return fault;
}

int xattr_area_verify(const struct ext4_geo *geo, const struct xattr_area *area, const char **why)
{
    const char *fault = area_fault(area);
    if (fault)
        *why = fault;
    return fault ? -EFSCORRUPTED : 0;
}

static const struct ext4_xattr_entry *entry_or_end(const struct xattr_area *area, uint32_t offset)
{
    return is_terminator(area, offset) ? NULL : entry_at(area, offset);
}

const struct ext4_xattr_entry *xattr_first(const struct xattr_area *area)
{
    return entry_or_end(area, area->first);
}

const struct ext4_xattr_entry *xattr_next(const struct xattr_area *area, const struct ext4_xattr_entry *entry)
{
    return entry_or_end(area, offset_of(area, entry) + xattr_entry_size(entry->name_len));
}

// The order of entries in a block.
static int compare(const struct ext4_xattr_entry *entry, const struct xattr_name *name)
{
    if (entry->name_index != name->index)
        return (int)entry->name_index - name->index;
    if (entry->name_len != name->len)
        return (int)entry->name_len - name->len;
    return memcmp(entry->name, name->bytes, name->len);
}

static struct ext4_xattr_entry *find(const struct xattr_area *area, const struct xattr_name *name)
{
    const struct ext4_xattr_entry *entry = xattr_first(area);
    while (entry && compare(entry, name) != 0)
        entry = xattr_next(area, entry);
    return entry ? entry_at(area, offset_of(area, entry)) : NULL;
}

const struct ext4_xattr_entry *xattr_find(const struct xattr_area *area, const struct xattr_name *name)
{
    return find(area, name);
}

const void *xattr_value(const struct xattr_area *area, const struct ext4_xattr_entry *entry)
{
    if (le32(entry->value_inum))
        return NULL;
    // An empty value's offset means nothing.
    return area->base + (le32(entry->value_size) ? le16(entry->value_offs) : 0);
}

bool xattr_area_is_empty(const struct xattr_area *area)
{
    return is_terminator(area, area->first);
}

static uint32_t list_end(const struct xattr_area *area)
{
    uint32_t offset = area->first;
    while (!is_terminator(area, offset))
        offset += xattr_entry_size(entry_at(area, offset)->name_len);
    return offset;
}

static uint32_t lowest_value(const struct xattr_area *area)
{
    uint32_t lowest = area->end;
    for (const struct ext4_xattr_entry *entry = xattr_first(area); entry; entry = xattr_next(area, entry)) {
        if (le32(entry->value_size))
            lowest = MIN(lowest, (uint32_t)le16(entry->value_offs));
    }
    return lowest;
}

uint32_t xattr_area_free(const struct xattr_area *area)
{
    return lowest_value(area) - list_end(area) - TERMINATOR_SIZE;
}

bool xattr_area_fits(const struct xattr_area *area, const struct xattr_name *name, uint32_t value_size)
{
    const struct ext4_xattr_entry *old = xattr_find(area, name);
    uint32_t room = xattr_area_free(area);
    uint32_t entry_size = old ? 0 : xattr_entry_size(name->len);

    if (value_size > BLOCK_BYTES)
        return false;
    if (old)
        room += xattr_value_size(le32(old->value_size));
    return entry_size + xattr_value_size(value_size) <= room;
}

// Closes the gap that the entry's value leaves: the values below it move up.
static void drop_value(struct xattr_area *area, struct ext4_xattr_entry *entry)
{
    uint32_t size = xattr_value_size(le32(entry->value_size)), gap = le16(entry->value_offs);
    uint32_t lowest = lowest_value(area);

    entry->value_size = to_le32(0);
    entry->value_offs = to_le16(0);
    if (size == 0)
        return;
    memmove(area->base + lowest + size, area->base + lowest, gap - lowest);
    memset(area->base + lowest, 0, size);
    for (uint32_t at = area->first; !is_terminator(area, at); at += xattr_entry_size(entry_at(area, at)->name_len)) {
        struct ext4_xattr_entry *other = entry_at(area, at);
        if (le32(other->value_size) && le16(other->value_offs) < gap)
            other->value_offs = to_le16((uint16_t)(le16(other->value_offs) + size));
    }
}

static void put_value(struct xattr_area *area, struct ext4_xattr_entry *entry, const void *value, uint32_t size)
{
    if (size) {
        uint32_t padded = xattr_value_size(size);
        uint32_t offset = lowest_value(area) - padded;
        memset(area->base + offset + padded - 4, 0, 4);
        memcpy(area->base + offset, value, size);
        entry->value_offs = to_le16((uint16_t)offset);
        entry->value_size = to_le32(size);
    }
    entry->hash = to_le32(area->in_block ? entry_hash(area, entry, false) : 0);
}

// An entry without a value, in its order in a block and last in a body.
static struct ext4_xattr_entry *insert_entry(struct xattr_area *area, const struct xattr_name *name)
{
    uint32_t end = list_end(area), place = area->first, size = xattr_entry_size(name->len);
    while (place < end && !(area->in_block && compare(entry_at(area, place), name) > 0))
        place += xattr_entry_size(entry_at(area, place)->name_len);

    struct ext4_xattr_entry *entry = entry_at(area, place);
    memmove((uint8_t *)entry + size, entry, end + TERMINATOR_SIZE - place);
    memset(entry, 0, size);
    entry->name_len = name->len;
    entry->name_index = name->index;
    memcpy(entry->name, name->bytes, name->len);
    return entry;
}

// The block's own hash sums up the entries'; one entry without makes it 0 ("do not share").
static void rehash(struct xattr_area *area)
{
    uint32_t hash = 0;
    if (!area->in_block)
        return;
    for (const struct ext4_xattr_entry *entry = xattr_first(area); entry; entry = xattr_next(area, entry)) {
        if (le32(entry->hash) == 0) {
            hash = 0;
            break;
        }
        hash = (hash << 16) ^ (hash >> 16) ^ le32(entry->hash);
    }
    xattr_header(area->base)->hash = to_le32(hash);
}

int xattr_area_set(struct xattr_area *area, const struct xattr_name *name, const void *value, uint32_t size)
{
    if (!xattr_area_fits(area, name, size))
        return -ENOSPC;
    struct ext4_xattr_entry *entry = find(area, name);
    if (entry)
        drop_value(area, entry);
    else
        entry = insert_entry(area, name);
    put_value(area, entry, value, size);
    rehash(area);
    return 0;
}

bool xattr_area_remove(struct xattr_area *area, const struct xattr_name *name)
{
    struct ext4_xattr_entry *entry = find(area, name);
    if (!entry)
        return false;
    drop_value(area, entry);

    uint32_t size = xattr_entry_size(entry->name_len), behind = offset_of(area, entry) + size, end = list_end(area);
    memmove(entry, (uint8_t *)entry + size, end - behind);
    memset(area->base + end - size, 0, size);
    rehash(area);
    return true;
}

static uint32_t block_csum(const struct ext4_geo *geo, uint64_t block_nr, const void *block)
{
    struct le64 number = to_le64(block_nr);
    struct ext4_xattr_header header = *(const struct ext4_xattr_header *)block;
    header.checksum = to_le32(0);

    uint32_t crc = crc32c(geo->csum_seed, &number, sizeof(number));
    crc = crc32c(crc, &header, sizeof(header));
    return crc32c(crc, (const char *)block + sizeof(header), BLOCK_BYTES - sizeof(header));
}

int xattr_block_verify(const struct ext4_geo *geo, uint64_t block_nr, const void *block, const char **why)
{
    const struct ext4_xattr_header *header = block;
    if (le32(header->magic) != EXT4_XATTR_MAGIC || le32(header->blocks) != 1) {
        *why = "no header of an attribute block";
        return -EFSCORRUPTED;
    }
    if (geo->has_metadata_csum && le32(header->checksum) != block_csum(geo, block_nr, block)) {
        *why = "checksum of an attribute block is wrong";
        return -EFSBADCRC;
    }
    if (le32(header->refcount) == 0) {
        *why = "attribute block without a user";
        return -EFSCORRUPTED;
    }
    struct xattr_area area = xattr_block_area((void *)(uintptr_t)block);
    return xattr_area_verify(geo, &area, why);
}

void xattr_block_seal(const struct ext4_geo *geo, uint64_t block_nr, void *block)
{
    if (geo->has_metadata_csum)
        xattr_header(block)->checksum = to_le32(block_csum(geo, block_nr, block));
}
