// SPDX-License-Identifier: MIT
// journal_fuzz.c - any bytes as a journal: open, recover, use and close never crash, hang or
// write outside the volume's own blocks.
//
// The input is a list of patches to a small journal that begins as a valid log of one transaction, so
// that mutations get behind the superblock: 2 bytes block of the journal, 2 bytes offset, 1 byte
// length, then the bytes. The first byte chooses the format; its highest bit says whether the
// superblock's and the first descriptor's checksums are made right after patching, the next one whether
// the log is adopted.
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/buf.h"
#include "dev/sim.h"
#include "journal/journal.h"
#include "ondisk/jbd2.h"
#include "ondisk/super.h"
#include "rt/rt_sim.h"

#define VOLUME 2048u
#define JOURNAL 512u                // the journal's first block on the volume
#define LENGTH 1024u
#define HOME 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct rt *rt;
    struct sim_disk *disk;
    struct ext4_geo geo;
    struct shepherd *shep;
    struct buf_cache *cache;
    bool adopt;
};

static void poke(struct fuzz *fuzz, uint32_t at, const void *block)
{
    sim_disk_poke(fuzz->disk, JOURNAL + at, block);
}

// One transaction of four blocks at the start of the log.
static void make_log(struct fuzz *fuzz, uint32_t incompat, struct jbd2_super *super)
{
    static const uint8_t uuid[16] = {1};
    uint8_t block[BLOCK_BYTES];
    jbd2_super_init(&(struct jbd2_super_new){.max_len = LENGTH, .incompat = incompat, .sequence = 5, .uuid = uuid, .user_uuid = uuid}, block, super);
    super->start = 1;
    jbd2_super_encode(super, block);
    poke(fuzz, 0, block);

    memset(block, 0, sizeof(block));
    jbd2_header_set(block, JBD2_DESCRIPTOR, 5);
    uint32_t offset = sizeof(struct jbd2_header), last = offset;
    for (uint32_t i = 0; i < 4; i++) {
        uint8_t content[BLOCK_BYTES];
        memset(content, (int)i + 1, sizeof(content));
        poke(fuzz, 2 + i, content);
        struct jbd2_tag_info tag = {
            .block = HOME + i, .flags = i ? JBD2_TAG_SAME_UUID : 0, .checksum = jbd2_data_csum(super, 5, content),
        };
        last = offset;
        offset = jbd2_tag_put(super, block, offset, &tag);
    }
    jbd2_tag_set_last(super, block, last);
    jbd2_tail_seal(super, block);
    poke(fuzz, 1, block);
    jbd2_commit_init(super, &(struct jbd2_commit){.sequence = 5, .sec = 1}, block);
    poke(fuzz, 6, block);
}

static void apply_patches(struct fuzz *fuzz, const uint8_t *data, size_t size)
{
    while (size > 5) {
        uint32_t at = (data[0] | (uint32_t)data[1] << 8) % LENGTH;
        uint32_t offset = (data[2] | (uint32_t)data[3] << 8) % BLOCK_BYTES;
        size_t len = MIN((size_t)data[4], size - 5);
        uint8_t block[BLOCK_BYTES];
        memcpy(block, sim_disk_peek(fuzz->disk, JOURNAL + at), BLOCK_BYTES);
        memcpy(block + offset, data + 5, MIN(len, BLOCK_BYTES - offset));
        poke(fuzz, at, block);
        data += 5 + len;
        size -= 5 + len;
    }
}

// Makes right what a mutation cannot guess. A superblock whose numbers are impossible is refused
// all the same.
static void reseal(struct fuzz *fuzz, const struct jbd2_super *super)
{
    uint8_t block[BLOCK_BYTES];
    memcpy(block, sim_disk_peek(fuzz->disk, JOURNAL), BLOCK_BYTES);
    const struct jbd2_super_raw *raw = (const struct jbd2_super_raw *)block;
    struct jbd2_super patched = *super;
    patched.sequence = be32(raw->sequence);
    patched.start = be32(raw->start);
    jbd2_super_encode(&patched, block);
    poke(fuzz, 0, block);
    memcpy(block, sim_disk_peek(fuzz->disk, JOURNAL + 1), BLOCK_BYTES);
    jbd2_tail_seal(super, block);
    poke(fuzz, 1, block);
}

static YIELDS void use(struct fuzz *fuzz, struct journal *jrn)
{
    struct shep_ref ref = {.type = BLOCK_DATA};
    if (jrn_reserve(jrn, 2) == 0) {
        struct buf *buf = buf_get_new(fuzz->cache, &ref, HOME + 9);
        jrn_dirty(jrn, buf);
        buf_put(fuzz->cache, buf);
        jrn_forget(jrn, HOME);
        CHECK(jrn_commit(jrn) == 0 || jrn_is_adopted(jrn));
    }
    for (uint64_t block = HOME; block < HOME + 12 && jrn_is_adopted(jrn); block++) {
        struct buf *buf;
        int rc = buf_get(fuzz->cache, &ref, block, &buf);
        CHECK(rc == 0 || rc == -EFSBADCRC);
        buf_put(fuzz->cache, buf);
    }
    // An adopted log may turn out to be damaged when it goes home.
    bool adopted = jrn_is_adopted(jrn);
    int rc = jrn_close(jrn);
    CHECK(rc == 0 || (adopted && (rc == -EFSBADCRC || rc == -EROFS)));
}

static YIELDS void body(void *arg)
{
    struct fuzz *fuzz = arg;
    struct jrn_run run = {.block = JOURNAL, .count = LENGTH};
    struct jrn_config config = {
        .rt = fuzz->rt, .shep = fuzz->shep, .cache = fuzz->cache, .geo = &fuzz->geo, .runs = &run, .run_count = 1,
        .adopt = fuzz->adopt,
    };
    struct journal *jrn;
    struct err err = {0};
    if (jrn_open(&config, &jrn, &err) < 0) {
        CHECK(err.text[0]);
        return;
    }
    if (jrn_recover(jrn, NULL, &err) < 0) {
        CHECK(err.text[0]);
        jrn_destroy(jrn);
        return;
    }
    use(fuzz, jrn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t formats[] = {
        0, JBD2_INCOMPAT_64BIT, JBD2_INCOMPAT_64BIT | JBD2_INCOMPAT_CSUM_V3, JBD2_INCOMPAT_CSUM_V2,
    };
    if (!size)
        return 0;
    log_open(-1, "fuzz");
    struct fuzz fuzz = {.rt = rt_sim_create(1), .disk = sim_disk_create(VOLUME)};
    struct jbd2_super super;
    fuzz.geo = (struct ext4_geo){.block_count = VOLUME, .journal_ino = EXT4_JOURNAL_INO};
    make_log(&fuzz, formats[data[0] & 3], &super);
    fuzz.adopt = data[0] & 0x40;
    apply_patches(&fuzz, data + 1, size - 1);
    if (data[0] & 0x80)
        reseal(&fuzz, &super);

    struct dev *dev = dev_sim_create(fuzz.rt, fuzz.disk, NULL);
    fuzz.shep = shep_create(fuzz.rt, dev);
    fuzz.cache = buf_cache_create(fuzz.rt, fuzz.shep, 16 * BLOCK_BYTES);
    rt_spawn(fuzz.rt, "fuzz", body, &fuzz);
    CHECK(rt_run(fuzz.rt) == 0);
    buf_cache_destroy(fuzz.cache);
    shep_destroy(fuzz.shep);
    dev_destroy(dev);
    sim_disk_destroy(fuzz.disk);
    rt_destroy(fuzz.rt);
    return 0;
}
