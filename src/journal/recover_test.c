// SPDX-License-Identifier: MIT
// recover_test.c - logs of every format, broken logs, hostile logs; e2fsprogs as the second opinion.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/check.h"
#include "dev/fault.h"
#include "journal/journal_rig.h"

#define B RIG_HOME

static const char *const formats[] = {"", "^metadata_csum", "^64bit", "^metadata_csum,^64bit"};

static uint32_t t_home(const struct sim_disk *disk, uint64_t block)
{
    return rig_version(sim_disk_peek(disk, block), block);
}

// Four transactions: everything written, some written again, some freed and used for data, and one
// that is closed but, after it, only modified. The log starts at its first block.
static YIELDS void write_log(void *arg)
{
    struct jrig *rig = arg;
    CHECK(rig_open(rig) == 0);
    for (uint32_t txn = 1; txn <= 4; txn++) {
        for (uint64_t i = 0; i < 40; i++)
            if (txn == 1 || i % txn == 1)
                rig_modify(rig, B + i, txn, txn == 1);
        if (txn == 3)
            for (uint64_t i = 0; i < 10; i++)
                jrn_forget(rig->jrn, B + i);
        CHECK(jrn_commit(rig->jrn) == 0);
    }
    rig_modify(rig, B + 39, 99, false);
}

static YIELDS void open_fibre(void *arg)
{
    (void)!rig_open(arg);
}

// Runs fn on a world over the disk and takes the world away again; the result of rig_open().
static int t_world(struct sim_disk *disk, void (*fn)(void *), struct err *err)
{
    struct jrig rig;
    rig_init(&rig, disk, 1);
    assert_int_equal(rig_run(&rig, fn), 0);
    if (err)
        *err = rig.err;
    int rc = rig.rc;
    rig_power_cut(&rig, 1);
    rig_fini(&rig);
    return rc;
}

static int t_recover(struct sim_disk *disk, struct err *err)
{
    return t_world(disk, open_fibre, err);
}

static struct sim_disk *t_log_of(const char *features)
{
    struct sim_disk *disk = rig_mkfs(features);
    assert_int_equal(t_world(disk, write_log, NULL), 0);
    return disk;
}

static int t_command(const char *fmt, const char *path)
{
    char command[1024];
    snprintf(command, sizeof(command), fmt, path);
    int rc = system(command);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

// The disk after a command of e2fsprogs has worked on it.
static struct sim_disk *t_through_file(const struct sim_disk *disk, const char *fmt, int ok_mask)
{
    char path[] = "/tmp/drover-journal-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(sim_disk_save(disk, path, NULL), 0);
    assert_int_equal(t_command(fmt, path) & ~ok_mask, 0);
    struct sim_disk *after;
    assert_int_equal(sim_disk_load(path, &after, NULL), 0);
    unlink(path);
    return after;
}

// e2fsck replays the same blocks to the same content.
static void t_compare_with_e2fsck(struct sim_disk *disk)
{
    struct sim_disk *theirs = t_through_file(disk, "e2fsck -fy %s >/dev/null 2>&1", 1);
    assert_int_equal(t_recover(disk, NULL), 0);
    for (uint64_t i = 0; i < RIG_HOME_COUNT; i++)
        assert_memory_equal(sim_disk_peek(disk, B + i), sim_disk_peek(theirs, B + i), BLOCK_BYTES);
    assert_int_equal(t_home(disk, B + 11), 2);
    sim_disk_destroy(theirs);
}

static void every_format_is_replayed_as_e2fsck_replays_it(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct sim_disk *disk = t_log_of(formats[i]);
        assert_int_equal(t_home(disk, B + 11), 0);
        t_compare_with_e2fsck(disk);
        sim_disk_destroy(disk);
    }
}

// mke2fs does not make csum_v2 any more; old kernels did.
static void checksums_of_version_2_are_written_and_replayed(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        struct sim_disk *disk = rig_mkfs(i ? "^64bit" : "");
        struct jrig rig;
        rig_init(&rig, disk, 1);
        struct jbd2_super super = rig_super(&rig);
        super.incompat = JBD2_INCOMPAT_CSUM_V2;
        super.has_csum = true;
        rig_poke_super(&rig, &super);
        rig_fini(&rig);
        assert_int_equal(t_world(disk, write_log, NULL), 0);
        rig_init(&rig, disk, 1);
        assert_int_equal(rig_super(&rig).incompat, JBD2_INCOMPAT_CSUM_V2 | JBD2_INCOMPAT_REVOKE | (i ? 0 : JBD2_INCOMPAT_64BIT));
        rig_fini(&rig);
        t_compare_with_e2fsck(disk);
        sim_disk_destroy(disk);
    }
}

static void a_superblock_of_version_1_becomes_version_2(void **state)
{
    (void)state;
    struct sim_disk *disk = rig_mkfs("");
    struct jrig rig;
    rig_init(&rig, disk, 1);
    uint8_t bytes[BLOCK_BYTES];
    memcpy(bytes, sim_disk_peek(disk, rig_log_block(&rig, 0)), BLOCK_BYTES);
    jbd2_header_set(bytes, JBD2_SUPER_V1, 0);
    memset(bytes + 0x24, 0xa5, 1024 - 0x24);        // means nothing in version 1
    sim_disk_poke(disk, rig_log_block(&rig, 0), bytes);
    rig_fini(&rig);
    assert_int_equal(t_world(disk, write_log, NULL), 0);
    t_compare_with_e2fsck(disk);
    sim_disk_destroy(disk);
}

static void the_log_of_debugfs_is_replayed(void **state)
{
    (void)state;
    static const char script[] =
        "head -c 12288 /dev/zero | tr '\\0' x > %1$s.x; head -c 4096 /dev/zero | tr '\\0' y > %1$s.y; "
        "printf 'jo\\njw -b 3000-3002 %1$s.x\\njw -b 3001 %1$s.y\\njw -r 3002\\njc\\n' > %1$s.f; "
        "debugfs -w -f %1$s.f %1$s >/dev/null 2>&1; rc=$?; rm -f %1$s.x %1$s.y %1$s.f; exit $rc";
    for (uint32_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct sim_disk *fresh = rig_mkfs(formats[i]);
        struct sim_disk *disk = t_through_file(fresh, script, 0);
        const char *home = sim_disk_peek(disk, B);
        assert_int_equal(home[0], 0);
        assert_int_equal(t_recover(disk, NULL), 0);
        const char letters[] = {'x', 'y', 0};
        for (uint32_t b = 0; b < 3; b++) {
            home = sim_disk_peek(disk, B + b);
            assert_int_equal(home[0], letters[b]);
            assert_int_equal(home[BLOCK_BYTES - 1], letters[b]);
        }
        sim_disk_destroy(fresh);
        sim_disk_destroy(disk);
    }
}

static void t_flip(struct sim_disk *disk, uint32_t at, uint32_t byte)
{
    struct jrig rig;
    uint8_t bytes[BLOCK_BYTES];
    rig_init(&rig, disk, 1);
    memcpy(bytes, sim_disk_peek(disk, rig_log_block(&rig, at)), BLOCK_BYTES);
    bytes[byte] ^= 0x40;
    sim_disk_poke(disk, rig_log_block(&rig, at), bytes);
    rig_fini(&rig);
}

// write_log(): transaction 1 has its descriptor at 1, its blocks at 2 to 41, its commit at 42;
// transaction 2 has 43, 20 blocks, 64; transaction 3 a revoke at 65, a descriptor at 66, 10 blocks, 77;
// transaction 4 has 78, 10 blocks, 89.
static void damage_in_the_middle_is_an_error_and_changes_nothing(void **state)
{
    (void)state;
    static const uint32_t places[][2] = {{1, 40}, {1, 4090}, {41, 77}, {42, 20}, {43, 100}, {64, 0x30}, {65, 17}, {77, 1000}};
    struct sim_disk *golden = t_log_of("");
    for (uint32_t i = 0; i < ARRAY_LEN(places); i++) {
        struct sim_disk *disk = sim_disk_clone(golden);
        struct err err = {0};
        t_flip(disk, places[i][0], places[i][1]);
        assert_int_equal(t_recover(disk, &err), -EFSBADCRC);
        assert_non_null(strstr(err.text, "the journal is damaged"));
        for (uint64_t b = 0; b < 40; b++)
            assert_int_equal(t_home(disk, B + b), 0);
        sim_disk_destroy(disk);
    }
    sim_disk_destroy(golden);
}

static void a_torn_commit_block_ends_the_log(void **state)
{
    (void)state;
    struct sim_disk *disk = t_log_of("");
    t_flip(disk, 89, 900);
    assert_int_equal(t_recover(disk, NULL), 0);
    assert_int_equal(t_home(disk, B + 13), 3);      // not 4
    assert_int_equal(t_home(disk, B + 11), 2);
    assert_int_equal(t_recover(disk, NULL), 0);
    sim_disk_destroy(disk);
}

static void damage_in_the_last_transaction_is_an_error_when_its_commit_is_right(void **state)
{
    (void)state;
    struct sim_disk *disk = t_log_of("");
    t_flip(disk, 85, 5);
    assert_int_equal(t_recover(disk, NULL), -EFSBADCRC);
    sim_disk_destroy(disk);
}

static void damage_to_a_revoked_block_does_not_matter(void **state)
{
    (void)state;
    struct sim_disk *disk = t_log_of("");
    t_flip(disk, 2, 5);                             // block B of transaction 1, freed by 3
    assert_int_equal(t_recover(disk, NULL), 0);
    assert_int_equal(t_home(disk, B), 0);
    sim_disk_destroy(disk);
}

static void a_recovered_log_goes_on_with_later_numbers(void **state)
{
    (void)state;
    struct sim_disk *disk = t_log_of("");
    assert_int_equal(t_recover(disk, NULL), 0);
    assert_int_equal(t_world(disk, write_log, NULL), 0);
    t_compare_with_e2fsck(disk);
    struct jrig rig;
    rig_init(&rig, disk, 1);
    assert_int_equal(rig_super(&rig).start, 0);
    // 2 to 5; 6 was perhaps begun, so it is skipped; 7 to 10.
    assert_int_equal(rig_super(&rig).sequence, 11);
    rig_fini(&rig);
    sim_disk_destroy(disk);
}

// --- logs that nobody wrote by accident ---------------------------------------------------------

// One transaction as an attacker might write it, without checksums, at the start of the log.
struct forgery {
    uint64_t blocks[4];
    uint32_t count;
    uint32_t revoke_bytes;          // not 0: a revoke block that claims so many
    bool no_last_tag, no_commit;
    uint32_t fill;                  // so many more descriptors, each full of tags
};

static void forge(struct sim_disk *disk, const struct forgery *forgery)
{
    struct jrig rig;
    rig_init(&rig, disk, 1);
    struct jbd2_super super = rig_super(&rig);
    super.start = super.first;
    super.sequence = 7;
    super.incompat = JBD2_INCOMPAT_64BIT | JBD2_INCOMPAT_REVOKE;
    super.has_64bit = true;
    rig_poke_super(&rig, &super);

    uint32_t at = super.first, offset = sizeof(struct jbd2_header), last = offset;
    uint8_t block[BLOCK_BYTES] = {0};
    if (forgery->revoke_bytes) {
        jbd2_header_set(block, JBD2_REVOKE, 7);
        ((struct jbd2_revoke_header *)block)->count = to_be32(forgery->revoke_bytes);
        sim_disk_poke(disk, rig_log_block(&rig, at++), block);
    }
    memset(block, 0, sizeof(block));
    jbd2_header_set(block, JBD2_DESCRIPTOR, 7);
    for (uint32_t i = 0; i < forgery->count; i++) {
        struct jbd2_tag_info tag = {.block = forgery->blocks[i], .flags = i ? JBD2_TAG_SAME_UUID : 0};
        last = offset;
        offset = jbd2_tag_put(&super, block, offset, &tag);
    }
    if (!forgery->no_last_tag)
        jbd2_tag_set_last(&super, block, last);
    sim_disk_poke(disk, rig_log_block(&rig, at), block);
    at += 1 + forgery->count;
    memset(block + sizeof(struct jbd2_header), 0xff, BLOCK_BYTES - sizeof(struct jbd2_header));
    for (uint32_t i = 0; i < forgery->fill; i++)
        sim_disk_poke(disk, rig_log_block(&rig, at++), block);
    jbd2_commit_init(&super, &(struct jbd2_commit){.sequence = 7, .sec = 1}, block);
    if (!forgery->no_commit)
        sim_disk_poke(disk, rig_log_block(&rig, at), block);
    rig_fini(&rig);
}

static void t_expect_refused(const struct forgery *forgery, const char *sentence)
{
    struct sim_disk *disk = rig_mkfs("^metadata_csum");
    struct err err = {0};
    forge(disk, forgery);
    assert_int_equal(t_recover(disk, &err), -EFSCORRUPTED);
    assert_non_null(strstr(err.text, sentence));
    sim_disk_destroy(disk);
}

static void a_log_that_names_blocks_outside_the_volume_is_refused(void **state)
{
    (void)state;
    t_expect_refused(&(struct forgery){.blocks = {B, RIG_BLOCKS}, .count = 2}, "outside the volume");
    t_expect_refused(&(struct forgery){.blocks = {UINT64_MAX}, .count = 1}, "outside the volume");
}

static void a_log_that_names_its_own_blocks_is_refused(void **state)
{
    (void)state;
    t_expect_refused(&(struct forgery){.blocks = {B, 100}, .count = 2}, "inside the journal");
}

static void an_impossible_count_of_revokes_is_refused(void **state)
{
    (void)state;
    t_expect_refused(&(struct forgery){.blocks = {B}, .count = 1, .revoke_bytes = 5000}, "impossible count");
    t_expect_refused(&(struct forgery){.blocks = {B}, .count = 1, .revoke_bytes = 3}, "impossible count");
}

static void a_log_that_runs_into_itself_ends(void **state)
{
    (void)state;
    struct sim_disk *disk = rig_mkfs("^metadata_csum");
    forge(disk, &(struct forgery){.blocks = {B}, .count = 1, .fill = 900, .no_commit = true, .no_last_tag = true});
    assert_int_equal(t_recover(disk, NULL), 0);
    assert_int_equal(t_home(disk, B), 0);
    sim_disk_destroy(disk);
}

// A journal with the fast-commit feature; `tid` of a fast commit in its area, 0 for none.
static struct sim_disk *t_fast_commit(uint32_t tid)
{
    struct sim_disk *disk = rig_mkfs("^metadata_csum");
    struct jrig rig;
    uint8_t block[BLOCK_BYTES] = {9, 0, 8, 0};       // the head tag, 8 bytes long
    forge(disk, &(struct forgery){.blocks = {B}, .count = 1});
    rig_init(&rig, disk, 1);
    // 1024 blocks are too few to have such an area, so the journal's end is 512 blocks longer.
    struct jbd2_super super = rig_super(&rig);
    uint8_t raw[BLOCK_BYTES];
    memcpy(raw, sim_disk_peek(disk, rig_log_block(&rig, 0)), BLOCK_BYTES);
    ((struct jbd2_super_raw *)raw)->max_len = to_be32(1024 + 512);
    super.incompat |= JBD2_INCOMPAT_FAST_COMMIT;
    super.fc_blocks = 512;
    jbd2_super_encode(&super, raw);
    sim_disk_poke(disk, rig_log_block(&rig, 0), raw);
    struct le32 number = to_le32(tid);
    memcpy(block + 8, &number, sizeof(number));
    sim_disk_poke(disk, RIG_HOME - 1000, block);
    rig_fini(&rig);
    return disk;
}

static YIELDS void open_longer(void *arg)
{
    struct jrig *rig = arg;
    rig->runs[rig->run_count++] = (struct jrn_run){.block = RIG_HOME - 1000, .count = 512};
    (void)!rig_open(rig);
}

static void fast_commits_that_must_be_replayed_are_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct sim_disk *disk = t_fast_commit(8);       // on top of transaction 7
    assert_int_equal(t_world(disk, open_longer, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.text, "fast commits"));
    sim_disk_destroy(disk);
}

static void fast_commits_that_are_over_are_ignored(void **state)
{
    (void)state;
    struct sim_disk *disk = t_fast_commit(7);
    assert_int_equal(t_world(disk, open_longer, NULL), 0);
    sim_disk_destroy(disk);
}

// --- faults under recovery ------------------------------------------------------------------------

static YIELDS void open_with_bad_log_block(void *arg)
{
    struct jrig *rig = arg;
    struct fault_rule rule = {.ops = FAULT_ON_READ, .kind = FAULT_FAIL, .block_first = rig_log_block(rig, 20), .block_count = 1};
    CHECK(dev_fault_add(rig->dev, &rule) > 0);
    (void)!rig_open(rig);
}

static YIELDS void open_with_bad_block_behind(void *arg)
{
    struct jrig *rig = arg;
    struct fault_rule rule = {.ops = FAULT_ON_READ, .kind = FAULT_FAIL, .block_first = rig_log_block(rig, 200), .block_count = 1};
    CHECK(dev_fault_add(rig->dev, &rule) > 0);
    (void)!rig_open(rig);
}

static YIELDS void open_with_bad_home(void *arg)
{
    struct jrig *rig = arg;
    struct fault_rule rule = {.ops = FAULT_ON_WRITE, .kind = FAULT_FAIL, .block_first = B + 12, .block_count = 1};
    CHECK(dev_fault_add(rig->dev, &rule) > 0);
    (void)!rig_open(rig);
}

static YIELDS void open_read_only(void *arg)
{
    struct jrig *rig = arg;
    rig->dev->read_only = true;
    (void)!rig_open(rig);
}

static void faults_of_the_disk_are_told_and_recovery_can_be_done_again(void **state)
{
    (void)state;
    struct err err = {0};
    struct sim_disk *disk = t_log_of("");
    assert_int_equal(t_world(disk, open_with_bad_log_block, &err), -EIO);
    assert_non_null(strstr(err.text, "block 20 of the journal cannot be read"));
    assert_int_equal(t_world(disk, open_with_bad_home, &err), -EIO);
    assert_int_equal(t_world(disk, open_read_only, &err), -EROFS);
    assert_non_null(strstr(err.text, "read-only"));
    assert_int_equal(t_world(disk, open_with_bad_block_behind, NULL), 0);
    assert_int_equal(t_home(disk, B + 12), 1);
    sim_disk_destroy(disk);
}

static YIELDS void open_with_bad_runs(void *arg)
{
    struct jrig *rig = arg;
    rig->runs[0].block = RIG_BLOCKS;
    assert_int_equal(rig_open(rig), -EFSCORRUPTED);
    rig->runs[0] = rig->runs[1];
    assert_int_equal(rig_open(rig), -EFSCORRUPTED);
    rig->run_count = 0;
    assert_int_equal(rig_open(rig), -EFSCORRUPTED);
}

static void a_journal_file_with_impossible_blocks_is_refused(void **state)
{
    (void)state;
    struct sim_disk *disk = rig_mkfs("");
    assert_int_equal(t_world(disk, open_with_bad_runs, NULL), -EFSCORRUPTED);
    sim_disk_destroy(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_replayed_as_e2fsck_replays_it),
        cmocka_unit_test(checksums_of_version_2_are_written_and_replayed),
        cmocka_unit_test(a_superblock_of_version_1_becomes_version_2),
        cmocka_unit_test(the_log_of_debugfs_is_replayed),
        cmocka_unit_test(damage_in_the_middle_is_an_error_and_changes_nothing),
        cmocka_unit_test(a_torn_commit_block_ends_the_log),
        cmocka_unit_test(damage_in_the_last_transaction_is_an_error_when_its_commit_is_right),
        cmocka_unit_test(damage_to_a_revoked_block_does_not_matter),
        cmocka_unit_test(a_recovered_log_goes_on_with_later_numbers),
        cmocka_unit_test(a_log_that_names_blocks_outside_the_volume_is_refused),
        cmocka_unit_test(a_log_that_names_its_own_blocks_is_refused),
        cmocka_unit_test(an_impossible_count_of_revokes_is_refused),
        cmocka_unit_test(a_log_that_runs_into_itself_ends),
        cmocka_unit_test(fast_commits_that_must_be_replayed_are_refused),
        cmocka_unit_test(fast_commits_that_are_over_are_ignored),
        cmocka_unit_test(faults_of_the_disk_are_told_and_recovery_can_be_done_again),
        cmocka_unit_test(a_journal_file_with_impossible_blocks_is_refused),
    };
    return cmocka_run_group_tests_name("journal-recover", tests, NULL, NULL);
}
