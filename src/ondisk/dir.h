// SPDX-License-Identifier: MIT
// dir.h - blocks of directories: entries in leaves, the hash tree above them, their checksums.
//
// Source of the format: kernel Documentation/filesystems/ext4/directory.rst.
//
//   leaf:  | entry | entry | ... entry reaches to the tail | tail (12, with metadata_csum) |
//   root:  | "." 12 | ".." to the end | info 8 | limit, count, block | hash, block | ... | tail 8 |
//   node:  | empty entry over all 8   | limit, count, block | hash, block | ...         | tail 8 |
//
// The functions that verify take hostile bytes. Those that edit take a block that was verified and
// keep it so; a caller that edits unverified bytes breaks a promise.
#pragma once

#include "base/byteorder.h"
#include "ondisk/block_type.h"
#include "ondisk/super.h"

#define EXT4_NAME_MAX 255u
#define EXT4_DIRENT_HEAD 8u             // bytes of an entry before its name
#define EXT4_DIRENT_MIN 12u             // the shortest entry: a name of one to four bytes
#define EXT4_DIR_TAIL_SIZE 12u
#define EXT4_DIR_TAIL_TYPE 0xdeu

enum ext4_file_type {
    EXT4_FT_UNKNOWN = 0, EXT4_FT_REG_FILE = 1, EXT4_FT_DIR = 2, EXT4_FT_CHRDEV = 3, EXT4_FT_BLKDEV = 4,
    EXT4_FT_FIFO = 5, EXT4_FT_SOCK = 6, EXT4_FT_SYMLINK = 7,
};

struct ext4_dirent_raw {
    struct le32 ino;                    // 0: unused room
    struct le16 rec_len;                // to the next entry; a multiple of 4
    uint8_t name_len, file_type;
    char name[];
};
struct ext4_dir_tail {                  // looks like an unused entry to those who know no checksums
    struct le32 zero_ino;
    struct le16 rec_len;                // 12
    uint8_t zero_name_len, type;        // 0xde
    struct le32 checksum;
};
static_assert(sizeof(struct ext4_dirent_raw) == EXT4_DIRENT_HEAD, "8 bytes before the name");
static_assert(sizeof(struct ext4_dir_tail) == EXT4_DIR_TAIL_SIZE, "12 bytes");

// Bytes that an entry with a name of this length needs.
static inline uint32_t dirent_size(uint32_t name_len)
{
    return (EXT4_DIRENT_HEAD + name_len + 3) & ~3u;
}
// Where the entries of a leaf end: at the tail, or at the end of the block.
static inline uint32_t dir_leaf_end(const struct ext4_geo *geo)
{
    return geo->has_metadata_csum ? BLOCK_BYTES - EXT4_DIR_TAIL_SIZE : BLOCK_BYTES;
}
// The entry at an offset that a verified walk has reached.
static inline struct ext4_dirent_raw *dirent_at(void *leaf, uint32_t offset)
{
    return (struct ext4_dirent_raw *)((char *)leaf + offset);
}

// Leaves:

// A walk over any 4096 bytes. dir_walk_next() returns the entry and advances, used or not; NULL at
// the end, and NULL with walk->why set when the bytes there are no entry (the walk is then over).
struct dir_walk {
    const uint8_t *leaf;
    uint32_t end;                       // dir_leaf_end()
    uint32_t inode_count;
    uint32_t offset;                    // of the entry returned last
    uint32_t next;                      // of the next
    const char *why;
};
struct dir_walk dir_walk_start(const struct ext4_geo *geo, const void *leaf);
const struct ext4_dirent_raw *dir_walk_next(struct dir_walk *walk);

// May the name be shown to a program: not empty, no '/', no NUL? (readdir answers -EIO if not, as
// the kernel does; "." and ".." are fine.)
bool dirent_name_is_sane(const struct ext4_dirent_raw *entry);

// Structure of all entries, and the tail where the volume has checksums. Not the checksum.
MUST_USE int dir_leaf_verify(const struct ext4_geo *geo, const void *leaf, const char **why);
// Block 0 of a directory: a leaf that starts with "." and ".." (ino of "." is owner->ino).
MUST_USE int dir_first_verify(const struct ext4_geo *geo, const struct block_owner *owner, const void *leaf, const char **why);

// The edits below work on a verified leaf. Offsets are of entries.
#define DIR_NOT_FOUND UINT32_MAX
// The entry of that name. DIR_NOT_FOUND also for bytes that are no leaf.
uint32_t dir_leaf_find(const struct ext4_geo *geo, const void *leaf, const char *name, size_t len);
// The first entry behind or in which an entry of `size` bytes (dirent_size) has room.
uint32_t dir_leaf_room(const struct ext4_geo *geo, const void *leaf, uint32_t size);
// All room behind names together: whether dir_leaf_compact() would help.
uint32_t dir_leaf_free(const struct ext4_geo *geo, const void *leaf);
struct dir_put {
    const char *name;
    size_t len;
    uint32_t ino;
    uint8_t file_type;                  // stored only where the volume has filetype
};
// Puts an entry into the room at `offset` (from dir_leaf_room); returns the offset of the new entry.
uint32_t dir_leaf_put(const struct ext4_geo *geo, void *leaf, uint32_t offset, const struct dir_put *put);
// Frees the entry: its room goes to the one before it, its bytes are zeroed, as the kernel does.
void dir_leaf_remove(const struct ext4_geo *geo, void *leaf, uint32_t offset);
// An empty leaf: one unused entry, and the tail.
void dir_leaf_init(const struct ext4_geo *geo, void *leaf);
// The first block of a new linear directory: "." and "..".
void dir_first_init(const struct ext4_geo *geo, void *leaf, uint32_t ino, uint32_t parent_ino);
// Moves the entries together at the start; all room is then behind the last.
void dir_leaf_compact(const struct ext4_geo *geo, void *leaf);

// Hashes of names:

enum dx_hash_version {
    DX_HASH_LEGACY = 0, DX_HASH_HALF_MD4 = 1, DX_HASH_TEA = 2,
    DX_HASH_LEGACY_UNSIGNED = 3, DX_HASH_HALF_MD4_UNSIGNED = 4, DX_HASH_TEA_UNSIGNED = 5,
};
struct dx_hash {
    uint32_t major;                     // even; the largest is 0xfffffffc
    uint32_t minor;
};
#define DX_HASH_EOF 0xfffffffeu         // what no name's major is: the end of a directory
// -EINVAL for a version that is none of the above. A seed of zeros means the built-in one.
MUST_USE int dx_hash_name(uint8_t version, const uint32_t seed[4], const char *name, size_t len, struct dx_hash *out);

// The index:

#define DX_ROOT_ENTRIES_AT 32u          // offset of the entries in a root
#define DX_NODE_ENTRIES_AT 8u           // and in a node
#define DX_BLOCK_MASK 0x0fffffffu

struct ext4_dx_root_info {              // at offset 24 of a root
    struct le32 reserved_zero;
    uint8_t hash_version;               // 0..2: whether signed is the superblock's to say
    uint8_t info_length;                // 8
    uint8_t indirect_levels;            // nodes between the root and the leaves: 0..2
    uint8_t unused_flags;
};
struct ext4_dx_entry {
    struct le32 hash;                   // lowest of its leaf; bit 0: goes on from the leaf before
    struct le32 block;                  // lblock of the leaf or node
};
struct ext4_dx_countlimit {             // over the hash of the first entry, which counts as 0
    struct le16 limit, count;
};
struct ext4_dx_tail {                   // behind `limit` entries
    struct le32 reserved, checksum;
};
static_assert(sizeof(struct ext4_dx_root_info) == 8, "8 bytes");
static_assert(sizeof(struct ext4_dx_entry) == 8, "8 bytes");
static_assert(sizeof(struct ext4_dx_tail) == 8, "8 bytes");

// Entries that fit, the first included: 507 and 510 with checksums, else 508 and 511.
static inline uint32_t dx_root_limit(const struct ext4_geo *geo)
{
    return (BLOCK_BYTES - DX_ROOT_ENTRIES_AT - (geo->has_metadata_csum ? 8 : 0)) / 8;
}
static inline uint32_t dx_node_limit(const struct ext4_geo *geo)
{
    return (BLOCK_BYTES - DX_NODE_ENTRIES_AT - (geo->has_metadata_csum ? 8 : 0)) / 8;
}
// Levels of nodes below the root that a volume allows: 1, with large_dir 2.
static inline uint32_t dx_levels_max(const struct ext4_geo *geo)
{
    return geo->incompat & EXT4_INCOMPAT_LARGEDIR ? 2 : 1;
}

// An index block whose numbers were checked against the block; it points into the caller's bytes.
struct dx_view {
    void *block;
    struct ext4_dx_entry *entries;
    uint32_t count, limit;              // 1 <= count <= limit
    uint8_t hash_version;               // root: 0..5, unsigned already added; node: 0
    uint8_t levels;                     // root: indirect_levels; node: 0
};
// -EFSCORRUPTED with the reason: version, flags, levels, count, limit, order of hashes.
MUST_USE int dx_root_view(const struct ext4_geo *geo, void *block, struct dx_view *out, const char **why);
MUST_USE int dx_node_view(const struct ext4_geo *geo, void *block, struct dx_view *out, const char **why);

static inline uint32_t dx_hash_at(const struct dx_view *view, uint32_t index)
{
    return index ? le32(view->entries[index].hash) : 0;
}
static inline uint32_t dx_block_at(const struct dx_view *view, uint32_t index)
{
    return le32(view->entries[index].block) & DX_BLOCK_MASK;
}
// The last entry whose hash is not above `major`: where a search goes down.
uint32_t dx_search(const struct dx_view *view, uint32_t major);
// Inserts behind entry `index`; there must be room (count < limit).
void dx_insert(struct dx_view *view, uint32_t index, uint32_t hash, uint32_t block);
// Keeps the first `count` entries.
void dx_truncate(struct dx_view *view, uint32_t count);
void dx_set_block(struct dx_view *view, uint32_t index, uint32_t block);
// Turns the first block of a linear directory, whose entries behind ".." the caller has copied away,
// into a root with one entry that leads to `lblock`. hash_version as in geo; stored without signedness.
void dx_root_init(const struct ext4_geo *geo, void *block, uint32_t lblock, struct dx_view *out);
void dx_root_set_levels(struct dx_view *root, uint8_t levels);
// A node with one entry that leads to `lblock`.
void dx_node_init(const struct ext4_geo *geo, void *block, uint32_t lblock, struct dx_view *out);
// A node (or root) takes over the entries [from, from + count) of another, as its whole content.
void dx_fill(struct dx_view *to, const struct dx_view *from, uint32_t first, uint32_t count);

// A block of which only the type BLOCK_DIR is known:

enum dir_block_kind { DIR_LEAF, DIR_DX_ROOT, DIR_DX_NODE };
// Told from the bytes, as e2fsprogs does: a root and a node also read as leaves without names. With
// checksums there is no doubt; without, DIR_DX_* is answered only for bytes that are one in full.
enum dir_block_kind dir_block_kind(const struct ext4_geo *geo, const void *block);
// Structure and checksum (where the volume has them). 0, -EFSBADCRC, -EFSCORRUPTED with the reason.
MUST_USE int dir_block_verify(const struct ext4_geo *geo, const struct block_owner *owner, const void *block, const char **why);
// Recomputes the checksum; nothing without metadata_csum.
void dir_block_seal(const struct ext4_geo *geo, const struct block_owner *owner, void *block);
