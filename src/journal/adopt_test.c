// SPDX-License-Identifier: MIT
// adopt_test.c - a log that a successor takes over as it is, one thing at a time.
//
// The disks come from t_story(): so many transactions, each of the same blocks in a new version.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "cache/page.h"
#include "dev/fault.h"
#include "journal/internal.h"
#include "journal/journal_rig.h"

#define B RIG_HOME
#define BLOCKS 200u

// A process that has found a disk.
struct life {
    struct jrig rig;
    uint64_t hint;
    bool replay;                            // as after a power cut
    bool as_data, done;
};

static YIELDS int open_journal(struct life *life)
{
    struct jrn_config config = rig_config(&life->rig);
    config.adopt = !life->replay;
    config.committed_hint = life->hint;
    return rig_open_as(&life->rig, &config);
}

static YIELDS int read_block(struct life *life, uint32_t b, bool as_data, uint32_t *version)
{
    struct shep_ref ref = {.type = BLOCK_DATA, .owner = {.ino = 12, .lblock = b}};
    struct buf *buf;
    if (as_data) {
        AUTO_FREE void *bytes = xblocks(1);
        struct iovec iov = {bytes, BLOCK_BYTES};
        int rc = data_read_blocks(life->rig.cache, &ref.owner, B + b, &iov, 1);
        *version = rig_version(bytes, B + b);
        return rc;
    }
    int rc = buf_get(life->rig.cache, &ref, B + b, &buf);
    if (rc < 0)
        return rc;
    *version = rig_version(buf->bytes, B + b);
    buf_put(life->rig.cache, buf);
    return 0;
}

static struct life *t_life(struct sim_disk *disk, uint64_t seed)
{
    struct life *life = xcalloc(1, sizeof(*life));
    rig_init(&life->rig, disk, seed);
    return life;
}

static void t_end(struct life *life)
{
    rig_fini(&life->rig);
    free(life);
}

// A disk whose log holds `count` transactions of `size` blocks, from the beginning of the blocks on.
struct story {
    struct jrig *rig;
    uint32_t count, size;
};

static YIELDS void tell(void *arg)
{
    struct jrig *rig = arg;
    const struct story *story = rig->arg;
    CHECK(rig_open(rig) == 0);
    for (uint32_t t = 1; t <= story->count; t++) {
        for (uint32_t b = 0; b < story->size; b++)
            rig_modify(rig, B + b, t, false);
        CHECK(jrn_commit(rig->jrn) == 0);
    }
}

static struct sim_disk *t_story(uint32_t count, uint32_t size)
{
    struct jrig rig;
    struct story story = {.count = count, .size = size};
    struct sim_disk *disk = rig_mkfs("");
    rig_init(&rig, disk, 1);
    rig.arg = &story;
    assert_int_equal(rig_run(&rig, tell), 0);
    rig_fini(&rig);
    return disk;
}

// Runs fn on a life over the disk; `like` may be NULL.
static void t_with(struct sim_disk *disk, void (*fn)(void *life), const struct life *like)
{
    struct life *life = t_life(disk, 3);
    life->replay = like && like->replay;
    life->hint = like ? like->hint : 0;
    assert_int_equal(rig_run(&life->rig, fn), 0);
    t_end(life);
}

static YIELDS void fill_the_full_log(void *arg)
{
    struct life *life = arg;
    uint64_t steps = sim_disk_write_count(life->rig.disk);
    CHECK(open_journal(life) == 0);
    struct journal *jrn = life->rig.jrn;
    assert_true(jrn_is_adopted(jrn));
    assert_int_equal(sim_disk_write_count(life->rig.disk) - steps, 1);      // a flush
    assert_true(shep_stats(life->rig.shep).reads < 10);
    assert_int_equal(jrn_reserve(jrn, 10), -EAGAIN);
    // Not reserved: the commit itself has to make the room.
    for (uint32_t b = 0; b < 150; b++)
        rig_modify(&life->rig, B + b, 77, false);
    assert_int_equal(jrn_commit(jrn), 0);
    for (uint32_t b = 0; b < 150; b++)
        assert_int_equal(rig_version(buf_peek(life->rig.cache, B + b)->bytes, B + b), 77);
    assert_int_equal(jrn_checkpoint(jrn, UINT64_MAX), 0);
    assert_int_equal(jrn->adopted_left, 0);
    assert_int_equal(jrn->used, 0);
    for (uint32_t b = 0; b < BLOCKS; b++)
        assert_int_equal(rig_version(sim_disk_peek(life->rig.disk, B + b), B + b), b < 150 ? 77 : 5);
}

static void a_full_log_makes_room_after_adoption(void **state)
{
    (void)state;
    struct sim_disk *disk = t_story(5, BLOCKS);     // 5 * 202 of 1023 blocks
    t_with(disk, fill_the_full_log, NULL);
    sim_disk_destroy(disk);
}

// Transaction 1 of t_story(2, 10): 1 to 12; transaction 2: its descriptor at 13, its commit block at 24.
static void t_flip(struct jrig *rig, uint32_t at)
{
    uint8_t bytes[BLOCK_BYTES];
    memcpy(bytes, sim_disk_peek(rig->disk, rig_log_block(rig, at)), BLOCK_BYTES);
    bytes[99] ^= 1;
    sim_disk_poke(rig->disk, rig_log_block(rig, at), bytes);
}

static YIELDS void meet_damage(void *arg)
{
    struct life *life = arg;
    uint32_t version;
    CHECK(open_journal(life) == 0);
    assert_true(jrn_is_adopted(life->rig.jrn));
    assert_int_equal(read_block(life, 3, false, &version), -EFSBADCRC);
    assert_int_equal(read_block(life, 3, true, &version), -EFSBADCRC);
    assert_int_equal(read_block(life, 4, false, &version), 0);
    assert_int_equal(version, 2);
    assert_int_equal(jrn_checkpoint(life->rig.jrn, UINT64_MAX), -EFSBADCRC);
    assert_true(jrn_is_aborted(life->rig.jrn));
}

static void a_damaged_copy_is_an_error_and_not_the_old_block(void **state)
{
    (void)state;
    struct sim_disk *disk = t_story(2, 10);
    struct life *life = t_life(disk, 1);
    t_flip(&life->rig, 14 + 3);
    t_end(life);
    t_with(disk, meet_damage, NULL);
    for (uint32_t b = 0; b < 10; b++)
        assert_int_equal(rig_version(sim_disk_peek(disk, B + b), B + b), 0);
    sim_disk_destroy(disk);
}

// One read over blocks at home, in the log, and in memory, cut into odd pieces.
static YIELDS void read_a_run(void *arg)
{
    struct life *life = arg;
    CHECK(open_journal(life) == 0);
    struct block_owner owner = {.ino = 12};
    AUTO_FREE uint8_t *bytes = xblocks(16);
    struct iovec iov[] = {{bytes, 3 * BLOCK_BYTES}, {bytes + 3 * BLOCK_BYTES, 13 * BLOCK_BYTES}};
    rig_modify(&life->rig, B + 1, 50, false);
    rig_modify(&life->rig, B + 12, 51, false);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(data_read_blocks(life->rig.cache, &owner, B, iov, 2), 0);
        for (uint32_t b = 0; b < 16; b++)
            assert_int_equal(rig_version(bytes + b * BLOCK_BYTES, B + b), b == 1 ? 50 : b == 12 ? 51 : b < 10 ? 2 : 0);
        if (round == 0)
            assert_int_equal(jrn_commit(life->rig.jrn), 0);
        else
            assert_int_equal(jrn_checkpoint(life->rig.jrn, UINT64_MAX), 0);
    }
}

static void logged_data_is_read_from_the_log(void **state)
{
    (void)state;
    struct sim_disk *disk = t_story(2, 10);
    t_with(disk, read_a_run, NULL);
    sim_disk_destroy(disk);
}

static YIELDS void slow_reader(void *arg)
{
    struct life *life = arg;
    uint32_t version;
    CHECK(read_block(life, 3, life->as_data, &version) == 0);
    assert_int_equal(version, 2);
    life->done = true;
}

// The copy goes home and its place in the log is taken while somebody reads it.
static YIELDS void read_while_it_goes_home(void *arg)
{
    struct life *life = arg;
    CHECK(open_journal(life) == 0);
    struct fault_rule rule = {
        .ops = FAULT_ON_READ, .kind = FAULT_DELAY, .block_first = rig_log_block(&life->rig, 14 + 3),
        .block_count = 1, .shots = 1, .delay_ns = 10000000000ull,
    };
    CHECK(dev_fault_add(life->rig.dev, &rule) > 0);
    rt_spawn(life->rig.rt, "reader", slow_reader, life);
    rt_sleep_until(life->rig.rt, rt_now_ns(life->rig.rt) + 1000000);
    for (uint32_t t = 0; t < 12; t++) {
        assert_int_equal(jrn_checkpoint(life->rig.jrn, UINT64_MAX), 0);
        for (uint32_t b = 20; b < 120; b++)
            rig_modify(&life->rig, B + b, 100 + t, false);
        assert_int_equal(jrn_commit(life->rig.jrn), 0);
    }
    assert_int_equal(life->rig.jrn->adopted_left, 0);
    assert_false(life->done);
}

static void a_reader_is_not_deceived_by_a_log_that_goes_on(void **state)
{
    (void)state;
    for (uint32_t as_data = 0; as_data < 2; as_data++) {
        struct sim_disk *disk = t_story(2, 10);
        struct life *life = t_life(disk, 3);
        life->as_data = as_data;
        assert_int_equal(rig_run(&life->rig, read_while_it_goes_home), 0);
        assert_true(life->done);
        t_end(life);
        sim_disk_destroy(disk);
    }
}

static YIELDS void replay(void *arg)
{
    struct life *life = arg;
    life->replay = true;
    CHECK(open_journal(life) == 0);
}

// What a replay by us makes of block 3, the others being of the story.
static void expect_home(struct sim_disk *disk, uint32_t version)
{
    t_with(disk, replay, NULL);
    for (uint32_t b = 0; b < 10; b++)
        assert_int_equal(rig_version(sim_disk_peek(disk, B + b), B + b), b == 3 ? version : 5);
}

static YIELDS void adopt_and_go_on(void *arg)
{
    struct life *life = arg;
    CHECK(open_journal(life) == 0);
    struct journal *jrn = life->rig.jrn;
    assert_true(jrn_is_adopted(jrn));
    uint64_t newest = jrn_recovered_tid(jrn), at = life->hint ? life->hint : 6;
    assert_int_equal(newest, at);
    assert_int_equal(jrn_running_tid(jrn), newest + 1);
    rig_modify(&life->rig, B + 3, 90, false);
    assert_int_equal(jrn_commit(jrn), 0);
    assert_int_equal(jrn_committed_tid(jrn), newest + 1);
}

static void numbers_go_on_where_the_predecessor_was(void **state)
{
    (void)state;
    struct sim_disk *disk = t_story(5, 10);         // 2 to 6
    t_with(disk, adopt_and_go_on, &(struct life){.hint = (7ull << 32) + 6});
    t_with(disk, adopt_and_go_on, &(struct life){.hint = (7ull << 32) + 7});
    expect_home(disk, 90);
    sim_disk_destroy(disk);
}

static void numbers_go_on_over_the_end_of_32_bits(void **state)
{
    (void)state;
    struct jrig rig;
    struct story story = {.count = 5, .size = 10};
    struct sim_disk *disk = rig_mkfs("");
    rig_init(&rig, disk, 1);
    struct jbd2_super super = rig_super(&rig);
    super.sequence = UINT32_MAX - 2;                // then UINT32_MAX - 1, UINT32_MAX, 0, 1, 2
    rig_poke_super(&rig, &super);
    rig.arg = &story;
    assert_int_equal(rig_run(&rig, tell), 0);
    rig_fini(&rig);
    t_with(disk, adopt_and_go_on, &(struct life){.hint = (1ull << 32) + 2});
    expect_home(disk, 90);
    sim_disk_destroy(disk);
}

static YIELDS void expect_replay(void *arg)
{
    struct life *life = arg;
    uint32_t version;
    CHECK(open_journal(life) == 0);
    assert_false(jrn_is_adopted(life->rig.jrn));
    assert_int_equal(jrn_recovered_tid(life->rig.jrn), life->hint);
    assert_int_equal(read_block(life, 3, false, &version), 0);
    assert_int_equal(version, life->hint - 1);
}

static void what_cannot_be_adopted_is_replayed(void **state)
{
    (void)state;
    enum { ERROR, ASYNC, POWER_CUT, TORN, CASES };
    for (uint32_t i = 0; i < CASES; i++) {
        struct sim_disk *disk = t_story(2, 10);
        struct life *life = t_life(disk, 1);
        struct jbd2_super super = rig_super(&life->rig);
        super.error = i == ERROR ? EIO : 0;         // an abort was recorded
        super.incompat |= i == ASYNC ? JBD2_INCOMPAT_ASYNC_COMMIT : 0;
        rig_poke_super(&life->rig, &super);
        if (i == TORN)
            t_flip(&life->rig, 24);                 // the last commit block
        t_end(life);
        struct life expect = {.replay = i == POWER_CUT, .hint = i == TORN ? 2 : 3};
        t_with(disk, expect_replay, &expect);
        expect.replay = false;
        t_with(disk, expect_replay, &expect);       // empty now: the number is known nevertheless
        sim_disk_destroy(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_log_makes_room_after_adoption),
        cmocka_unit_test(a_damaged_copy_is_an_error_and_not_the_old_block),
        cmocka_unit_test(logged_data_is_read_from_the_log),
        cmocka_unit_test(a_reader_is_not_deceived_by_a_log_that_goes_on),
        cmocka_unit_test(numbers_go_on_where_the_predecessor_was),
        cmocka_unit_test(numbers_go_on_over_the_end_of_32_bits),
        cmocka_unit_test(what_cannot_be_adopted_is_replayed),
    };
    return cmocka_run_group_tests_name("journal-adopt", tests, NULL, NULL);
}
