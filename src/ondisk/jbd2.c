// SPDX-License-Identifier: MIT
// jbd2.c - reads, judges and writes the blocks of a journal.
#include "ondisk/jbd2.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"

#define UUID_SIZE 16u

// crc32c over `size` bytes with four at `hole` taken as zero: where the checksum itself stands.
static uint32_t csum_around(uint32_t seed, const void *bytes, uint32_t size, uint32_t hole)
{
    const char *at = bytes;
    struct be32 zero = {0};
    uint32_t crc = crc32c(seed, at, hole);
    crc = crc32c(crc, &zero, sizeof(zero));
    return crc32c(crc, at + hole + sizeof(zero), size - hole - sizeof(zero));
}

static uint32_t super_csum(const void *bytes)
{
    return csum_around(~0u, bytes, JBD2_SUPER_SIZE, offsetof(struct jbd2_super_raw, checksum));
}

// Version 1 has no features: the bytes where they would be mean nothing.
static void read_features(const struct jbd2_super_raw *raw, struct jbd2_super *super)
{
    if (be32(raw->header.type) != JBD2_SUPER_V2)
        return;
    super->compat = be32(raw->feature_compat);
    super->incompat = be32(raw->feature_incompat);
    super->has_csum_v3 = super->incompat & JBD2_INCOMPAT_CSUM_V3;
    super->has_csum = super->incompat & (JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_CSUM_V3);
    super->has_64bit = super->incompat & JBD2_INCOMPAT_64BIT;
    super->has_revoke = super->incompat & JBD2_INCOMPAT_REVOKE;
    memcpy(super->uuid, raw->uuid, sizeof(super->uuid));
    super->csum_seed = crc32c(~0u, super->uuid, sizeof(super->uuid));
    if (super->incompat & JBD2_INCOMPAT_FAST_COMMIT)
        super->fc_blocks = be32(raw->num_fc_blocks) ? be32(raw->num_fc_blocks) : JBD2_DEFAULT_FC_BLOCKS;
}

static void read_numbers(const struct jbd2_super_raw *raw, struct jbd2_super *super)
{
    uint32_t error = be32(raw->error);
    super->max_len = be32(raw->max_len);
    super->first = be32(raw->first);
    super->sequence = be32(raw->sequence);
    super->start = be32(raw->start);
    super->head = be32(raw->head);
    super->error = error > INT32_MAX ? 0u - error : error;      // the kernel stores it negative
    super->log_end = super->max_len - super->fc_blocks;
}

static const char *features_fault(const struct jbd2_super_raw *raw, const struct jbd2_super *super)
{
    uint32_t both = JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_CSUM_V3;
    if ((super->incompat & both) == both)
        return "journal claims two kinds of checksums";
    if (super->has_csum && super->compat & JBD2_COMPAT_CHECKSUM)
        return "journal claims two kinds of checksums";
    if (super->has_csum && raw->checksum_type != JBD2_CHECKSUM_CRC32C)
        return "unknown checksum of the journal";
    return NULL;
}

static const char *numbers_fault(const struct jbd2_super *super, uint64_t file_blocks)
{
    if (super->max_len > file_blocks)
        return "journal is longer than its file";
    if (super->max_len < JBD2_MIN_BLOCKS || super->fc_blocks > super->max_len - JBD2_MIN_BLOCKS)
        return "journal is too short";
    if (super->first == 0 || super->first > super->log_end - (JBD2_MIN_BLOCKS - 1))
        return "impossible first block of the journal";
    if (super->start && (super->start < super->first || super->start >= super->log_end))
        return "journal starts outside its log";
    return NULL;
}

static int judge(const struct jbd2_super_raw *raw, uint64_t file_blocks, const struct jbd2_super *super, const char **why)
{
    *why = features_fault(raw, super);
    if (*why)
        return -EFSCORRUPTED;
    if (super->has_csum && be32(raw->checksum) != super_csum(raw)) {
        *why = "checksum of the journal's superblock is wrong";
        return -EFSBADCRC;
    }
    bool is_v2 = be32(raw->header.type) == JBD2_SUPER_V2;
    if (super->incompat & ~JBD2_INCOMPAT_KNOWN || (is_v2 && be32(raw->feature_ro_compat))) {
        *why = "journal has a feature that is not known";
        return -EOPNOTSUPP;
    }
    *why = numbers_fault(super, file_blocks);
    return *why ? -EFSCORRUPTED : 0;
}

int jbd2_super_decode(const void *bytes, uint64_t file_blocks, struct jbd2_super *out, const char **why)
{
    const struct jbd2_super_raw *raw = bytes;
    struct jbd2_super super = {0};
    uint32_t type = be32(raw->header.type);
    const char *fault = NULL;

    if (be32(raw->header.magic) != JBD2_MAGIC || (type != JBD2_SUPER_V1 && type != JBD2_SUPER_V2))
        fault = "no superblock of a journal";
    else if (be32(raw->block_size) != BLOCK_BYTES)
        fault = "journal's blocks are not of 4096 bytes";
    if (fault) {
        *why = fault;
        return -EFSCORRUPTED;
    }

    read_features(raw, &super);
    read_numbers(raw, &super);
    int rc = judge(raw, file_blocks, &super, &fault);
    if (rc < 0) {
        *why = fault;
        return rc;
    }
    // Only a hint where to go on writing: out of the log it says nothing.
    if (super.head < super.first || super.head >= super.log_end)
        super.head = 0;
    *out = super;
    return 0;
}

void jbd2_super_encode(const struct jbd2_super *in, void *bytes)
{
    struct jbd2_super_raw *raw = bytes;
    raw->sequence = to_be32(in->sequence);
    raw->start = to_be32(in->start);
    raw->error = to_be32(0u - in->error);
    if (be32(raw->header.type) != JBD2_SUPER_V2)
        return;
    raw->head = to_be32(in->head);
    raw->feature_compat = to_be32(in->compat);
    raw->feature_incompat = to_be32(in->incompat);
    raw->num_fc_blocks = to_be32(in->fc_blocks);
    if (in->has_csum) {
        raw->checksum_type = JBD2_CHECKSUM_CRC32C;
        raw->checksum = to_be32(super_csum(raw));
    }
}

void jbd2_super_init(const struct jbd2_super_new *spec, void *block, struct jbd2_super *out)
{
    struct jbd2_super_raw *raw = block;
    const char *why;

    memset(block, 0, BLOCK_BYTES);
    jbd2_header_set(block, JBD2_SUPER_V2, 0);
    raw->block_size = to_be32(BLOCK_BYTES);
    raw->max_len = to_be32(spec->max_len);
    raw->first = to_be32(1);
    raw->sequence = to_be32(spec->sequence);
    raw->feature_incompat = to_be32(spec->incompat);
    raw->num_fc_blocks = to_be32(spec->fc_blocks);
    raw->nr_users = to_be32(1);
    memcpy(raw->uuid, spec->uuid, UUID_SIZE);
    memcpy(raw->users, spec->user_uuid, UUID_SIZE);
    if (spec->incompat & (JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_CSUM_V3)) {
        raw->checksum_type = JBD2_CHECKSUM_CRC32C;
        raw->checksum = to_be32(super_csum(raw));
    }
    CHECK(jbd2_super_decode(block, spec->max_len, out, &why) == 0);
}

uint32_t jbd2_block_type_of(const void *block, uint32_t sequence)
{
    const struct jbd2_header *header = block;
    bool is_ours = be32(header->magic) == JBD2_MAGIC && be32(header->sequence) == sequence;
    return is_ours ? be32(header->type) : 0;
}

void jbd2_header_set(void *block, enum jbd2_block_type type, uint32_t sequence)
{
    *(struct jbd2_header *)block = (struct jbd2_header){
        .magic = to_be32(JBD2_MAGIC), .type = to_be32(type), .sequence = to_be32(sequence),
    };
}

uint32_t jbd2_tag_size(const struct jbd2_super *super)
{
    if (super->has_csum_v3)
        return sizeof(struct jbd2_tag3);
    // csum_v2 adds two bytes at the end that nothing is stored in: a slip that became format.
    uint32_t size = super->has_64bit ? sizeof(struct jbd2_tag) : sizeof(struct jbd2_tag) - sizeof(struct be32);
    return super->has_csum ? size + sizeof(struct be16) : size;
}

uint32_t jbd2_descriptor_end(const struct jbd2_super *super)
{
    return super->has_csum ? BLOCK_BYTES - sizeof(struct jbd2_block_tail) : BLOCK_BYTES;
}

uint32_t jbd2_tags_max(const struct jbd2_super *super)
{
    return (jbd2_descriptor_end(super) - sizeof(struct jbd2_header) - UUID_SIZE) / jbd2_tag_size(super);
}

struct jbd2_tag_walk jbd2_tags_start(const void *descriptor)
{
    return (struct jbd2_tag_walk){.block = descriptor, .offset = sizeof(struct jbd2_header)};
}

static struct jbd2_tag_info tag_read(const struct jbd2_super *super, const uint8_t *at)
{
    struct jbd2_tag3 three = {0};
    struct jbd2_tag two = {0};
    struct jbd2_tag_info info;
    uint32_t high;

    if (super->has_csum_v3) {
        memcpy(&three, at, sizeof(three));
        info = (struct jbd2_tag_info){.block = be32(three.block_lo), .flags = be32(three.flags) & 0xffff, .checksum = be32(three.checksum)};
        high = be32(three.block_hi);
    } else {
        memcpy(&two, at, super->has_64bit ? sizeof(two) : offsetof(struct jbd2_tag, block_hi));
        info = (struct jbd2_tag_info){.block = be32(two.block_lo), .flags = be16(two.flags), .checksum = be16(two.checksum)};
        high = be32(two.block_hi);
    }
    if (super->has_64bit)
        info.block |= (uint64_t)high << 32;
    return info;
}

bool jbd2_tags_next(const struct jbd2_super *super, struct jbd2_tag_walk *walk, struct jbd2_tag_info *out)
{
    uint32_t size = jbd2_tag_size(super);
    if (walk->last || walk->offset + size > jbd2_descriptor_end(super))
        return false;
    *out = tag_read(super, walk->block + walk->offset);
    walk->offset += size + (out->flags & JBD2_TAG_SAME_UUID ? 0 : UUID_SIZE);
    walk->last = out->flags & JBD2_TAG_LAST;
    return true;
}

uint32_t jbd2_tag_put(const struct jbd2_super *super, void *descriptor, uint32_t offset, const struct jbd2_tag_info *tag)
{
    bool has_uuid = !(tag->flags & JBD2_TAG_SAME_UUID);
    uint32_t size = jbd2_tag_size(super), high = super->has_64bit ? (uint32_t)(tag->block >> 32) : 0;
    uint8_t *at = (uint8_t *)descriptor + offset;

    CHECK(offset + size + (has_uuid ? UUID_SIZE : 0) <= jbd2_descriptor_end(super));
    memset(at, 0, size);
    if (super->has_csum_v3) {
        *(struct jbd2_tag3 *)at = (struct jbd2_tag3){
            .block_lo = to_be32((uint32_t)tag->block), .flags = to_be32(tag->flags), .block_hi = to_be32(high), .checksum = to_be32(tag->checksum),
        };
    } else {
        struct jbd2_tag two = {
            .block_lo = to_be32((uint32_t)tag->block), .checksum = to_be16((uint16_t)tag->checksum),
            .flags = to_be16((uint16_t)tag->flags), .block_hi = to_be32(high),
        };
        memcpy(at, &two, super->has_64bit ? sizeof(two) : offsetof(struct jbd2_tag, block_hi));
    }
    if (has_uuid)
        memcpy(at + size, super->uuid, UUID_SIZE);
    return offset + size + (has_uuid ? UUID_SIZE : 0);
}

void jbd2_tag_set_last(const struct jbd2_super *super, void *descriptor, uint32_t offset)
{
    // The low half of csum_v3's flags stands where the flags of the other form do.
    struct jbd2_tag *tag = (struct jbd2_tag *)((char *)descriptor + offset);
    tag->flags = to_be16(be16(tag->flags) | JBD2_TAG_LAST);
}

uint32_t jbd2_data_csum(const struct jbd2_super *super, uint32_t sequence, const void *block)
{
    struct be32 number = to_be32(sequence);
    if (!super->has_csum)
        return 0;
    uint32_t crc = crc32c(super->csum_seed, &number, sizeof(number));
    crc = crc32c(crc, block, BLOCK_BYTES);
    return super->has_csum_v3 ? crc : crc & 0xffff;
}

bool jbd2_data_csum_is_right(const struct jbd2_super *super, uint32_t sequence, const struct jbd2_tag_info *tag, const void *block)
{
    return !super->has_csum || tag->checksum == jbd2_data_csum(super, sequence, block);
}

#define TAIL_AT (BLOCK_BYTES - sizeof(struct jbd2_block_tail))

bool jbd2_tail_is_right(const struct jbd2_super *super, const void *block)
{
    const struct jbd2_block_tail *tail = (const struct jbd2_block_tail *)((const char *)block + TAIL_AT);
    return !super->has_csum || be32(tail->checksum) == csum_around(super->csum_seed, block, BLOCK_BYTES, TAIL_AT);
}

void jbd2_tail_seal(const struct jbd2_super *super, void *block)
{
    struct jbd2_block_tail *tail = (struct jbd2_block_tail *)((char *)block + TAIL_AT);
    if (super->has_csum)
        tail->checksum = to_be32(csum_around(super->csum_seed, block, BLOCK_BYTES, TAIL_AT));
}

static uint32_t revoke_size(const struct jbd2_super *super)
{
    return super->has_64bit ? sizeof(struct be64) : sizeof(struct be32);
}

uint32_t jbd2_revokes_max(const struct jbd2_super *super)
{
    return (jbd2_descriptor_end(super) - sizeof(struct jbd2_revoke_header)) / revoke_size(super);
}

bool jbd2_revoke_count(const struct jbd2_super *super, const void *block, uint32_t *count)
{
    uint32_t used = be32(((const struct jbd2_revoke_header *)block)->count);
    if (used < sizeof(struct jbd2_revoke_header) || used > jbd2_descriptor_end(super))
        return false;
    *count = (used - (uint32_t)sizeof(struct jbd2_revoke_header)) / revoke_size(super);
    return true;
}

uint64_t jbd2_revoke_at(const struct jbd2_super *super, const void *block, uint32_t index)
{
    const char *at = (const char *)block + sizeof(struct jbd2_revoke_header) + index * revoke_size(super);
    CHECK(index < jbd2_revokes_max(super));
    return super->has_64bit ? be64(*(const struct be64 *)at) : be32(*(const struct be32 *)at);
}

void jbd2_revoke_put(const struct jbd2_super *super, void *block, uint32_t index, uint64_t revoked)
{
    char *at = (char *)block + sizeof(struct jbd2_revoke_header) + index * revoke_size(super);
    CHECK(index < jbd2_revokes_max(super));
    if (super->has_64bit)
        *(struct be64 *)at = to_be64(revoked);
    else
        *(struct be32 *)at = to_be32((uint32_t)revoked);
    uint32_t used = (uint32_t)sizeof(struct jbd2_revoke_header) + (index + 1) * revoke_size(super);
    ((struct jbd2_revoke_header *)block)->count = to_be32(used);
}

#define COMMIT_CSUM_AT offsetof(struct jbd2_commit_header, checksum)

void jbd2_commit_init(const struct jbd2_super *super, const struct jbd2_commit *commit, void *block)
{
    struct jbd2_commit_header *header = block;
    memset(block, 0, BLOCK_BYTES);
    jbd2_header_set(block, JBD2_COMMIT, commit->sequence);
    header->commit_sec = to_be64(commit->sec);
    header->commit_nsec = to_be32(commit->nsec);
    if (super->has_csum)
        header->checksum[0] = to_be32(csum_around(super->csum_seed, block, BLOCK_BYTES, COMMIT_CSUM_AT));
}

bool jbd2_commit_is_right(const struct jbd2_super *super, const void *block)
{
    const struct jbd2_commit_header *header = block;
    return !super->has_csum || be32(header->checksum[0]) == csum_around(super->csum_seed, block, BLOCK_BYTES, COMMIT_CSUM_AT);
}

// CRC-32 with the highest bit first. A bit at a time: only logs of a rare old option need it.
uint32_t jbd2_v1_sum(uint32_t sum, const void *block)
{
    const uint8_t *bytes = block;
    for (uint32_t i = 0; i < BLOCK_BYTES; i++) {
        sum ^= (uint32_t)bytes[i] << 24;
        for (uint32_t bit = 0; bit < 8; bit++)
            sum = sum << 1 ^ (sum >> 31 ? 0x04c11db7u : 0);
    }
    return sum;
}

bool jbd2_v1_commit_is_right(const void *block, uint32_t sum)
{
    const struct jbd2_commit_header *header = block;
    uint32_t found = be32(header->checksum[0]);
    bool is_unused = header->checksum_type == 0 && header->checksum_size == 0 && found == 0;
    bool is_crc = header->checksum_type == JBD2_CHECKSUM_CRC32 && header->checksum_size == sizeof(uint32_t);
    return is_unused || (is_crc && found == sum);
}
