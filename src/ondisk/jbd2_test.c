// SPDX-License-Identifier: MIT
// jbd2_test.c - journals that mke2fs and debugfs wrote are read; what is written here is read back.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "ondisk/jbd2.h"
#include "ondisk/image_rig.h"

struct log {
    struct image image;
    struct ext4_inode inode;
    struct jbd2_super super;
};

static uint8_t *log_block(const struct log *log, uint32_t index)
{
    return image_block(&log->image, image_map(&log->image, &log->inode, index));
}

static struct log log_make(const char *options, const char *debugfs_commands)
{
    struct log log = {.image = image_make(options, debugfs_commands)};
    const char *why = NULL;
    log.inode = image_inode(&log.image, EXT4_JOURNAL_INO);
    if (jbd2_super_decode(log_block(&log, 0), log.inode.size / BLOCK_BYTES, &log.super, &why) != 0)
        fail_msg("%s: %s", options, why);
    return log;
}

static void log_fini(struct log *log)
{
    inode_fini(&log->inode);
    image_fini(&log->image);
}

static void a_journal_that_mke2fs_made_is_empty(void **state)
{
    (void)state;
    struct log log = log_make("", NULL);
    assert_int_equal(log.super.max_len, 1024);
    assert_int_equal(log.super.first, 1);
    assert_int_equal(log.super.log_end, 1024);
    assert_int_equal(log.super.start, 0);
    assert_false(log.super.has_csum);
    log_fini(&log);
}

// Two transactions: blocks 500 to 502 (501 starts with the magic), then revokes of 600 and 601.
static const struct { const char *options, *commands; } logs[] = {
    {"-O metadata_csum,64bit", "jo -c -v 3\njw -b 500,501,502 payload\njw -r 600,601\njc\n"},
    {"-O metadata_csum,^64bit", "jo -c -v 3\njw -b 500,501,502 payload\njw -r 600,601\njc\n"},
    {"-O metadata_csum,64bit", "jo -c -v 2\njw -b 500,501,502 payload\njw -r 600,601\njc\n"},
    {"-O metadata_csum,^64bit", "jo -c -v 2\njw -b 500,501,502 payload\njw -r 600,601\njc\n"},
    {"-O ^metadata_csum,64bit", "jo\njw -b 500,501,502 payload\njw -r 600,601\njc\n"},
    {"-O ^metadata_csum,^64bit", "jo\njw -b 500,501,502 payload\njw -r 600,601\njc\n"},
};

static struct log log_with_transactions(size_t i)
{
    struct log log = log_make(logs[i].options, NULL);
    char path[64];
    static const uint8_t magic[] = {0xc0, 0x3b, 0x39, 0x98};
    uint8_t *payload = xblocks(3);
    memset(payload, 'a', BLOCK_BYTES * 3);
    memcpy(payload + BLOCK_BYTES, magic, sizeof(magic));

    snprintf(path, sizeof(path), "%s/payload", log.image.dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(payload, BLOCK_BYTES, 3, file), 3);
    assert_int_equal(fclose(file), 0);
    free(payload);

    char command[512];
    snprintf(command, sizeof(command), "printf '%%s' \"%s\" > commands && debugfs -w -f commands image", logs[i].commands);
    assert_int_equal(image_shell(&log.image, command), 0);
    const char *why = NULL;
    if (jbd2_super_decode(log_block(&log, 0), 1024, &log.super, &why) != 0)
        fail_msg("log %zu: %s", i, why);
    return log;
}

static void expect_first_transaction(const struct log *log)
{
    const struct jbd2_super *super = &log->super;
    const uint8_t *descriptor = log_block(log, 1);
    struct jbd2_tag_walk walk = jbd2_tags_start(descriptor);
    struct jbd2_tag_info tag;

    assert_int_equal(jbd2_block_type_of(descriptor, super->sequence), JBD2_DESCRIPTOR);
    assert_int_equal(jbd2_block_type_of(descriptor, super->sequence + 1), 0);
    assert_true(jbd2_tail_is_right(super, descriptor));
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(jbd2_tags_next(super, &walk, &tag));
        assert_int_equal(tag.block, 500 + i);
        assert_int_equal(!(tag.flags & JBD2_TAG_SAME_UUID), i == 0);
        assert_int_equal(!!(tag.flags & JBD2_TAG_ESCAPE), i == 1);
        assert_int_equal(!!(tag.flags & JBD2_TAG_LAST), i == 2);
        assert_true(jbd2_data_csum_is_right(super, super->sequence, &tag, log_block(log, 2 + i)));
        assert_int_equal(jbd2_data_csum_is_right(super, super->sequence + 1, &tag, log_block(log, 2 + i)), !super->has_csum);
    }
    assert_false(jbd2_tags_next(super, &walk, &tag));
    assert_int_equal(jbd2_block_type_of(log_block(log, 5), super->sequence), JBD2_COMMIT);
    assert_true(jbd2_commit_is_right(super, log_block(log, 5)));
}

static void transactions_that_debugfs_wrote_are_read_in_every_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(logs); i++) {
        struct log log = log_with_transactions(i);
        uint32_t count;
        assert_int_equal(log.super.start, 1);
        assert_int_equal(log.super.has_csum, i < 4);
        assert_int_equal(log.super.has_csum_v3, i < 2);
        assert_int_equal(log.super.has_64bit, i % 2 == 0);
        expect_first_transaction(&log);

        const uint8_t *revoke = log_block(&log, 6);
        assert_int_equal(jbd2_block_type_of(revoke, log.super.sequence + 1), JBD2_REVOKE);
        assert_true(jbd2_tail_is_right(&log.super, revoke));
        assert_true(jbd2_revoke_count(&log.super, revoke, &count));
        assert_int_equal(count, 2);
        assert_int_equal(jbd2_revoke_at(&log.super, revoke, 0), 600);
        assert_int_equal(jbd2_revoke_at(&log.super, revoke, 1), 601);
        log_fini(&log);
    }
}

static void a_flipped_bit_in_a_checksummed_log_is_noticed(void **state)
{
    (void)state;
    struct log log = log_with_transactions(0);
    uint8_t *descriptor = log_block(&log, 1), *data = log_block(&log, 2), *commit = log_block(&log, 5), *revoke = log_block(&log, 6);
    struct jbd2_tag_walk walk = jbd2_tags_start(descriptor);
    struct jbd2_tag_info tag;
    assert_true(jbd2_tags_next(&log.super, &walk, &tag));
    for (uint32_t at = 0; at < BLOCK_BYTES; at++) {
        uint8_t bit = (uint8_t)(1u << at % 8);
        descriptor[at] ^= bit;
        data[at] ^= bit;
        commit[at] ^= bit;
        revoke[at] ^= bit;
        assert_false(jbd2_tail_is_right(&log.super, descriptor));
        assert_false(jbd2_data_csum_is_right(&log.super, log.super.sequence, &tag, data));
        assert_false(jbd2_commit_is_right(&log.super, commit));
        assert_false(jbd2_tail_is_right(&log.super, revoke));
        descriptor[at] ^= bit;
        data[at] ^= bit;
        commit[at] ^= bit;
        revoke[at] ^= bit;
    }
    uint8_t *super = log_block(&log, 0);
    for (uint32_t at = 0; at < JBD2_SUPER_SIZE; at++) {
        struct jbd2_super out;
        const char *why = NULL;
        super[at] ^= 1;
        int rc = jbd2_super_decode(super, 1024, &out, &why);
        // Without the bit that says there are checksums, the rest has to fit by itself.
        if (rc == 0 && at != offsetof(struct jbd2_super_raw, feature_incompat) + 3)
            fail_msg("flip at %u was not noticed", at);
        super[at] ^= 1;
    }
    log_fini(&log);
}

static void e2fsck_replays_a_transaction_written_here(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(logs); i++) {
        struct log log = log_with_transactions(i);
        struct jbd2_super *super = &log.super;
        uint8_t *descriptor = log_block(&log, 1), *data = log_block(&log, 2), *commit = log_block(&log, 4);
        uint32_t sequence = super->sequence, offset = sizeof(struct jbd2_header), last = 0;

        // Blocks near the end of the volume are free. Their old content must not come back.
        memset(descriptor, 0, BLOCK_BYTES);
        jbd2_header_set(descriptor, JBD2_DESCRIPTOR, sequence);
        for (uint32_t n = 0; n < 2; n++) {
            memset(log_block(&log, 2 + n), 'x' + (int)n, BLOCK_BYTES);
            struct jbd2_tag_info tag = {.block = 4000 + n, .flags = n ? JBD2_TAG_SAME_UUID : 0,
                                        .checksum = jbd2_data_csum(super, sequence, log_block(&log, 2 + n))};
            last = offset;
            offset = jbd2_tag_put(super, descriptor, offset, &tag);
        }
        jbd2_tag_set_last(super, descriptor, last);
        jbd2_tail_seal(super, descriptor);
        jbd2_commit_init(super, &(struct jbd2_commit){.sequence = sequence, .sec = 1, .nsec = 2}, commit);
        assert_memory_equal(data, "xxxx", 4);

        // The next transaction revokes the second block.
        uint8_t *revoke = log_block(&log, 5);
        memset(revoke, 0, BLOCK_BYTES);
        jbd2_header_set(revoke, JBD2_REVOKE, sequence + 1);
        jbd2_revoke_put(super, revoke, 0, 4001);
        jbd2_tail_seal(super, revoke);
        jbd2_commit_init(super, &(struct jbd2_commit){.sequence = sequence + 1}, log_block(&log, 6));
        memset(log_block(&log, 7), 0, BLOCK_BYTES);

        super->start = 1;
        super->error = 0;
        jbd2_super_encode(super, log_block(&log, 0));
        image_store(&log.image);
        assert_true(image_shell(&log.image, "e2fsck -fy -E journal_only image") <= 1);
        assert_memory_equal(image_block(&log.image, 4000), "xxxx", 4);
        assert_memory_not_equal(image_block(&log.image, 4001), "yyyy", 4);
        log_fini(&log);
    }
}

static void a_descriptor_holds_as_many_tags_as_it_says(void **state)
{
    (void)state;
    static const uint32_t features[] = {0, JBD2_INCOMPAT_64BIT, JBD2_INCOMPAT_CSUM_V2, JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_64BIT,
                                        JBD2_INCOMPAT_CSUM_V3, JBD2_INCOMPAT_CSUM_V3 | JBD2_INCOMPAT_64BIT};
    static const uint32_t sizes[] = {8, 12, 10, 14, 16, 16};
    static const uint8_t uuid[16] = {1, 2, 3};
    for (size_t i = 0; i < ARRAY_LEN(features); i++) {
        struct jbd2_super super;
        uint8_t *block = xblocks(1);
        jbd2_super_init(&(struct jbd2_super_new){.max_len = 2048, .incompat = features[i], .sequence = 7, .uuid = uuid, .user_uuid = uuid}, block, &super);
        assert_int_equal(jbd2_tag_size(&super), sizes[i]);

        uint32_t count = jbd2_tags_max(&super), offset = sizeof(struct jbd2_header);
        uint64_t high = features[i] & JBD2_INCOMPAT_64BIT ? 5ull << 32 : 0;
        for (uint32_t n = 0; n < count; n++) {
            struct jbd2_tag_info tag = {.block = high + n, .flags = n ? JBD2_TAG_SAME_UUID : 0, .checksum = n & 0xffff};
            offset = jbd2_tag_put(&super, block, offset, &tag);
        }
        assert_true(offset + sizes[i] > jbd2_descriptor_end(&super));
        struct jbd2_tag_walk walk = jbd2_tags_start(block);
        struct jbd2_tag_info tag;
        uint32_t found = 0;
        for (; jbd2_tags_next(&super, &walk, &tag); found++) {
            assert_int_equal(tag.block, high + found);
            assert_int_equal(tag.checksum, found & 0xffff);
        }
        assert_int_equal(found, count);

        memset(block, 0, BLOCK_BYTES);
        for (uint32_t n = 0; n < jbd2_revokes_max(&super); n++)
            jbd2_revoke_put(&super, block, n, high + n);
        assert_true(jbd2_revoke_count(&super, block, &found));
        assert_int_equal(found, jbd2_revokes_max(&super));
        assert_int_equal(jbd2_revoke_at(&super, block, found - 1), high + found - 1);
        free(block);
    }
}

static void a_superblock_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const uint8_t uuid[16] = {1};
    uint8_t *good = xblocks(1), *bad = xblocks(1);
    struct jbd2_super super;
    const char *why = NULL;
    jbd2_super_init(&(struct jbd2_super_new){.max_len = 2048, .incompat = JBD2_INCOMPAT_FAST_COMMIT, .fc_blocks = 100, .uuid = uuid, .user_uuid = uuid}, good, &super);
    assert_int_equal(super.log_end, 1948);
    assert_int_equal(jbd2_super_decode(good, 2047, &super, &why), -EFSCORRUPTED);

    static const struct { uint32_t at; uint8_t value; int rc; } damages[] = {
        {0, 0, -EFSCORRUPTED}, {7, JBD2_COMMIT, -EFSCORRUPTED}, {14, 4, -EFSCORRUPTED}, {16, 1, -EFSCORRUPTED}, {18, 1, -EFSCORRUPTED},
        {23, 0, -EFSCORRUPTED}, {22, 8, -EFSCORRUPTED}, {29, 1, -EFSCORRUPTED}, {30, 8, -EFSCORRUPTED}, {0x2b, 0x60, -EOPNOTSUPP},
        {0x2b, 0x38, -EFSCORRUPTED}, {0x2b, 0x10, -EFSCORRUPTED}, {0x2f, 1, -EOPNOTSUPP}, {0x54, 1, -EFSCORRUPTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        memcpy(bad, good, BLOCK_BYTES);
        bad[damages[i].at] = damages[i].value;
        int rc = jbd2_super_decode(bad, 2048, &super, &why);
        if (rc != damages[i].rc)
            fail_msg("damage %zu: %d", i, rc);
    }
    free(good);
    free(bad);
}

static void the_error_of_an_abort_survives_encoding(void **state)
{
    (void)state;
    static const uint8_t uuid[16] = {1};
    uint8_t *block = xblocks(1);
    struct jbd2_super super, again;
    const char *why = NULL;
    jbd2_super_init(&(struct jbd2_super_new){.max_len = 1024, .incompat = JBD2_INCOMPAT_CSUM_V3, .uuid = uuid, .user_uuid = uuid}, block, &super);
    super.error = EIO;
    super.start = 1023;
    super.sequence = 77;
    jbd2_super_encode(&super, block);
    assert_int_equal(be32(((struct jbd2_super_raw *)block)->error), (uint32_t)-EIO);
    assert_int_equal(jbd2_super_decode(block, 1024, &again, &why), 0);
    assert_memory_equal(&again, &super, sizeof(super));
    free(block);
}

static void the_older_checksum_is_the_published_crc(void **state)
{
    (void)state;
    // Started with 0, zeros in front change nothing. The catalogue's check value of CRC-32/CKSUM,
    // the same polynomial, is inverted.
    uint8_t *block = xblocks(1), *commit = xblocks(1);
    memcpy(block + BLOCK_BYTES - 9, "123456789", 9);
    assert_int_equal(jbd2_v1_sum(0, block), ~0x765e7680u);
    struct jbd2_commit_header *header = (struct jbd2_commit_header *)commit;
    assert_true(jbd2_v1_commit_is_right(commit, 5));
    header->checksum_type = JBD2_CHECKSUM_CRC32;
    header->checksum_size = 4;
    header->checksum[0] = to_be32(5);
    assert_true(jbd2_v1_commit_is_right(commit, 5));
    assert_false(jbd2_v1_commit_is_right(commit, 6));
    free(block);
    free(commit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_journal_that_mke2fs_made_is_empty),
        cmocka_unit_test(transactions_that_debugfs_wrote_are_read_in_every_format),
        cmocka_unit_test(a_flipped_bit_in_a_checksummed_log_is_noticed),
        cmocka_unit_test(e2fsck_replays_a_transaction_written_here),
        cmocka_unit_test(a_descriptor_holds_as_many_tags_as_it_says),
        cmocka_unit_test(a_superblock_that_cannot_be_is_refused),
        cmocka_unit_test(the_error_of_an_abort_survives_encoding),
        cmocka_unit_test(the_older_checksum_is_the_published_crc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
