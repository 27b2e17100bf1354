// SPDX-License-Identifier: MIT
// dir.c - leaves of directories: walks over any bytes, and edits of verified ones.
//
// The index above the leaves is in dirindex.c.
#include "ondisk/dir.h"

#include <string.h>

#include "base/check.h"
#include "ondisk/internal.h"

static bool is_named(const struct ext4_dirent_raw *entry, const char *name, size_t len)
{
    return entry->name_len == len && memcmp(entry->name, name, len) == 0;
}

struct dir_walk dir_walk_start(const struct ext4_geo *geo, const void *leaf)
{
    // A root's ".." and a node's empty entry cover the whole block, their checksum included.
    bool is_leaf = dir_block_kind(geo, leaf) == DIR_LEAF;
    return (struct dir_walk){
        .leaf = leaf, .end = is_leaf ? dir_leaf_end(geo) : BLOCK_BYTES, .inode_count = geo->inode_count,
    };
}

// Every lookup goes over the entries of a leaf, so they are judged at a glance; what is wrong with one that is
// none, entry_fault() says.
static inline bool is_entry(const struct dir_walk *walk, uint32_t at)
{
    if (walk->end - at < EXT4_DIRENT_MIN)
        return false;
    const struct ext4_dirent_raw *entry = dirent_in(walk->leaf, at);
    uint32_t rec_len = le16(entry->rec_len), named = dirent_size(entry->name_len);
    return rec_len >= MAX(named, EXT4_DIRENT_MIN) && !(rec_len & 3) && rec_len <= walk->end - at &&
           le32(entry->ino) <= walk->inode_count;
}

static const char *entry_fault(const struct dir_walk *walk)
{
    if (walk->end - walk->next < EXT4_DIRENT_MIN)
        return "too little room for a directory entry";
    const struct ext4_dirent_raw *entry = dirent_in(walk->leaf, walk->next);
    uint32_t rec_len = le16(entry->rec_len);
    if (rec_len < EXT4_DIRENT_MIN || rec_len % 4)
        return "impossible length of a directory entry";
    if (rec_len < dirent_size(entry->name_len))
        return "directory entry is too short for its name";
    if (rec_len > walk->end - walk->next)
        return "directory entry runs past its block";
    if (le32(entry->ino) > walk->inode_count)
        return "directory entry names an inode outside the volume";
    return NULL;
}

const struct ext4_dirent_raw *dir_walk_next(struct dir_walk *walk)
{
    if (walk->why || walk->next >= walk->end)
        return NULL;
    if (!is_entry(walk, walk->next)) {
        walk->why = entry_fault(walk);
        return NULL;
    }
    const struct ext4_dirent_raw *entry = dirent_in(walk->leaf, walk->next);
    walk->offset = walk->next;
    walk->next += le16(entry->rec_len);
    return entry;
}

bool dirent_name_is_sane(const struct ext4_dirent_raw *entry)
{
    return entry->name_len > 0 && !memchr(entry->name, '/', entry->name_len) && !memchr(entry->name, 0, entry->name_len);
}

static struct ext4_dir_tail *leaf_tail(const void *leaf)
{
    return (struct ext4_dir_tail *)((uintptr_t)leaf + BLOCK_BYTES - EXT4_DIR_TAIL_SIZE);
}

bool dir_has_tail(const void *leaf)
{
    const struct ext4_dir_tail *tail = leaf_tail(leaf);
    return le32(tail->zero_ino) == 0 && le16(tail->rec_len) == EXT4_DIR_TAIL_SIZE && tail->zero_name_len == 0 &&
           tail->type == EXT4_DIR_TAIL_TYPE;
}

static const char *leaf_fault(const struct ext4_geo *geo, const void *leaf)
{
    if (geo->has_metadata_csum && !dir_has_tail(leaf))
        return "directory block has no room for its checksum";
    struct dir_walk walk = dir_walk_start(geo, leaf);
    while (dir_walk_next(&walk))
        ;
    return walk.why;
}

int dir_leaf_verify(const struct ext4_geo *geo, const void *leaf, const char **why)
{
    const char *fault = leaf_fault(geo, leaf);
    if (fault)
        *why = fault;
    return fault ? -EFSCORRUPTED : 0;
}

// Also for a root, whose ".." is longer.
static const char *dots_fault(const struct ext4_geo *geo, const struct block_owner *owner, const void *block)
{
    struct dir_walk walk = dir_walk_start(geo, block);
    const struct ext4_dirent_raw *dot = dir_walk_next(&walk);
    if (!dot || !is_named(dot, ".", 1) || le32(dot->ino) != owner->ino)
        return "directory does not start with itself";
    const struct ext4_dirent_raw *dot_dot = dir_walk_next(&walk);
    if (!dot_dot || !is_named(dot_dot, "..", 2) || le32(dot_dot->ino) == 0)
        return "directory does not name its parent";
    return NULL;
}

int dir_first_verify(const struct ext4_geo *geo, const struct block_owner *owner, const void *leaf, const char **why)
{
    const char *fault = leaf_fault(geo, leaf);
    if (!fault)
        fault = dots_fault(geo, owner, leaf);
    if (fault)
        *why = fault;
    return fault ? -EFSCORRUPTED : 0;
}

uint32_t dir_leaf_find(const struct ext4_geo *geo, const void *leaf, const char *name, size_t len)
{
    struct dir_walk walk = dir_walk_start(geo, leaf);
    // Names of one directory tend to begin alike, and to differ in their last letter.
    for (uint32_t at = 0; at < walk.end && is_entry(&walk, at);) {
        const struct ext4_dirent_raw *entry = dirent_in(leaf, at);
        if (entry->name_len == len && (len == 0 || entry->name[len - 1] == name[len - 1]) && le32(entry->ino) &&
            memcmp(entry->name, name, len) == 0)
            return at;
        at += le16(entry->rec_len);
    }
    return DIR_NOT_FOUND;
}

// A damaged entry may have no name; its successor must still be far enough to be an entry.
static uint32_t used_size(const struct ext4_dirent_raw *entry)
{
    return le32(entry->ino) ? MAX(dirent_size(entry->name_len), EXT4_DIRENT_MIN) : 0;
}

uint32_t dir_leaf_room(const struct ext4_geo *geo, const void *leaf, uint32_t size)
{
    struct dir_walk walk = dir_walk_start(geo, leaf);
    for (uint32_t at = 0; at < walk.end && is_entry(&walk, at);) {
        const struct ext4_dirent_raw *entry = dirent_in(leaf, at);
        uint32_t rec_len = le16(entry->rec_len);
        if (rec_len >= size && rec_len - used_size(entry) >= size)
            return at;
        at += rec_len;
    }
    return DIR_NOT_FOUND;
}

uint32_t dir_leaf_free(const struct ext4_geo *geo, const void *leaf)
{
    struct dir_walk walk = dir_walk_start(geo, leaf);
    const struct ext4_dirent_raw *entry;
    uint32_t room = 0;
    while ((entry = dir_walk_next(&walk)))
        room += le16(entry->rec_len) - used_size(entry);
    return room;
}

uint32_t dir_leaf_put(const struct ext4_geo *geo, void *leaf, uint32_t offset, const struct dir_put *put)
{
    struct ext4_dirent_raw *entry = dirent_in(leaf, offset);
    uint32_t room = le16(entry->rec_len), used = used_size(entry), size = dirent_size((uint32_t)put->len);

    CHECK(put->len > 0 && put->len <= EXT4_NAME_MAX);
    CHECK(room >= used + size);
    if (used) {
        entry->rec_len = to_le16((uint16_t)used);
        entry = dirent_in(leaf, offset + used);
    }
    memset(entry, 0, size);
    entry->ino = to_le32(put->ino);
    entry->rec_len = to_le16((uint16_t)(room - used));
    entry->name_len = (uint8_t)put->len;
    entry->file_type = geo->has_filetype ? put->file_type : EXT4_FT_UNKNOWN;
    memcpy(entry->name, put->name, put->len);
    return offset + used;
}

void dir_leaf_remove(const struct ext4_geo *geo, void *leaf, uint32_t offset)
{
    struct dir_walk walk = dir_walk_start(geo, leaf);
    uint32_t before = offset, at = 0;
    while (at < offset && is_entry(&walk, at)) {
        before = at;
        at += le16(dirent_in(leaf, at)->rec_len);
    }
    CHECK(at == offset && at < walk.end && is_entry(&walk, at));

    struct ext4_dirent_raw *entry = dirent_in(leaf, offset);
    uint32_t rec_len = le16(entry->rec_len);
    memset(entry, 0, rec_len);
    if (before == offset) {
        entry->rec_len = to_le16((uint16_t)rec_len);
        return;
    }
    struct ext4_dirent_raw *heir = dirent_in(leaf, before);
    heir->rec_len = to_le16((uint16_t)(le16(heir->rec_len) + rec_len));
}

void dir_leaf_init(const struct ext4_geo *geo, void *leaf)
{
    memset(leaf, 0, BLOCK_BYTES);
    dirent_in(leaf, 0)->rec_len = to_le16((uint16_t)dir_leaf_end(geo));
    if (geo->has_metadata_csum)
        *leaf_tail(leaf) = (struct ext4_dir_tail){.rec_len = to_le16(EXT4_DIR_TAIL_SIZE), .type = EXT4_DIR_TAIL_TYPE};
}

void dir_first_init(const struct ext4_geo *geo, void *leaf, uint32_t ino, uint32_t parent_ino)
{
    dir_leaf_init(geo, leaf);
    dir_leaf_put(geo, leaf, 0, &(struct dir_put){.name = ".", .len = 1, .ino = ino, .file_type = EXT4_FT_DIR});
    dir_leaf_put(geo, leaf, 0, &(struct dir_put){.name = "..", .len = 2, .ino = parent_ino, .file_type = EXT4_FT_DIR});
}

void dir_leaf_compact(const struct ext4_geo *geo, void *leaf)
{
    struct dir_walk walk = dir_walk_start(geo, leaf);
    const struct ext4_dirent_raw *entry;
    uint32_t end = 0, last = 0;
    while ((entry = dir_walk_next(&walk))) {
        uint32_t size = used_size(entry);
        if (!size)
            continue;
        last = end;
        memmove(dirent_in(leaf, last), entry, size);     // only ever down: the walk is already past
        dirent_in(leaf, last)->rec_len = to_le16((uint16_t)size);
        end = last + size;
    }
    memset(dirent_in(leaf, end), 0, walk.end - end);
    dirent_in(leaf, last)->rec_len = to_le16((uint16_t)(walk.end - last));
}

static uint32_t leaf_csum(const struct ext4_geo *geo, const struct block_owner *owner, const void *leaf)
{
    return crc32c(owner_csum(geo, owner), leaf, BLOCK_BYTES - EXT4_DIR_TAIL_SIZE);
}

// Block 0 names the directory and its parent, whether it is a leaf or the root of a hash tree.
static const char *block_fault(const struct ext4_geo *geo, const struct block_owner *owner, const void *block)
{
    void *bytes = (void *)(uintptr_t)block;
    struct dx_view view;
    const char *why = NULL;
    int rc = 0;

    switch (dir_block_kind(geo, block)) {
    case DIR_LEAF:
        rc = dir_leaf_verify(geo, block, &why);
        break;
    case DIR_DX_ROOT:
        rc = dx_root_view(geo, bytes, &view, &why);
        if (rc == 0 && owner->lblock != 0)
            return "root of a hash tree inside a directory";
        break;
    case DIR_DX_NODE:
        rc = dx_node_view(geo, bytes, &view, &why);
        break;
    }
    if (rc == 0 && owner->lblock == 0)
        return dots_fault(geo, owner, block);
    return rc == 0 ? NULL : why;
}

static bool csum_is_right(const struct ext4_geo *geo, const struct block_owner *owner, const void *block)
{
    if (dir_block_kind(geo, block) != DIR_LEAF)
        return dx_csum_is_right(geo, owner, block);
    return dir_has_tail(block) && le32(leaf_tail(block)->checksum) == leaf_csum(geo, owner, block);
}

int dir_block_verify(const struct ext4_geo *geo, const struct block_owner *owner, const void *block, const char **why)
{
    if (geo->has_metadata_csum && !csum_is_right(geo, owner, block)) {
        *why = "checksum of a directory block is wrong";
        return -EFSBADCRC;
    }
    const char *fault = block_fault(geo, owner, block);
    if (fault)
        *why = fault;
    return fault ? -EFSCORRUPTED : 0;
}

void dir_block_seal(const struct ext4_geo *geo, const struct block_owner *owner, void *block)
{
    if (!geo->has_metadata_csum)
        return;
    if (dir_block_kind(geo, block) != DIR_LEAF) {
        dx_seal(geo, owner, block);
        return;
    }
    CHECK(dir_has_tail(block));
    leaf_tail(block)->checksum = to_le32(leaf_csum(geo, owner, block));
}
