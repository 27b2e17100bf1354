// SPDX-License-Identifier: MIT
// inode.c - decodes, judges and encodes inodes.
#include "ondisk/inode.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"

#define IS_TYPE(mode, type) (((mode) & 0170000) == (type))
#define TIME_MIN (-(int64_t)0x80000000)
#define TIME_MAX_OLD 0x7fffffffll
#define TIME_MAX 0x37fffffffll          // 2446-05-10: two more bits of epoch

// Is a field of the extra part inside what this inode says it uses?
#define FITS(extra_isize, field) \
    ((extra_isize) >= offsetof(struct ext4_inode_raw, field) + 4 - EXT4_GOOD_OLD_INODE_SIZE)

static uint32_t inode_checksum(const struct ext4_geo *geo, uint32_t ino, const uint8_t *raw, bool high)
{
    const struct ext4_inode_raw *in = (const void *)raw;
    size_t low_at = offsetof(struct ext4_inode_raw, checksum_lo), high_at = offsetof(struct ext4_inode_raw, checksum_hi);
    static const uint8_t zero[2];
    struct le32 number = to_le32(ino);

    uint32_t crc = crc32c(geo->csum_seed, &number, sizeof(number));
    crc = crc32c(crc, &in->generation, sizeof(in->generation));
    crc = crc32c(crc, raw, low_at);
    crc = crc32c(crc, zero, 2);
    crc = crc32c(crc, raw + low_at + 2, EXT4_GOOD_OLD_INODE_SIZE - low_at - 2);
    if (geo->inode_size == EXT4_GOOD_OLD_INODE_SIZE)
        return crc;
    crc = crc32c(crc, raw + EXT4_GOOD_OLD_INODE_SIZE, high_at - EXT4_GOOD_OLD_INODE_SIZE);
    if (!high)
        return crc32c(crc, raw + high_at, geo->inode_size - high_at);
    crc = crc32c(crc, zero, 2);
    return crc32c(crc, raw + high_at + 2, geo->inode_size - high_at - 2);
}

static bool has_high_checksum(const struct ext4_geo *geo, const struct ext4_inode_raw *raw)
{
    return geo->inode_size > EXT4_GOOD_OLD_INODE_SIZE && le16(raw->extra_isize) >= 4;
}

static bool checksum_is_right(const struct ext4_geo *geo, uint32_t ino, const struct ext4_inode_raw *raw)
{
    bool high = has_high_checksum(geo, raw);
    uint32_t stored = le16(raw->checksum_lo) | (high ? (uint32_t)le16(raw->checksum_hi) << 16 : 0);
    uint32_t computed = inode_checksum(geo, ino, (const uint8_t *)raw, high);
    return stored == (high ? computed : computed & 0xffff);
}

static bool is_all_zero(const void *bytes, size_t len)
{
    const uint8_t *byte = bytes;
    return len == 0 || (byte[0] == 0 && memcmp(byte, byte + 1, len - 1) == 0);
}

static struct ext4_time decode_time(struct le32 base, struct le32 extra, bool has_extra)
{
    struct ext4_time time = {.sec = (int32_t)le32(base)};
    if (has_extra) {
        time.sec += (int64_t)(le32(extra) & 3) << 32;
        time.nsec = MIN(le32(extra) >> 2, 999999999u);
    }
    return time;
}

static void decode_times(const struct ext4_inode_raw *raw, struct ext4_inode *out)
{
    uint32_t extra = out->extra_isize;
    struct le32 none = {0};
    out->ctime = decode_time(raw->ctime, FITS(extra, ctime_extra) ? raw->ctime_extra : none, FITS(extra, ctime_extra));
    out->mtime = decode_time(raw->mtime, FITS(extra, mtime_extra) ? raw->mtime_extra : none, FITS(extra, mtime_extra));
    out->atime = decode_time(raw->atime, FITS(extra, atime_extra) ? raw->atime_extra : none, FITS(extra, atime_extra));
    if (FITS(extra, crtime))
        out->crtime = decode_time(raw->crtime, FITS(extra, crtime_extra) ? raw->crtime_extra : none, FITS(extra, crtime_extra));
}

static void decode_counts(const struct ext4_geo *geo, const struct ext4_inode_raw *raw, struct ext4_inode *out)
{
    out->size = le32(raw->size_lo);
    if (IS_TYPE(out->mode, 0100000) || (IS_TYPE(out->mode, 0040000) && (geo->incompat & EXT4_INCOMPAT_LARGEDIR)))
        out->size |= (uint64_t)le32(raw->size_hi) << 32;
    out->blocks = le32(raw->blocks_lo);
    if (geo->has_huge_file) {
        out->blocks |= (uint64_t)le16(raw->blocks_hi) << 32;
        if (out->flags & EXT4_HUGE_FILE_FL)
            out->blocks *= BLOCK_BYTES / 512;
    }
    out->file_acl = le32(raw->file_acl_lo);
    if (geo->has_64bit)
        out->file_acl |= (uint64_t)le16(raw->file_acl_hi) << 32;
    out->version = le32(raw->version_lo);
    if (FITS(out->extra_isize, version_hi))
        out->version |= (uint64_t)le32(raw->version_hi) << 32;
    if ((geo->ro_compat & EXT4_RO_PROJECT) && FITS(out->extra_isize, projid))
        out->project = le32(raw->projid);
}

static const char *judge(const struct ext4_geo *geo, const struct ext4_inode *in)
{
    if (in->size >> 63)
        return "the size is negative";
    if (in->file_acl && in->file_acl >= geo->block_count)
        return "the attribute block is outside the volume";
    if (in->flags & EXT4_INLINE_DATA_FL)
        return "inline data on a volume without that feature";
    if ((in->flags & EXT4_EXTENTS_FL) && !geo->has_extents)
        return "extents on a volume without that feature";
    return NULL;
}

int inode_decode(const struct ext4_geo *geo, uint32_t ino, const void *bytes, struct ext4_inode *out, const char **why)
{
    const struct ext4_inode_raw *raw = bytes;
    *out = (struct ext4_inode){0};
    if (is_all_zero(bytes, geo->inode_size))
        return 0;       // never used; it has no checksum either

    uint32_t extra_max = geo->inode_size - EXT4_GOOD_OLD_INODE_SIZE;
    if (extra_max) {
        out->extra_isize = le16(raw->extra_isize);
        if (out->extra_isize > extra_max || out->extra_isize % 4) {
            *why = "the extra size is wrong";
            return -EFSCORRUPTED;
        }
    }
    if (geo->has_metadata_csum && !checksum_is_right(geo, ino, raw)) {
        *why = "wrong checksum";
        return -EFSBADCRC;
    }
    // As the kernel: an inode of an older volume has room that nobody claimed yet.
    if (extra_max && out->extra_isize == 0)
        out->extra_isize = (uint16_t)MIN(extra_max, sizeof(struct ext4_inode_raw) - EXT4_GOOD_OLD_INODE_SIZE);

    out->mode = le16(raw->mode);
    out->uid = le16(raw->uid_lo) | (uint32_t)le16(raw->uid_hi) << 16;
    out->gid = le16(raw->gid_lo) | (uint32_t)le16(raw->gid_hi) << 16;
    out->nlink = le16(raw->links_count);
    out->dtime = le32(raw->dtime);
    out->flags = le32(raw->flags);
    out->generation = le32(raw->generation);
    memcpy(out->block, raw->block, sizeof(out->block));
    decode_counts(geo, raw, out);
    // The fields behind the old 128 bytes count only as far as the inode says it has them.
    if (extra_max && le16(raw->extra_isize) == 0) {
        struct ext4_inode_raw old = *raw;
        memset((uint8_t *)&old + EXT4_GOOD_OLD_INODE_SIZE, 0, sizeof(old) - EXT4_GOOD_OLD_INODE_SIZE);
        decode_times(&old, out);
    } else {
        decode_times(raw, out);
    }
    *why = judge(geo, out);
    if (*why)
        return -EFSCORRUPTED;

    out->body_size = (uint16_t)(extra_max - out->extra_isize);
    if (out->body_size) {
        out->body = xmalloc(out->body_size);
        memcpy(out->body, (const uint8_t *)bytes + EXT4_GOOD_OLD_INODE_SIZE + out->extra_isize, out->body_size);
    }
    return 0;
}

struct ext4_time inode_clamp_time(const struct ext4_inode *inode, struct ext4_time time)
{
    bool extra = FITS(inode->extra_isize, ctime_extra);
    int64_t max = extra ? TIME_MAX : TIME_MAX_OLD;
    // As the kernel's timestamp_truncate(): at either end of the range there are no fractions.
    if (time.sec <= TIME_MIN)
        return (struct ext4_time){.sec = TIME_MIN};
    if (time.sec >= max)
        return (struct ext4_time){.sec = max};
    if (!extra)
        time.nsec = 0;
    return time;
}

static void encode_time(struct ext4_time time, struct le32 *base, struct le32 *extra)
{
    *base = to_le32((uint32_t)time.sec);
    if (extra)
        *extra = to_le32((uint32_t)((time.sec - (int32_t)time.sec) >> 32 & 3) | time.nsec << 2);
}

static void encode_times(const struct ext4_inode *in, struct ext4_inode_raw *raw)
{
    uint32_t extra = in->extra_isize;
    encode_time(inode_clamp_time(in, in->ctime), &raw->ctime, FITS(extra, ctime_extra) ? &raw->ctime_extra : NULL);
    encode_time(inode_clamp_time(in, in->mtime), &raw->mtime, FITS(extra, mtime_extra) ? &raw->mtime_extra : NULL);
    encode_time(inode_clamp_time(in, in->atime), &raw->atime, FITS(extra, atime_extra) ? &raw->atime_extra : NULL);
    if (FITS(extra, crtime))
        encode_time(inode_clamp_time(in, in->crtime), &raw->crtime, FITS(extra, crtime_extra) ? &raw->crtime_extra : NULL);
}

// i_blocks counts sectors in 32 bits, in 48 with huge_file, or blocks in 48 with the inode's flag.
static uint32_t encode_blocks(const struct ext4_geo *geo, const struct ext4_inode *in, struct ext4_inode_raw *raw)
{
    uint32_t flags = in->flags & ~(uint32_t)EXT4_HUGE_FILE_FL;
    uint64_t count = in->blocks;
    if (geo->has_huge_file && count >> 48) {
        flags |= EXT4_HUGE_FILE_FL;
        count /= BLOCK_BYTES / 512;
    }
    raw->blocks_lo = to_le32((uint32_t)count);
    if (geo->has_huge_file)
        raw->blocks_hi = to_le16((uint16_t)(count >> 32));
    return flags;
}

void inode_encode(const struct ext4_geo *geo, uint32_t ino, const struct ext4_inode *in, bool fresh, void *bytes)
{
    struct ext4_inode_raw *raw = bytes;
    if (fresh)
        memset(bytes, 0, geo->inode_size);
    raw->mode = to_le16(in->mode);
    raw->uid_lo = to_le16((uint16_t)in->uid);
    raw->uid_hi = to_le16((uint16_t)(in->uid >> 16));
    raw->gid_lo = to_le16((uint16_t)in->gid);
    raw->gid_hi = to_le16((uint16_t)(in->gid >> 16));
    raw->links_count = to_le16((uint16_t)in->nlink);
    raw->dtime = to_le32(in->dtime);
    raw->generation = to_le32(in->generation);
    memcpy(raw->block, in->block, sizeof(raw->block));
    raw->size_lo = to_le32((uint32_t)in->size);
    if (IS_TYPE(in->mode, 0100000) || IS_TYPE(in->mode, 0040000))
        raw->size_hi = to_le32((uint32_t)(in->size >> 32));
    raw->flags = to_le32(encode_blocks(geo, in, raw));
    raw->file_acl_lo = to_le32((uint32_t)in->file_acl);
    if (geo->has_64bit)
        raw->file_acl_hi = to_le16((uint16_t)(in->file_acl >> 32));
    raw->version_lo = to_le32((uint32_t)in->version);
    if (geo->inode_size > EXT4_GOOD_OLD_INODE_SIZE) {
        raw->extra_isize = to_le16(in->extra_isize);
        if (FITS(in->extra_isize, version_hi))
            raw->version_hi = to_le32((uint32_t)(in->version >> 32));
        if ((geo->ro_compat & EXT4_RO_PROJECT) && FITS(in->extra_isize, projid))
            raw->projid = to_le32(in->project);
        if (in->body_size)
            memcpy((uint8_t *)bytes + EXT4_GOOD_OLD_INODE_SIZE + in->extra_isize, in->body, in->body_size);
    }
    encode_times(in, raw);
    if (geo->has_metadata_csum) {
        bool high = has_high_checksum(geo, raw);
        uint32_t crc = inode_checksum(geo, ino, bytes, high);
        raw->checksum_lo = to_le16((uint16_t)crc);
        if (high)
            raw->checksum_hi = to_le16((uint16_t)(crc >> 16));
    }
}

void inode_fini(struct ext4_inode *inode)
{
    free(inode->body);
    inode->body = NULL;
    inode->body_size = 0;
}

void inode_body_init(const struct ext4_geo *geo, struct ext4_inode *inode)
{
    inode->body = NULL;
    inode->body_size = 0;
    inode->extra_isize = 0;
    if (geo->inode_size == EXT4_GOOD_OLD_INODE_SIZE)
        return;
    inode->extra_isize = geo->want_extra_isize;
    inode->body_size = (uint16_t)(geo->inode_size - EXT4_GOOD_OLD_INODE_SIZE - inode->extra_isize);
    if (inode->body_size)
        inode->body = xcalloc(1, inode->body_size);
}

void inode_set_device(struct ext4_inode *inode, uint32_t major, uint32_t minor)
{
    struct le32 word[2] = {{0}, {0}};
    if (major < 256 && minor < 256)
        word[0] = to_le32(major << 8 | minor);
    else
        word[1] = to_le32((minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffu) << 12);
    memset(inode->block, 0, sizeof(inode->block));
    memcpy(inode->block, word, sizeof(word));
}

void inode_get_device(const struct ext4_inode *inode, uint32_t *major, uint32_t *minor)
{
    struct le32 word[2];
    memcpy(word, inode->block, sizeof(word));
    uint32_t old = le32(word[0]), new = le32(word[1]);
    if (old) {
        *major = old >> 8 & 0xff;
        *minor = old & 0xff;
    } else {
        *major = new >> 8 & 0xfff;
        *minor = (new & 0xff) | (new >> 12 & 0xfff00);
    }
}

// A target in i_block: the size says so and no block was ever allocated for it, apart from attributes.
bool inode_is_fast_symlink(const struct ext4_inode *inode)
{
    uint64_t attribute_sectors = inode->file_acl ? BLOCK_BYTES / 512 : 0;
    return IS_TYPE(inode->mode, 0120000) && !(inode->flags & EXT4_EXTENTS_FL) &&
           inode->size < sizeof(inode->block) && inode->blocks <= attribute_sectors;
}
