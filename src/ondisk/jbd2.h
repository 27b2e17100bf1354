// SPDX-License-Identifier: MIT
// jbd2.h - blocks of the journal. Big-endian, all of it.
//
// Source of the format: kernel Documentation/filesystems/ext4/journal.rst.
//
//   | super | ... descriptor | data ... | descriptor | data ... | revoke | commit | descriptor ...
//
// A descriptor holds tags, one for each data block that follows it. A transaction counts when its
// commit block is right. A data block that starts with the magic is escaped: its first four bytes
// are zero in the log; checksums are over the bytes as they stand in the log.
#pragma once

#include "base/byteorder.h"
#include "base/types.h"

#define JBD2_MAGIC 0xc03b3998u
#define JBD2_SUPER_SIZE 1024u
#define JBD2_MIN_BLOCKS 1024u           // of a journal, as the kernel demands
#define JBD2_DEFAULT_FC_BLOCKS 256u
#define JBD2_CHECKSUM_CRC32 1u          // commit header's type with JBD2_COMPAT_CHECKSUM
#define JBD2_CHECKSUM_CRC32C 4u         // superblock's type with csum_v2, csum_v3

enum jbd2_block_type {
    JBD2_DESCRIPTOR = 1, JBD2_COMMIT = 2, JBD2_SUPER_V1 = 3, JBD2_SUPER_V2 = 4, JBD2_REVOKE = 5,
};
enum jbd2_compat { JBD2_COMPAT_CHECKSUM = 1 };
enum jbd2_incompat {
    JBD2_INCOMPAT_REVOKE = 1, JBD2_INCOMPAT_64BIT = 2, JBD2_INCOMPAT_ASYNC_COMMIT = 4,
    JBD2_INCOMPAT_CSUM_V2 = 8, JBD2_INCOMPAT_CSUM_V3 = 0x10, JBD2_INCOMPAT_FAST_COMMIT = 0x20,
};
#define JBD2_INCOMPAT_KNOWN 0x3fu
enum jbd2_tag_flags { JBD2_TAG_ESCAPE = 1, JBD2_TAG_SAME_UUID = 2, JBD2_TAG_DELETED = 4, JBD2_TAG_LAST = 8 };

struct jbd2_header {
    struct be32 magic, type, sequence;
};
struct jbd2_super_raw {
    struct jbd2_header header;
    struct be32 block_size, max_len, first;
    struct be32 sequence, start;        // first commit expected in the log, and its block; start 0: empty
    struct be32 error;                  // set by an abort
    // From here on: version 2.
    struct be32 feature_compat, feature_incompat, feature_ro_compat;
    uint8_t uuid[16];
    struct be32 nr_users, dynsuper, max_transaction, max_trans_data;
    uint8_t checksum_type, padding2[3];
    struct be32 num_fc_blocks, head, padding[40], checksum;
    uint8_t users[16 * 48];
};
static_assert(sizeof(struct jbd2_super_raw) == JBD2_SUPER_SIZE, "1024 bytes");
static_assert(offsetof(struct jbd2_super_raw, uuid) == 0x30, "as documented");
static_assert(offsetof(struct jbd2_super_raw, checksum_type) == 0x50, "as documented");
static_assert(offsetof(struct jbd2_super_raw, checksum) == 0xfc, "as documented");

struct jbd2_tag3 {                      // csum_v3
    struct be32 block_lo, flags, block_hi, checksum;
};
struct jbd2_tag {                       // all others; 8, 10, 12 or 14 bytes of it and of what follows
    struct be32 block_lo;
    struct be16 checksum, flags;
    struct be32 block_hi;               // 64bit
};
struct jbd2_block_tail {                // last bytes of descriptors and revokes with csum_v2, csum_v3
    struct be32 checksum;
};
struct jbd2_revoke_header {
    struct jbd2_header header;
    struct be32 count;                  // bytes used, this header included
};
struct jbd2_commit_header {
    struct jbd2_header header;
    uint8_t checksum_type, checksum_size, padding[2];
    struct be32 checksum[8];
    struct be64 commit_sec;
    struct be32 commit_nsec;
};
static_assert(sizeof(struct jbd2_tag3) == 16, "16 bytes");
static_assert(sizeof(struct jbd2_tag) == 12, "12 bytes");
static_assert(sizeof(struct jbd2_revoke_header) == 16, "16 bytes");
static_assert(offsetof(struct jbd2_commit_header, commit_sec) == 0x30, "as documented");

// What is known of a journal from its superblock.
struct jbd2_super {
    uint32_t max_len;                   // blocks, the superblock included
    uint32_t first;                     // first block of the log
    uint32_t log_end;                   // behind its last: max_len, less the fast-commit blocks
    uint32_t fc_blocks;
    uint32_t sequence, start, head;
    uint32_t error;                     // the positive errno of an abort, or 0
    uint32_t compat, incompat;
    uint8_t uuid[16];
    bool has_csum;                      // csum_v2 or csum_v3
    bool has_csum_v3, has_64bit, has_revoke;
    uint32_t csum_seed;                 // crc32c(~0, uuid)
};

// bytes: 1024. file_blocks: length of the journal's file. -EFSBADCRC; -EFSCORRUPTED: not a journal's
// superblock, or numbers that cannot be; -EOPNOTSUPP: an unknown incompatible feature.
MUST_USE int jbd2_super_decode(const void *bytes, uint64_t file_blocks, struct jbd2_super *out, const char **why);
// Writes sequence, start, head, error, features and num_fc_blocks into raw, and its checksum.
void jbd2_super_encode(const struct jbd2_super *in, void *bytes);
// A new journal's superblock (all 4096 bytes of its block): version 2, empty log.
struct jbd2_super_new {
    uint32_t max_len, incompat, fc_blocks, sequence;
    const uint8_t *uuid;                // of the journal: 16 bytes, usually zeros
    const uint8_t *user_uuid;           // of the filesystem: 16 bytes
};
void jbd2_super_init(const struct jbd2_super_new *spec, void *block, struct jbd2_super *out);

// Is this log block ours, and for that sequence? Its type, or 0.
uint32_t jbd2_block_type_of(const void *block, uint32_t sequence);
void jbd2_header_set(void *block, enum jbd2_block_type type, uint32_t sequence);

// Descriptors:

struct jbd2_tag_info {
    uint64_t block;
    uint32_t flags;                     // JBD2_TAG_*; without SAME_UUID 16 bytes follow the tag
    uint32_t checksum;                  // 32 or (csum_v2) 16 bits
};
// Bytes of a tag without the uuid: 16, or 8 to 14.
uint32_t jbd2_tag_size(const struct jbd2_super *super);
// Where tags must end: the tail is taken off where there is one.
uint32_t jbd2_descriptor_end(const struct jbd2_super *super);
// How many tags one descriptor can hold (the first has the uuid).
uint32_t jbd2_tags_max(const struct jbd2_super *super);

// A walk over the tags of any 4096 bytes; starts at sizeof(struct jbd2_header).
struct jbd2_tag_walk {
    const uint8_t *block;
    uint32_t offset;                    // of the next tag
    bool last;                          // the tag returned last said so
    const char *why;
};
struct jbd2_tag_walk jbd2_tags_start(const void *descriptor);
// False at the end. The end of the block without a LAST tag is an end too, as in the kernel.
MUST_USE bool jbd2_tags_next(const struct jbd2_super *super, struct jbd2_tag_walk *walk, struct jbd2_tag_info *out);
// Writes a tag at offset (first: with uuid) and returns the offset behind it.
uint32_t jbd2_tag_put(const struct jbd2_super *super, void *descriptor, uint32_t offset, const struct jbd2_tag_info *tag);
// Marks the tag at that offset as the last.
void jbd2_tag_set_last(const struct jbd2_super *super, void *descriptor, uint32_t offset);

// Checksum of a data block as it stands in the log (escaped), for its tag; 0 without checksums.
uint32_t jbd2_data_csum(const struct jbd2_super *super, uint32_t sequence, const void *block);
MUST_USE bool jbd2_data_csum_is_right(const struct jbd2_super *super, uint32_t sequence, const struct jbd2_tag_info *tag, const void *block);

// The tail of descriptors and revokes:

MUST_USE bool jbd2_tail_is_right(const struct jbd2_super *super, const void *block);    // true without checksums
void jbd2_tail_seal(const struct jbd2_super *super, void *block);

// Revokes:

uint32_t jbd2_revokes_max(const struct jbd2_super *super);      // in one block
// The count of records in a revoke block. False: impossible.
MUST_USE bool jbd2_revoke_count(const struct jbd2_super *super, const void *block, uint32_t *count);
uint64_t jbd2_revoke_at(const struct jbd2_super *super, const void *block, uint32_t index);
// Writes record `index` and sets the count to index + 1.
void jbd2_revoke_put(const struct jbd2_super *super, void *block, uint32_t index, uint64_t revoked);

// Commits:

struct jbd2_commit {
    uint32_t sequence;
    uint64_t sec;
    uint32_t nsec;
};
// A whole commit block, sealed.
void jbd2_commit_init(const struct jbd2_super *super, const struct jbd2_commit *commit, void *block);
// csum_v2, csum_v3; true without.
MUST_USE bool jbd2_commit_is_right(const struct jbd2_super *super, const void *block);
// JBD2_COMPAT_CHECKSUM, the older scheme: the running sum over descriptors and data blocks, started
// with ~0, and what a commit block says about it.
MUST_USE uint32_t jbd2_v1_sum(uint32_t sum, const void *block);
MUST_USE bool jbd2_v1_commit_is_right(const void *block, uint32_t sum);
